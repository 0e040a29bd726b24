package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/proxy/admin"
	"github.com/tenantgate/tenantgate/proxy/token"
)

// credentialFlags are the flags of `credential add`.
type credentialFlags struct {
	tenant                               string
	serviceKey, binding                  string
	clientID, secretFile                 string
	certificateFile, keyFile             string
	authStyle, tokenURL, scope, notAfter string
	clientKeyFlags
}

// register adds the flags of a command whose arguments are judged by args.
func (f *credentialFlags) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.tenant, "tenant", "", "`name` of the tenant, in place of the second argument")
	flags.StringVar(&f.serviceKey, "service-key", "", "`file` with a service key")
	flags.StringVar(&f.binding, "binding", "", "which binding of a service key that is a VCAP_SERVICES document, by `name` or label/name")
	flags.StringVar(&f.clientID, "client-id", "", "OAuth client id")
	flags.StringVar(&f.secretFile, "secret-file", "", "`file` with the client secret")
	flags.StringVar(&f.certificateFile, "cert-file", "", "PEM `file` with the client certificate chain")
	flags.StringVar(&f.keyFile, "key-file", "", "PEM `file` with its private key")
	flags.StringVar(&f.authStyle, "auth-style", "", "body, basic, basic_raw, mtls or private_key_jwt (default: the service key's, then the tenant's)")
	flags.StringVar(&f.tokenURL, "token-url", "", "token endpoint `URL` (default: the service key's, then the tenant's)")
	flags.StringVar(&f.scope, "scope", "", "OAuth scope to ask for (default: the tenant's)")
	flags.StringVar(&f.notAfter, "not-after", "", "`date` (2006-01-02) on which the secret ends, for warnings")
	f.clientKeyFlags.register(cmd)
}

// args takes an identity, and its tenant where no flag names that.
func (f *credentialFlags) args(cmd *cobra.Command, args []string) error {
	if f.tenant != "" {
		return exactArgs("IDENTITY")(cmd, args)
	}
	if err := exactArgs("IDENTITY", "TENANT")(cmd, args); err != nil {
		return err
	}
	f.tenant = args[1]
	return nil
}

func newCredentialAddCommand(p *program) *cobra.Command {
	var f credentialFlags
	cmd := &cobra.Command{
		Use:   "add IDENTITY (TENANT | --tenant TENANT) (--service-key FILE | --client-id ID ...)",
		Short: "Add a credential",
		Long: `add takes one of

  --service-key FILE                      what the vendor hands out (JSON)
  --client-id ID --secret-file FILE       a client secret; the file's final line end is not part of it
  --client-id ID --cert-file --key-file   a client certificate chain and its key, PEM
  --client-id ID --auth-style private_key_jwt --key-file FILE
                                          a key that signs assertions, PEM; with --cert-file they name its certificate
  --client-id ID --auth-style mtls|private_key_jwt --keyless
                                          a key that the server makes and that never leaves it: for mtls with a
                                          certificate of the built-in CA, which renews itself

FILE may be - for standard input. credential show then says what to register at the vendor.

A service key is one of SAP Process Integration Runtime (secret, certificate, external certificate), of XSUAA
or a service with "uaa" (binding-secret, instance-secret, x509, self-managed), of Identity Authentication
(SECRET, X509_GENERATED, X509_PROVIDED), or VCAP_SERVICES with one of these (--binding chooses). It is taken as
the cockpit, cf service-key or an editor leaves it: with the command's heading, \n in certificates, no line ends
at all, the chain in any order. For an external or self-managed certificate, which the vendor has without its
key, give --key-file, and --cert-file where the service key does not show the certificate.

SAP Neo hands out no such document. Copy client id, secret and token endpoint out of the cockpit:

  --client-id ID --secret-file FILE --auth-style basic_raw
      --token-url https://oauthasservices-ACCOUNT.LANDSCAPE/oauth2/api/v1/token

Where the service key is for another host than the tenant's base URL, a warning says so: the runtime (-rt) and
the API have clients of their own.`,
		Example: `  tenantgate credential add erp acme-dev --service-key key.json
  tenantgate credential add erp --tenant acme-dev --service-key key.json --key-file own.key
  tenantgate credential add erp acme-dev --client-id sb-1234 --secret-file secret
  cf service-key it-rt erp | tenantgate credential add erp acme-dev --service-key -
  tenantgate credential add erp acme-dev --client-id sb-1234 --auth-style private_key_jwt --keyless`,
		Args: f.args,
	}
	f.register(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return p.addCredential(cmd, args[0], &f)
	}
	return cmd
}

// addedCredential is the answer of `credential add`.
type addedCredential struct {
	admin.Credential
	ServiceKey *understood `json:"service_key,omitempty"`
	Warnings   []string    `json:"warnings,omitempty"`
}

func (p *program) addCredential(cmd *cobra.Command, name string, f *credentialFlags) error {
	request, key, err := p.credentialRequest(cmd, f)
	if err != nil {
		return err
	}
	return p.call(func(c *admin.Client) error {
		var added addedCredential
		if key != nil {
			added.ServiceKey = understand(*key)
			if added.Warnings, err = f.mismatches(cmd.Context(), c, key); err != nil {
				return err
			}
		}
		if added.Credential, err = c.AddCredential(cmd.Context(), name, request); err != nil {
			return err
		}
		return p.show(added, func(w io.Writer) {
			if added.ServiceKey != nil {
				added.ServiceKey.print(w)
			}
			for _, warning := range added.Warnings {
				fmt.Fprintf(w, "warning: %s\n", printable(warning))
			}
			stored := added.Credential
			fmt.Fprintf(w, "added credential %s: %s calls %s as client %s\n", stored.ID, stored.Identity, stored.Tenant, printable(stored.ClientID))
			if stored.Keyless {
				fmt.Fprintf(w, "next: tenantgate credential show %s   # what to register at the vendor\n", stored.ID)
				return
			}
			fmt.Fprintf(w, "next: tenantgate tenant check %s --identity %s\n", stored.Tenant, stored.Identity)
		})
	})
}

// mismatches says what in a service key speaks against the tenant that it is meant for.
func (f *credentialFlags) mismatches(ctx context.Context, c *admin.Client, key *token.ServiceKey) (warnings []string, err error) {
	tenant, err := c.Tenant(ctx, f.tenant)
	if err != nil {
		return nil, err
	}
	if mismatch := key.HostMismatch(tenant.BaseURL); mismatch != "" {
		warnings = append(warnings, mismatch)
	}
	if mismatch := key.EndpointMismatch(tenant.TokenURL); mismatch != "" && f.tokenURL == "" {
		warnings = append(warnings, mismatch)
	}
	return warnings, nil
}

// credentialRequest reads the files that the flags name. The service key is nil when there is none.
func (p *program) credentialRequest(cmd *cobra.Command, f *credentialFlags) (r admin.CredentialRequest, key *token.ServiceKey, err error) {
	if err := f.check(cmd); err != nil {
		return r, nil, err
	}
	r = admin.CredentialRequest{Tenant: f.tenant, ClientID: f.clientID, AuthStyle: f.authStyle, TokenURL: f.tokenURL, Scope: f.scope}
	if r.NotAfter, err = endDate(cmd, f.notAfter); err != nil {
		return r, nil, err
	}
	if err := f.clientKeyFlags.fill(cmd, &r); err != nil {
		return r, nil, err
	}
	if f.certificateFile != "" {
		if r.Certificate, err = p.readText(f.certificateFile, "the certificate"); err != nil {
			return r, nil, err
		}
	}
	if f.keyFile != "" {
		if r.Secret, err = p.readText(f.keyFile, "the private key"); err != nil {
			return r, nil, err
		}
	}
	switch {
	case f.keyless:
	case f.serviceKey != "":
		key, err = p.fromServiceKey(&r, f)
	case f.secretFile != "":
		r.Kind = identity.KindSecret
		r.Secret, err = p.readSecret(f.secretFile)
	case f.signs():
		r.Kind = identity.KindAssertion
	default:
		r.Kind = identity.KindCertificate
	}
	return r, key, err
}

// check refuses flags that do not go together.
func (f *credentialFlags) check(cmd *cobra.Command) error {
	ways, stdin := 0, 0
	for _, given := range []bool{f.serviceKey != "", f.secretFile != "", (f.certificateFile != "" || f.keyFile != "") && f.serviceKey == "", f.keyless} {
		if given {
			ways++
		}
	}
	for _, file := range []string{f.serviceKey, f.secretFile, f.certificateFile, f.keyFile} {
		if file == "-" {
			stdin++
		}
	}
	switch {
	case ways != 1:
		return usageError(cmd, "give one of --service-key, --secret-file, --cert-file, --key-file and --keyless")
	case f.serviceKey != "" && f.clientID != "":
		return usageError(cmd, "--client-id does not go with --service-key, which names its own")
	case f.serviceKey == "" && f.clientID == "":
		return usageError(cmd, "--client-id is missing")
	case f.serviceKey == "" && (f.certificateFile != "" && f.keyFile == "" || f.certificateFile == "" && f.keyFile != "" && !f.signs()):
		return usageError(cmd, "--cert-file and --key-file go together; for a key alone give --auth-style private_key_jwt")
	case f.serviceKey == "" && f.binding != "":
		return usageError(cmd, "--binding goes with --service-key")
	case stdin > 1:
		return usageError(cmd, "only one file can be standard input")
	}
	return nil
}

// fromServiceKey fills in what the service key says, and what the flags say beside it. Nothing else of the document leaves the machine.
func (p *program) fromServiceKey(r *admin.CredentialRequest, f *credentialFlags) (*token.ServiceKey, error) {
	key, err := p.readServiceKey(f.serviceKey, token.KeyOptions{
		Binding: f.binding, Style: token.Style(f.authStyle), TokenURL: f.tokenURL, CertificatePEM: r.Certificate, KeyPEM: token.NewSecret(r.Secret),
	})
	if err != nil {
		return nil, err
	}
	r.ClientID, r.TokenURL, r.AuthStyle = key.ClientID, key.TokenURL, string(key.Style)
	if r.Issuer != "" {
		r.TokenURL = "" // it names the endpoint, and not the service key
	}
	r.Kind, r.Certificate, r.Secret = identity.KindSecret, "", key.Secret.Reveal()
	if key.CertificatePEM != "" {
		r.Kind, r.Certificate, r.Secret = identity.KindCertificate, key.CertificatePEM, key.KeyPEM.Reveal()
	}
	return &key, nil
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
