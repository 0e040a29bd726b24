package main

import (
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/tenantgate/tenantgate/proxy/admin"
)

func newStatusCommand(p *program) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Say whether the running server is ready, and what came of its last reload",
		Long: `status asks what /readyz asks, and exits 1 when a check failed or warns. A reload that was refused is a
warning: the server is ready, on its old configuration, and the check "configuration" says why.`,
		Example: `  tenantgate status
  tenantgate -c /var/lib/tenantgate/tenantgate.yaml status --json`,
		Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.call(func(c *admin.Client) error {
				s, err := c.Status(cmd.Context())
				if err != nil {
					return err
				}
				if err := p.show(s, func(w io.Writer) { printStatus(w, &s) }); err != nil {
					return err
				}
				return statusError(&s)
			})
		},
	}
}

// statusError is the exit status: an error when something wants an operator.
func statusError(s *admin.Status) error {
	if !s.Ready {
		return errors.New("the server is not ready")
	}
	for _, c := range s.Checks {
		if c.Warning {
			return fmt.Errorf("%s: %s", c.Name, c.Detail)
		}
	}
	return nil
}

func printStatus(w io.Writer, s *admin.Status) {
	state := "ready"
	if !s.Ready {
		state = "NOT READY"
	}
	n := func(count int) string { return strconv.Itoa(count) }
	fields(w,
		field{"state", state},
		field{"revision", strconv.FormatInt(s.Revision, 10)},
		field{"tenants", n(s.Counts.Tenants)},
		field{"routes", n(s.Counts.Routes)},
		field{"identities", n(s.Counts.Identities)},
		field{"credentials", n(s.Counts.Credentials)},
		field{"certificates", n(s.Counts.Certificates)},
		field{"logins", n(s.Counts.Logins)},
	)
	fmt.Fprintln(w)
	rows := make([][]string, 0, len(s.Checks))
	for _, c := range s.Checks {
		ok := "ok"
		switch {
		case !c.OK:
			ok = "FAILED"
		case c.Warning:
			ok = "warning"
		}
		rows = append(rows, []string{c.Name, ok, c.Detail})
	}
	table(w, []string{"CHECK", "STATE", "DETAIL"}, rows)
}
