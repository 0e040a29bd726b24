package main

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/tenantgate/tenantgate/proxy/admin"
	tenantcheck "github.com/tenantgate/tenantgate/proxy/check"
)

const checkLong = `check has the server try the way to a tenant and say of each step whether it works, and what to do where it
does not: the token endpoint's name, connection, TLS and answer, the token's lifetime, scopes and claims, the
clocks, and the tenant's own name, connection and TLS.

It makes one token request for each credential, and none for one that is held after refusals, because token
servers lock a client after a few: then it says until when. It sends nothing to the tenant, so that nothing
there can be executed, unless --probe-path names a path that is asked for with the token, by HEAD or GET. It
shows no secret and no token. That the secrets were used is a change record.

Exit status:
  0  no step failed; warnings may be there
  1  a step failed, or the check could not be made
  2  the command line cannot be understood`

func newTenantCheckCommand(p *program) *cobra.Command {
	var q admin.CheckRequest
	cmd := &cobra.Command{
		Use:   "check NAME",
		Short: "Try the way to a tenant step by step, and say what to do",
		Long:  checkLong,
		Example: `  tenantgate tenant check acme
  tenantgate tenant check acme --identity erp --route orders
  tenantgate tenant check acme --identity erp --probe-path /http/ping`,
		Args: exactArgs("NAME"),
	}
	cmd.Flags().StringVar(&q.Identity, "identity", "", "only the credentials of this identity")
	probeFlags(cmd, &q)
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return p.check(cmd, args[0], q) }
	return cmd
}

func newCredentialCheckCommand(p *program) *cobra.Command {
	var q admin.CheckRequest
	cmd := &cobra.Command{
		Use:     "check ID",
		Short:   "Try one credential step by step, and say what to do",
		Long:    "check is tenant check for one credential (see tenant check --help).",
		Example: "  tenantgate credential check 9c1f...",
		Args:    exactArgs("ID"),
	}
	probeFlags(cmd, &q)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		q.Credential = args[0]
		return p.check(cmd, "", q)
	}
	return cmd
}

func probeFlags(cmd *cobra.Command, q *admin.CheckRequest) {
	cmd.Flags().StringVar(&q.Route, "route", "", "ask for the scope of this route, and look at its role")
	cmd.Flags().StringVar(&q.ProbePath, "probe-path", "", "`path` below the base URL to ask for with the token (default: nothing is sent to the tenant)")
	cmd.Flags().StringVar(&q.ProbeMethod, "probe-method", "", "HEAD or GET (default HEAD)")
}

// check runs the check at the server. Without a tenant it is the credential's.
func (p *program) check(cmd *cobra.Command, tenant string, q admin.CheckRequest) error {
	what := "checking tenant " + tenant
	if tenant == "" {
		what = "checking credential " + q.Credential
	}
	return p.calling(what, func(c *admin.Client) error {
		if tenant == "" {
			credential, err := c.Credential(cmd.Context(), q.Credential)
			if err != nil {
				return err
			}
			tenant = credential.Tenant
		}
		report, err := c.CheckTenant(cmd.Context(), tenant, q)
		if err != nil {
			return err
		}
		if err := p.show(report, func(w io.Writer) { printCheck(w, &report) }); err != nil {
			return err
		}
		if report.State == tenantcheck.Fail {
			return errors.New(failures(&report))
		}
		return nil
	})
}

// failures names the steps that failed, in one line.
func failures(r *admin.CheckReport) string {
	var names []string
	add := func(who string, steps []tenantcheck.Step) {
		for _, s := range steps {
			if s.State == tenantcheck.Fail {
				names = append(names, strings.ReplaceAll(s.Name, "_", " ")+who)
			}
		}
	}
	add("", r.Steps)
	for _, c := range r.Credentials {
		add(" of "+c.Identity, c.Steps)
	}
	if len(names) > 4 {
		names = append(names[:4], strconv.Itoa(len(names)-4)+" more")
	}
	return "tenant " + r.Tenant + " fails at " + strings.Join(names, ", ")
}

func printCheck(w io.Writer, r *admin.CheckReport) {
	fmt.Fprintf(w, "tenant %s at %s\n", r.Tenant, printable(r.BaseURL))
	printSteps(w, r.Steps)
	for _, c := range r.Credentials {
		fmt.Fprintf(w, "\ncredential %s of %s\n", c.ID, c.Identity)
		printSteps(w, c.Steps)
	}
}

// printSteps prints a table of steps, each hint below its step.
func printSteps(w io.Writer, steps []tenantcheck.Step) {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, s := range steps {
		state := string(s.State)
		if s.State == tenantcheck.Fail {
			state = "FAIL"
		}
		took := ""
		if s.Milliseconds > 0 {
			took = fmt.Sprintf(" (%d ms)", s.Milliseconds)
		}
		fmt.Fprintf(tw, "  %s\t%s\t%s%s\n", strings.ReplaceAll(s.Name, "_", " "), state, printable(s.Detail), took)
		if s.Hint != "" {
			fmt.Fprintf(tw, "\t\thint: %s\n", printable(s.Hint))
		}
	}
	tw.Flush()
}
