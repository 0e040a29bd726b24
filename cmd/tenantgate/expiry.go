package main

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenantgate/tenantgate/proxy/admin"
	"github.com/tenantgate/tenantgate/proxy/expiry"
)

func newExpiryCommand(p *program) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "expiry",
		Short: "List all that ends, the next end first, and how it is renewed",
		Long: `expiry is the one list of all that ends: certificates of callers, administrators and listeners, credentials whose end is
known, the CA, its revocation list, the same of other authorities, open enrolment tokens, logins, and the dates by which identities must
be reviewed.

  ok        nothing is to be done
  soon      its end is near: 30 days before it for what lives half a year or longer, 7 days from a month on, 3 days from two
            weeks, a day from two days, 12 hours below, but never more than a quarter of a certificate's life; 90 days for
            what lives two years, 180 for what lives five
  urgent    the last quarter of that
  expired   it has come
  replaced  something newer does its work, and nobody uses this one any more

--check is for monitoring: it prints what is soon, urgent or expired, and exits 1 when there is any, 0 when there is none.`,
		Example: `  tenantgate expiry
  tenantgate expiry --soon
  tenantgate expiry --within 90d --json
  tenantgate expiry --kind review --within 30d
  tenantgate expiry --check`,
		Args: exactArgs(),
	}
	var within Duration
	durationFlag(cmd, &within, "within", "only what ends within this `time` or has ended, such as 30d")
	soon := cmd.Flags().Bool("soon", false, "only what is soon, urgent or expired")
	check := cmd.Flags().Bool("check", false, "as --soon, and exit 1 when there is any")
	kind := cmd.Flags().String("kind", "", "only this `kind`, as the list shows it")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		window := ""
		switch {
		case cmd.Flags().Changed("within") && (*soon || *check):
			return usageError(cmd, "--within goes neither with --soon nor with --check: they know themselves how near is near")
		case *soon || *check:
			window = "soon"
		case cmd.Flags().Changed("within"):
			window = time.Duration(within).String()
		}
		if cmd.Flags().Changed("kind") && *kind == "" {
			return usageError(cmd, "--kind is empty: name a kind, such as review")
		}
		return p.call(func(c *admin.Client) error {
			items, err := c.Expiry(cmd.Context(), window, *kind)
			if err != nil {
				return err
			}
			if err := p.show(items, func(w io.Writer) { printExpiry(w, items, time.Now()) }); err != nil {
				return err
			}
			if *check && len(items) > 0 {
				err := errors.New(counted(len(items), "thing has ended or ends soon", "things have ended or end soon"))
				return hinted(err, "the last column says what to do about each")
			}
			return nil
		})
	}
	return cmd
}

func printExpiry(w io.Writer, items []expiry.Item, now time.Time) {
	rows := make([][]string, 0, len(items))
	for _, i := range items {
		todo := i.Command
		if i.Automatic && !i.State.Due() {
			todo = "renews itself"
		}
		rows = append(rows, []string{moment(i.Expires), left(i.Expires.Sub(now)), string(i.State), i.Kind, i.Name, orDash(i.Tenant), orDash(i.Owner), orDash(todo)})
	}
	table(w, []string{"EXPIRES", "LEFT", "STATE", "KIND", "NAME", "TENANT", "OWNER", "TO RENEW"}, rows)
}

// left is a time in the one unit that matters.
func left(d time.Duration) string {
	switch {
	case d <= 0:
		return "over"
	case d >= 48*time.Hour:
		return fmt.Sprintf("%dd", int(d/(24*time.Hour)))
	case d >= time.Hour:
		return fmt.Sprintf("%dh", int(d/time.Hour))
	}
	return fmt.Sprintf("%dm", int(d/time.Minute))
}
