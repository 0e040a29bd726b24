package main

import (
	"bytes"
	"encoding/csv"
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

func newLoginImportCommand(p *program) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "import FILE [--format csv|htpasswd] [--identity NAME] [--sunset DATE] [--dry-run]",
		Short: "Add the logins of a file, all or none",
		Long: `import reads FILE (- for standard input) and adds all of its logins in one act, or none: each row that
cannot be added is named with its line, and nothing is left half done. At most 2000 at once. Passwords are hashed
here, at some 40 a second.

csv has a header line with these columns, of which user and one of the passwords are needed:

  user, password, password_hash, identity, sunset, owner, description, roles, routes, networks, stage,
  warn_on, brownout_from, close_on, brownouts

roles, routes and networks have spaces between their words, brownouts ';'. What a row leaves empty the flags say.
In stage observe a row needs no password.

htpasswd has lines user:hash as Apache's htpasswd -B writes them. bcrypt of cost 4 to 12 is taken, and replaced
by Argon2id when the password is first used. Other hashes (MD5, SHA-1, crypt) and plain text are refused: they
are as good as the password to whoever reads the file.`,
		Example: `  tenantgate login import logins.csv --dry-run
  tenantgate login import .htpasswd --format htpasswd --identity hr --sunset 2027-06-30`,
		Args: exactArgs("FILE"),
	}
	attrs := loginAttributes(cmd)
	format := cmd.Flags().String("format", "csv", "csv or htpasswd")
	dryRun := cmd.Flags().Bool("dry-run", false, "check everything and add nothing")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var defaults admin.LoginRequest
		if err := attrs.fill(cmd, &defaults.Login); err != nil {
			return err
		}
		text, err := p.readInput(args[0], "the logins")
		if err != nil {
			return err
		}
		var rows []loginRow
		switch *format {
		case "csv":
			rows, err = readLoginCSV(text)
		case "htpasswd":
			rows = readHtpasswd(text)
		default:
			return usageError(cmd, "--format %q is neither csv nor htpasswd", *format)
		}
		if err == nil && len(rows) == 0 {
			err = errors.New("reading the logins: there are none")
		}
		if err != nil {
			return err
		}
		return p.importLogins(cmd, rows, defaults, *dryRun)
	}
	return cmd
}

// loginRow is one login of a file.
type loginRow struct {
	line    int
	values  map[string]string // by column
	problem *admin.LoginProblem
}

// loginColumns are the columns that a CSV file may have.
var loginColumns = []string{"user", "password", "password_hash", "identity", "sunset", "owner", "description", "roles", "routes", "networks", "stage",
	"warn_on", "brownout_from", "close_on", "brownouts"}

// readLoginCSV reads rows under a header (RFC 4180). A byte order mark, as spreadsheets write it, is passed over.
func readLoginCSV(text []byte) ([]loginRow, error) {
	r := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))))
	r.FieldsPerRecord = -1
	header, err := r.Read()
	if err != nil {
		return nil, hinted(fmt.Errorf("reading the header of the CSV file: %w", err), "the first line names the columns, such as user,password,identity,sunset")
	}
	for i, name := range header {
		header[i] = strings.TrimSpace(name)
		if !slices.Contains(loginColumns, header[i]) {
			return nil, hinted(fmt.Errorf("reading the CSV file: there is no column %q", header[i]), "the columns are %s, separated by commas", strings.Join(loginColumns, ", "))
		}
		if slices.Contains(header[:i], header[i]) {
			return nil, hinted(fmt.Errorf("reading the CSV file: column %q is there twice", header[i]), "leave one of them out")
		}
	}
	var rows []loginRow
	for {
		record, err := r.Read()
		if errors.Is(err, io.EOF) {
			return rows, nil
		}
		if broken, ok := errors.AsType[*csv.ParseError](err); ok { // the reader goes on with the next line
			rows = append(rows, loginRow{line: broken.StartLine, problem: &admin.LoginProblem{Detail: "is no CSV: " + broken.Err.Error(),
				Hint: "a value with a comma, a quote or a line end is written in quotes, its own quotes twice"}})
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("reading the CSV file: %w", err)
		}
		line, _ := r.FieldPos(0)
		row := loginRow{line: line, values: map[string]string{}}
		if len(record) != len(header) {
			row.problem = &admin.LoginProblem{Detail: fmt.Sprintf("has %d values, the header %d columns", len(record), len(header)),
				Hint: "write a value with a comma in quotes"}
		} else {
			for i, name := range header {
				row.values[name] = record[i]
			}
		}
		rows = append(rows, row)
	}
}

// readHtpasswd reads lines of user:hash. Empty lines and comments are passed over, as Apache does.
func readHtpasswd(text []byte) []loginRow {
	var rows []loginRow
	line := 0
	for l := range bytes.Lines(text) {
		line++
		s := string(bytes.TrimRight(l, "\r\n"))
		if s == "" || strings.HasPrefix(s, "#") {
			continue
		}
		row := loginRow{line: line, values: map[string]string{}}
		user, hash, found := strings.Cut(s, ":")
		if !found {
			row.problem = &admin.LoginProblem{Detail: "is not of the form user:hash", Hint: "give a file that htpasswd -B has written"}
		} else {
			row.values["user"], row.values["password_hash"] = user, strings.TrimSpace(hash)
		}
		rows = append(rows, row)
	}
	return rows
}

// request makes a login of a row. Hashing is the slow part.
func (row *loginRow) request(defaults admin.LoginRequest) (r admin.ImportedLogin, problem *admin.LoginProblem) {
	r = admin.ImportedLogin{LoginRequest: defaults, Line: row.line}
	r.User = row.values["user"]
	fail := func(field string, err error) (admin.ImportedLogin, *admin.LoginProblem) {
		p := &admin.LoginProblem{Line: row.line, User: r.User, Field: field, Detail: err.Error()}
		if e, ok := errors.AsType[*identity.Error](err); ok {
			p.Detail, p.Hint = e.Message, e.Hint
		}
		return r, p
	}
	if row.problem != nil {
		row.problem.Line = row.line
		return r, row.problem
	}
	for name, to := range map[string]*string{"identity": &r.Identity, "owner": &r.Owner, "description": &r.Description, "stage": (*string)(&r.Stage)} {
		if v := row.values[name]; v != "" {
			*to = v
		}
	}
	for name, to := range map[string]*[]string{"roles": &r.Roles, "routes": &r.Routes, "networks": &r.Networks} {
		if v := strings.Fields(row.values[name]); len(v) > 0 {
			*to = v
		}
	}
	for window := range strings.SplitSeq(row.values["brownouts"], ";") {
		if window = strings.TrimSpace(window); window != "" {
			r.Brownouts = append(r.Brownouts, window)
		}
	}
	for _, d := range row.dates(&r) {
		if v := row.values[d.column]; v != "" {
			t, err := parseWhen(v)
			if err != nil {
				return fail(d.column, err)
			}
			*d.to = t
		}
	}
	password, hash := row.values["password"], row.values["password_hash"]
	switch {
	case password != "" && hash != "":
		return fail("password_hash", errors.New("both password and password_hash are given"))
	case password != "":
		h, err := identity.HashPassword(password)
		if err != nil {
			return fail("password", err)
		}
		r.PasswordHash = h.Reveal()
	case hash != "":
		if _, err := identity.ParsePasswordHash(hash); err != nil {
			return fail("password_hash", err)
		}
		r.PasswordHash = hash
	}
	return r, nil
}

// loginDate is a date of a login and the column that it comes from.
type loginDate struct {
	column string
	to     *time.Time
}

func (row *loginRow) dates(r *admin.ImportedLogin) []loginDate {
	return []loginDate{{"sunset", &r.Sunset}, {"warn_on", &r.WarnOn}, {"brownout_from", &r.BrownoutFrom}, {"close_on", &r.CloseOn}}
}

func (p *program) importLogins(cmd *cobra.Command, rows []loginRow, defaults admin.LoginRequest, dryRun bool) error {
	q := admin.LoginImport{DryRun: dryRun, Logins: []admin.ImportedLogin{}}
	var problems []admin.LoginProblem
	if n := len(rows); n > 2000 {
		return hinted(fmt.Errorf("reading the logins: there are %d, and at most 2000 are added at once", n), "split the file")
	}
	done := p.slow("hashing passwords")
	for i := range rows {
		r, problem := rows[i].request(defaults)
		if problem != nil {
			problems = append(problems, *problem)
			continue
		}
		q.Logins = append(q.Logins, r)
	}
	done()
	q.DryRun = dryRun || len(problems) > 0 // what the server has against the others is told, too
	return p.call(func(c *admin.Client) error {
		result := admin.LoginImported{Added: []string{}, Problems: []admin.LoginProblem{}}
		if len(q.Logins) > 0 {
			var err error
			if result, err = c.ImportLogins(cmd.Context(), q); err != nil {
				return err
			}
		}
		if len(problems) > 0 {
			result.Added = []string{}
		}
		result.DryRun = dryRun
		result.Problems = append(result.Problems, problems...)
		slices.SortStableFunc(result.Problems, func(a, b admin.LoginProblem) int { return a.Line - b.Line })
		if err := p.show(result, func(w io.Writer) { printImported(w, &result) }); err != nil {
			return err
		}
		if n := len(result.Problems); n > 0 {
			return hinted(fmt.Errorf("%d of %d logins cannot be added: none was", n, len(rows)), "correct the lines above and import the file again")
		}
		return nil
	})
}

func printImported(w io.Writer, r *admin.LoginImported) {
	for _, problem := range r.Problems {
		fmt.Fprintf(w, "line %d: %s: ", problem.Line, printable(orDash(problem.User)))
		if problem.Field != "" {
			fmt.Fprintf(w, "%s: ", problem.Field)
		}
		fmt.Fprint(w, printable(problem.Detail))
		if problem.Hint != "" {
			fmt.Fprintf(w, " (%s)", printable(problem.Hint))
		}
		fmt.Fprintln(w)
	}
	switch {
	case len(r.Problems) > 0:
	case r.DryRun:
		fmt.Fprintf(w, "%d logins could be added; nothing was\n", len(r.Added))
	default:
		fmt.Fprintf(w, "added %d logins\n", len(r.Added))
	}
}
