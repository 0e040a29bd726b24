package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/proxy/admin"
	"github.com/tenantgate/tenantgate/proxy/migration"
)

func newMigrationCommand(p *program) *cobra.Command {
	return group(&cobra.Command{
		Use:   "migration",
		Short: "Off the shared passwords, caller by caller: how far it is, what is next, and the switch for one caller",
		Long: `status says who uses a login, who has moved to a certificate, and what would break if it were closed today.
plan lists what to do next, in order. move switches one caller over, undo takes that back, and report writes a
page that can be shown to anybody. docs/migration.md is a plan for four weeks.`,
		Example: `  tenantgate migration status P2001234567
  tenantgate migration plan
  tenantgate migration move P2001234567 4f6k2mxqa3zde --to hr-batch`,
	}, newMigrationStatusCommand(p), newMigrationPlanCommand(p), newMigrationMoveCommand(p), newMigrationUndoCommand(p), newMigrationReportCommand(p))
}

// silentFlag is after how long a caller counts as silent.
func silentFlag(cmd *cobra.Command) *Duration {
	silent := new(Duration)
	durationFlag(cmd, silent, "silent", "after how long without a request a caller is silent, such as 35d (default 14d)")
	return silent
}

func newMigrationStatusCommand(p *program) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status [LOGIN]",
		Short: "Who uses a login, who has moved, and what would break if it were closed today",
		Long: `status answers where a user is used and who must be told. Of all logins it prints one line each; of one it prints
every caller, its address and network, the routes it uses, and what would break today.

The states of a caller:
  password  it uses the login, and nothing has been done
  moving    it has an identity, and was not seen with its certificate yet
  both      it was seen with its certificate, and sent the password after that, which works until the grace is over
  moved     it was seen with its certificate, and does without the password or is refused with it
  silent    it was not seen for a while (--silent); what runs once a month looks like that, too`,
		Example: `  tenantgate migration status
  tenantgate migration status P2001234567 --silent 35d`,
		Args: maxArgs(1),
	}
	silent := silentFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return p.migrationStatus(cmd.Context(), strings.Join(args, ""), time.Duration(*silent))
	}
	return cmd
}

func newLoginUsesCommand(p *program) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "uses USER",
		Short: "Where a login is used, and who must be told: its callers, networks, routes, owner and contact",
		Long:  "uses is migration status of one login: every caller with its address, network, client, routes and how far it is.",
		Example: `  tenantgate login uses P2001234567
  tenantgate login uses P2001234567 --json`,
		Args: exactArgs("USER"),
	}
	silent := silentFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return p.migrationStatus(cmd.Context(), args[0], time.Duration(*silent))
	}
	return cmd
}

// migrationStatus prints how far logins are; `login uses` prints the same of one.
func (p *program) migrationStatus(ctx context.Context, login string, silent time.Duration) error {
	return p.call(func(c *admin.Client) error {
		s, err := c.Migration(ctx, login, silent)
		if err != nil {
			return err
		}
		return p.show(s, func(w io.Writer) {
			if login != "" && len(s.Logins) == 1 {
				printLoginStatus(w, &s.Logins[0])
				return
			}
			printMigration(w, s.Logins)
		})
	})
}

func printMigration(w io.Writer, logins []migration.Login) {
	rows := make([][]string, 0, len(logins))
	for _, l := range logins {
		rows = append(rows, []string{l.Login, l.Owner, string(l.Stage), l.Sunset.UTC().Format(time.DateOnly), strconv.Itoa(l.Found), strconv.Itoa(l.Moved), strconv.Itoa(l.Silent),
			strconv.Itoa(l.OnPassword), perDay(l.Daily)})
	}
	table(w, []string{"LOGIN", "OWNER", "STAGE", "ENDS", "FOUND", "MOVED", "SILENT", "ON PASSWORD", "A DAY"}, rows)
}

func printLoginStatus(w io.Writer, l *migration.Login) {
	next := ""
	if l.NextStage != "" {
		next = string(l.NextStage) + " from " + moment(l.NextAt)
	}
	fields(w,
		field{"login", l.Login},
		field{"stands for", l.Identity},
		field{"owner", l.Owner},
		field{"contact", l.Contact},
		field{"description", l.Description},
		field{"stage", string(l.Stage)},
		field{"next", next},
		field{"ends", moment(l.Sunset)},
		field{"callers", fmt.Sprintf("%d found, %d moved, %d silent, %d on the password", l.Found, l.Moved, l.Silent, l.OnPassword)},
		field{"of these", fmt.Sprintf("%d not begun, %d moving, %d with both", l.Password, l.Moving, l.Both)},
		field{"requests a day", perDay(l.Daily)},
	)
	fmt.Fprintln(w)
	rows := make([][]string, 0, len(l.Callers))
	for i := range l.Callers {
		c := &l.Callers[i]
		rows = append(rows, []string{c.ID.String(), orDash(c.Name), place(c.Source, c.Network, len(c.Parts)), c.Agent, routeNames(c.Routes), string(c.State), orDash(c.Identity),
			perDay(c.Daily), moment(c.LastSeen)})
	}
	table(w, []string{"CALLER", "NAME", "FROM", "CLIENT", "ROUTES", "STATE", "IDENTITY", "A DAY", "LAST SEEN"}, rows)
	if len(l.Breaks) == 0 {
		fmt.Fprintf(w, "\nclosed today, nothing that was seen lately would break; %d are silent\n", l.Silent)
		return
	}
	fmt.Fprintf(w, "\nclosed today, this would break:\n")
	rows = nil
	for _, b := range l.Breaks {
		rows = append(rows, []string{orDash(b.Name), b.Caller.String(), list(b.Routes), perDay(b.Daily), moment(b.LastSeen)})
	}
	table(w, []string{"NAME", "CALLER", "ROUTES", "A DAY", "LAST SEEN"}, rows)
}

// perDay prints a number of requests a day.
func perDay(n float64) string {
	if n > 0 && n < 10 {
		return strconv.FormatFloat(n, 'f', 1, 64)
	}
	return strconv.FormatFloat(n, 'f', 0, 64)
}

func newMigrationPlanCommand(p *program) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "plan [LOGIN]",
		Short: "What to do next, in order: whom to talk to, and the commands",
		Example: `  tenantgate migration plan
  tenantgate migration plan P2001234567 --json`,
		Args: maxArgs(1),
	}
	silent := silentFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return p.call(func(c *admin.Client) error {
			plan, err := c.MigrationPlan(cmd.Context(), strings.Join(args, ""), time.Duration(*silent))
			if err != nil {
				return err
			}
			return p.show(plan, func(w io.Writer) { printPlan(w, plan) })
		})
	}
	return cmd
}

func printPlan(w io.Writer, plan migration.Plan) {
	if len(plan.Steps) == 0 {
		fmt.Fprintln(w, "nothing to do")
		return
	}
	for _, s := range plan.Steps {
		about := "login " + s.Login
		if s.About != "" {
			about = s.About + ", " + about
		}
		due := ""
		if !s.Due.IsZero() {
			due = ", by " + s.Due.UTC().Format(time.DateOnly)
		}
		fmt.Fprintln(w, printable(fmt.Sprintf("%d. %s (%s)%s", s.Number, s.What, about, due)))
		fmt.Fprintln(w, printable(fmt.Sprintf("   tell %s: %s", s.Who, s.Why)))
		for _, c := range s.Commands {
			fmt.Fprintln(w, printable("     "+c))
		}
	}
}

func newMigrationMoveCommand(p *program) *cobra.Command {
	var q admin.MoveRequest
	cmd := &cobra.Command{
		Use:   "move LOGIN CALLER --to IDENTITY",
		Short: "Move one caller to a certificate: identity, roles, enrolment token and lock-out in one act",
		Long: `move makes the identity if it is missing, gives it the roles of exactly the routes that the caller was seen using
(and that the login may use), and prints an enrolment token on standard output, once. Hand it to whoever sets up the
caller; there: tenantgate enroll TOKEN.

Once the caller is seen with a certificate of that identity from the same address, the grace begins. After it, the login
is refused to this caller, and to nobody else: to the same address with the same TLS implementation and User-Agent.
migration undo lifts that.

The identity calls tenants with an OAuth client of its own (credential add). --copy-credentials has it begin with those
of the login's identity; replace them later.`,
		Example: `  tenantgate migration move P2001234567 4f6k2mxqa3zde --to hr-batch
  tenantgate migration move P2001234567 4f6k2mxqa3zde --to hr-batch --grace 0s --copy-credentials`,
		Args: exactArgs("LOGIN", "CALLER"),
	}
	grace, valid, lifetime := new(Duration), new(Duration), new(Duration)
	cmd.Flags().StringVar(&q.Identity, "to", "", "the `identity` whose certificate it gets")
	cmd.Flags().StringVar(&q.Owner, "owner", "", "`team` that answers for an identity that is added (default: the login's owner)")
	durationFlag(cmd, grace, "grace", "how long the login goes on working for it, once it was seen with its certificate; 0s is not at all (default 7d, at most 90d)")
	cmd.Flags().BoolVar(&q.CopyCredentials, "copy-credentials", false, "give the identity the OAuth clients of the login's identity, where it has none")
	cmd.Flags().StringSliceVar(&q.Addresses, "address", nil, "`addresses` of the caller, where the history has only pseudonyms")
	cmd.Flags().BoolVar(&q.NoToken, "no-token", false, "make no enrolment token: the certificate comes in another way (cert issue, cert sign)")
	durationFlag(cmd, valid, "valid", "how long the token may be used, such as 3d (default 1h, at most 7d)")
	durationFlag(cmd, lifetime, "lifetime", "how long the certificate is valid (default 90d, at most 398d)")
	cmd.Flags().StringVar(&q.Token.For, "for", "", "`host` name, address or network from which alone the token may be used")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if q.Identity == "" {
			return usageError(cmd, "--to IDENTITY is missing")
		}
		q.Login = args[0]
		if cmd.Flags().Changed("grace") {
			g := identity.Duration(*grace)
			q.Grace = &g
		}
		q.Token.Valid, q.Token.Lifetime = identity.Duration(*valid), identity.Duration(*lifetime)
		return p.move(cmd.Context(), args[1], q)
	}
	return cmd
}

func (p *program) move(ctx context.Context, caller string, q admin.MoveRequest) error {
	return p.call(func(c *admin.Client) error {
		done, err := c.MoveCaller(ctx, caller, q)
		if err != nil {
			return err
		}
		p.describeMove(&done)
		return p.show(done, func(w io.Writer) {
			if done.Token != nil {
				fmt.Fprintln(w, done.Token.Token)
			}
		})
	})
}

// describeMove says on standard error what was done; standard output has the token and nothing else.
func (p *program) describeMove(done *admin.MoveResult) {
	say := func(format string, args ...any) { fmt.Fprintln(p.stderr, printable(fmt.Sprintf(format, args...))) }
	m, verb := done.Move, "has"
	if done.IdentityAdded {
		verb = "was added with"
	}
	say("caller %s of login %s moves to identity %s, which %s roles %s, for routes %s", m.Caller, m.Login, m.Identity, verb, list(done.Roles), list(done.Routes))
	if m.Grace == 0 {
		say("once it is seen with its certificate, the login is refused to it")
	} else {
		say("once it is seen with its certificate, the login works for it for another %s, and then no more", Duration(m.Grace))
	}
	if len(done.CopiedCredentials) > 0 {
		say("it calls %s with the OAuth client of the login's identity: give it one of its own later (credential rotate)", list(done.CopiedCredentials))
	}
	for _, tenant := range done.MissingCredentials {
		say("it cannot call tenant %s yet: tenantgate credential add %s %s --service-key FILE", tenant, m.Identity, tenant)
	}
	for _, warning := range done.Warnings {
		say("warning: %s", warning)
	}
	if done.Token != nil {
		say("token %s is good for one certificate until %s; on the caller's machine: tenantgate enroll TOKEN", done.Token.ID, moment(done.Token.Expires))
	}
}

func newMigrationUndoCommand(p *program) *cobra.Command {
	return &cobra.Command{
		Use:   "undo LOGIN CALLER",
		Short: "Take a move back: the login works for the caller again",
		Long: `undo lifts the lock-out and forgets the move. The identity, its roles and its certificates stay; remove them with
identity remove, or take a token back with cert token --withdraw.`,
		Example: "  tenantgate migration undo P2001234567 4f6k2mxqa3zde",
		Args:    exactArgs("LOGIN", "CALLER"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.call(func(c *admin.Client) error {
				m, err := c.UndoMove(cmd.Context(), args[1], args[0])
				if err != nil {
					return err
				}
				return p.show(m, func(w io.Writer) {
					fmt.Fprintln(w, printable(fmt.Sprintf("login %s works for caller %s again; identity %s stays", m.Login, m.Caller, m.Identity)))
				})
			})
		},
	}
}

func newMigrationReportCommand(p *program) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "report [LOGIN] --html FILE",
		Short: "Write a page with numbers, burn-down, callers and plan, which needs nothing but a browser",
		Long: `report writes one HTML file without scripts, which loads nothing. It names systems, addresses and teams: whom you
send it to sees them. The admin listener shows the same page at /v1/migration/page to administrators.`,
		Example: `  tenantgate migration report --html migration.html
  tenantgate migration report P2001234567 --html -`,
		Args: maxArgs(1),
	}
	silent := silentFlag(cmd)
	file := cmd.Flags().String("html", "", "the `file` to write, - for standard output")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if *file == "" {
			return usageError(cmd, "--html FILE is missing")
		}
		return p.call(func(c *admin.Client) error {
			s, err := c.Migration(cmd.Context(), strings.Join(args, ""), time.Duration(*silent))
			if err != nil {
				return err
			}
			page, err := s.Page()
			if err != nil {
				return err
			}
			if *file == "-" {
				_, err = p.stdout.Write(page)
				return err
			}
			if err := os.WriteFile(*file, page, 0o640); err != nil {
				return fmt.Errorf("writing the page: %w", err)
			}
			return p.show(map[string]any{"file": *file, "octets": len(page)}, func(w io.Writer) { fmt.Fprintf(w, "wrote %s\n", *file) })
		})
	}
	return cmd
}
