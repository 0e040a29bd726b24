package identity

import (
	"slices"
	"strings"
	"time"
)

// MaxRenewGrace bounds [Identity.RenewGrace]: whoever has not renewed for 90 days is enrolled anew.
const MaxRenewGrace = 90 * 24 * time.Hour

// KeyTypes are the types of keys that [Identity.KeyTypes] may name, as package pki calls them.
func KeyTypes() []string {
	return []string{"Ed25519", "P-256", "P-384", "RSA-2048", "RSA-3072", "RSA-4096"}
}

// AllowsKey reports whether a key of this type may be certified for the identity.
func (i *Identity) AllowsKey(keyType string) bool {
	return len(i.KeyTypes) == 0 || slices.Contains(i.KeyTypes, keyType)
}

// enrolment checks how the identity's callers come by certificates.
func (v *validation) enrolment(i *Identity) {
	if g := time.Duration(i.RenewGrace); g < 0 || g > MaxRenewGrace {
		v.fail("renew_grace", g.String()+" is out of bounds", "give at most 2160h, or 0 to have no expired certificate renewed")
	}
	for _, k := range i.KeyTypes {
		if !slices.Contains(KeyTypes(), k) {
			v.fail("key_types", quoted(k)+" is not a type of key", "use "+strings.Join(KeyTypes(), ", ")+", or none for all of them")
		}
	}
}

// ValidCertificates counts the certificates of an identity that are neither revoked nor expired, as the transaction sees them.
func (tx *Tx) ValidCertificates(name string) int {
	h, ok := tx.draft.holders.get(name)
	if !ok {
		return 0
	}
	n := 0
	for _, c := range h.certificates {
		if !c.Revoked() && !c.Expired(tx.now) {
			n++
		}
	}
	return n
}
