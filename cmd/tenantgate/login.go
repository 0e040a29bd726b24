package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/proxy/admin"
)

func newLoginCommand(p *program) *cobra.Command {
	return group(&cobra.Command{
		Use:   "login",
		Short: "Legacy user names and passwords that still stand for an identity, until their sunset",
		Long: `A login is a user name and a password that callers have sent for years. It stands for an identity until
its sunset, which it must have, and is accepted on the bridge alone (bridge.listen of the configuration), as
HTTP Basic over TLS. On every other listener it is certificates or nothing.

A login goes through stages, by the dates that login schedule sets:

  observe    its requests go to the tenant as they came; what tenantgate would have done is recorded
  open       it works
  warned     it works, and answers say that it ends (Deprecation, Sunset, Link)
  brownout   it works, but is refused in short announced windows
  closed     it is refused, with the way to a certificate

login back takes the last step back, until somebody gives another date. At the sunset a login is closed
whatever its stage says. Each step is a change record.`,
		Example: `  tenantgate login add P2001234567 --identity hr --sunset 2027-06-30 --network 10.1.0.0/16
  tenantgate login schedule P2001234567 --warn-on 2027-03-01 --brownout-from 2027-05-01 --brownout 'Tue 10:00-10:15 Europe/Berlin' --close-on 2027-06-15
  tenantgate login observe P2001234567 --report`,
	},
		newLoginAddCommand(p), newLoginImportCommand(p), newLoginListCommand(p), newLoginShowCommand(p), newLoginSetCommand(p),
		newLoginScheduleCommand(p), newLoginObserveCommand(p), newLoginBackCommand(p), newLoginCloseCommand(p), newLoginRemoveCommand(p),
		newLoginPolicyCommand(p), newLoginUsesCommand(p))
}

// loginAttributes are the flags of `login add` and `login set`.
func loginAttributes(cmd *cobra.Command) *attributes {
	a := &attributes{}
	a.text(cmd, "identity", "identity", "`name` of the identity that it stands for")
	a.when(cmd, "sunset", "sunset", "`date` (2027-06-30, its beginning in UTC, or 2027-06-30T18:00:00+02:00) on which the login ends whatever happens")
	a.text(cmd, "owner", "owner", "`team` that moves its callers (default: the owner of the identity)")
	a.text(cmd, "description", "description", "free text")
	a.someNames(cmd, "role", "roles", "`roles` of the identity that it may use, comma-separated or repeated, or all (default)")
	a.someNames(cmd, "route", "routes", "`routes` that it may use, or all (default: all that its roles reach)")
	a.someNames(cmd, "network", "networks", "`networks` from which it is accepted, such as 10.1.0.0/16, or all (default)")
	return a
}

// when adds a flag that takes a date or a time; "" is none.
func (a *attributes) when(cmd *cobra.Command, flag, field, usage string) {
	v := cmd.Flags().String(flag, "", usage)
	a.list = append(a.list, attribute{flag, field, func() (any, error) {
		if *v == "" {
			return nil, nil
		}
		t, err := parseWhen(*v)
		if err != nil {
			return nil, usageError(cmd, "--%s: %v", flag, err)
		}
		return t, nil
	}})
}

// parseWhen reads a date, which is its beginning in UTC, or a time with its zone.
func parseWhen(s string) (time.Time, error) {
	if t, err := time.Parse(time.DateOnly, s); err == nil {
		return t, nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return t, fmt.Errorf("%q is neither a date such as 2027-06-30 nor a time such as 2027-06-30T18:00:00+02:00", s)
	}
	return t.UTC(), nil
}

func newLoginAddCommand(p *program) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "add USER --identity NAME --sunset DATE [--password-file FILE | --observe]",
		Short: "Add a login",
		Long: `add asks for the password at the terminal, or reads it from --password-file (- for standard input), whose
final line end is not part of it. It is hashed here (Argon2id); only the hash goes to the server. USER is the
user name exactly as callers send it, in upper and lower case.

With --observe there is no password: requests with that user name go to the tenant as they come, and the
tenant judges them.`,
		Example: `  tenantgate login add P2001234567 --identity hr --sunset 2027-06-30
  tenantgate login add jane.doe@example.com --identity hr --sunset 2027-06-30 --password-file - < password
  tenantgate login add S0012345678 --identity hr --sunset 2027-06-30 --observe`,
		Args: exactArgs("USER"),
	}
	attrs := loginAttributes(cmd)
	file := cmd.Flags().String("password-file", "", "`file` with the password, - for standard input")
	observe := cmd.Flags().Bool("observe", false, "begin in stage observe")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var r admin.LoginRequest
		if err := attrs.fill(cmd, &r.Login); err != nil {
			return err
		}
		r.User = args[0]
		for flag, missing := range map[string]bool{"identity": r.Identity == "", "sunset": r.Sunset.IsZero()} {
			if missing {
				return usageError(cmd, "--%s is missing", flag)
			}
		}
		if *observe {
			r.Stage = identity.StageObserve
		}
		if !*observe || *file != "" {
			hash, err := p.loginHash(cmd, *file, args[0])
			if err != nil {
				return err
			}
			r.PasswordHash = hash
		}
		return p.call(func(c *admin.Client) error {
			stored, err := c.AddLogin(cmd.Context(), r)
			if err != nil {
				return err
			}
			return p.show(stored, func(w io.Writer) {
				fmt.Fprintf(w, "added login %s for identity %s, %s until %s\n", printable(stored.User), stored.Identity, stored.CurrentStage, moment(stored.Closes))
				fmt.Fprintf(w, "next: tenantgate login schedule %s --warn-on DATE --close-on DATE\n", shellWord(stored.User))
			})
		})
	}
	return cmd
}

// loginHash reads a password and returns its hash.
func (p *program) loginHash(cmd *cobra.Command, file, user string) (string, error) {
	password, err := p.password(cmd, "--password-file", file, "password of "+printable(user)+": ")
	if err != nil {
		return "", err
	}
	if file == "" {
		again, err := p.ask("the same again: ")
		if err != nil {
			return "", err
		}
		if again != password {
			return "", errors.New("reading the password: it was not the same twice")
		}
	}
	hash, err := identity.HashPassword(password)
	if err != nil {
		return "", explain(err)
	}
	return hash.Reveal(), nil
}

// shellWord is a word that can be pasted into a shell.
func shellWord(s string) string {
	s = printable(s)
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("@._-+", r)
	}
	if s != "" && !strings.ContainsFunc(s, func(r rune) bool { return !plain(r) }) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

func newLoginListCommand(p *program) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the logins, their stages, and when they were last used",
		Example: "  tenantgate login list --stage warned",
		Args:    exactArgs(),
	}
	stage := cmd.Flags().String("stage", "", "only those in this `stage`: observe, open, warned, brownout or closed")
	name := cmd.Flags().String("identity", "", "only those of this identity, by `name`")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return p.call(func(c *admin.Client) error {
			logins, err := c.Logins(cmd.Context(), *name, identity.Stage(*stage))
			if err != nil {
				return err
			}
			slices.SortFunc(logins, func(a, b admin.Login) int { return strings.Compare(a.User, b.User) })
			return p.show(logins, func(w io.Writer) {
				rows := make([][]string, 0, len(logins))
				for _, l := range logins {
					next := "-"
					if l.Next != nil {
						next = string(l.Next.Stage) + " " + moment(l.Next.At)
					}
					rows = append(rows, []string{l.User, l.Identity, l.Team, string(l.CurrentStage), next, moment(l.Sunset), orDash(moment(l.LastUsed))})
				}
				table(w, []string{"USER", "IDENTITY", "TEAM", "STAGE", "NEXT", "SUNSET", "LAST USED"}, rows)
			})
		})
	}
	return cmd
}

func newLoginShowCommand(p *program) *cobra.Command {
	return &cobra.Command{
		Use:     "show USER",
		Short:   "Show a login, never its password",
		Example: "  tenantgate login show P2001234567",
		Args:    exactArgs("USER"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.call(func(c *admin.Client) error {
				l, err := c.Login(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				return p.show(l, func(w io.Writer) { printLogin(w, &l) })
			})
		},
	}
}

func printLogin(w io.Writer, l *admin.Login) {
	password := "not known here"
	switch l.Hash {
	case "argon2id":
		password = "stored as argon2id"
	case "bcrypt":
		password = "imported as bcrypt, until it is first used"
	}
	next := ""
	if l.Next != nil {
		next = string(l.Next.Stage) + " on " + moment(l.Next.At)
	}
	fields(w,
		field{"user", l.User},
		field{"identity", l.Identity},
		field{"team", l.Team},
		field{"description", l.Description},
		field{"stage", string(l.CurrentStage)},
		field{"next step", next},
		field{"warned from", moment(l.WarnOn)},
		field{"brownout from", moment(l.BrownoutFrom)},
		field{"brownouts", strings.Join(l.Brownouts, ", ")},
		field{"next brownout", moment(l.NextBrownout)},
		field{"closed from", moment(l.CloseOn)},
		field{"sunset", moment(l.Sunset)},
		field{"roles", allOr(l.Roles, "all of the identity")},
		field{"routes", allOr(l.Routes, "all that the roles reach")},
		field{"networks", allOr(l.Networks, "any")},
		field{"password", password},
		field{"last used", orDash(moment(l.LastUsed))},
		field{"created", moment(l.Created)},
		field{"updated", moment(l.Updated)},
	)
}

func allOr(names []string, all string) string {
	if len(names) == 0 {
		return all
	}
	return strings.Join(names, ",")
}

func newLoginSetCommand(p *program) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "set USER [flags]",
		Short: "Change a login, its password or its stage",
		Long: `set changes what is named and leaves the rest. A new password is read as login add reads it; requests with
the old one that are under way are cut. --stage sets the stage by hand, such as open for a login that was only
observed; the dates of login schedule go on from there.`,
		Example: `  tenantgate login set P2001234567 --password-file -
  tenantgate login set P2001234567 --stage open --sunset 2027-09-30`,
		Args: exactArgs("USER"),
	}
	attrs := loginAttributes(cmd)
	attrs.text(cmd, "stage", "stage", "`stage`: observe, open, warned, brownout or closed")
	file := cmd.Flags().String("password-file", "", "`file` with a new password, - for standard input")
	attrs.custom("password-file", "password_hash", func() (any, error) { return p.loginHash(cmd, *file, cmd.Flags().Arg(0)) })
	ask := cmd.Flags().Bool("password", false, "ask for a new password at the terminal")
	cmd.MarkFlagsMutuallyExclusive("password", "password-file")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		changes, err := attrs.given(cmd)
		if err == nil && *ask {
			changes["password_hash"], err = p.loginHash(cmd, "", args[0])
		}
		switch {
		case err != nil:
			return err
		case len(changes) == 0:
			return usageError(cmd, "nothing to change")
		}
		return p.changedLogin(cmd, func(c *admin.Client) (admin.Login, error) { return c.SetLogin(cmd.Context(), args[0], changes) })
	}
	return cmd
}

func newLoginRemoveCommand(p *program) *cobra.Command {
	return &cobra.Command{
		Use:   "remove USER",
		Short: "Remove a login; its callers are refused like anybody with a wrong password",
		Long: `remove forgets a login and its password. Its callers are not told why they are refused any more, nor the way
to a certificate: close it first, and remove it when nobody comes.`,
		Example: "  tenantgate login remove P2001234567",
		Args:    exactArgs("USER"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.call(func(c *admin.Client) error {
				if err := c.RemoveLogin(cmd.Context(), args[0]); err != nil {
					return err
				}
				return p.removed("login", printable(args[0]))
			})
		},
	}
}
