package identity

import (
	"crypto/x509"
	"encoding/pem"
	"time"
)

// Expired reports whether the credential is known to have ended at or before now.
func (c *Credential) Expired(now time.Time) bool {
	return !c.NotAfter.IsZero() && !now.Before(c.NotAfter)
}

const day = 24 * time.Hour

// longestWarning is the most that warnings come before an end.
const longestWarning = 30 * day

// warning is how long before its end something that lives so long is warned of: the thresholds at which SAP's Destination service renews the certificates that it
// makes itself.
func warning(lifetime time.Duration) time.Duration {
	switch {
	case lifetime >= 155*day:
		return longestWarning
	case lifetime >= 32*day:
		return 7 * day
	case lifetime >= 15*day:
		return 3 * day
	case lifetime >= 2*day:
		return day
	}
	return 12 * time.Hour
}

// WarnFrom returns from when on the end of the credential is near: between 30 days before it, for one that lives half a year or longer, and 12 hours before it, for
// one that lives a day. It is zero when no end is known.
func (c *Credential) WarnFrom() time.Time {
	if c.NotAfter.IsZero() {
		return time.Time{}
	}
	return c.NotAfter.Add(-warning(c.NotAfter.Sub(c.begin())))
}

// begin is when the certificate became valid or, for a secret, was made known here: when the vendor made it is not known.
func (c *Credential) begin() time.Time {
	if block, _ := pem.Decode([]byte(c.Certificate)); block != nil {
		if leaf, err := x509.ParseCertificate(block.Bytes); err == nil {
			return leaf.NotBefore
		}
	}
	return c.Created
}

// EndsSoon reports whether the end of the credential is near or over.
func (c *Credential) EndsSoon(now time.Time) bool {
	if c.NotAfter.IsZero() || c.NotAfter.Sub(now) > longestWarning { // spares the reading of certificates
		return false
	}
	return !now.Before(c.WarnFrom())
}

// NeedsSuccessor reports whether the end of a credential is near and its identity has no other one for the tenant that lives on.
func (s *Snapshot) NeedsSuccessor(c *Credential, now time.Time) bool {
	if !c.EndsSoon(now) {
		return false
	}
	for _, other := range s.Credentials(c.Identity, c.Tenant) {
		if !other.EndsSoon(now) {
			return false
		}
	}
	return true
}
