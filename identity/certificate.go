package identity

import "time"

// Certificate is an inbound X.509 certificate that is bound to one identity by its full fingerprint. An identity may hold several,
// so that a renewal can overlap. The certificate itself is not stored here, only what the registry decides and reports by.
type Certificate struct {
	// Fingerprint is the certificate's key.
	Fingerprint Fingerprint `json:"fingerprint"`
	// Identity is the name of the identity that the certificate stands for. It never changes.
	Identity string `json:"identity"`
	// Serial is the serial number as lower-case hexadecimal digits, no colons.
	Serial string `json:"serial"`
	// Subject is the distinguished name, for people to read. Nothing is decided by it.
	Subject string `json:"subject"`
	// NotBefore and NotAfter are the certificate's own bounds. Who verifies the certificate enforces them; the registry does not.
	NotBefore time.Time `json:"not_before,omitzero"`
	NotAfter  time.Time `json:"not_after,omitzero"`
	// Created is when the certificate was bound. The registry sets it.
	Created time.Time `json:"created,omitzero"`
	// RevokedAt is when the certificate was revoked; zero means that it was not.
	RevokedAt time.Time `json:"revoked_at,omitzero"`
	// RevocationReason is the reason given, by the names of RFC 5280, 5.3.1 (keyCompromise, superseded, ...); "" is none.
	RevocationReason string `json:"revocation_reason,omitempty"`
}

// Revoked reports whether the certificate was revoked, whatever the time given for it.
func (c *Certificate) Revoked() bool { return !c.RevokedAt.IsZero() }

// Expired reports whether the certificate's validity ended at or before now.
func (c *Certificate) Expired(now time.Time) bool { return !now.Before(c.NotAfter) }

// Validate returns an *[Error] with code [ErrInvalid] for the first field that cannot be stored, or nil.
func (c Certificate) Validate() error {
	v := validation{object: ObjectCertificate, name: c.Fingerprint.String()}
	if c.Fingerprint.IsZero() {
		v.fail("fingerprint", "missing", "give the SHA-256 digest of the certificate's DER encoding")
	}
	v.key("identity", c.Identity)
	if !hexDigits(c.Serial) {
		v.fail("serial", "not lower-case hexadecimal digits", "write the serial number like 3f9a01, without colons")
	}
	v.text("subject", c.Subject)
	if !c.NotAfter.After(c.NotBefore) {
		v.fail("not_after", "not after not_before", "give the validity that stands in the certificate")
	}
	v.text("revocation_reason", c.RevocationReason)
	return v.err()
}

func hexDigits(s string) bool {
	if s == "" || len(s) > 64 {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
