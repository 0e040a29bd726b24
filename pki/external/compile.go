package external

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/pki"
)

// authority is an entry of the registry, made ready to judge by. It is immutable.
type authority struct {
	entry   *identity.AuthorityEntry
	trust   *pki.Trust
	names   map[string]bool // subjects of anchors and intermediates
	problem error           // why nothing can be judged by it
	// lists returns the revocation lists, and the addresses that have not given one yet. The first who asks reads them.
	lists func() (lists []*list, awaited []string)
}

// list is a revocation list whose signature was found good.
type list struct {
	stored  *identity.RevocationList
	issuer  *x509.Certificate
	revoked map[string]time.Time // by serial number, as [pki.FormatSerial] has it
}

// by reports whether the list is issuer's: the same name and key. (A cross-signed CA has several certificates.)
func (l *list) by(issuer *x509.Certificate) bool {
	return bytes.Equal(l.issuer.RawSubject, issuer.RawSubject) && bytes.Equal(l.issuer.RawSubjectPublicKeyInfo, issuer.RawSubjectPublicKeyInfo)
}

// reading is a list that is read when it is asked for: a long one takes a good part of a second, for which only those wait who are judged by it.
type reading struct {
	mu   sync.Mutex // guards done
	done *list
}

// read returns the list, nil when it is none of the certificates'.
func (r *reading) read(stored *identity.RevocationList, certificates []*x509.Certificate) *list {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.done == nil || !r.done.among(certificates) {
		r.done, _ = readStored(stored, certificates) // of a CA that is no longer among the authority's: it is as if there were none
	}
	return r.done
}

// compiler turns entries into authorities and keeps what did not change, so that a new rule does not cost reading a long list again.
type compiler struct {
	mu       sync.Mutex // guards what follows
	of       *identity.Authorities
	all      []*authority
	compiled map[*identity.AuthorityEntry]*authority
	lists    map[*identity.RevocationList]*reading
}

// get returns the authorities of a snapshot.
func (c *compiler) get(of *identity.Authorities) []*authority {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.of == of && c.all != nil {
		return c.all
	}
	all := make([]*authority, 0, len(of.All()))
	compiled, lists := map[*identity.AuthorityEntry]*authority{}, map[*identity.RevocationList]*reading{}
	for _, e := range of.All() {
		for _, stored := range e.Lists {
			if lists[stored] = c.lists[stored]; lists[stored] == nil {
				lists[stored] = new(reading)
			}
		}
		a := c.compiled[e]
		if a == nil {
			a = compile(e, lists)
		}
		compiled[e] = a
		all = append(all, a)
	}
	c.of, c.all, c.compiled, c.lists = of, all, compiled, lists
	return all
}

func compile(e *identity.AuthorityEntry, readings map[*identity.RevocationList]*reading) *authority {
	a := &authority{entry: e}
	var certificates []*x509.Certificate
	if a.trust, certificates, a.problem = trustOf(e.Authority); a.problem != nil {
		return a
	}
	a.names = make(map[string]bool, len(certificates))
	for _, c := range certificates {
		a.names[string(c.RawSubject)] = true
	}
	all := make([]*reading, len(e.Lists))
	for i, stored := range e.Lists {
		all[i] = readings[stored]
	}
	a.lists = sync.OnceValues(func() (lists []*list, awaited []string) {
		seen := map[string]bool{}
		for i, stored := range e.Lists {
			if l := all[i].read(stored, certificates); l != nil {
				seen[stored.Source] = true
				lists = append(lists, l)
			}
		}
		for _, url := range e.Authority.CRLURLs {
			if !seen[url] {
				awaited = append(awaited, url)
			}
		}
		return lists, awaited
	})
	return a
}

func (l *list) among(certificates []*x509.Certificate) bool {
	for _, c := range certificates {
		if l.by(c) {
			return true
		}
	}
	return false
}

// trustOf reads an authority's certificates. The second result are all of them.
func trustOf(a *identity.Authority) (*pki.Trust, []*x509.Certificate, error) {
	anchors, err := a.Anchors()
	if err != nil {
		return nil, nil, err
	}
	helpers, err := a.Helpers()
	if err != nil {
		return nil, nil, err
	}
	trust, err := pki.NewTrust(anchors, helpers)
	return trust, append(anchors, helpers...), err
}

// Check says whether an authority can be believed beside our own CA: its certificates may lawfully issue others, and none has the key of one of ours. The
// error is an *[identity.Error].
func Check(a *identity.Authority, own *pki.Trust) error {
	fail := func(field, message, hint string) error {
		return &identity.Error{Code: identity.ErrInvalid, Object: identity.ObjectAuthority, Name: a.Name, Field: field, Message: message, Hint: hint}
	}
	_, all, err := trustOf(a)
	if err != nil {
		return fail("ca", err.Error(), "have the CA's certificate made as RFC 5280 asks, or use another of its certificates")
	}
	for _, c := range all {
		if isOurs(c, own) {
			return fail("ca", fmt.Sprintf("%q has the key of our own CA", c.Subject.String()), "certificates of our own CA are bound when they are issued (cert issue), and need no mapping")
		}
	}
	return nil
}

func isOurs(c *x509.Certificate, own *pki.Trust) bool {
	if own == nil {
		return false
	}
	for _, o := range append(own.Roots(), own.Intermediates()...) {
		if bytes.Equal(o.RawSubjectPublicKeyInfo, c.RawSubjectPublicKeyInfo) {
			return true
		}
	}
	return false
}

// ReadCRL reads and verifies a list of one of the authority's CAs as it is at the time now. source is where it came from, "" for an upload.
func ReadCRL(a *identity.Authority, source string, b []byte, now time.Time) (identity.RevocationList, error) {
	parsed, err := pki.ParseCRLs(b)
	if err != nil {
		return identity.RevocationList{}, err
	}
	if len(parsed) != 1 {
		return identity.RevocationList{}, fmt.Errorf("there are %d lists in it, not one", len(parsed))
	}
	_, certificates, err := trustOf(a)
	if err != nil {
		return identity.RevocationList{}, err
	}
	issuer, err := issuerOf(parsed[0], certificates, now)
	if err != nil {
		return identity.RevocationList{}, err
	}
	if source == "" {
		source = identity.UploadSource(pki.PublicID(&x509.Certificate{Raw: append(bytes.Clone(issuer.RawSubject), issuer.RawSubjectPublicKeyInfo...)}))
	}
	crl := parsed[0]
	return identity.RevocationList{
		Source: source, Issuer: issuer.Subject.String(), Number: crl.Number.String(), ThisUpdate: crl.ThisUpdate, NextUpdate: crl.NextUpdate,
		Entries: len(crl.RevokedCertificateEntries), Fetched: now.UTC(), DER: crl.Raw,
	}, nil
}

// issuerOf finds who has signed a list; the error is why the last candidate has not.
func issuerOf(crl *x509.RevocationList, candidates []*x509.Certificate, now time.Time) (*x509.Certificate, error) {
	err := fmt.Errorf("it is of %q, which is not among the authority's certificates: give the CA that signs it with --ca or --intermediates", crl.Issuer.String())
	for _, c := range candidates {
		if !bytes.Equal(c.RawSubject, crl.RawIssuer) {
			continue
		}
		if err = pki.CheckCRL(crl, c, now); err == nil {
			return c, nil
		}
	}
	return nil, err
}

// readStored makes a stored list ready. When it is stale is judged each time that it is asked.
func readStored(stored *identity.RevocationList, certificates []*x509.Certificate) (*list, error) {
	crl, err := x509.ParseRevocationList(stored.DER)
	if err != nil {
		return nil, err
	}
	issuer, err := issuerOf(crl, certificates, crl.ThisUpdate)
	if err != nil {
		return nil, err
	}
	l := &list{stored: stored, issuer: issuer, revoked: make(map[string]time.Time, len(crl.RevokedCertificateEntries))}
	for _, e := range crl.RevokedCertificateEntries {
		if e.SerialNumber == nil {
			return nil, errors.New("an entry has no serial number")
		}
		if e.ReasonCode != 8 { // removeFromCRL
			l.revoked[pki.FormatSerial(e.SerialNumber)] = e.RevocationTime
		}
	}
	return l, nil
}
