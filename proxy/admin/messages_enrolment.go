package admin

import (
	"time"

	"github.com/tenantgate/tenantgate/identity"
)

// EnrolmentTokenRequest is the body of POST /v1/identities/{name}/enrolment-tokens. Every member may be left out.
type EnrolmentTokenRequest struct {
	// Valid is for how long the token may be used, 1m to 168h; 0 is an hour.
	Valid identity.Duration `json:"valid,omitempty"`
	// For is the host name, address or network from which alone it may be used; "" is anywhere.
	For string `json:"for,omitempty"`
	// KeyFingerprint is the SHA-256 of the public key (SubjectPublicKeyInfo) for which alone it is good, in hex; "" is any key.
	KeyFingerprint string `json:"key_fingerprint,omitempty"`
	// Lifetime of the certificate; 0 is the client profile's default.
	Lifetime identity.Duration `json:"lifetime,omitempty"`
}

// EnrolmentToken is a token as lists show it: what it is good for, and not its text.
type EnrolmentToken struct {
	ID             string            `json:"id"`
	Identity       string            `json:"identity"`
	State          string            `json:"state"` // open, used, expired or withdrawn
	For            string            `json:"for,omitempty"`
	KeyFingerprint string            `json:"key_fingerprint,omitempty"`
	Lifetime       identity.Duration `json:"lifetime,omitempty"`
	Created        time.Time         `json:"created"`
	Expires        time.Time         `json:"expires"`
	Used           time.Time         `json:"used,omitzero"`
	Serial         string            `json:"serial,omitempty"` // of the certificate that it was used for
	Withdrawn      time.Time         `json:"withdrawn,omitzero"`
}

// NewEnrolmentToken is the answer to an [EnrolmentTokenRequest].
type NewEnrolmentToken struct {
	EnrolmentToken
	// Token is the text to hand to whoever sets up the caller. It is a secret, and is told this once.
	Token string `json:"token"`
	// URL is where it is used, and RootFingerprint the SHA-256 of the root that the server there leads to, in hex. Both are in the token, too.
	URL             string `json:"url"`
	RootFingerprint string `json:"root_fingerprint"`
}
