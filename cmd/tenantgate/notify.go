package main

import (
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/tenantgate/tenantgate/proxy/admin"
	"github.com/tenantgate/tenantgate/proxy/notify"
)

func newNotifyCommand(p *program) *cobra.Command {
	return group(&cobra.Command{
		Use:   "notify",
		Short: "Notifications: what another system is told of ends, renewals, revocations and failures",
		Long: `The server tells the receiver of its configuration (notify.url) by signed HTTP POSTs; docs/expiry.md has the body and how to
check the signature. What the receiver does not take is tried again for 30 days.`,
		Example: `  tenantgate notify test
  tenantgate notify show
  tenantgate notify list --state pending`,
	}, newNotifyTestCommand(p), newNotifyShowCommand(p), newNotifyListCommand(p))
}

func newNotifyTestCommand(p *program) *cobra.Command {
	return &cobra.Command{
		Use: "test", Short: "Send a notification of the type test now, once, and say what came of it",
		Long:    "test exits 0 when the receiver took the notification and 1 when it did not.",
		Example: "  tenantgate notify test", Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.calling("waiting for the receiver", func(c *admin.Client) error {
				d, err := c.TestNotify(cmd.Context())
				if err != nil {
					return err
				}
				err = p.show(d, func(w io.Writer) {
					if d.Delivered {
						fmt.Fprintf(w, "%s took notification %s in %d ms\n", d.Receiver, d.ID, d.Milliseconds)
					}
				})
				if err == nil && !d.Delivered {
					err = hinted(errors.New(d.Receiver+": "+d.Problem), "look at the section notify of the server's configuration, and at the receiver's log")
				}
				return err
			})
		},
	}
}

func newNotifyShowCommand(p *program) *cobra.Command {
	return &cobra.Command{
		Use: "show", Short: "Show the receiver and how deliveries stand on the node that answers", Example: "  tenantgate notify show --json", Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.call(func(c *admin.Client) error {
				n, err := c.Notify(cmd.Context())
				if err != nil {
					return err
				}
				return p.show(n, func(w io.Writer) {
					fields(w,
						field{"receiver", orDash(n.Receiver)},
						field{"pending", strconv.FormatInt(n.Pending, 10)},
						field{"oldest pending", moment(n.Oldest)},
						field{"delivered", strconv.FormatUint(n.Delivered, 10)},
						field{"failed attempts", strconv.FormatUint(n.Failed, 10)},
						field{"given up", strconv.FormatUint(n.GivenUp, 10)},
						field{"last delivered", moment(n.LastDelivered)},
						field{"failing since", moment(n.FailingSince)},
						field{"problem", n.Problem},
					)
				})
			})
		},
	}
}

func newNotifyListCommand(p *program) *cobra.Command {
	cmd := &cobra.Command{
		Use: "list", Short: "List notifications that wait, and what became of those of the last 30 days",
		Example: "  tenantgate notify list --state pending", Args: exactArgs(),
	}
	state := cmd.Flags().String("state", "", "only this `state`: pending, delivered or given_up")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if cmd.Flags().Changed("state") && *state == "" {
			return usageError(cmd, "--state is empty: give pending, delivered or given_up")
		}
		return p.call(func(c *admin.Client) error {
			events, err := c.Notifications(cmd.Context(), *state)
			if err != nil {
				return err
			}
			return p.show(events, func(w io.Writer) { printNotifications(w, events) })
		})
	}
	return cmd
}

func printNotifications(w io.Writer, events []notify.Queued) {
	rows := make([][]string, 0, len(events))
	for _, e := range events {
		rows = append(rows, []string{moment(e.Created), e.Type, e.Subject.Kind, orDash(e.Subject.Name), e.State, strconv.FormatInt(e.Attempts, 10),
			orDash(moment(e.Next)), orDash(e.Problem), e.ID})
	}
	table(w, []string{"CREATED", "TYPE", "KIND", "NAME", "STATE", "ATTEMPTS", "NEXT", "PROBLEM", "ID"}, rows)
}
