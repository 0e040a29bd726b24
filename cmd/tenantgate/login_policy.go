package main

import (
	"context"
	"io"

	"github.com/spf13/cobra"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/proxy/admin"
)

func newLoginPolicyCommand(p *program) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "policy [flags]",
		Short: "Show or change what holds for all logins",
		Long: `policy without flags shows how far ahead a sunset may be set, and what callers are told whose login ends.
A shorter --max-sunset bounds what is set from then on; sunsets that were set before stay.`,
		Example: `  tenantgate login policy
  tenantgate login policy --max-sunset 4380h --contact 'Team Integration' --guide https://wiki.example.com/certificates`,
		Args: exactArgs(),
	}
	attrs := &attributes{}
	attrs.duration(cmd, "max-sunset", "max_sunset", "how `long` ahead a sunset may be set, 1h to 43800h (default 8760h, a year)")
	attrs.text(cmd, "contact", "contact", "`team` that helps callers to certificates (default: the owner of the login)")
	attrs.text(cmd, "guide", "guide", "`URL` of a page that says how a caller comes by a certificate")
	attrs.text(cmd, "realm", "realm", "`name` that callers are shown when they are asked for a login (default tenantgate)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		changes, err := attrs.given(cmd)
		if err != nil {
			return err
		}
		read := func(ctx context.Context, c *admin.Client) (identity.LoginPolicy, error) { return c.LoginPolicy(ctx) }
		if len(changes) > 0 {
			read = func(ctx context.Context, c *admin.Client) (identity.LoginPolicy, error) {
				return c.SetLoginPolicy(ctx, changes)
			}
		}
		return p.call(func(c *admin.Client) error {
			policy, err := read(cmd.Context(), c)
			if err != nil {
				return err
			}
			return p.show(policy, func(w io.Writer) {
				fields(w, field{"max sunset", policy.MaxSunset.String()}, field{"contact", orDash(policy.Contact)},
					field{"guide", orDash(policy.Guide)}, field{"realm", policy.Realm})
			})
		})
	}
	return cmd
}
