package admin

import (
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/pki/external"
)

// Authority is an authority with all that hangs on it.
type Authority struct {
	identity.Authority
	// Certificates are its anchors and intermediates.
	Certificates []AuthorityCertificate `json:"certificates"`
	Mappings     []identity.Mapping     `json:"mappings"`
	Blocks       []identity.Block       `json:"blocks"`
	// Lists are the revocation lists in force.
	Lists []identity.RevocationList `json:"lists"`
	// Fetches say how fetching stands, on all nodes together. Only the answer about one authority has them.
	Fetches []identity.Fetch `json:"fetches,omitempty"`
	// Seen are the certificates that came to the node that answers since it began, the last first. Only the answer about one authority has them.
	Seen []external.Seen `json:"seen,omitempty"`
	// Warnings say what wants an operator; none is well.
	Warnings []string `json:"warnings,omitempty"`
}

// AuthorityCertificate is a certificate of a CA.
type AuthorityCertificate struct {
	Subject     string               `json:"subject"`
	Issuer      string               `json:"issuer"`
	Serial      string               `json:"serial"`
	Fingerprint identity.Fingerprint `json:"fingerprint"`
	Anchor      bool                 `json:"anchor"`
	NotBefore   time.Time            `json:"not_before"`
	NotAfter    time.Time            `json:"not_after"`
}

// BlockRequest is the body of POST /v1/authorities/{name}/block and of .../unblock.
type BlockRequest struct {
	// Certificate is a serial number or a SHA-256 fingerprint, in hexadecimal digits.
	Certificate string `json:"certificate"`
	// Reason is free text; of a block only.
	Reason string `json:"reason,omitempty"`
}

// ListRequest is the body of POST /v1/authorities/{name}/crl, which takes CRL, and of .../crl/remove, which takes Source.
type ListRequest struct {
	// CRL is a revocation list as PEM.
	CRL string `json:"crl,omitempty"`
	// Source is where a list came from, as the authority shows it.
	Source string `json:"source,omitempty"`
}

// ChainRequest is the body of POST /v1/verify and of POST /v1/authorities/{name}/check.
type ChainRequest struct {
	// Chain is a caller's certificate, and what he sends with it, as PEM. A check can do without.
	Chain string `json:"chain,omitempty"`
}

// AuthorityCheck is the answer of a check.
type AuthorityCheck struct {
	OK bool `json:"ok"`
	// Fetches are the lists that were fetched for the check.
	Fetches []FetchResult `json:"fetches,omitempty"`
	// Warnings are those of the authority afterwards.
	Warnings []string `json:"warnings,omitempty"`
	// Verdict is about the chain, if one was given.
	Verdict *CertificateVerdict `json:"verdict,omitempty"`
}

// FetchResult is what came of one fetch.
type FetchResult struct {
	Source string `json:"source"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail,omitempty"`
}

// CertificateVerdict says what the callers' listener makes of a certificate now.
type CertificateVerdict struct {
	OK bool `json:"ok"`
	// Authority is whose it is: "" for our own CA, and for nobody's.
	Authority string `json:"authority,omitempty"`
	// Identity is whom it stands for.
	Identity string `json:"identity,omitempty"`
	// Mapping is the rule by which it does; nil for our own CA, whose certificates are bound.
	Mapping *identity.Mapping `json:"mapping,omitempty"`
	// Revocation says how it was found out whether it was revoked.
	Revocation string `json:"revocation,omitempty"`
	// Reason and Detail say why it is refused.
	Reason pki.Reason `json:"reason,omitempty"`
	Detail string     `json:"detail,omitempty"`

	Subject     string               `json:"subject"` // as RFC 4514 writes it, or "" when a mapping by subject cannot be
	SPIFFE      string               `json:"spiffe,omitempty"`
	DNS         []string             `json:"dns,omitempty"`
	Serial      string               `json:"serial"`
	Fingerprint identity.Fingerprint `json:"fingerprint"`
	NotAfter    time.Time            `json:"not_after"`
}
