package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenantgate/tenantgate/proxy/admin"
)

func newCredentialCommand(p *program) *cobra.Command {
	return group(&cobra.Command{
		Use:   "credential",
		Short: "OAuth clients: with which one an identity calls a tenant",
		Long: `A credential is the OAuth client with which one identity calls one tenant. It is never changed: rotate adds the
new one and leads to the end of the old one. While both are there the newer one is used as soon as it has worked,
and the older one while it does not; a third is refused. Secrets are read from a file or standard input, never
from the command line, where every user of the machine could read them; they are stored encrypted and never
shown again.`,
		Example: `  tenantgate credential add erp acme-dev --service-key key.json
  tenantgate credential rotate erp acme-dev --service-key new.json
  tenantgate credential add erp acme-dev --client-id sb-1234 --secret-file - < secret
  tenantgate credential list erp`,
	}, newCredentialAddCommand(p), newCredentialRotateCommand(p), newCredentialListCommand(p), newCredentialShowCommand(p),
		newCredentialSetCommand(p), newCredentialCheckCommand(p), newCredentialRemoveCommand(p))
}

// endDate reads a date; "" is none.
func endDate(cmd *cobra.Command, date string) (time.Time, error) {
	if date == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.DateOnly, date)
	if err != nil {
		return t, usageError(cmd, "--not-after %q is not a date such as 2027-06-30", date)
	}
	return t, nil
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

func newCredentialSetCommand(p *program) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "set ID --not-after DATE",
		Short: "Note when a secret ends, to be warned in time",
		Long: `set notes on which date a client secret ends, where the vendor tells it. Nothing else of a credential can be changed;
a certificate says itself when it ends. A credential that has ended is not used while the identity has another one.`,
		Example: `  tenantgate credential set 9c1f... --not-after 2027-06-30
  tenantgate credential set 9c1f... --not-after ''   # not known`,
		Args: exactArgs("ID"),
	}
	date := cmd.Flags().String("not-after", "", "`date` (2006-01-02) on which the secret ends; empty when it is not known")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if !cmd.Flags().Changed("not-after") {
			return usageError(cmd, "nothing to change")
		}
		end, err := endDate(cmd, *date)
		if err != nil {
			return err
		}
		return p.call(func(c *admin.Client) error {
			stored, err := c.SetCredentialEnd(cmd.Context(), args[0], end)
			if err != nil {
				return err
			}
			return p.show(stored, func(w io.Writer) {
				text := "the end of credential " + stored.ID + " is not known"
				if !stored.NotAfter.IsZero() {
					text = "credential " + stored.ID + " ends at " + moment(stored.NotAfter)
				}
				fmt.Fprintln(w, text)
			})
		})
	}
	return cmd
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
