package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenantgate/tenantgate/proxy/admin"
)

const explainLong = `explain asks the running server what would become of a request, without sending one: the certificate, whether
the identity is enabled, its networks and windows, route, role and body, its limits and its quota of the day,
the tenant, the credential, the protection against request forgery. Of each step it says whether it passes and
why and, where it does not, which command would change that. The verdict is that of the request path itself.

With --login the request would come to the bridge with a user name and its right password: its stage, networks,
routes and roles are looked at in the place of a certificate.

Nothing is spent and nothing is recorded. Limits are those of the node that is asked, as of now; what the
tenant and the token server would say is not known (tenant check asks them).

It exits 0 when the request would be sent to the tenant, and 1 when not.`

func newExplainCommand(p *program) *cobra.Command {
	var q admin.ExplainRequest
	var at, certificate string
	var size Size
	cmd := &cobra.Command{
		Use:   "explain IDENTITY METHOD URL",
		Short: "Say what would become of a request, step by step, and what would change it",
		Long:  explainLong,
		Example: `  tenantgate explain erp POST /http/orders
  tenantgate explain erp POST https://gate.example.com/http/orders --from 10.1.2.3 --body-size 2MiB
  tenantgate explain erp GET /http/orders/1 --at 2026-12-24T22:00:00+01:00
  tenantgate explain erp GET /http/orders/1 --certificate erp.pem --json
  tenantgate explain hr POST /http/orders --login P2001234567 --from 10.1.2.3`,
		Args: exactArgs("IDENTITY", "METHOD", "URL"),
	}
	flags := cmd.Flags()
	flags.StringVar(&q.From, "from", "", "IP `address` that it would come from")
	flags.StringVar(&at, "at", "", "`time` at which it would come, as 2006-01-02T15:04:05Z or with an offset (default now)")
	flags.StringVar(&certificate, "certificate", "",
		"PEM `file` of the certificate that would be shown, with its chain (default: the newest valid one of the identity)")
	flags.StringVar(&q.Login, "login", "", "user `name` that would be sent with its right password, in the place of a certificate")
	flags.Var(&size, "body-size", "`size` of its body, such as 2MiB")
	flags.Lookup("body-size").DefValue = ""
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		q.Identity, q.Method, q.URL, q.BodySize = args[0], args[1], args[2], int64(size)
		if at != "" {
			var err error
			if q.At, err = time.Parse(time.RFC3339, at); err != nil {
				return usageError(cmd, "--at %q is not a time such as 2026-12-24T22:00:00+01:00", at)
			}
		}
		if certificate != "" && q.Login != "" {
			return usageError(cmd, "--login and --certificate exclude each other")
		}
		if certificate != "" {
			b, err := p.readInput(certificate, "--certificate")
			if err != nil {
				return err
			}
			q.Certificate = string(b)
		}
		return p.call(func(c *admin.Client) error {
			e, err := c.Explain(cmd.Context(), q)
			if err != nil {
				return err
			}
			if err := p.show(e, func(w io.Writer) { printExplanation(w, &e) }); err != nil {
				return err
			}
			if !e.Allowed {
				return fmt.Errorf("the request would be refused: %s: %s", e.Outcome, e.Cause)
			}
			return nil
		})
	}
	return cmd
}

func printExplanation(w io.Writer, e *admin.Explanation) {
	rows := make([][]string, 0, len(e.Steps))
	for _, s := range e.Steps {
		state := s.State
		if s.State == "fail" {
			state = "FAIL"
		}
		rows = append(rows, []string{s.Name, state, s.Reason})
	}
	table(w, []string{"STEP", "STATE", "WHY"}, rows)
	verdict := "the request would be sent to the tenant"
	if !e.Allowed {
		verdict = "the request would be refused: " + e.Outcome
	}
	fmt.Fprintf(w, "\n%s\n", verdict)
	for _, s := range e.Steps {
		if s.Change != "" {
			fmt.Fprintf(w, "%-12s %s\n", s.Name+":", strings.TrimSpace(printable(s.Change)))
		}
	}
}
