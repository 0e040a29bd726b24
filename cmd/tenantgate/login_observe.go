package main

import (
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/proxy/admin"
)

// observationReport is what `login observe --report` says of one login.
type observationReport struct {
	User     string             `json:"user"`
	Requests int64              `json:"requests"`
	Works    int64              `json:"works"`   // would have worked
	Fails    int64              `json:"fails"`   // would not
	Unknown  int64              `json:"unknown"` // nobody came to know
	Findings []identity.Finding `json:"findings"`
}

func newLoginObserveCommand(p *program) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "observe USER [--report]",
		Short: "Watch a login before anything changes for its callers, and report what would have happened",
		Long: `observe has the requests of a login go to the tenant with their own user name and password, untouched: the
tenant judges them, as it always did. Beside that tenantgate records what it would have done with the identity:
would the route, the role and the token have worked? Nothing of the identity is sent. It begins anew each time.

The networks and routes of the login hold all the same, and requests that no route has are refused: there is no
tenant to send them to. So is everything when the identity is disabled. The limits of the identity are not
tried, nor is CSRF handled with its token.

--report shows the counts by route. It ends with status 1 when something would have failed. login set USER
--stage open ends the observation; the password must be known by then.`,
		Example: `  tenantgate login observe P2001234567
  tenantgate login observe P2001234567 --report`,
		Args: exactArgs("USER"),
	}
	report := cmd.Flags().Bool("report", false, "change nothing, and show what was found out so far")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if !*report {
			return p.changedLogin(cmd, func(c *admin.Client) (admin.Login, error) { return c.ObserveLogin(cmd.Context(), args[0]) })
		}
		return p.call(func(c *admin.Client) error {
			findings, err := c.LoginFindings(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			r := summarize(args[0], findings)
			if err := p.show(r, func(w io.Writer) { printFindings(w, r) }); err != nil {
				return err
			}
			if r.Fails > 0 {
				return hinted(fmt.Errorf("%d of %d requests would have failed", r.Fails, r.Requests), "the causes are above; audit the access records for would=... to find the callers")
			}
			return nil
		})
	}
	return cmd
}

func summarize(user string, findings []identity.Finding) observationReport {
	r := observationReport{User: user, Findings: findings}
	for _, f := range findings {
		r.Requests += f.Count
		switch f.Would {
		case "served":
			r.Works += f.Count
		case "unknown":
			r.Unknown += f.Count
		default:
			r.Fails += f.Count
		}
	}
	return r
}

func printFindings(w io.Writer, r observationReport) {
	fmt.Fprintf(w, "%d requests: %d would have worked, %d would have failed, of %d it is not known\n", r.Requests, r.Works, r.Fails, r.Unknown)
	if len(r.Findings) == 0 {
		return
	}
	rows := make([][]string, 0, len(r.Findings))
	for _, f := range r.Findings {
		rows = append(rows, []string{f.Route, f.Would, strconv.FormatInt(f.Count, 10), moment(f.Last), orDash(f.Cause)})
	}
	table(w, []string{"ROUTE", "WOULD", "REQUESTS", "LAST", "CAUSE"}, rows)
}
