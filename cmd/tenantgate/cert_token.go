package main

import (
	"fmt"
	"io"
	"net"
	"net/url"

	"github.com/spf13/cobra"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/proxy/admin"
)

func newCertTokenCommand(p *program) *cobra.Command {
	var q admin.EnrolmentTokenRequest
	cmd := &cobra.Command{
		Use:   "token IDENTITY [flags] | token --withdraw ID",
		Short: "Make a one-time token with which a caller gets its certificate for a key of its own",
		Long: `token prints an enrolment token on standard output. It is good for one certificate of the identity, for an
hour unless --valid says otherwise. Hand it to whoever sets up the caller; there

  tenantgate enroll TOKEN

makes the key, gets the certificate and writes both. The token carries the address of the enrolment listener
and the fingerprint of the CA, so that the first contact is safe. It is a secret: the server keeps only a hash of
it, and it cannot be shown again. Others than this binary can use it, too (docs/enrolment.md).

--for binds it to the host, address or network that the caller connects from, --key-fingerprint to one key:
  openssl pkey -in FILE -pubout -outform DER | openssl sha256

tenantgate cert tokens lists tokens; --withdraw takes one back.`,
		Example: `  tenantgate cert token erp
  tenantgate cert token erp --for erp.example.com --valid 30m --lifetime 30d
  tenantgate cert token --withdraw 4f6k2m...`,
		Args: maxArgs(1),
	}
	valid, lifetime := new(Duration), new(Duration)
	durationFlag(cmd, valid, "valid", "how long it may be used, such as 30m (default 1h, at most 7d)")
	durationFlag(cmd, lifetime, "lifetime", "how long the certificate is valid, such as 30d (default 90d, at most 398d)")
	cmd.Flags().StringVar(&q.For, "for", "", "`host` name, address or network from which alone it may be used")
	cmd.Flags().StringVar(&q.KeyFingerprint, "key-fingerprint", "", "`SHA256` of the one public key that is certified, in hex")
	withdraw := cmd.Flags().String("withdraw", "", "take the token with this `id` back")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		switch {
		case cmd.Flags().Changed("withdraw") && len(args) > 0:
			return usageError(cmd, "--withdraw takes the id of a token, and no identity")
		case cmd.Flags().Changed("withdraw"):
			return p.withdrawToken(cmd, *withdraw)
		case len(args) == 0:
			return usageError(cmd, "IDENTITY is missing")
		}
		q.Valid, q.Lifetime = identity.Duration(*valid), identity.Duration(*lifetime)
		return p.makeToken(cmd, args[0], q)
	}
	return cmd
}

func (p *program) makeToken(cmd *cobra.Command, name string, q admin.EnrolmentTokenRequest) error {
	return p.call(func(c *admin.Client) error {
		made, err := c.AddEnrolmentToken(cmd.Context(), name, q)
		if err != nil {
			return err
		}
		fmt.Fprintf(p.stderr, "token %s for identity %s, good for one certificate until %s\nuse it on the caller's machine: tenantgate enroll TOKEN\n",
			made.ID, name, moment(made.Expires))
		if u, err := url.Parse(made.URL); err == nil && isLoopback(u.Hostname()) {
			fmt.Fprintf(p.stderr, "it leads to %s: from another machine, give enroll --ca-url, or set enrolment.url or server_names in the server's "+
				"configuration\n", made.URL)
		}
		return p.show(made, func(w io.Writer) { fmt.Fprintln(w, made.Token) })
	})
}

// isLoopback says that a host is the machine itself.
func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func (p *program) withdrawToken(cmd *cobra.Command, id string) error {
	if id == "" {
		return usageError(cmd, "--withdraw is empty")
	}
	return p.call(func(c *admin.Client) error {
		t, err := c.WithdrawEnrolmentToken(cmd.Context(), id)
		if err != nil {
			return err
		}
		return p.show(t, func(w io.Writer) {
			fmt.Fprintf(w, "withdrew token %s of identity %s\n", t.ID, t.Identity)
			if t.Serial != "" {
				fmt.Fprintf(w, "it was used before: tenantgate cert revoke %s, if that must not be\n", t.Serial)
			}
		})
	})
}

func newCertTokensCommand(p *program) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "tokens",
		Short: "List enrolment tokens",
		Example: `  tenantgate cert tokens
  tenantgate cert tokens --identity erp --state used`,
		Args: exactArgs(),
	}
	name := cmd.Flags().String("identity", "", "only those of this identity")
	state := cmd.Flags().String("state", admin.TokenOpen, "only those in this state: open, used, expired, withdrawn or all")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *state == "all" {
			*state = ""
		}
		return p.call(func(c *admin.Client) error {
			tokens, err := c.EnrolmentTokens(cmd.Context(), *name, *state)
			if err != nil {
				return err
			}
			return p.show(tokens, func(w io.Writer) {
				rows := make([][]string, 0, len(tokens))
				for _, t := range tokens {
					rows = append(rows, []string{t.ID, t.Identity, t.State, moment(t.Expires), orDash(t.For), orDash(t.Serial)})
				}
				table(w, []string{"ID", "IDENTITY", "STATE", "EXPIRES", "FOR", "CERTIFICATE"}, rows)
			})
		})
	}
	return cmd
}
