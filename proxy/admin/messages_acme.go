package admin

import (
	"time"

	"github.com/tenantgate/tenantgate/identity"
)

// ACMEKeyRequest is the body of POST /v1/identities/{name}/acme-keys.
type ACMEKeyRequest struct {
	// Hosts are the DNS names that the account may ask for: 1 to 32, without wildcards and addresses.
	Hosts []string `json:"hosts"`
	// Valid is for how long an account may register, 1m to 720h; 0 is a day.
	Valid identity.Duration `json:"valid,omitempty"`
	// Lifetime of the certificates; 0 is the client profile's default.
	Lifetime identity.Duration `json:"lifetime,omitempty"`
}

// ACMEKey is an external account binding (RFC 8555 section 7.3.4) as lists show it, without its secret.
type ACMEKey struct {
	ID       string            `json:"id"` // what clients call the key identifier
	Identity string            `json:"identity"`
	State    string            `json:"state"` // open, bound, ended, expired or removed
	Hosts    []string          `json:"hosts"`
	Lifetime identity.Duration `json:"lifetime,omitempty"`
	Created  time.Time         `json:"created"`
	Expires  time.Time         `json:"expires"`           // until when an account may register
	Bound    time.Time         `json:"bound,omitzero"`    // when one did
	Account  string            `json:"account,omitempty"` // which
	Removed  time.Time         `json:"removed,omitzero"`
}

// NewACMEKey is the answer to an [ACMEKeyRequest].
type NewACMEKey struct {
	ACMEKey
	// HMACKey is the MAC key, base64url. It is a secret, and is told this once.
	HMACKey string `json:"hmac_key"`
	// Directory is where an ACME client begins.
	Directory string `json:"directory"`
}
