package main

import (
	"cmp"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/proxy/admin"
)

func newRouteCommand(p *program) *cobra.Command {
	return group(&cobra.Command{
		Use:   "route",
		Short: "Which requests go to which tenant, and the role they need",
		Long: `A route leads a host, a path and methods to a tenant, for identities that hold its role. What no
route names is refused. No two routes may match the same request: one that overlaps another is refused,
naming it.

A path is exact (/http/orders) or a prefix (/http/orders/*), which matches everything below that slash
but not /http/orders itself. Paths are written decoded; upper and lower case are the same unless the
tenant (or --case) says otherwise.`,
		Example: `  tenantgate route add orders --path /http/orders --methods POST --tenant acme --role orders.send
  tenantgate route add stock --path '/stock/*' --tenant-path '/http/v2/stock/*' --tenant acme --role stock.read`,
	}, newRouteAddCommand(p), newRouteListCommand(p), newRouteShowCommand(p), newRouteSetCommand(p), newRouteRemoveCommand(p))
}

// routeAttributes are the flags of `route add` and `route set`.
func routeAttributes(cmd *cobra.Command) *attributes {
	a := &attributes{}
	a.text(cmd, "host", "host", "host that the request names, without port (default: any)")
	a.text(cmd, "path", "path", "`path`, exact or ending in /*")
	a.someNames(cmd, "methods", "methods", "`methods`, such as GET,POST, or all (default: all but CONNECT and TRACE)")
	a.text(cmd, "tenant", "tenant", "`name` of the tenant")
	a.text(cmd, "tenant-path", "tenant_path", "`path` at the tenant in place of the matched one; ends in /* when --path does (default: the same)")
	a.text(cmd, "role", "role", "role that the identity must hold")
	a.text(cmd, "case", "case", "sensitive or insensitive (default: the tenant's rule)")
	a.duration(cmd, "response-timeout", "response_timeout", "longest wait for the tenant's response header (default: the tenant's)")
	a.duration(cmd, "idle-timeout", "idle_timeout", "longest pause of a body in either direction (default 60s)")
	a.text(cmd, "scope", "scope", "OAuth scope to ask for on this route (default: the credential's)")
	a.parameters(cmd, "token-parameter", "token_parameters", "further field of token requests for this route, `name=value`, such as resource=https://...; may be repeated, \"\" is none")
	a.names(cmd, "upgrade", "upgrade", "`protocols` that a connection may be turned over to, such as websocket (default: none)")
	a.text(cmd, "csrf", "csrf", "off, auto or on: fetch CSRF tokens for changes, at once or from when the tenant asks (default off)")
	a.text(cmd, "csrf-path", "csrf_path", "`path` at the tenant where they are fetched (default: /api/v1/ for the OData API, else the request's own)")
	a.text(cmd, "caller-header", "caller_header", "`header`, such as SAP_Sender, that tells the tenant the identity's name (default: none)")
	maxBody := cmd.Flags().String("max-body", "", "largest request body, a `size` such as 10MiB, or unlimited (default 100MiB)")
	a.custom("max-body", "max_body", func() (any, error) {
		if *maxBody == "unlimited" {
			return int64(-1), nil
		}
		size, err := parseSize(*maxBody)
		if err != nil {
			return nil, usageError(cmd, "--max-body: %v", err)
		}
		return int64(size), nil
	})
	return a
}

func newRouteAddCommand(p *program) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "add NAME --path PATH --tenant TENANT --role ROLE",
		Short:   "Add a route",
		Example: "  tenantgate route add orders --path /http/orders --methods POST --tenant acme --role orders.send --max-body 10MiB",
		Args:    exactArgs("NAME"),
	}
	attrs := routeAttributes(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		route := identity.Route{Name: args[0]}
		if err := attrs.fill(cmd, &route); err != nil {
			return err
		}
		return p.call(func(c *admin.Client) error {
			stored, err := c.AddRoute(cmd.Context(), route)
			if err != nil {
				return err
			}
			return p.show(stored, func(w io.Writer) {
				fmt.Fprintf(w, "added route %s\nnext: tenantgate identity add NAME --owner TEAM --role %s\n", stored.Name, stored.Role)
			})
		})
	}
	return cmd
}

func newRouteListCommand(p *program) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the routes",
		Example: "  tenantgate route list",
		Args:    exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.call(func(c *admin.Client) error {
				routes, err := c.Routes(cmd.Context())
				if err != nil {
					return err
				}
				return p.show(routes, func(w io.Writer) {
					rows := make([][]string, 0, len(routes))
					for _, r := range routes {
						rows = append(rows, []string{r.Name, r.Host, r.Path, methods(r.Methods), r.Role, r.Tenant, orDash(r.TenantPath)})
					}
					table(w, []string{"NAME", "HOST", "PATH", "METHODS", "ROLE", "TENANT", "TENANT PATH"}, rows)
				})
			})
		},
	}
}

func methods(list []string) string {
	if len(list) == 0 {
		return "any"
	}
	return strings.Join(list, ",")
}

func newRouteShowCommand(p *program) *cobra.Command {
	return &cobra.Command{
		Use:     "show NAME",
		Short:   "Show a route",
		Example: "  tenantgate route show orders",
		Args:    exactArgs("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.call(func(c *admin.Client) error {
				route, err := c.Route(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				return p.show(route, func(w io.Writer) { printRoute(w, &route) })
			})
		},
	}
}

func printRoute(w io.Writer, r *identity.Route) {
	maxBody := "unlimited"
	switch {
	case r.MaxBody == 0:
		maxBody = Size(identity.DefaultMaxBody).String()
	case r.MaxBody > 0:
		maxBody = Size(r.MaxBody).String()
	}
	responseTimeout, idleTimeout, rule := "the tenant's", Duration(identity.DefaultIdleTimeout), "the tenant's"
	if r.ResponseTimeout != 0 {
		responseTimeout = Duration(r.ResponseTimeout).String()
	}
	if r.IdleTimeout != 0 {
		idleTimeout = Duration(r.IdleTimeout)
	}
	if r.Case != identity.CaseTenant {
		rule = r.Case
	}
	fields(w,
		field{"name", r.Name},
		field{"host", r.Host},
		field{"path", r.Path},
		field{"methods", methods(r.Methods)},
		field{"role", r.Role},
		field{"tenant", r.Tenant},
		field{"tenant path", r.TenantPath},
		field{"case", rule},
		field{"max body", maxBody},
		field{"response timeout", responseTimeout},
		field{"idle timeout", idleTimeout.String()},
		field{"scope", r.Scope},
		field{"token parameters", parametersText(r.TokenParameters)},
		field{"upgrade", strings.Join(r.Upgrade, ",")},
		field{"csrf", cmp.Or(r.CSRF, "off")},
		field{"csrf path", r.CSRFPath},
		field{"caller header", r.CallerHeader},
		field{"created", moment(r.Created)},
		field{"updated", moment(r.Updated)},
	)
}

func newRouteSetCommand(p *program) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "set NAME [flags]",
		Short:   "Change a route",
		Long:    "set changes what is named and leaves the rest. Requests that come after it see the change.",
		Example: "  tenantgate route set orders --methods POST,PUT --max-body 50MiB",
		Args:    exactArgs("NAME"),
	}
	attrs := routeAttributes(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		changes, err := attrs.changes(cmd)
		if err != nil {
			return err
		}
		return p.call(func(c *admin.Client) error {
			stored, err := c.SetRoute(cmd.Context(), args[0], changes)
			if err != nil {
				return err
			}
			return p.show(stored, func(w io.Writer) { fmt.Fprintf(w, "changed route %s\n", stored.Name) })
		})
	}
	return cmd
}

func newRouteRemoveCommand(p *program) *cobra.Command {
	return &cobra.Command{
		Use:     "remove NAME",
		Short:   "Remove a route; its requests are refused from then on",
		Example: "  tenantgate route remove orders",
		Args:    exactArgs("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.call(func(c *admin.Client) error {
				if err := c.RemoveRoute(cmd.Context(), args[0]); err != nil {
					return err
				}
				return p.removed("route", args[0])
			})
		},
	}
}
