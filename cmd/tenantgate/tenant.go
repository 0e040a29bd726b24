package main

import (
	"cmp"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/proxy/admin"
)

func newTenantCommand(p *program) *cobra.Command {
	return group(&cobra.Command{
		Use:   "tenant",
		Short: "Remote systems: where they are and where their tokens come from",
		Long: `A tenant is a remote system: its base URL, its OAuth token endpoint, and how clients authenticate
there. The style is never guessed, because a wrong guess counts as a failed logon:

  body       client_id and client_secret as form fields         SAP XSUAA
  basic      HTTP Basic, both parts form-encoded (RFC 6749)     SAP IAS
  basic_raw  HTTP Basic as it is (RFC 7617)                     SAP Neo
  mtls       a client certificate (RFC 8705)                    SAP keys of type certificate
  private_key_jwt  an assertion that a key has signed (RFC 7523)  SAP IAS, most OpenID providers

Where tokens come from is a token URL, or an issuer: then its metadata (RFC 8414, OpenID Connect Discovery)
name the token endpoint, and the one for client certificates.`,
		Example: `  tenantgate tenant add acme-dev --service-key key.json
  tenantgate tenant add acme-dev --auth-style body \
      --base-url https://acme-dev.it-cpi018-rt.cfapps.eu10-003.hana.ondemand.com \
      --token-url https://acme-dev.authentication.eu10.hana.ondemand.com/oauth/token
  tenantgate tenant list`,
	}, newTenantAddCommand(p), newTenantListCommand(p), newTenantShowCommand(p), newTenantSetCommand(p), newTenantRemoveCommand(p),
		newTenantCheckCommand(p))
}

// tenantAttributes are the flags of `tenant add` and `tenant set`.
func tenantAttributes(p *program, cmd *cobra.Command) *attributes {
	a := &attributes{}
	a.text(cmd, "base-url", "base_url", "`URL` under which the tenant's paths lie (https)")
	a.text(cmd, "token-url", "token_url", "`URL` of the OAuth token endpoint; credentials may name their own")
	a.text(cmd, "issuer", "issuer", "`URL` of the issuer whose metadata name the token endpoint, in place of --token-url")
	a.text(cmd, "auth-style", "auth_style", "how clients authenticate there: body, basic, basic_raw, mtls or private_key_jwt")
	a.text(cmd, "scope", "scope", "OAuth scope to ask for")
	a.parameters(cmd, "token-parameter", "token_parameters", "further field of token requests, `name=value`, such as resource=https://...; may be repeated, \"\" is none")
	a.text(cmd, "description", "description", "free text")
	a.file(p, cmd, "ca-bundle", "ca_bundle", "PEM `file` of the only CAs the tenant's certificate may come from (default: the system's)")
	a.truth(cmd, "case-sensitive", "case_sensitive", "the tenant tells /A from /a (default: it does not)")
	a.duration(cmd, "timeout", "timeout", "longest wait for the tenant's response header (default 60s)")
	a.text(cmd, "http-proxy", "http_proxy", "`URL` of the proxy to call the tenant and its token endpoint through, such as http://proxy:3128 (default: directly)")
	a.text(cmd, "client-certificate", "client_certificate", "what connections to the tenant show: credential (the identity's own) or \"\" (default: nothing)")
	a.text(cmd, "protocol", "protocol", "what is spoken with it: http1 (default), or h2, which gRPC needs")
	a.whole(cmd, "concurrency", "concurrency", "`requests` to it in flight, on each node; 0 is its share of all requests (default)")
	a.whole(cmd, "breaker-failures", "breaker_failures", "`connections` in a row that fail before it is left alone; -1 is never (default 5)")
	a.duration(cmd, "breaker-cooldown", "breaker_cooldown", "how long it is left alone at first; doubles up to five times that (default 1s)")
	return a
}

func newTenantListCommand(p *program) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the tenants",
		Example: "  tenantgate tenant list --json",
		Args:    exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.call(func(c *admin.Client) error {
				tenants, err := c.Tenants(cmd.Context())
				if err != nil {
					return err
				}
				return p.show(tenants, func(w io.Writer) {
					rows := make([][]string, 0, len(tenants))
					for _, t := range tenants {
						rows = append(rows, []string{t.Name, t.BaseURL, orDash(cmp.Or(t.TokenURL, t.Issuer)), t.AuthStyle})
					}
					table(w, []string{"NAME", "BASE URL", "TOKENS FROM", "STYLE"}, rows)
				})
			})
		},
	}
}

func newTenantShowCommand(p *program) *cobra.Command {
	return &cobra.Command{
		Use:     "show NAME",
		Short:   "Show a tenant",
		Example: "  tenantgate tenant show acme",
		Args:    exactArgs("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.call(func(c *admin.Client) error {
				tenant, err := c.Tenant(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				return p.show(tenant, func(w io.Writer) { printTenant(w, &tenant) })
			})
		},
	}
}

func printTenant(w io.Writer, t *identity.Tenant) {
	ca := "the system's CAs"
	if t.CABundle != "" {
		ca = "its own CA bundle (see --json)"
	}
	shown := "none"
	if t.ClientCertificate == identity.ShowCredential {
		shown = "that of the identity's credential"
	}
	protocol := "HTTP/1.1"
	if t.Protocol == identity.ProtocolHTTP2 {
		protocol = "HTTP/2"
	}
	timeout := t.Timeout
	if timeout == 0 {
		timeout = identity.Duration(identity.DefaultTenantTimeout)
	}
	fields(w,
		field{"name", t.Name},
		field{"description", t.Description},
		field{"base URL", t.BaseURL},
		field{"token URL", t.TokenURL},
		field{"issuer", t.Issuer},
		field{"auth style", t.AuthStyle},
		field{"scope", t.Scope},
		field{"token parameters", parametersText(t.TokenParameters)},
		field{"trusts", ca},
		field{"case-sensitive", yesNo(t.CaseSensitive)},
		field{"timeout", Duration(timeout).String()},
		field{"HTTP proxy", t.HTTPProxy},
		field{"protocol", protocol},
		field{"shown certificate", shown},
		field{"concurrency", limit(t.Concurrency)},
		field{"breaker", breaker(t)},
		field{"created", moment(t.Created)},
		field{"updated", moment(t.Updated)},
	)
}

// breaker says when a tenant is left alone.
func breaker(t *identity.Tenant) string {
	failures, cooldown := t.Breaker()
	if failures == 0 {
		return "none"
	}
	return fmt.Sprintf("after %d failed connections, for %s at first", failures, Duration(cooldown))
}

func newTenantSetCommand(p *program) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "set NAME [flags]",
		Short:   "Change a tenant",
		Long:    "set changes what is named and leaves the rest. Requests that come after it see the change.",
		Example: "  tenantgate tenant set acme --timeout 2m --scope \"\"",
		Args:    exactArgs("NAME"),
	}
	attrs := tenantAttributes(p, cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		changes, err := attrs.changes(cmd)
		if err != nil {
			return err
		}
		return p.call(func(c *admin.Client) error {
			stored, err := c.SetTenant(cmd.Context(), args[0], changes)
			if err != nil {
				return err
			}
			return p.show(stored, func(w io.Writer) { fmt.Fprintf(w, "changed tenant %s\n", stored.Name) })
		})
	}
	return cmd
}

func newTenantRemoveCommand(p *program) *cobra.Command {
	return &cobra.Command{
		Use:     "remove NAME",
		Short:   "Remove a tenant that no route and no credential uses",
		Example: "  tenantgate tenant remove acme",
		Args:    exactArgs("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.call(func(c *admin.Client) error {
				if err := c.RemoveTenant(cmd.Context(), args[0]); err != nil {
					return err
				}
				return p.removed("tenant", args[0])
			})
		},
	}
}
