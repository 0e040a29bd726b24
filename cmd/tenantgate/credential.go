package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenantgate/tenantgate/identity"
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
	}, newCredentialAddCommand(p), newCredentialRotateCommand(p), newCredentialListCommand(p), newCredentialShowCommand(p), newCredentialSetCommand(p), newCredentialRemoveCommand(p))
}

// credentialFlags are the flags of `credential add` and `credential rotate`.
type credentialFlags struct {
	serviceKey                           string
	clientID, secretFile                 string
	certificateFile, keyFile             string
	authStyle, tokenURL, scope, notAfter string
}

func (f *credentialFlags) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.serviceKey, "service-key", "", "`file` with an SAP service key")
	flags.StringVar(&f.clientID, "client-id", "", "OAuth client id")
	flags.StringVar(&f.secretFile, "secret-file", "", "`file` with the client secret")
	flags.StringVar(&f.certificateFile, "cert-file", "", "PEM `file` with the client certificate chain, leaf first")
	flags.StringVar(&f.keyFile, "key-file", "", "PEM `file` with its private key")
	flags.StringVar(&f.authStyle, "auth-style", "", "body, basic, basic_raw or mtls (default: the service key's, then the tenant's)")
	flags.StringVar(&f.tokenURL, "token-url", "", "token endpoint `URL` (default: the service key's, then the tenant's)")
	flags.StringVar(&f.scope, "scope", "", "OAuth scope to ask for (default: the tenant's)")
	flags.StringVar(&f.notAfter, "not-after", "", "`date` (2006-01-02) on which the secret ends, for warnings")
}

func newCredentialAddCommand(p *program) *cobra.Command {
	var f credentialFlags
	cmd := &cobra.Command{
		Use:   "add IDENTITY TENANT (--service-key FILE | --client-id ID ...)",
		Short: "Add a credential",
		Long: `add takes one of

  --service-key FILE                      an SAP service key as the cockpit shows it (JSON), secret or certificate
  --client-id ID --secret-file FILE       a client secret; the file's final line end is not part of it
  --client-id ID --cert-file --key-file   a client certificate chain and its key, PEM

FILE may be - for standard input.`,
		Example: `  tenantgate credential add erp acme-dev --service-key key.json
  tenantgate credential add erp acme-dev --client-id sb-1234 --secret-file secret
  cf service-key it-rt erp | sed 1,2d | tenantgate credential add erp acme-dev --service-key -`,
		Args: exactArgs("IDENTITY", "TENANT"),
	}
	f.register(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		request, err := p.credentialRequest(cmd, args[1], &f)
		if err != nil {
			return err
		}
		return p.call(func(c *admin.Client) error {
			stored, err := c.AddCredential(cmd.Context(), args[0], request)
			if err != nil {
				return err
			}
			return p.show(stored, func(w io.Writer) {
				fmt.Fprintf(w, "added credential %s: %s calls %s as client %s\n", stored.ID, stored.Identity, stored.Tenant, printable(stored.ClientID))
			})
		})
	}
	return cmd
}

// credentialRequest reads the files that the flags name.
func (p *program) credentialRequest(cmd *cobra.Command, tenant string, f *credentialFlags) (admin.CredentialRequest, error) {
	var r admin.CredentialRequest
	ways := 0
	for _, given := range []string{f.serviceKey, f.secretFile, f.certificateFile} {
		if given != "" {
			ways++
		}
	}
	switch {
	case ways != 1:
		return r, usageError(cmd, "give one of --service-key, --secret-file and --cert-file")
	case f.serviceKey != "" && f.clientID != "":
		return r, usageError(cmd, "--client-id does not go with --service-key, which names its own")
	case f.serviceKey == "" && f.clientID == "":
		return r, usageError(cmd, "--client-id is missing")
	case (f.certificateFile == "") != (f.keyFile == ""):
		return r, usageError(cmd, "--cert-file and --key-file go together")
	}
	r = admin.CredentialRequest{Tenant: tenant, ClientID: f.clientID, AuthStyle: f.authStyle, TokenURL: f.tokenURL, Scope: f.scope}
	var err error
	if r.NotAfter, err = endDate(cmd, f.notAfter); err != nil {
		return r, err
	}
	switch {
	case f.serviceKey != "":
		r.ServiceKey, err = p.readText(f.serviceKey, "the service key")
	case f.secretFile != "":
		r.Kind = identity.KindSecret
		r.Secret, err = p.readSecret(f.secretFile)
	default:
		r.Kind = identity.KindCertificate
		if r.Certificate, err = p.readText(f.certificateFile, "the certificate"); err == nil {
			r.Secret, err = p.readText(f.keyFile, "the private key")
		}
	}
	return r, err
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

func (p *program) readText(file, what string) (string, error) {
	b, err := p.readInput(file, what)
	if err == nil && len(bytes.TrimSpace(b)) == 0 {
		err = fmt.Errorf("reading %s from %s: it is empty", what, file)
	}
	return string(b), err
}

// readSecret reads a client secret. One final line end is an editor's, not part of the secret.
func (p *program) readSecret(file string) (string, error) {
	b, err := p.readInput(file, "the secret")
	if err != nil {
		return "", err
	}
	b = bytes.TrimSuffix(bytes.TrimSuffix(b, []byte("\n")), []byte("\r"))
	if len(b) == 0 {
		return "", hinted(errors.New("reading the secret: it is empty"), "the file holds the client secret and nothing else")
	}
	return string(b), nil
}

func newCredentialShowCommand(p *program) *cobra.Command {
	return &cobra.Command{
		Use:     "show ID",
		Short:   "Show a credential; never its secret",
		Example: "  tenantgate credential show 9c1f...",
		Args:    exactArgs("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.call(func(c *admin.Client) error {
				credential, err := c.Credential(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				return p.show(credential, func(w io.Writer) { printCredential(w, &credential) })
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
