package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenantgate/tenantgate/proxy/admin"
	"github.com/tenantgate/tenantgate/proxy/usage"
)

func newCallerCommand(p *program) *cobra.Command {
	return group(&cobra.Command{
		Use:   "caller",
		Short: "Who uses a login or an identity: the systems behind it, as they were seen",
		Long: `A caller is one address with one TLS implementation and one User-Agent (without versions): what looks alike in
all three is one caller, everything else another one. Several hosts behind one address (NAT) that run the same
client cannot be told apart. One system with several addresses is several callers until they are merged.

Callers are seen, not added. Name them, so that everybody knows what they are.`,
		Example: `  tenantgate caller list P2001234567
  tenantgate caller name 4f6k2mxqa3zde "HR batch, host a17"`,
	}, newCallerListCommand(p), newCallerShowCommand(p), newCallerNameCommand(p), newCallerMergeCommand(p), newCallerSplitCommand(p))
}

func newCallerListCommand(p *program) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list [LOGIN]",
		Short: "List the callers of a login, of an identity, or all",
		Example: `  tenantgate caller list P2001234567
  tenantgate caller list --identity erp --since 2026-11-01`,
		Args: maxArgs(1),
	}
	name := cmd.Flags().String("identity", "", "those of this identity, which call with certificates")
	since := cmd.Flags().String("since", "", "count requests from this `day` on, such as 2026-11-01 (default: the whole history)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		login := strings.Join(args, "")
		if login != "" && *name != "" {
			return usageError(cmd, "name a login or an identity, not both")
		}
		var from time.Time
		if *since != "" {
			var err error
			if from, err = time.Parse(time.DateOnly, *since); err != nil {
				return usageError(cmd, "--since %q is not a day like 2026-11-01", *since)
			}
		}
		return p.call(func(c *admin.Client) error {
			callers, err := c.Callers(cmd.Context(), login, *name, from)
			if err != nil {
				return err
			}
			return p.show(callers, func(w io.Writer) { printCallers(w, callers) })
		})
	}
	return cmd
}

func printCallers(w io.Writer, callers []usage.Caller) {
	rows := make([][]string, 0, len(callers))
	for i := range callers {
		c := &callers[i]
		requests, failures := c.Requests()
		rows = append(rows, []string{c.ID.String(), c.Subject, orDash(c.Name), place(c.Source, c.Network, len(c.Parts)), c.Agent, routeNames(c.Routes),
			strconv.FormatInt(requests, 10), strconv.FormatInt(failures, 10), moment(c.LastSeen)})
	}
	table(w, []string{"ID", "USES", "NAME", "FROM", "CLIENT", "ROUTES", "REQUESTS", "FAILED", "LAST SEEN"}, rows)
}

// place is an address with the name of its network, and how many more there are.
func place(source, network string, more int) string {
	if network != "" {
		source += " (" + network + ")"
	}
	if more > 0 {
		source += fmt.Sprintf(" +%d", more)
	}
	return source
}

func routeNames(routes []usage.RouteUse) string {
	names := make([]string, 0, len(routes))
	for _, r := range routes {
		if r.Route != "" {
			names = append(names, r.Route)
		}
	}
	return list(names)
}

func newCallerShowCommand(p *program) *cobra.Command {
	return &cobra.Command{
		Use:     "show ID",
		Short:   "Show a caller with what it used, day by day",
		Example: "  tenantgate caller show 4f6k2mxqa3zde",
		Args:    exactArgs("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.call(func(c *admin.Client) error {
				u, err := c.Caller(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				return p.show(u, func(w io.Writer) { printCaller(w, &u) })
			})
		},
	}
}

func printCaller(w io.Writer, u *usage.Caller) {
	fields(w,
		field{"id", u.ID.String()},
		field{"name", u.Name},
		field{string(u.Kind), u.Subject},
		field{"from", place(u.Source, u.Network, 0)},
		field{"client", u.Agent},
		field{"fingerprint", u.Fingerprint},
		field{"first seen", moment(u.FirstSeen)},
		field{"last seen", moment(u.LastSeen)},
	)
	if len(u.Parts) > 0 {
		fmt.Fprintf(w, "\nparts: %d\n", len(u.Parts))
		rows := make([][]string, 0, len(u.Parts))
		for _, part := range u.Parts {
			rows = append(rows, []string{part.ID.String(), place(part.Source, part.Network, 0), part.Agent, moment(part.LastSeen)})
		}
		table(w, []string{"ID", "FROM", "CLIENT", "LAST SEEN"}, rows)
	}
	fmt.Fprintln(w)
	rows := make([][]string, 0, len(u.Routes))
	for _, r := range u.Routes {
		rows = append(rows, []string{orDash(r.Route), strconv.FormatInt(r.Requests, 10), strconv.FormatInt(r.Failures, 10), moment(r.FirstSeen), moment(r.LastSeen)})
	}
	table(w, []string{"ROUTE", "REQUESTS", "FAILED", "FIRST SEEN", "LAST SEEN"}, rows)
	fmt.Fprintln(w)
	rows = nil
	for _, d := range u.Days[max(0, len(u.Days)-31):] {
		rows = append(rows, []string{d.Day, strconv.FormatInt(d.Requests, 10), strconv.FormatInt(d.Failures, 10)})
	}
	table(w, []string{"DAY", "REQUESTS", "FAILED"}, rows)
}

func newCallerNameCommand(p *program) *cobra.Command {
	return &cobra.Command{
		Use:     `name ID "NAME"`,
		Short:   "Say what a caller is; an empty name takes that back",
		Example: `  tenantgate caller name 4f6k2mxqa3zde "HR batch, host a17"`,
		Args:    exactArgs("ID", "NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.changeCaller(cmd.Context(), func(ctx context.Context, c *admin.Client) (usage.Caller, string, error) {
				u, err := c.NameCaller(ctx, args[0], args[1])
				return u, fmt.Sprintf("caller %s is %q\n", u.ID, u.Name), err
			})
		},
	}
}

func (p *program) changeCaller(ctx context.Context, act func(context.Context, *admin.Client) (usage.Caller, string, error)) error {
	return p.call(func(c *admin.Client) error {
		u, done, err := act(ctx, c)
		if err != nil {
			return err
		}
		return p.show(u, func(w io.Writer) { io.WriteString(w, printableLines(done)) })
	})
}

// printableLines is printable but for ends of lines.
func printableLines(s string) string {
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = printable(lines[i])
	}
	return strings.Join(lines, "\n")
}

func newCallerMergeCommand(p *program) *cobra.Command {
	return &cobra.Command{
		Use:   "merge ID INTO",
		Short: "Have a caller count as a part of another one: the same system, with another address or client",
		Long: `merge is for one system that looks like several: a cluster, an address that changed, a client that was replaced.
Both must use the same login. Each keeps its own history, and caller split takes it out again.`,
		Example: "  tenantgate caller merge 4f6k2mxqa3zde 7yq2mxk3n5pra",
		Args:    exactArgs("ID", "INTO"),
		RunE: func(cmd *cobra.Command, args []string) error {
			into, ok := usage.ParseID(args[1])
			if !ok {
				return usageError(cmd, "%q is not the id of a caller", args[1])
			}
			return p.changeCaller(cmd.Context(), func(ctx context.Context, c *admin.Client) (usage.Caller, string, error) {
				u, err := c.MergeCaller(ctx, args[0], into)
				return u, fmt.Sprintf("caller %s has %d parts now\n", u.ID, len(u.Parts)), err
			})
		},
	}
}

func newCallerSplitCommand(p *program) *cobra.Command {
	return &cobra.Command{
		Use:     "split ID",
		Short:   "Have a part of a caller count as one of its own again",
		Example: "  tenantgate caller split 4f6k2mxqa3zde",
		Args:    exactArgs("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.changeCaller(cmd.Context(), func(ctx context.Context, c *admin.Client) (usage.Caller, string, error) {
				u, err := c.SplitCaller(ctx, args[0])
				return u, fmt.Sprintf("caller %s is one of its own\n", u.ID), err
			})
		},
	}
}
