package admin

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/pki/external"
)

// maxListBody bounds the body of an upload: a revocation list of some 30 MiB in PEM.
const maxListBody = 48 << 20

// limit bounds a request's body.
func (e *endpoint) limit() int64 {
	if e.path == "authorities/{name}/crl" {
		return maxListBody
	}
	return maxBody
}

func listAuthorities(s *Server, c *call) (any, error) {
	list := []Authority{}
	for _, e := range s.Registry.Snapshot().Authorities().All() {
		list = append(list, authorityView(e, time.Now()))
	}
	return page(c, list, func(a Authority) string { return a.Name })
}

// showAuthority shows one, with what this node and the database know about its certificates and lists.
func showAuthority(s *Server, c *call) (any, error) {
	e, ok := s.Registry.Snapshot().Authorities().Find(c.name)
	if !ok {
		return nil, absent(identity.ObjectAuthority, c.name)
	}
	v := authorityView(e, time.Now())
	fetches, err := s.Registry.Fetches(c.Context())
	if err != nil {
		return nil, err
	}
	for _, f := range fetches {
		if f.Authority == c.name {
			v.Fetches = append(v.Fetches, f)
			if f.Error != "" {
				v.Warnings = append(v.Warnings, fmt.Sprintf("fetching %s fails: %s", f.Source, f.Error))
			}
		}
	}
	if s.External != nil {
		v.Seen = s.External.Seen(c.name)
	}
	return v, c.tag(e.Authority)
}

func authorityView(e *identity.AuthorityEntry, now time.Time) Authority {
	v := Authority{Authority: *e.Authority, Mappings: append([]identity.Mapping{}, e.Mappings...), Blocks: append([]identity.Block{}, e.Blocks...),
		Lists: []identity.RevocationList{}, Certificates: []AuthorityCertificate{}, Warnings: external.Warnings(e, now)}
	for _, l := range e.Lists {
		v.Lists = append(v.Lists, *l)
	}
	anchors, _ := e.Authority.Anchors()
	helpers, _ := e.Authority.Helpers()
	for i, c := range append(anchors, helpers...) {
		v.Certificates = append(v.Certificates, AuthorityCertificate{
			Subject: c.Subject.String(), Issuer: c.Issuer.String(), Serial: pki.FormatSerial(c.SerialNumber), Fingerprint: identity.FingerprintOf(c.Raw),
			Anchor: i < len(anchors), NotBefore: c.NotBefore, NotAfter: c.NotAfter,
		})
	}
	return v
}

func addAuthority(s *Server, c *call) (any, error) {
	return add("authority", "authorities", func(tx *identity.Tx, ctx context.Context, a identity.Authority) (identity.Authority, error) {
		if err := a.Validate(); err != nil {
			return a, err
		}
		if err := external.Check(&a, s.CA.Trust()); err != nil {
			return a, err
		}
		return tx.AddAuthority(ctx, a)
	}, func(a *identity.Authority) string { return a.Name })(s, c)
}

func setAuthority(s *Server, c *call) (any, error) {
	return set("authority", (*identity.Tx).Authority, func(tx *identity.Tx, ctx context.Context, a identity.Authority) (identity.Authority, error) {
		if err := a.Validate(); err != nil {
			return a, err
		}
		if err := external.Check(&a, s.CA.Trust()); err != nil {
			return a, err
		}
		return tx.SetAuthority(ctx, a)
	})(s, c)
}

func removeAuthority(s *Server, c *call) (any, error) {
	cascade, err := c.query.truth("cascade")
	if err != nil {
		return nil, err
	}
	return nil, s.change(c, identity.ObjectAuthority, "remove", func(tx *identity.Tx) (act, error) {
		e, err := tx.AuthorityEntry(c.name)
		if err != nil {
			return act{}, err
		}
		return act{c.name, map[string]any{"cascade": cascade, "mappings": len(e.Mappings)}}, tx.RemoveAuthority(c.Context(), c.name, cascade)
	})
}

// mapAuthority adds a rule. Names of our own trust domain are our own CA's to give.
func mapAuthority(s *Server, c *call) (any, error) {
	var m identity.Mapping
	if err := c.decode(&m); err != nil {
		return nil, err
	}
	if own := "spiffe://" + s.CA.TrustDomain() + "/"; m.Kind == identity.MapSPIFFE && strings.HasPrefix(m.Value, own) {
		return nil, invalid("value", "SPIFFE IDs of "+own+" are given by our own CA only", "have the authority use its own trust domain")
	}
	err := s.change(c, identity.ObjectAuthority, "map", func(tx *identity.Tx) (_ act, err error) {
		m, err = tx.AddMapping(c.Context(), c.name, m)
		return act{c.name, m}, err
	})
	return m, err
}

func unmapAuthority(s *Server, c *call) (any, error) {
	var m identity.Mapping
	if err := c.decode(&m); err != nil {
		return nil, err
	}
	err := s.change(c, identity.ObjectAuthority, "unmap", func(tx *identity.Tx) (_ act, err error) {
		m, err = tx.RemoveMapping(c.Context(), c.name, m)
		return act{c.name, m}, err
	})
	return m, err
}

func blockCertificate(s *Server, c *call) (any, error) {
	var q BlockRequest
	if err := c.decode(&q); err != nil {
		return nil, err
	}
	var b identity.Block
	err := s.change(c, identity.ObjectAuthority, "block", func(tx *identity.Tx) (_ act, err error) {
		b, err = tx.AddBlock(c.Context(), c.name, q.Certificate, q.Reason)
		return act{c.name, b}, err
	})
	return b, err
}

func unblockCertificate(s *Server, c *call) (any, error) {
	var q BlockRequest
	if err := c.decode(&q); err != nil {
		return nil, err
	}
	var b identity.Block
	err := s.change(c, identity.ObjectAuthority, "unblock", func(tx *identity.Tx) (_ act, err error) {
		b, err = tx.RemoveBlock(c.Context(), c.name, q.Certificate)
		return act{c.name, b}, err
	})
	return b, err
}

// putList takes a revocation list that an administrator brings. From then on the authority requires lists.
func putList(s *Server, c *call) (any, error) {
	var q ListRequest
	if err := c.decode(&q); err != nil {
		return nil, err
	}
	if q.CRL == "" || q.Source != "" {
		return nil, invalid("crl", "the list is missing, or source is given with it", "give the revocation list as PEM, and nothing else")
	}
	var list identity.RevocationList
	err := s.change(c, identity.ObjectAuthority, "crl", func(tx *identity.Tx) (act, error) {
		a, err := tx.Authority(c.name)
		if err != nil {
			return act{}, err
		}
		if list, err = external.ReadCRL(&a, "", []byte(q.CRL), time.Now()); err != nil {
			return act{}, invalid("crl", "the revocation list is not believed: "+err.Error(), "give a current list that the authority's own CA has signed")
		}
		if !a.CRLRequired {
			a.CRLRequired = true
			if _, err := tx.SetAuthority(c.Context(), a); err != nil {
				return act{}, err
			}
		}
		if _, err := tx.PutRevocationList(c.Context(), c.name, list); err != nil {
			return act{}, err
		}
		return act{c.name, list}, nil
	})
	return list, err
}

func removeList(s *Server, c *call) (any, error) {
	var q ListRequest
	if err := c.decode(&q); err != nil {
		return nil, err
	}
	if q.Source == "" || q.CRL != "" {
		return nil, invalid("source", "missing, or crl is given with it", "give the source that the authority shows")
	}
	return nil, s.change(c, identity.ObjectAuthority, "crl_remove", func(tx *identity.Tx) (act, error) {
		if err := tx.RemoveRevocationList(c.Context(), c.name, q.Source); err != nil {
			return act{}, err
		}
		return act{c.name, map[string]string{"source": q.Source}}, nil
	})
}

// checkAuthority fetches the authority's lists now and, when a chain is given, says what the listener makes of it.
func checkAuthority(s *Server, c *call) (any, error) {
	var q ChainRequest
	if err := c.decode(&q); err != nil {
		return nil, err
	}
	e, ok := s.Registry.Snapshot().Authorities().Find(c.name)
	if !ok {
		return nil, absent(identity.ObjectAuthority, c.name)
	}
	answer := AuthorityCheck{OK: true}
	for _, url := range e.Authority.CRLURLs {
		r := FetchResult{Source: url, OK: true}
		if s.Lists == nil {
			break
		}
		if err := s.Lists.FetchNow(c.Context(), e.Authority, url); err != nil {
			r.OK, r.Detail, answer.OK = false, err.Error(), false
		}
		answer.Fetches = append(answer.Fetches, r)
	}
	if e, ok = s.Registry.Snapshot().Authorities().Find(c.name); ok {
		answer.Warnings = external.Warnings(e, time.Now())
	}
	answer.OK = answer.OK && len(answer.Warnings) == 0
	if q.Chain == "" {
		return answer, nil
	}
	verdict, err := s.judge(c.Context(), q.Chain)
	if err != nil {
		return nil, err
	}
	answer.Verdict = verdict
	answer.OK = answer.OK && verdict.OK && verdict.Authority == c.name
	if verdict.OK && verdict.Authority != c.name {
		verdict.Detail = "acceptable, but not by this authority"
	}
	return answer, nil
}

func verifyChain(s *Server, c *call) (any, error) {
	var q ChainRequest
	if err := c.decode(&q); err != nil {
		return nil, err
	}
	if q.Chain == "" {
		return nil, invalid("chain", "missing", "give the certificate, and what is sent with it, as PEM")
	}
	return s.judge(c.Context(), q.Chain)
}

// judge does what the listener does at a handshake and for the request after it.
func (s *Server) judge(ctx context.Context, text string) (*CertificateVerdict, error) {
	chain, err := pki.ParseCertificates([]byte(text))
	if err != nil {
		return nil, invalid("chain", "the chain cannot be read: "+err.Error(), "give certificates as PEM, the caller's own first")
	}
	leaf, now, snap := chain[0], time.Now(), s.Registry.Snapshot()
	v := &CertificateVerdict{Serial: pki.FormatSerial(leaf.SerialNumber), Fingerprint: identity.FingerprintOf(leaf.Raw), NotAfter: leaf.NotAfter,
		Subject: identity.SubjectName(leaf.RawSubject).String(), DNS: leaf.DNSNames}
	if len(leaf.URIs) == 1 && leaf.URIs[0].Scheme == "spiffe" {
		v.SPIFFE = leaf.URIs[0].String()
	}
	refuse := func(reason pki.Reason, detail string) { v.OK, v.Reason, v.Detail = false, reason, detail }
	ownErr := s.CA.Trust().VerifyClient(chain, now)
	if ownErr == nil {
		s.judgeOwn(v, snap, refuse)
		return v, nil
	}
	if snap.Authorities() == nil || s.External == nil {
		refuse(pki.Untrusted, ownErr.Error())
		if r, ok := errors.AsType[*pki.RejectedError](ownErr); ok {
			v.Reason = r.Reason
		}
		return v, nil
	}
	verdict, err := s.External.Judge(snap.Authorities(), chain, now)
	if err == nil && verdict.Pending {
		if e, ok := snap.Authorities().Find(verdict.Authority); ok {
			s.External.Await(ctx, e.Authority, verdict)
			verdict, err = s.External.Judge(snap.Authorities(), chain, time.Now())
		}
	}
	if err != nil {
		refuse(pki.Untrusted, err.Error())
		if r, ok := errors.AsType[*external.RejectedError](err); ok {
			v.Authority, v.Identity, v.Reason = r.Authority, r.Identity, r.Reason
		}
		return v, nil
	}
	v.OK, v.Authority, v.Identity, v.Mapping, v.Revocation = true, verdict.Authority, verdict.Identity, &verdict.Mapping, verdict.Revocation
	switch holder, ok := snap.Identity(verdict.Identity); {
	case verdict.Pending && !verdict.Optional:
		refuse(external.NotRevealed, "the answer of the responder is awaited")
	case !ok:
		refuse(external.NoSuchSubject, "there is no identity "+verdict.Identity+", which the mapping names")
	case holder.Disabled:
		refuse(external.TurnedOff, "identity "+verdict.Identity+" is disabled")
	}
	return v, nil
}

// judgeOwn goes on with a certificate of our own CA.
func (s *Server) judgeOwn(v *CertificateVerdict, snap *identity.Snapshot, refuse func(pki.Reason, string)) {
	v.OK = true
	v.Revocation = "by the registry"
	b, bound := snap.Binding(v.Fingerprint)
	switch {
	case !bound:
		refuse(external.NoRule, "certificate is not bound to an identity")
		return
	case b.Certificate.Revoked():
		refuse(pki.Revoked, "certificate is revoked")
	case b.Identity.Disabled:
		refuse(external.TurnedOff, "identity "+b.Identity.Name+" is disabled")
	}
	v.Identity = b.Identity.Name
}
