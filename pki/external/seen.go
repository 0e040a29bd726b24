package external

import (
	"cmp"
	"crypto/x509"
	"slices"
	"sync"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/pki"
)

// Seen is a certificate that a caller has shown to this node since it began.
type Seen struct {
	Fingerprint identity.Fingerprint `json:"fingerprint"`
	Serial      string               `json:"serial"`
	Subject     string               `json:"subject"`
	Issuer      string               `json:"issuer"`
	NotAfter    time.Time            `json:"not_after"`
	Identity    string               `json:"identity,omitempty"` // whom it stood for
	Refused     string               `json:"refused,omitempty"`  // why it stood for nobody, the last time
	First       time.Time            `json:"first"`
	Last        time.Time            `json:"last"`
	Handshakes  int                  `json:"handshakes"`
}

// maxSeen bounds what is kept of one authority; the one that came longest ago makes room. Whoever has certificates of an authority can fill it.
const maxSeen = 1000

// seen remembers what certificates came, in memory.
type seen struct {
	mu sync.Mutex // guards by
	by map[string]map[identity.Fingerprint]*Seen
}

// Note remembers that a caller has shown a certificate of an authority, and what was found.
func (v *Verifier) Note(authority, who string, refused error, leaf *x509.Certificate, now time.Time) {
	if authority == "" {
		return
	}
	f := identity.FingerprintOf(leaf.Raw)
	v.seen.mu.Lock()
	defer v.seen.mu.Unlock()
	if v.seen.by == nil {
		v.seen.by = map[string]map[identity.Fingerprint]*Seen{}
	}
	all := v.seen.by[authority]
	if all == nil {
		all = map[identity.Fingerprint]*Seen{}
		v.seen.by[authority] = all
	}
	s := all[f]
	if s == nil {
		if len(all) >= maxSeen {
			var oldest *Seen
			for _, o := range all {
				if oldest == nil || o.Last.Before(oldest.Last) {
					oldest = o
				}
			}
			delete(all, oldest.Fingerprint)
		}
		s = &Seen{Fingerprint: f, Serial: pki.FormatSerial(leaf.SerialNumber), Subject: leaf.Subject.String(), Issuer: leaf.Issuer.String(), NotAfter: leaf.NotAfter, First: now}
		all[f] = s
	}
	s.Last, s.Identity, s.Refused = now, who, ""
	s.Handshakes++
	if refused != nil {
		s.Refused = refused.Error()
	}
}

// Seen returns the certificates of an authority that came to this node since it began, the last first.
func (v *Verifier) Seen(authority string) []Seen {
	v.seen.mu.Lock()
	defer v.seen.mu.Unlock()
	all := make([]Seen, 0, len(v.seen.by[authority]))
	for _, s := range v.seen.by[authority] {
		all = append(all, *s)
	}
	slices.SortFunc(all, func(a, b Seen) int { return cmp.Or(b.Last.Compare(a.Last), cmp.Compare(a.Serial, b.Serial)) })
	return all
}
