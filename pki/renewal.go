package pki

import (
	"crypto/x509"
	"time"
)

// RenewalLifetime is the lifetime that a certificate in the place of old is to have: the one that old was issued with, as far as the client
// profile allows it, and the profile's own (0) when old's was cut to the end of its issuer, or when it cannot be told. The issuer is looked for
// among those that are trusted, and not in what a caller sends: he would choose his lifetime by it.
func (t *Trust) RenewalLifetime(old *x509.Certificate) time.Duration {
	for _, c := range t.intermediates {
		if c.NotAfter.Equal(old.NotAfter) && old.CheckSignatureFrom(c) == nil {
			return 0
		}
	}
	lifetime := old.NotAfter.Sub(old.NotBefore) - backdate
	if _, err := ClientProfile().lifetime(lifetime); err != nil {
		return 0
	}
	return lifetime
}
