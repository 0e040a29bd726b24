package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/proxy/admin"
)

// clientKeyFlags are the flags of `credential add` about keys, and about token requests beyond a scope.
type clientKeyFlags struct {
	keyless                    bool
	keyType                    string
	lifetime                   Duration
	keyID, algorithm, audience string
	issuer                     string
	parameters                 []string
}

func (f *clientKeyFlags) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.BoolVar(&f.keyless, "keyless", false, "have the server make the key, which never leaves it")
	flags.StringVar(&f.keyType, "key-type", "", "of --keyless: P-256, P-384, RSA-2048, RSA-3072, RSA-4096 or Ed25519 (default P-256)")
	durationFlag(cmd, &f.lifetime, "lifetime", "of the certificates of --keyless (default 90 days)")
	flags.StringVar(&f.keyID, "key-id", "", "`kid` by which the vendor knows the key of private_key_jwt (default: none; its thumbprint with --keyless)")
	flags.StringVar(&f.algorithm, "assertion-algorithm", "", "RS256, PS256, ES256, ES384 or EdDSA (default: the one of the key's type)")
	flags.StringVar(&f.audience, "assertion-audience", "", "token_endpoint, issuer, or the `audience` itself (default token_endpoint)")
	flags.StringVar(&f.issuer, "issuer", "", "`URL` of the issuer whose metadata name the token endpoint (default: the tenant's)")
	flags.StringArrayVar(&f.parameters, "token-parameter", nil, "further field of token requests, `name=value`; may be repeated")
}

// signs reports whether the key is one for assertions.
func (f *credentialFlags) signs() bool { return f.authStyle == identity.AuthPrivateKeyJWT }

// fill puts the flags into the request.
func (f *clientKeyFlags) fill(cmd *cobra.Command, r *admin.CredentialRequest) (err error) {
	if !f.keyless && (f.keyType != "" || f.lifetime != 0) {
		return usageError(cmd, "--key-type and --lifetime go with --keyless")
	}
	r.Keyless, r.KeyType, r.Lifetime = f.keyless, f.keyType, identity.Duration(f.lifetime)
	r.KeyID, r.AssertionAlgorithm, r.AssertionAudience, r.Issuer = f.keyID, f.algorithm, f.audience, f.issuer
	r.TokenParameters, err = tokenParameters(cmd, "token-parameter", f.parameters)
	return err
}

// shownCredential is the answer of `credential show`.
type shownCredential struct {
	admin.Credential
	Registration admin.Registration `json:"registration"`
}

// keyText says what is known of a credential's private key.
func keyText(c *identity.Credential) string {
	if c.Kind == identity.KindSecret {
		return ""
	}
	text := "imported"
	if c.Keyless {
		text = "made here, never leaves"
	}
	if c.KeyID != "" {
		text += ", kid " + c.KeyID
	}
	if c.AssertionAlgorithm != "" {
		text += ", " + c.AssertionAlgorithm
	}
	if c.AssertionAudience != "" {
		text += ", audience " + c.AssertionAudience
	}
	return text
}

// printRegistration says where tokens come from and what the vendor has to be told.
func printRegistration(w io.Writer, r *admin.Registration) {
	endpoint := r.TokenEndpoint
	if endpoint == "" && r.Issuer != "" {
		endpoint = "not discovered yet, from " + r.Issuer
	} else if r.Issuer != "" {
		endpoint += " (discovered from " + r.Issuer + ")"
	}
	fields(w, field{"tokens from", endpoint})
	if r.Certificate == nil && r.JWKS == nil {
		return
	}
	fmt.Fprintln(w, "\nTo register at the vendor, nothing of it secret:")
	if c := r.Certificate; c != nil {
		fields(w,
			field{"subject", c.Subject},
			field{"issuer", c.Issuer},
			field{"serial number", c.Serial},
			field{"SHA-256", c.SHA256},
			field{"valid", moment(c.NotBefore) + " to " + moment(c.NotAfter)},
			field{"renews itself", moment(c.Renews)},
		)
		fmt.Fprint(w, "\ncertificate and intermediates:\n", pemText(c.Chain))
		if c.Roots != "" {
			fmt.Fprint(w, "\nroots:\n", pemText(c.Roots))
		}
	}
	if r.JWKS != nil {
		fmt.Fprintf(w, "\nJWKS:\n%s\n", printable(compact(r.JWKS)))
	}
	if len(r.Advice) > 0 {
		fmt.Fprintln(w)
	}
	for _, line := range r.Advice {
		fmt.Fprintf(w, "- %s\n", printable(line))
	}
}

// pemText is PEM with the line ends that printable would take away.
func pemText(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString(printable(strings.TrimRight(line, "\r\n")) + "\n")
	}
	return b.String()
}

func compact(raw json.RawMessage) string {
	var b bytes.Buffer
	if json.Compact(&b, raw) != nil {
		return string(raw)
	}
	return b.String()
}
