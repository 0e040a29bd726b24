package admin

import (
	"time"

	"github.com/tenantgate/tenantgate/identity"
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
	// secret and certificate come out of it, and also token URL and style where those are not given.
	ServiceKey string `json:"service_key,omitempty"`

	// The rest is as in identity.Credential; Secret is the client secret, or the PEM private key.
	Kind        string    `json:"kind,omitempty"`
	ClientID    string    `json:"client_id,omitempty"`
	Secret      string    `json:"secret,omitempty"`
	Certificate string    `json:"certificate,omitempty"`
	AuthStyle   string    `json:"auth_style,omitempty"`
	TokenURL    string    `json:"token_url,omitempty"`
	Scope       string    `json:"scope,omitempty"`
	NotAfter    time.Time `json:"not_after,omitzero"`
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
