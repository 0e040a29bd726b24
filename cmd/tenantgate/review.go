package main

import (
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/proxy/admin"
)

func newReviewCommand(p *program) *cobra.Command {
	due := &cobra.Command{
		Use:   "due",
		Short: "List identities to be reviewed, and those that no team answers for",
		Long: `due lists the identities whose review date is near or over, and those that no team answers for: their owner is missing, or
looks like a person's account. REFUSED says that the policy gives them no certificate (tenantgate policy show).`,
		Example: `  tenantgate review due
  tenantgate review due --within 90d --json
  tenantgate identity reviewed erp`,
		Args: exactArgs(),
	}
	within := Duration(30 * 24 * time.Hour)
	durationFlag(due, &within, "within", "how `far` ahead (default 30d)")
	due.RunE = func(cmd *cobra.Command, _ []string) error {
		return p.call(func(c *admin.Client) error {
			reviews, err := c.Reviews(cmd.Context(), time.Duration(within))
			if err != nil {
				return err
			}
			return p.show(reviews, func(w io.Writer) {
				rows := make([][]string, 0, len(reviews))
				for _, r := range reviews {
					rows = append(rows, []string{r.Identity, orDash(r.Owner), orDash(string(r.ReviewDate)), list(r.Reasons), yesNo(r.Refused), yesNo(r.Disabled)})
				}
				table(w, []string{"IDENTITY", "OWNER", "REVIEW BY", "WHY", "REFUSED", "DISABLED"}, rows)
			})
		})
	}
	return group(&cobra.Command{
		Use:     "review",
		Short:   "What must be looked at from time to time",
		Example: "  tenantgate review due --within 30d",
	}, due)
}

func newIdentityReviewedCommand(p *program) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "reviewed NAME",
		Short: "Note that an identity's owner has confirmed it, and set the next review",
		Long: `reviewed sets the date of the next review: --next, or as far ahead as the policy says (review_interval, a year unless it was
set). Who did it, and when, is on record (tenantgate audit list).`,
		Example: `  tenantgate identity reviewed erp
  tenantgate identity reviewed erp --next 2027-06-30`,
		Args: exactArgs("NAME"),
	}
	next := cmd.Flags().String("next", "", "`date` (2006-01-02) of the next review")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if cmd.Flags().Changed("next") && *next == "" {
			return usageError(cmd, "--next is empty: give a date, such as 2027-06-30")
		}
		return p.call(func(c *admin.Client) error {
			stored, err := c.ReviewIdentity(cmd.Context(), args[0], identity.Date(*next))
			if err != nil {
				return err
			}
			return p.show(stored, func(w io.Writer) {
				fmt.Fprintf(w, "identity %s is reviewed; the next review is due by %s\n", stored.Name, stored.ReviewDate)
			})
		})
	}
	return cmd
}

func newIdentityInactiveCommand(p *program) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "inactive",
		Short: "List identities that have not called for long",
		Long: `inactive lists the identities that nothing was heard of for so long, on any node: not since their last call or, where there was
none, since they were added. Calls are known from the first start of this release on; the time before does not count.`,
		Example: `  tenantgate identity inactive
  tenantgate identity inactive --for 30d --json`,
		Args: exactArgs(),
	}
	silent := Duration(90 * 24 * time.Hour)
	durationFlag(cmd, &silent, "for", "for how `long` (default 90d)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return p.call(func(c *admin.Client) error {
			inactive, err := c.Inactive(cmd.Context(), time.Duration(silent))
			if err != nil {
				return err
			}
			return p.show(inactive, func(w io.Writer) {
				rows := make([][]string, 0, len(inactive))
				for _, i := range inactive {
					rows = append(rows, []string{i.Identity, orDash(i.Owner), lastCall(i.LastCall), moment(i.Since), strconv.Itoa(i.Certificates), yesNo(i.Disabled)})
				}
				table(w, []string{"IDENTITY", "OWNER", "LAST CALL", "SILENT SINCE", "CERTIFICATES", "DISABLED"}, rows)
			})
		})
	}
	return cmd
}

func newIdentityUsesCommand(p *program) *cobra.Command {
	return &cobra.Command{
		Use:   "uses NAME",
		Short: "Say where an identity is used, and who must be told",
		Long: `uses shows the team to tell, the last call, the certificates with which callers can come and when each came last, the rules
by which certificates of other CAs stand for it, the logins that do, the credentials with which tenants are called, and the
routes that the identity's roles open.`,
		Example: `  tenantgate identity uses erp
  tenantgate identity uses erp --json`,
		Args: exactArgs("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.call(func(c *admin.Client) error {
				uses, err := c.Uses(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				return p.show(uses, func(w io.Writer) { printUses(w, &uses) })
			})
		},
	}
}

func printUses(w io.Writer, u *admin.Uses) {
	known := lastCall(u.LastCall)
	if u.LastCall.IsZero() && !u.CallsSince.IsZero() {
		known = "never since " + moment(u.CallsSince)
	}
	fields(w, field{"identity", u.Identity}, field{"tell", u.Owner}, field{"disabled", yesNo(u.Disabled)}, field{"last call", known})
	fmt.Fprintf(w, "\ncallers' certificates: %d\n", len(u.Certificates))
	var rows [][]string
	for _, c := range u.Certificates {
		rows = append(rows, []string{c.Serial, moment(c.NotAfter), lastCall(c.LastCall)})
	}
	if len(rows) > 0 {
		table(w, []string{"SERIAL", "NOT AFTER", "LAST CALL"}, rows)
	}
	printOtherUses(w, u)
	fmt.Fprintf(w, "\nroutes: %d\n", len(u.Routes))
	rows = nil
	for _, r := range u.Routes {
		rows = append(rows, []string{r.Name, r.Host, r.Path, r.Tenant, r.Role, yesNo(r.Credential)})
	}
	if len(rows) > 0 {
		table(w, []string{"ROUTE", "HOST", "PATH", "TENANT", "ROLE", "CREDENTIAL"}, rows)
	}
	fmt.Fprintf(w, "\ncredentials: %d\n", len(u.Credentials))
	if len(u.Credentials) > 0 {
		printCredentials(w, u.Credentials)
	}
}

// printOtherUses prints how callers come without a certificate of our own CA, where they do.
func printOtherUses(w io.Writer, u *admin.Uses) {
	if len(u.Authorities) > 0 || !u.OutsideCall.IsZero() {
		fmt.Fprintf(w, "\ncertificates of other CAs: last call %s\n", lastCall(u.OutsideCall))
		var rows [][]string
		for _, a := range u.Authorities {
			rows = append(rows, []string{a.Authority, a.Kind, a.Value})
		}
		if len(rows) > 0 {
			table(w, []string{"AUTHORITY", "KIND", "VALUE"}, rows)
		}
	}
	if len(u.Logins) == 0 {
		return
	}
	fmt.Fprintf(w, "\nlogins: %d\n", len(u.Logins))
	var rows [][]string
	for _, l := range u.Logins {
		rows = append(rows, []string{l.User, orDash(l.Owner), string(l.Stage), moment(l.Closes), lastCall(l.LastCall)})
	}
	table(w, []string{"LOGIN", "OWNER", "STAGE", "CLOSES", "LAST CALL"}, rows)
}

func lastCall(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return moment(t)
}
