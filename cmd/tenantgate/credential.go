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
		Long: `A credential is the OAuth client with which one identity calls one tenant. It is never changed: add the new
one, then remove the old one; while both are there the newest is used. Secrets are read from a file or
standard input, never from the command line, where every user of the machine could read them; they are
stored encrypted and never shown again.`,
		Example: `  tenantgate credential add erp acme-dev --service-key key.json
  tenantgate credential add erp acme-dev --client-id sb-1234 --secret-file - < secret
  tenantgate credential list erp`,
	}, newCredentialAddCommand(p), newCredentialListCommand(p), newCredentialShowCommand(p), newCredentialRemoveCommand(p))
}

// credentialFlags are the flags of `credential add`.
type credentialFlags struct {
	serviceKey                           string
	clientID, secretFile                 string
	certificateFile, keyFile             string
	authStyle, tokenURL, scope, notAfter string
	clientKeyFlags
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
  --client-id ID --auth-style private_key_jwt --key-file FILE
                                          a key that signs assertions, PEM; with --cert-file they name its certificate
  --client-id ID --auth-style mtls|private_key_jwt --keyless
                                          a key that the server makes and that never leaves it: for mtls with a
                                          certificate of the built-in CA, which renews itself

FILE may be - for standard input. credential show then says what to register at the vendor.`,
		Example: `  tenantgate credential add erp acme-dev --service-key key.json
  tenantgate credential add erp acme-dev --client-id sb-1234 --secret-file secret
  cf service-key it-rt erp | sed 1,2d | tenantgate credential add erp acme-dev --service-key -
  tenantgate credential add erp acme-dev --client-id sb-1234 --auth-style private_key_jwt --keyless`,
		Args: exactArgs("IDENTITY", "TENANT"),
	}
	flags := cmd.Flags()
	flags.StringVar(&f.serviceKey, "service-key", "", "`file` with an SAP service key")
	flags.StringVar(&f.clientID, "client-id", "", "OAuth client id")
	flags.StringVar(&f.secretFile, "secret-file", "", "`file` with the client secret")
	flags.StringVar(&f.certificateFile, "cert-file", "", "PEM `file` with the client certificate chain, leaf first")
	flags.StringVar(&f.keyFile, "key-file", "", "PEM `file` with its private key")
	flags.StringVar(&f.authStyle, "auth-style", "", "body, basic, basic_raw, mtls or private_key_jwt (default: the service key's, then the tenant's)")
	flags.StringVar(&f.tokenURL, "token-url", "", "token endpoint `URL` (default: the service key's, then the tenant's)")
	flags.StringVar(&f.scope, "scope", "", "OAuth scope to ask for (default: the tenant's)")
	flags.StringVar(&f.notAfter, "not-after", "", "`date` (2006-01-02) on which the secret ends, for warnings")
	f.clientKeyFlags.register(cmd)
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
				if stored.Keyless {
					fmt.Fprintf(w, "next: tenantgate credential show %s   # what to register at the vendor\n", stored.ID)
				}
			})
		})
	}
	return cmd
}

// credentialRequest reads the files that the flags name.
func (p *program) credentialRequest(cmd *cobra.Command, tenant string, f *credentialFlags) (admin.CredentialRequest, error) {
	var r admin.CredentialRequest
	ways := 0
	for _, given := range []bool{f.serviceKey != "", f.secretFile != "", f.certificateFile != "" || f.keyFile != "", f.keyless} {
		if given {
			ways++
		}
	}
	switch {
	case ways != 1:
		return r, usageError(cmd, "give one of --service-key, --secret-file, --cert-file, --key-file and --keyless")
	case f.serviceKey != "" && f.clientID != "":
		return r, usageError(cmd, "--client-id does not go with --service-key, which names its own")
	case f.serviceKey == "" && f.clientID == "":
		return r, usageError(cmd, "--client-id is missing")
	case f.keyFile == "" && f.certificateFile != "", f.certificateFile == "" && f.keyFile != "" && !f.signs():
		return r, usageError(cmd, "--cert-file and --key-file go together; for a key alone give --auth-style private_key_jwt")
	}
	r = admin.CredentialRequest{Tenant: tenant, ClientID: f.clientID, AuthStyle: f.authStyle, TokenURL: f.tokenURL, Scope: f.scope}
	if f.notAfter != "" {
		t, err := time.Parse(time.DateOnly, f.notAfter)
		if err != nil {
			return r, usageError(cmd, "--not-after %q is not a date such as 2027-06-30", f.notAfter)
		}
		r.NotAfter = t
	}
	if err := f.clientKeyFlags.fill(cmd, &r); err != nil {
		return r, err
	}
	var err error
	switch {
	case f.keyless:
	case f.serviceKey != "":
		r.ServiceKey, err = p.readText(f.serviceKey, "the service key")
	case f.secretFile != "":
		r.Kind = identity.KindSecret
		r.Secret, err = p.readSecret(f.secretFile)
	default:
		r.Kind = identity.KindCertificate
		if f.signs() {
			r.Kind = identity.KindAssertion
		}
		if f.certificateFile != "" {
			r.Certificate, err = p.readText(f.certificateFile, "the certificate")
		}
		if err == nil {
			r.Secret, err = p.readText(f.keyFile, "the private key")
		}
	}
	return r, err
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
