package main

import (
	"io"

	"github.com/spf13/cobra"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/proxy/admin"
)

func newCredentialCommand(p *program) *cobra.Command {
	return group(&cobra.Command{
		Use:   "credential",
		Short: "OAuth clients: with which one an identity calls a tenant",
		Long: `A credential is the OAuth client with which one identity calls one tenant. It is never changed: add the new
one, then remove the old one; while both are there the newest is used. Secrets are read from a file or
standard input, never from the command line, where every user of the machine could read them; they are
stored encrypted and never shown again.`,
		Example: `  tenantgate credential add erp acme-dev --service-key key.json
  tenantgate credential add erp acme-dev --client-id sb-1234 --secret-file - < secret
  tenantgate credential list erp`,
	}, newCredentialAddCommand(p), newCredentialListCommand(p), newCredentialShowCommand(p), newCredentialRemoveCommand(p),
		newCredentialCheckCommand(p))
}

func newCredentialListCommand(p *program) *cobra.Command {
	return &cobra.Command{
		Use:     "list IDENTITY",
		Short:   "List an identity's credentials, newest first; never their secrets",
		Example: "  tenantgate credential list erp",
		Args:    exactArgs("IDENTITY"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.call(func(c *admin.Client) error {
				credentials, err := c.Credentials(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				return p.show(credentials, func(w io.Writer) { printCredentials(w, credentials) })
			})
		},
	}
}

func printCredentials(w io.Writer, credentials []identity.Credential) {
	rows := make([][]string, 0, len(credentials))
	for _, c := range credentials {
		rows = append(rows, []string{c.ID, c.Tenant, c.ClientID, c.Kind, orDash(moment(c.NotAfter)), moment(c.Created)})
	}
	table(w, []string{"ID", "TENANT", "CLIENT ID", "KIND", "NOT AFTER", "CREATED"}, rows)
}

func newCredentialShowCommand(p *program) *cobra.Command {
	return &cobra.Command{
		Use:     "show ID",
		Short:   "Show a credential, never its secret, and what to register at the vendor",
		Example: "  tenantgate credential show 9c1f...",
		Args:    exactArgs("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.call(func(c *admin.Client) error {
				var shown shownCredential
				var err error
				if shown.Credential, err = c.Credential(cmd.Context(), args[0]); err != nil {
					return err
				}
				if shown.Registration, err = c.Registration(cmd.Context(), args[0]); err != nil {
					return err
				}
				return p.show(shown, func(w io.Writer) {
					printCredential(w, &shown.Credential)
					printRegistration(w, &shown.Registration)
				})
			})
		},
	}
}

func printCredential(w io.Writer, c *identity.Credential) {
	fields(w,
		field{"id", c.ID},
		field{"identity", c.Identity},
		field{"tenant", c.Tenant},
		field{"client id", c.ClientID},
		field{"kind", c.Kind},
		field{"auth style", c.AuthStyle},
		field{"token URL", c.TokenURL},
		field{"issuer", c.Issuer},
		field{"scope", c.Scope},
		field{"token parameters", parametersText(c.TokenParameters)},
		field{"key", keyText(c)},
		field{"not after", moment(c.NotAfter)},
		field{"created", moment(c.Created)},
	)
}

func newCredentialRemoveCommand(p *program) *cobra.Command {
	return &cobra.Command{
		Use:     "remove ID",
		Short:   "Remove a credential; its tokens are dropped at once",
		Example: "  tenantgate credential remove 9c1f...",
		Args:    exactArgs("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.call(func(c *admin.Client) error {
				if err := c.RemoveCredential(cmd.Context(), args[0]); err != nil {
					return err
				}
				return p.removed("credential", args[0])
			})
		},
	}
}
