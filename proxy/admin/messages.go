package admin

import (
	"encoding/json"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/proxy/check"
)

// CertificateRequest is the body of POST /v1/identities/{name}/certificates.
type CertificateRequest struct {
	// CSR is a PKCS#10 request as PEM. Required: whoever will use a key makes it, and the server never sees it.
	CSR string `json:"csr"`
	// Lifetime is how long the certificate shall be valid; 0 is the client profile's default.
	Lifetime identity.Duration `json:"lifetime,omitempty"`
}

// IssuedCertificate is the answer to a [CertificateRequest]: a certificate that is signed, recorded and bound.
type IssuedCertificate struct {
	identity.Certificate
	// Chain is the certificate and its intermediate, Roots what they lead to, as PEM.
	Chain string `json:"chain"`
	Roots string `json:"roots"`
	// Dropped says what the request asked for and did not get, one sentence each.
	Dropped []string `json:"dropped,omitempty"`
}

// CredentialRequest is the body of POST /v1/identities/{name}/credentials: a tenant, and either a service key or the client's fields.
type CredentialRequest struct {
	// Tenant is which tenant the credential is for. Required.
	Tenant string `json:"tenant"`
	// ServiceKey is a service key as the vendor hands it out, as text. On the wire it may also stand as a JSON object. Kind, client id,
	// secret and certificate come out of it, and also token URL and style where those are not given. Beside it, Secret is the private key,
	// and Certificate the certificate, of a service key that lacks them (token.KeyOptions).
	ServiceKey string `json:"service_key,omitempty"`
	// Binding chooses one of several bindings in a ServiceKey that is a VCAP_SERVICES document.
	Binding string `json:"binding,omitempty"`

	// Keyless has the server make the key, which then never leaves it, in place of Secret and Certificate: for auth style mtls with a
	// certificate of the built-in CA that renews itself, for private_key_jwt a key alone. KeyType is P-256 (also ""), P-384, RSA-2048,
	// RSA-3072, RSA-4096 or Ed25519; Lifetime is the certificate's, 0 the outbound profile's default.
	Keyless  bool              `json:"keyless,omitempty"`
	KeyType  string            `json:"key_type,omitempty"`
	Lifetime identity.Duration `json:"lifetime,omitempty"`

	// The rest is as in identity.Credential; Secret is the client secret, or the PEM private key.
	Kind               string                   `json:"kind,omitempty"`
	ClientID           string                   `json:"client_id,omitempty"`
	Secret             string                   `json:"secret,omitempty"`
	Certificate        string                   `json:"certificate,omitempty"`
	AuthStyle          string                   `json:"auth_style,omitempty"`
	TokenURL           string                   `json:"token_url,omitempty"`
	Issuer             string                   `json:"issuer,omitempty"`
	Scope              string                   `json:"scope,omitempty"`
	TokenParameters    identity.TokenParameters `json:"token_parameters,omitempty"`
	KeyID              string                   `json:"key_id,omitempty"`
	AssertionAlgorithm string                   `json:"assertion_algorithm,omitempty"`
	AssertionAudience  string                   `json:"assertion_audience,omitempty"`
	NotAfter           time.Time                `json:"not_after,omitzero"`
}

// Registration is what to register at the vendor for a credential, and where its tokens come from. Nothing of it is secret.
type Registration struct {
	ClientID  string `json:"client_id"`
	AuthStyle string `json:"auth_style"`
	// TokenEndpoint is where tokens are asked for: configured, or as discovered by this node; "" while that has not happened.
	TokenEndpoint string `json:"token_endpoint,omitempty"`
	// Issuer is what the token endpoint is discovered from, "" when it is configured.
	Issuer string `json:"issuer,omitempty"`
	// Certificate is what the client shows, nil when it shows none.
	Certificate *RegistrationCertificate `json:"certificate,omitempty"`
	// JWKS is the public key set (RFC 7517): of the key that signs assertions, or of the certificate (x5c) for vendors that are given that
	// in place of a subject.
	JWKS json.RawMessage `json:"jwks,omitempty"`
	// Advice says which of a vendor's options fit, one sentence each.
	Advice []string `json:"advice,omitempty"`
}

// RegistrationCertificate is a client certificate as vendors ask for it.
type RegistrationCertificate struct {
	// Chain is the certificate and its intermediates, Roots what they lead to where the built-in CA has issued it, as PEM.
	Chain string `json:"chain"`
	Roots string `json:"roots,omitempty"`
	// Subject and Issuer are the distinguished names as RFC 4514 writes them.
	Subject string `json:"subject"`
	Issuer  string `json:"issuer"`
	// Serial is the serial number, SHA256 the fingerprint of the whole certificate, both in lower-case hex.
	Serial string `json:"serial"`
	SHA256 string `json:"sha256"`
	// NotBefore and NotAfter are when it is valid, Renews when another one takes its place; zero when it does not renew itself.
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
	Renews    time.Time `json:"renews,omitzero"`
}

// CheckRequest is the body of POST /v1/tenants/{name}/check. The zero one tries every credential of the tenant.
type CheckRequest struct {
	// Identity narrows the check to the credentials of one identity, Credential to one credential, by its id.
	Identity   string `json:"identity,omitempty"`
	Credential string `json:"credential,omitempty"`
	// Route names a route of the tenant: tokens are asked for with its scope, and its identity's role is looked at.
	Route string `json:"route,omitempty"`
	// ProbePath is a path below the tenant's base URL that is asked for with each token; "" asks for none, and then nothing is sent to
	// the tenant. ProbeMethod is HEAD (default) or GET.
	ProbePath   string `json:"probe_path,omitempty"`
	ProbeMethod string `json:"probe_method,omitempty"`
}

// CheckReport is the answer to a [CheckRequest].
type CheckReport struct {
	Tenant  string `json:"tenant"`
	BaseURL string `json:"base_url"`
	// State is the worst of all steps.
	State check.State `json:"state"`
	// Steps are those of the tenant itself. They stand with each credential where its certificate is shown to the tenant.
	Steps []check.Step `json:"steps"`
	// Credentials are what came of each, by identity, newest first.
	Credentials []CredentialCheck `json:"credentials"`
}

// CredentialCheck is what came of one credential.
type CredentialCheck struct {
	ID       string       `json:"id"`
	Identity string       `json:"identity"`
	ClientID string       `json:"client_id"`
	State    check.State  `json:"state"`
	Steps    []check.Step `json:"steps"`
	// Claims are what the token says of itself; nil without a token, and for an opaque one.
	Claims *check.Claims `json:"claims,omitempty"`
}

// CredentialEnd is the body of PATCH /v1/credentials/{id}: what can be changed of a credential.
type CredentialEnd struct {
	// NotAfter is when the secret ends; zero when that is not known. A certificate's cannot be changed.
	NotAfter time.Time `json:"not_after,omitzero"`
}

// RevocationRequest is the body of POST /v1/certificates/{serial}/revoke, /v1/identities/{name}/revoke and /v1/ca/revoke.
type RevocationRequest struct {
	// Reason is one of [pki.RevocationReasons]; "" is unspecified.
	Reason string `json:"reason,omitempty"`
}

// Revocations is the answer to a [RevocationRequest] for several certificates.
type Revocations struct {
	// Revoked is how many certificates were revoked by this request. Those that had expired or had been revoked before do not count.
	Revoked int `json:"revoked"`
	// Serials are their serial numbers.
	Serials []string `json:"serials"`
}

// RevocationList is the answer of GET /v1/ca/crl.
type RevocationList struct {
	// Issuer is the first 16 digits of the SHA-256 fingerprint of the intermediate whose list it is.
	Issuer string `json:"issuer"`
	// Number grows with each list.
	Number int64 `json:"number"`
	// ThisUpdate and NextUpdate are when the list was made and when it is stale.
	ThisUpdate time.Time `json:"this_update"`
	NextUpdate time.Time `json:"next_update"`
	// Entries is how many certificates are on it.
	Entries int `json:"entries"`
	// CRL is the list as PEM.
	CRL string `json:"crl"`
}

// CertificateFilter narrows a list of certificates; zero fields do not.
type CertificateFilter struct {
	// Identity is whose they are.
	Identity string
	// State is "valid", "expired" or "revoked".
	State string
}
