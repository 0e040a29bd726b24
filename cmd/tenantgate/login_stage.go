package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenantgate/tenantgate/proxy/admin"
)

// changedLogin makes a change and shows what came of it.
func (p *program) changedLogin(cmd *cobra.Command, change func(c *admin.Client) (admin.Login, error)) error {
	return p.call(func(c *admin.Client) error {
		l, err := change(c)
		if err != nil {
			return err
		}
		return p.show(l, func(w io.Writer) {
			fmt.Fprintf(w, "login %s is %s", printable(l.User), l.CurrentStage)
			if l.Next != nil {
				fmt.Fprintf(w, ", %s on %s", l.Next.Stage, moment(l.Next.At))
			}
			if !l.NextBrownout.IsZero() {
				fmt.Fprintf(w, ", next brownout at %s", moment(l.NextBrownout))
			}
			fmt.Fprintln(w)
		})
	})
}

func newLoginScheduleCommand(p *program) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "schedule USER [--warn-on DATE] [--brownout-from DATE --brownout WINDOW] [--close-on DATE]",
		Short: "Say when the stages of a login begin",
		Long: `schedule sets the dates that are named and leaves the others; "" takes one away. A date is its beginning in
UTC; a time with a zone is taken as it is. They follow one after the other, and none is later than the sunset.

A brownout window is days, from-to and a time zone: "Tue 10:00-10:15 Europe/Berlin", "Mon-Fri 09:00-09:05 UTC",
"daily 12:00-12:05 Asia/Tokyo", or one day, "2027-02-09 10:00-10:30 Europe/Berlin". It ends on its day and is at
most four hours long. --brownout may be repeated and replaces all windows.`,
		Example: `  tenantgate login schedule P2001234567 --warn-on 2027-03-01 --brownout-from 2027-05-01 \
    --brownout 'Tue 10:00-10:15 Europe/Berlin' --close-on 2027-06-15`,
		Args: exactArgs("USER"),
	}
	attrs := &attributes{}
	attrs.when(cmd, "warn-on", "warn_on", "`date` from which answers say that the login ends")
	attrs.when(cmd, "brownout-from", "brownout_from", "`date` from which it is refused in the windows")
	attrs.when(cmd, "close-on", "close_on", "`date` from which it is refused for good")
	windows := cmd.Flags().StringArray("brownout", nil, "`window`, such as 'Tue 10:00-10:15 Europe/Berlin'; may be repeated")
	attrs.custom("brownout", "brownouts", func() (any, error) {
		if len(*windows) == 1 && (*windows)[0] == "" {
			return nil, nil
		}
		return *windows, nil
	})
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		changes, err := attrs.changes(cmd)
		if err != nil {
			return err
		}
		return p.changedLogin(cmd, func(c *admin.Client) (admin.Login, error) { return c.SetLogin(cmd.Context(), args[0], changes) })
	}
	return cmd
}

func newLoginBackCommand(p *program) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "back USER [--until DATE]",
		Short: "Take the last stage of a login back",
		Long: `back makes closed brownout again (or warned, without windows), brownout warned, and warned open. The dates
that are still ahead are dropped, so that the stage holds: give --until for the date on which the one that was
taken back begins again, or set dates with login schedule. The sunset stays.`,
		Example: `  tenantgate login back P2001234567
  tenantgate login back P2001234567 --until 2027-07-01`,
		Args: exactArgs("USER"),
	}
	until := cmd.Flags().String("until", "", "`date` on which the stage that is taken back begins again")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var at time.Time
		if *until != "" {
			var err error
			if at, err = parseWhen(*until); err != nil {
				return usageError(cmd, "--until: %v", err)
			}
		}
		return p.changedLogin(cmd, func(c *admin.Client) (admin.Login, error) { return c.BackLogin(cmd.Context(), args[0], at) })
	}
	return cmd
}

func newLoginCloseCommand(p *program) *cobra.Command {
	return &cobra.Command{
		Use:     "close USER",
		Short:   "Refuse a login from now on; login back opens it again",
		Example: "  tenantgate login close P2001234567",
		Args:    exactArgs("USER"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.changedLogin(cmd, func(c *admin.Client) (admin.Login, error) { return c.CloseLogin(cmd.Context(), args[0]) })
		},
	}
}
