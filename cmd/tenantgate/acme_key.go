package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/proxy/admin"
)

func newACMECommand(p *program) *cobra.Command {
	key := group(&cobra.Command{
		Use:   "key",
		Short: "Keys with which ACME accounts register for an identity",
		Long: `A key (an external account binding) lets one ACME account register, which from then on gets certificates of one
identity, for the host names that the key was made for. Without one nothing is issued.`,
		Example: `  tenantgate acme key add erp --host erp.example.com
  tenantgate acme key list`,
	}, newACMEKeyAddCommand(p), newACMEKeyListCommand(p), newACMEKeyShowCommand(p), newACMEKeyRemoveCommand(p))
	return group(&cobra.Command{
		Use:   "acme",
		Short: "Callers who get their certificates with an ACME client",
		Long: `With enrolment.acme.allow in the server's configuration, callers' own ACME clients (certbot, lego, certmagic and others) get
client certificates at the enrolment listener, and renew them by themselves (docs/enrolment.md).`,
		Example: `  tenantgate acme key add erp --host erp.example.com`,
	}, key)
}

func newACMEKeyAddCommand(p *program) *cobra.Command {
	var q admin.ACMEKeyRequest
	cmd := &cobra.Command{
		Use:   "add IDENTITY --host NAME [flags]",
		Short: "Make a key with which one ACME account registers for an identity",
		Long: `add prints a key id, an HMAC key and the directory's address, which an ACME client is given to register its
account. The HMAC key is a secret: it is kept sealed until an account has registered, and cannot be shown again. The account gets client
certificates of the identity and of no other, and may ask for the host names given here and for no others. It proves each time, by
http-01 or tls-alpn-01, that it has them.

A key is good for one account. acme key remove takes it back, and the account with it; certificates are revoked with cert revoke.`,
		Example: `  tenantgate acme key add erp --host erp.example.com
  tenantgate acme key add erp --host erp1.example.com --host erp2.example.com --lifetime 7d --valid 1h`,
		Args: exactArgs("IDENTITY"),
	}
	valid, lifetime := new(Duration), new(Duration)
	cmd.Flags().StringSliceVar(&q.Hosts, "host", nil, "host `name` that the account may ask for; may be given more than once")
	durationFlag(cmd, valid, "valid", "how long an account may register, such as 1h (default 1d, at most 30d)")
	durationFlag(cmd, lifetime, "lifetime", "how long certificates are valid, such as 30d (default 90d, at most 398d)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(q.Hosts) == 0 {
			return usageError(cmd, "--host is missing: the account may ask for the names that are given here and for no others")
		}
		q.Valid, q.Lifetime = identity.Duration(*valid), identity.Duration(*lifetime)
		return p.call(func(c *admin.Client) error {
			made, err := c.AddACMEKey(cmd.Context(), args[0], q)
			if err != nil {
				return err
			}
			fmt.Fprintf(p.stderr, "key %s for identity %s and %s; one account may register until %s\ngive the client these, for example\n"+
				"  certbot register --server %s --eab-kid %s --eab-hmac-key HMAC_KEY\n", made.ID, made.Identity, strings.Join(made.Hosts, ", "),
				moment(made.Expires), made.Directory, made.ID)
			return p.show(made, func(w io.Writer) {
				fmt.Fprintf(w, "directory  %s\nkey id     %s\nhmac key   %s\n", made.Directory, made.ID, made.HMACKey)
			})
		})
	}
	return cmd
}

func newACMEKeyListCommand(p *program) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the keys of ACME accounts",
		Example: `  tenantgate acme key list
  tenantgate acme key list --identity erp --state bound`,
		Args: exactArgs(),
	}
	name := cmd.Flags().String("identity", "", "only those of this identity")
	state := cmd.Flags().String("state", "", "only those in this state: open, bound, ended, expired or removed")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return p.call(func(c *admin.Client) error {
			keys, err := c.ACMEKeys(cmd.Context(), *name, *state)
			if err != nil {
				return err
			}
			return p.show(keys, func(w io.Writer) {
				rows := make([][]string, 0, len(keys))
				for _, k := range keys {
					rows = append(rows, []string{k.ID, k.Identity, k.State, moment(k.Expires), strings.Join(k.Hosts, ",")})
				}
				table(w, []string{"ID", "IDENTITY", "STATE", "REGISTER UNTIL", "HOSTS"}, rows)
			})
		})
	}
	return cmd
}

func newACMEKeyShowCommand(p *program) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "show ID",
		Short:   "Show the key of an ACME account, without its secret",
		Example: `  tenantgate acme key show 4f6k2m...`,
		Args:    exactArgs("ID"),
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return p.call(func(c *admin.Client) error {
			k, err := c.ACMEKey(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return p.show(k, func(w io.Writer) {
				lifetime := "of the profile"
				if k.Lifetime != 0 {
					lifetime = Duration(k.Lifetime).String()
				}
				table(w, []string{"KEY", k.ID}, [][]string{
					{"identity", k.Identity}, {"state", k.State}, {"hosts", strings.Join(k.Hosts, ", ")}, {"lifetime", lifetime},
					{"created", moment(k.Created)}, {"register until", moment(k.Expires)}, {"registered", momentOrDash(k.Bound)},
					{"account", orDash(k.Account)}, {"removed", momentOrDash(k.Removed)},
				})
			})
		})
	}
	return cmd
}

// momentOrDash is a time that may not have come.
func momentOrDash(t time.Time) string {
	if t.IsZero() {
		return orDash("")
	}
	return moment(t)
}

func newACMEKeyRemoveCommand(p *program) *cobra.Command {
	return &cobra.Command{
		Use:   "remove ID",
		Short: "Take the key of an ACME account back, and the account with it",
		Long: `remove takes a key back, and the account that has registered with it: neither gets anything any more. Certificates that it
has got stay valid: cert list --identity NAME shows them, cert revoke revokes them.`,
		Example: `  tenantgate acme key remove 4f6k2m...`,
		Args:    exactArgs("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.call(func(c *admin.Client) error {
				if err := c.RemoveACMEKey(cmd.Context(), args[0]); err != nil {
					return err
				}
				k, err := c.ACMEKey(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				return p.show(k, func(w io.Writer) {
					fmt.Fprintf(w, "removed key %s of identity %s\n", k.ID, k.Identity)
					if k.Account != "" {
						fmt.Fprintf(w, "its account had registered: tenantgate cert list --identity %s shows what it may have got\n", k.Identity)
					}
				})
			})
		},
	}
}
