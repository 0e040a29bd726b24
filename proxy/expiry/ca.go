package expiry

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"slices"
	"time"

	"github.com/tenantgate/tenantgate/pki"
)

// administratorsShown is for how long the ended certificate of an administrator is shown who has no other: people leave.
const administratorsShown = 30 * day

// maxListed bounds what is read of the CA's records for one list.
const maxListed = 10000

// Administrators is the source of administrators' certificates. One is replaced when the administrator of its name has one that ends later.
func Administrators(ca *pki.CA) Source {
	return func(ctx context.Context, now time.Time, yield func(Item) bool) error {
		records, err := ca.Certificates(ctx, pki.Filter{Profile: pki.AdminProfile().String(), ExpiresAfter: now.Add(-administratorsShown), Limit: maxListed})
		if err != nil {
			return err
		}
		latest := map[string]time.Time{}
		for _, r := range records {
			if r.RevokedAt.IsZero() && r.NotAfter.After(latest[r.Name]) {
				latest[r.Name] = r.NotAfter
			}
		}
		for _, r := range records {
			if !r.RevokedAt.IsZero() {
				continue
			}
			i := Item{Kind: KindAdministrator, ID: r.Serial, Name: r.Name, Expires: r.NotAfter, Warn: Warning(r.NotAfter.Sub(r.NotBefore)),
				Command: "tenantgate cert issue " + r.Name + " --admin --out DIR"}
			if latest[r.Name].After(r.NotAfter) {
				if !r.NotAfter.After(now) {
					continue
				}
				i.State = Replaced
			}
			if !yield(i) {
				return nil
			}
		}
		return nil
	}
}

// Tokens is the source of enrolment tokens that can be used. That one ends is no reason to do anything.
func Tokens(ca *pki.CA) Source {
	return func(ctx context.Context, now time.Time, yield func(Item) bool) error {
		tokens, err := ca.EnrolmentTokens(ctx, "")
		if err != nil {
			return err
		}
		for _, t := range tokens {
			if !t.Withdrawn.IsZero() || t.Serial != "" || !now.Before(t.Expires) {
				continue
			}
			if !yield(Item{Kind: KindToken, ID: t.ID, Name: t.Name, Expires: t.Expires, Command: "tenantgate cert token " + t.Name}) {
				return nil
			}
		}
		return nil
	}
}

// Certificates is the source of certificates of one kind that are asked for each time, those of listeners, by their names.
func Certificates(kind, command string, automatic bool, all func() map[string]*x509.Certificate) Source {
	return func(_ context.Context, _ time.Time, yield func(Item) bool) error {
		for name, c := range all() {
			i := certificate(kind, name, c)
			i.Automatic, i.Command = automatic, command
			if !yield(i) {
				return nil
			}
		}
		return nil
	}
}

// certificate is the item of one certificate.
func certificate(kind, name string, c *x509.Certificate) Item {
	sum := sha256.Sum256(c.Raw)
	return Item{Kind: kind, ID: hex.EncodeToString(sum[:]), Name: name, Expires: c.NotAfter, Warn: Warning(c.NotAfter.Sub(c.NotBefore))}
}

// Lineage is the source of the CA's own certificates of one kind. One that is retiring is replaced: another one does its work. One that signs is not, whatever
// waits to follow it. What was never known to sign (further roots in the directory) is replaced when there is one that began and ends later.
func Lineage(kind, command string, ca *pki.CA, all func() []*x509.Certificate) Source {
	return lineage(kind, command, ca.AuthorityState, all)
}

func lineage(kind, command string, stateOf func(*x509.Certificate) pki.AuthorityState, all func() []*x509.Certificate) Source {
	return func(_ context.Context, _ time.Time, yield func(Item) bool) error {
		certificates := all()
		for name, c := range Authorities(certificates) {
			i := certificate(kind, name, c)
			i.Command = command
			if state := stateOf(c); state == pki.AuthorityRetiring || state == "" && followed(c, certificates) {
				i.State = Replaced
			}
			if !yield(i) {
				return nil
			}
		}
		return nil
	}
}

// followed reports whether there is a certificate that began and ends later.
func followed(c *x509.Certificate, all []*x509.Certificate) bool {
	return slices.ContainsFunc(all, func(other *x509.Certificate) bool {
		return other.NotBefore.After(c.NotBefore) && other.NotAfter.After(c.NotAfter)
	})
}

// Authorities names a CA's certificates: by their subjects, several of the same subject by their fingerprints, too.
func Authorities(list []*x509.Certificate) map[string]*x509.Certificate {
	named := make(map[string]*x509.Certificate, len(list))
	for _, c := range list {
		name := c.Subject.CommonName
		if name == "" {
			name = c.Subject.String()
		}
		if _, taken := named[name]; taken {
			sum := sha256.Sum256(c.Raw)
			name += " " + hex.EncodeToString(sum[:4])
		}
		named[name] = c
	}
	return named
}

// RevocationList is the source of the published revocation list, nil while there is none. Another one follows after half of its life, so that a quarter is
// near.
func RevocationList(published func() *pki.CRL) Source {
	return func(_ context.Context, _ time.Time, yield func(Item) bool) error {
		if c := published(); c != nil {
			yield(Item{Kind: KindRevocationList, ID: c.Issuer, Name: "revocation list of " + c.Issuer, Expires: c.NextUpdate, Automatic: true,
				Warn: c.NextUpdate.Sub(c.ThisUpdate) / 4, Command: "tenantgate ca crl"})
		}
		return nil
	}
}
