package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/proxy/admin"
)

func newIdentityCommand(p *program) *cobra.Command {
	return group(&cobra.Command{
		Use:   "identity",
		Short: "Technical identities: who may call, in which roles",
		Long: `An identity stands for a backend system, never for a person. It has an owner (a team), the roles that
routes require, and a date by which the owner must review it. Certificates prove it; credentials are the
OAuth clients with which it calls tenants.`,
		Example: `  tenantgate identity add erp --owner team-logistics --role orders.send,stock.read --review-date 2027-06-30
  tenantgate identity disable erp`,
	},
		newIdentityAddCommand(p), newIdentityListCommand(p), newIdentityShowCommand(p), newIdentitySetCommand(p),
		newIdentityStateCommand(p, "disable", "Refuse every request of an identity, at once, on open connections too", (*admin.Client).DisableIdentity),
		newIdentityStateCommand(p, "enable", "Let a disabled identity call again", (*admin.Client).EnableIdentity),
		newIdentityRemoveCommand(p), newIdentityUsesCommand(p), newIdentityInactiveCommand(p), newIdentityReviewedCommand(p))
}

// identityAttributes are the flags of `identity add` and `identity set`.
func identityAttributes(cmd *cobra.Command) *attributes {
	a := &attributes{}
	a.text(cmd, "owner", "owner", "`team` that answers for the identity; not a person")
	a.names(cmd, "role", "roles", "`roles`, comma-separated or repeated")
	a.text(cmd, "description", "description", "free text")
	a.text(cmd, "review-date", "review_date", "`date` (2006-01-02) by which the owner must confirm the identity")
	a.number(cmd, "rate", "rate", "requests a second, such as 50 or 0.5, on each node; 0 is no limit (default)")
	a.whole(cmd, "burst", "burst", "`requests` that may come at once within the rate (default: what comes in a second)")
	a.whole(cmd, "concurrency", "concurrency", "`requests` in flight, on each node; 0 is no limit (default)")
	a.size(cmd, "bandwidth", "bandwidth", "`size`, such as 1MiB, of bodies a second, both directions together; 0 is no limit (default)")
	a.duration(cmd, "renew-grace", "renew_grace", "how `long`, such as 72h, after its end a certificate may still be renewed; 0s is not at all (default)")
	a.names(cmd, "key-type", "key_types", "`types` of keys that its certificates may have, such as P-256,RSA-2048; empty is all (default)")
	a.someLines(cmd, "calling-window", "always", "calling_windows",
		"`window` in which it may call, such as 'Mon-Fri 06:00-20:00 Europe/Berlin'; repeated for more; always is no restriction (default)")
	a.someNames(cmd, "network", "networks", "`networks` it may call from, such as 10.1.0.0/16,192.0.2.7; all is everywhere (default)")
	a.truth(cmd, "certificates-only", "certificates_only", "let no login stand for it; logins may otherwise, where there are any (default)")
	a.size(cmd, "max-body", "max_body", "`size`, such as 10MiB, that the body of a request may have; 0 leaves it to the route (default)")
	a.whole(cmd, "daily-requests", "daily_requests", "`requests` a day (UTC), on all nodes together; 0 is no limit (default)")
	a.size(cmd, "daily-octets", "daily_octets", "`size`, such as 5GiB, of bodies a day (UTC), both directions, on all nodes together; 0 is no limit (default)")
	return a
}

func newIdentityAddCommand(p *program) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "add NAME --owner TEAM [--role ROLE,...]",
		Short:   "Add an identity",
		Example: "  tenantgate identity add erp --owner team-logistics --role orders.send",
		Args:    exactArgs("NAME"),
	}
	attrs := identityAttributes(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		id := identity.Identity{Name: args[0]}
		if err := attrs.fill(cmd, &id); err != nil {
			return err
		}
		return p.call(func(c *admin.Client) error {
			stored, err := c.AddIdentity(cmd.Context(), id)
			if err != nil {
				return err
			}
			return p.show(stored, func(w io.Writer) {
				fmt.Fprintf(w, "added identity %s\nnext: tenantgate credential add %s TENANT --service-key FILE\n      tenantgate cert issue %s --out DIR\n",
					stored.Name, stored.Name, stored.Name)
			})
		})
	}
	return cmd
}

func newIdentityListCommand(p *program) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the identities",
		Example: "  tenantgate identity list",
		Args:    exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.call(func(c *admin.Client) error {
				identities, err := c.Identities(cmd.Context())
				if err != nil {
					return err
				}
				return p.show(identities, func(w io.Writer) {
					rows := make([][]string, 0, len(identities))
					for _, i := range identities {
						rows = append(rows, []string{i.Name, i.Owner, state(&i), list(i.Roles), orDash(string(i.ReviewDate))})
					}
					table(w, []string{"NAME", "OWNER", "STATE", "ROLES", "REVIEW BY"}, rows)
				})
			})
		},
	}
}

func state(i *identity.Identity) string {
	if i.Disabled {
		return "disabled"
	}
	return "enabled"
}

// identityView is an identity with what hangs on it, for `identity show`.
type identityView struct {
	identity.Identity
	Certificates []identity.Certificate `json:"certificates"`
	Credentials  []admin.Credential     `json:"credentials"`
}

func newIdentityShowCommand(p *program) *cobra.Command {
	return &cobra.Command{
		Use:     "show NAME",
		Short:   "Show an identity with its certificates and credentials",
		Example: "  tenantgate identity show erp --json",
		Args:    exactArgs("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.call(func(c *admin.Client) error {
				view, err := readIdentity(cmd.Context(), c, args[0])
				if err != nil {
					return err
				}
				return p.show(view, func(w io.Writer) { printIdentity(w, view) })
			})
		},
	}
}

func readIdentity(ctx context.Context, c *admin.Client, name string) (*identityView, error) {
	id, err := c.Identity(ctx, name)
	if err != nil {
		return nil, err
	}
	certificates, err := c.Certificates(ctx, admin.CertificateFilter{Identity: name})
	if err != nil {
		return nil, err
	}
	credentials, err := c.Credentials(ctx, name)
	if err != nil {
		return nil, err
	}
	return &identityView{id, certificates, credentials}, nil
}

func printIdentity(w io.Writer, v *identityView) {
	fields(w,
		field{"name", v.Name},
		field{"owner", v.Owner},
		field{"description", v.Description},
		field{"state", state(&v.Identity)},
		field{"roles", list(v.Roles)},
		field{"review by", string(v.ReviewDate)},
		field{"rate", rate(&v.Identity)},
		field{"concurrency", limit(v.Concurrency)},
		field{"bandwidth", bandwidth(v.Bandwidth)},
		field{"calling windows", strings.Join(v.CallingWindows, "; ")},
		field{"networks", strings.Join(v.Networks, ", ")},
		field{"calls with", map[bool]string{true: "certificates only", false: "certificates, and logins where there are any"}[v.CertificatesOnly]},
		field{"maximum body", sizeLimit(v.MaxBody)},
		field{"daily requests", limit(int(v.DailyRequests))},
		field{"daily octets", sizeLimit(v.DailyOctets)},
		field{"renew grace", Duration(v.RenewGrace).text()},
		field{"key types", strings.Join(v.KeyTypes, ",")},
		field{"created", moment(v.Created)},
		field{"updated", moment(v.Updated)},
	)
	fmt.Fprintf(w, "\ncertificates: %d\n", len(v.Certificates))
	if len(v.Certificates) > 0 {
		printCertificates(w, v.Certificates)
	}
	fmt.Fprintf(w, "\ncredentials: %d\n", len(v.Credentials))
	if len(v.Credentials) > 0 {
		printCredentials(w, v.Credentials)
	}
}

// rate is a limit as people read it; "" for none.
func rate(i *identity.Identity) string {
	if i.Rate == 0 {
		return ""
	}
	return strconv.FormatFloat(i.Rate, 'f', -1, 64) + "/s, up to " + strconv.Itoa(i.EffectiveBurst()) + " at once"
}

func limit(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

func sizeLimit(n int64) string {
	if n == 0 {
		return ""
	}
	return Size(n).String()
}

func bandwidth(n int64) string {
	if n == 0 {
		return ""
	}
	return Size(n).String() + "/s"
}

func newIdentitySetCommand(p *program) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "set NAME [flags]",
		Short: "Change an identity",
		Long: `set changes what is named and leaves the rest. --role replaces all roles; --add-role and --remove-role
change the ones that the identity holds at that moment.`,
		Example: `  tenantgate identity set erp --add-role stock.read
  tenantgate identity set erp --owner team-supply --review-date 2027-12-31
  tenantgate identity set erp --rate 50 --concurrency 20 --bandwidth 10MiB
  tenantgate identity set erp --calling-window 'Mon-Fri 06:00-20:00 Europe/Berlin' --network 10.1.0.0/16 --daily-requests 50000`,
		Args: exactArgs("NAME"),
	}
	attrs := identityAttributes(cmd)
	add := cmd.Flags().StringSlice("add-role", nil, "`roles` to give to it, beside those it holds")
	remove := cmd.Flags().StringSlice("remove-role", nil, "`roles` to take from it")
	cmd.MarkFlagsMutuallyExclusive("role", "add-role")
	cmd.MarkFlagsMutuallyExclusive("role", "remove-role")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		changes, err := attrs.given(cmd)
		if err != nil {
			return err
		}
		if len(changes)+len(*add)+len(*remove) == 0 {
			return usageError(cmd, "nothing to change")
		}
		return p.call(func(c *admin.Client) error {
			stored, err := c.ChangeIdentity(cmd.Context(), args[0], func(current identity.Identity) map[string]any {
				if len(*add)+len(*remove) > 0 {
					roles := append(slices.Clone(current.Roles), *add...)
					changes["roles"] = slices.DeleteFunc(roles, func(r string) bool { return slices.Contains(*remove, r) })
				}
				return changes
			})
			if err != nil {
				return err
			}
			return p.show(stored, func(w io.Writer) {
				fmt.Fprintf(w, "changed identity %s, roles %s\n", stored.Name, list(stored.Roles))
			})
		})
	}
	return cmd
}

func newIdentityStateCommand(p *program, verb, short string, act func(*admin.Client, context.Context, string) (identity.Identity, error)) *cobra.Command {
	return &cobra.Command{
		Use:     verb + " NAME",
		Short:   short,
		Example: "  tenantgate identity " + verb + " erp",
		Args:    exactArgs("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.call(func(c *admin.Client) error {
				stored, err := act(c, cmd.Context(), args[0])
				if err != nil {
					return err
				}
				return p.show(stored, func(w io.Writer) { fmt.Fprintf(w, "identity %s is %s\n", stored.Name, state(&stored)) })
			})
		},
	}
}

func newIdentityRemoveCommand(p *program) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "remove NAME",
		Short: "Remove an identity",
		Long: `remove refuses an identity that still has valid certificates, credentials or logins, or to which callers of a
login were moved, so that nothing is lost by a slip: revoke and remove those first, or give --cascade to do it
all in one act. Callers that were moved to it may use their login again then. Disabling is the reversible way.`,
		Example: `  tenantgate identity remove erp
  tenantgate identity remove erp --cascade`,
		Args: exactArgs("NAME"),
	}
	cascade := cmd.Flags().Bool("cascade", false, "revoke its certificates and remove its credentials, logins and moves too")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return p.call(func(c *admin.Client) error {
			if err := c.RemoveIdentity(cmd.Context(), args[0], *cascade); err != nil {
				return err
			}
			return p.removed("identity", args[0])
		})
	}
	return cmd
}
