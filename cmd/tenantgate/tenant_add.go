package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/proxy/admin"
	"github.com/tenantgate/tenantgate/proxy/token"
)

func newTenantAddCommand(p *program) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "add NAME (--service-key FILE | --base-url URL --auth-style STYLE)",
		Short: "Add a tenant",
		Long: `add makes a tenant from flags, or from a service key as the vendor hands it out (see credential add for its
shapes): its base URL, token endpoint and authentication style, which are shown with where each comes from.
Flags count more than the service key. A binding of XSUAA or Identity Authentication tells only where tokens
come from: give --base-url with it. The client and its secret are not stored: they are a credential of one
identity, and the same file makes it (credential add).

SAP Neo hands out no service key: give --base-url, --auth-style basic_raw and
--token-url https://oauthasservices-ACCOUNT.LANDSCAPE/oauth2/api/v1/token.`,
		Example: `  tenantgate tenant add acme-dev --service-key key.json
  cf service-key it-rt erp | tenantgate tenant add acme-dev --service-key -
  tenantgate tenant add acme --base-url https://acme.example.com \
      --token-url https://login.acme.example.com/oauth/token --auth-style body`,
		Args: exactArgs("NAME"),
	}
	attrs := tenantAttributes(p, cmd)
	serviceKey := cmd.Flags().String("service-key", "", "`file` with a service key, or - for standard input")
	binding := cmd.Flags().String("binding", "", "which binding of a service key that is a VCAP_SERVICES document, by `name` or label/name")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		added := addedTenant{Tenant: identity.Tenant{Name: args[0]}}
		if err := attrs.fill(cmd, &added.Tenant); err != nil {
			return err
		}
		if *serviceKey != "" {
			if err := p.tenantFromServiceKey(cmd, &added, *serviceKey, *binding); err != nil {
				return err
			}
		} else if *binding != "" {
			return usageError(cmd, "--binding goes with --service-key")
		}
		return p.call(func(c *admin.Client) (err error) {
			if added.Tenant, err = c.AddTenant(cmd.Context(), added.Tenant); err != nil {
				return err
			}
			return p.show(added, func(w io.Writer) { added.print(w, *serviceKey) })
		})
	}
	return cmd
}

// addedTenant is the answer of `tenant add`.
type addedTenant struct {
	identity.Tenant
	ServiceKey *understood `json:"service_key,omitempty"`
}

// tenantFromServiceKey fills in what no flag has given, and tells it as it is taken.
func (p *program) tenantFromServiceKey(cmd *cobra.Command, added *addedTenant, file, binding string) error {
	t := &added.Tenant
	key, err := p.readServiceKey(file, token.KeyOptions{Binding: binding, Style: token.Style(t.AuthStyle), TokenURL: t.TokenURL, TenantOnly: true})
	if err != nil {
		return err
	}
	if cmd.Flags().Changed("base-url") {
		if mismatch := key.HostMismatch(t.BaseURL); mismatch != "" {
			key.Notes = append(key.Notes, mismatch)
		}
		key.URL, key.From.URL = t.BaseURL, "--base-url"
	}
	if key.URL == "" {
		hint := "give the address under which its paths lie: --base-url URL"
		if len(key.Notes) > 0 {
			hint += " (" + key.Notes[0] + ")"
		}
		return &failure{err: errors.New("reading " + key.Shape.String() + ": it says where tokens come from, and not where the tenant is"), hint: hint}
	}
	t.BaseURL, t.AuthStyle = key.URL, string(key.Style)
	if !cmd.Flags().Changed("token-url") && t.Issuer == "" { // an empty one is meant: each credential then names its own
		t.TokenURL = key.TokenURL
	}
	added.ServiceKey = understand(key)
	return nil
}

// print tells what was added and what comes next.
func (a *addedTenant) print(w io.Writer, file string) {
	if a.ServiceKey == nil {
		fmt.Fprintf(w, "added tenant %s\nnext: tenantgate route add NAME --tenant %s --path /... --role ROLE\n", a.Name, a.Name)
		return
	}
	a.ServiceKey.print(w)
	fmt.Fprintf(w, "added tenant %s\n", a.Name)
	fmt.Fprintf(w, "The client of the service key was not stored. It belongs to one identity:\n")
	fmt.Fprintf(w, "next: tenantgate credential add IDENTITY %s --service-key %s\n", a.Name, printable(file))
}
