package expiry

import (
	"crypto/x509"

	"github.com/tenantgate/tenantgate/pki"
)

// LineageOf is [Lineage] with states that a test wants.
func LineageOf(kind string, stateOf func(*x509.Certificate) pki.AuthorityState, all func() []*x509.Certificate) Source {
	return lineage(kind, "", stateOf, all)
}
