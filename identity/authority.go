package identity

import (
	"cmp"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Authority is a CA beside our own whose certificates callers may show: a company's PKI, or SPIRE. Its certificates stand for nobody but by a [Mapping].
type Authority struct {
	// Name is the authority's key, formed like an identity's.
	Name string `json:"name"`
	// Description is free text of at most 1024 bytes.
	Description string `json:"description,omitempty"`
	// CA holds the anchors, one or several (a root and its successor), as PEM. A path that ends at one of them is a path of this authority.
	CA string `json:"ca"`
	// Intermediates are certificates, as PEM, that help to find a path to an anchor when callers do not send them, and to verify revocation lists; "" is none.
	Intermediates string `json:"intermediates,omitempty"`
	// IntermediateAnchor says that an anchor may be an intermediate, whose own issuer is not asked about it.
	IntermediateAnchor bool `json:"intermediate_anchor,omitempty"`
	// Disabled says that every certificate of the authority is refused.
	Disabled bool `json:"disabled"`
	// CRLRequired says that a certificate is accepted only when a current revocation list of its issuer is there. It is implied by CRLURLs.
	CRLRequired bool `json:"crl_required,omitempty"`
	// CRLURLs are where revocation lists are fetched, http or https. Each must have given a list before any certificate is accepted.
	CRLURLs []string `json:"crl_urls,omitempty"`
	// CRLRefresh is how often they are fetched, from a second to a week; 0 is an hour. Half of a list's remaining life is awaited at most.
	CRLRefresh Duration `json:"crl_refresh,omitempty"`
	// CRLOnStale is what becomes of a certificate whose issuer's list is stale or missing: [OnFaultRefuse] or [OnFaultAccept]; "" is the former.
	CRLOnStale string `json:"crl_on_stale,omitempty"`
	// OCSPURL is the responder that is asked about callers' certificates, http or https; "" is none.
	OCSPURL string `json:"ocsp_url,omitempty"`
	// OCSPFromCertificate says that, without OCSPURL, the responder is asked that the certificate itself names (authority information access).
	OCSPFromCertificate bool `json:"ocsp_from_certificate,omitempty"`
	// OCSPOnFailure is what becomes of a certificate about which no responder gives a believable answer: as CRLOnStale.
	OCSPOnFailure string `json:"ocsp_on_failure,omitempty"`
	// Created and Updated are set by the registry.
	Created time.Time `json:"created,omitzero"`
	Updated time.Time `json:"updated,omitzero"`
}

// What becomes of a certificate when it cannot be found out whether it was revoked.
const (
	OnFaultRefuse = "refuse"
	OnFaultAccept = "unsafe_accept" // whoever can cut this server off from the CA can go on with a stolen key
)

// DefaultCRLRefresh is how often a revocation list is fetched unless the authority says otherwise.
const DefaultCRLRefresh = time.Hour

// Bounds of one authority.
const (
	maxAnchors       = 16
	maxIntermediates = 64
	maxCRLURLs       = 16
)

// ChecksCRL reports whether revocation lists decide about the authority's certificates.
func (a *Authority) ChecksCRL() bool { return a.CRLRequired || len(a.CRLURLs) > 0 }

// ChecksOCSP reports whether a responder is asked about the authority's certificates.
func (a *Authority) ChecksOCSP() bool { return a.OCSPURL != "" || a.OCSPFromCertificate }

// Refresh is CRLRefresh with its default.
func (a *Authority) Refresh() time.Duration {
	return time.Duration(cmp.Or(a.CRLRefresh, Duration(DefaultCRLRefresh)))
}

// Anchors returns the parsed anchors, Helpers the intermediates. An error means that the row was altered.
func (a *Authority) Anchors() ([]*x509.Certificate, error) { return certificatesIn(a.CA) }

// Helpers returns the parsed intermediates.
func (a *Authority) Helpers() ([]*x509.Certificate, error) { return certificatesIn(a.Intermediates) }

// certificatesIn reads PEM with nothing but certificates in it.
func certificatesIn(text string) ([]*x509.Certificate, error) {
	var all []*x509.Certificate
	rest := []byte(text)
	for len(strings.TrimSpace(string(rest))) > 0 {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil || block.Type != "CERTIFICATE" {
			return nil, &Error{Code: ErrInvalid, Object: ObjectAuthority, Message: "not certificates in PEM", Hint: "give blocks that begin with -----BEGIN CERTIFICATE-----"}
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, &Error{Code: ErrInvalid, Object: ObjectAuthority, Message: err.Error(), Hint: "have the CA's certificate made anew"}
		}
		all = append(all, c)
	}
	return all, nil
}

// Validate returns an *[Error] with code [ErrInvalid] for the first field that cannot be stored, or nil. Whether the anchors may lawfully issue
// certificates is judged by who verifies with them.
func (a Authority) Validate() error {
	v := validation{object: ObjectAuthority, name: a.Name}
	v.key("name", a.Name)
	v.text("description", a.Description)
	v.anchors(&a)
	if len(a.CRLURLs) > maxCRLURLs {
		v.fail("crl_urls", "too many", "give at most 16")
	}
	for _, u := range a.CRLURLs {
		v.publicURL("crl_urls", u)
	}
	if a.OCSPURL != "" {
		v.publicURL("ocsp_url", a.OCSPURL)
	}
	if d := time.Duration(a.CRLRefresh); d != 0 && (d < time.Second || d > 7*24*time.Hour) {
		v.fail("crl_refresh", a.CRLRefresh.String()+" is out of bounds", "give 1s to 168h, or 0s for the default of 1h")
	}
	v.onFault("crl_on_stale", a.CRLOnStale)
	v.onFault("ocsp_on_failure", a.OCSPOnFailure)
	if a.OCSPURL != "" && a.OCSPFromCertificate {
		v.fail("ocsp_from_certificate", "two ways to find the responder", "give ocsp_url or ocsp_from_certificate, not both")
	}
	return v.err()
}

func (v *validation) anchors(a *Authority) {
	const hint = "give the CA's certificate as PEM: a root, or an intermediate with intermediate_anchor"
	anchors, err := a.Anchors()
	switch {
	case err != nil:
		v.fail("ca", err.(*Error).Message, hint)
		return
	case len(anchors) == 0:
		v.fail("ca", "missing", hint)
	case len(anchors) > maxAnchors:
		v.fail("ca", "too many certificates", "give at most 16 anchors; what leads to them belongs into intermediates")
	}
	for _, c := range anchors {
		if !a.IntermediateAnchor && c.CheckSignatureFrom(c) != nil {
			v.fail("ca", quoted(c.Subject.String())+" is no root: it is signed by "+quoted(c.Issuer.String()),
				"give the root, or say intermediate_anchor (--intermediate-anchor) if nothing above it is to be believed or asked")
		}
	}
	helpers, err := a.Helpers()
	if err != nil {
		v.fail("intermediates", err.(*Error).Message, "give the intermediates as PEM, or nothing")
	} else if len(helpers) > maxIntermediates {
		v.fail("intermediates", "too many certificates", "give at most 64")
	}
}

// publicURL checks the address of something that a CA publishes, which is signed and no secret.
func (v *validation) publicURL(field, s string) {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Opaque != "" || u.Hostname() == "" || len(s) > 1024 || !printable(s) || strings.ContainsAny(s, " \t"):
		v.fail(field, "not an absolute URL", "write it like http://pki.example.com/root.crl")
	case u.Scheme != "http" && u.Scheme != "https":
		v.fail(field, "neither http nor https", "LDAP and files are not fetched: publish it over HTTP, or upload it")
	case u.User != nil:
		v.fail(field, "holds a user name or password", "remove what stands before the '@'")
	case u.Fragment != "" || !validPort(u.Port()):
		v.fail(field, "has a fragment, or no port between 1 and 65535", "write it like http://pki.example.com/root.crl")
	}
}

func (v *validation) onFault(field, s string) {
	if s != "" && s != OnFaultRefuse && s != OnFaultAccept {
		v.fail(field, quoted(s)+" is unknown", "give refuse or unsafe_accept")
	}
}

// normal returns the authority as it is stored.
func (a Authority) normal() Authority {
	a.CRLURLs = sortedSet(a.CRLURLs)
	a.CRLRequired = a.ChecksCRL()
	a.CRLOnStale, a.OCSPOnFailure = cmp.Or(a.CRLOnStale, OnFaultRefuse), cmp.Or(a.OCSPOnFailure, OnFaultRefuse)
	return a
}

// The kinds of a [Block].
const (
	BlockSerial      = "serial"
	BlockFingerprint = "fingerprint"
)

// Block refuses one certificate of an authority, a caller's or an intermediate, on the next request, whatever its CA says.
type Block struct {
	// Kind is BlockSerial or BlockFingerprint; Value is in lower-case hexadecimal digits.
	Kind  string `json:"kind"`
	Value string `json:"value"`
	// Reason is free text.
	Reason string `json:"reason,omitempty"`
	// Created is set by the registry.
	Created time.Time `json:"created,omitzero"`
}

// NewBlock reads a serial number or a SHA-256 fingerprint, in hexadecimal digits with or without colons.
func NewBlock(authority, s string) (Block, error) {
	if f, err := ParseFingerprint(s); err == nil {
		return Block{Kind: BlockFingerprint, Value: f.String()}, nil
	}
	digits := strings.ToLower(strings.ReplaceAll(s, ":", ""))
	if len(digits) > 40 || !hexDigits(digits) {
		return Block{}, &Error{Code: ErrInvalid, Object: ObjectAuthority, Name: authority, Field: "certificate", Message: quoted(s) + " is neither a serial number nor a fingerprint",
			Hint: "give the serial number in hexadecimal digits, or the SHA-256 fingerprint"}
	}
	n, _ := new(big.Int).SetString(digits, 16)
	return Block{Kind: BlockSerial, Value: n.Text(16)}, nil
}

// RevocationList is a list that was verified and is believed until another one takes its place.
type RevocationList struct {
	// Source is the URL that it was fetched from or, for one that was uploaded, "uploaded:" and a digest of its issuer's name and key.
	Source string `json:"source"`
	// Issuer is the name of its issuer, for people.
	Issuer string `json:"issuer"`
	// Number is its CRL number in decimal.
	Number string `json:"number"`
	// ThisUpdate and NextUpdate bound its life.
	ThisUpdate time.Time `json:"this_update"`
	NextUpdate time.Time `json:"next_update"`
	// Entries is how many certificates are on it.
	Entries int `json:"entries"`
	// Fetched is when it came.
	Fetched time.Time `json:"fetched"`
	// DER is the list.
	DER []byte `json:"-"`
}

// Uploaded reports whether the list came from an administrator and not from a URL.
func (l *RevocationList) Uploaded() bool { return strings.HasPrefix(l.Source, uploadedPrefix) }

const uploadedPrefix = "uploaded:"

// AuthorityEntry is an authority with all that hangs on it. It is immutable: a change makes another one.
type AuthorityEntry struct {
	Authority *Authority
	Mappings  []Mapping         // by kind and value
	Blocks    []Block           // by kind and value
	Lists     []*RevocationList // by source

	blocked   map[string]bool
	exact     map[string]*Mapping // rules without a placeholder, by kind and value
	templates []*Mapping
}

// Blocked reports whether a certificate with this serial number (lower-case hexadecimal) or fingerprint is refused.
func (e *AuthorityEntry) Blocked(serial string, f Fingerprint) bool {
	return len(e.blocked) > 0 && (e.blocked[BlockSerial+serial] || e.blocked[BlockFingerprint+f.String()])
}

// ready sorts and indexes the entry before it is shown to anybody.
func (e *AuthorityEntry) ready() *AuthorityEntry {
	e.Mappings, e.Blocks, e.Lists = append([]Mapping(nil), e.Mappings...), append([]Block(nil), e.Blocks...), append([]*RevocationList(nil), e.Lists...)
	slices.SortFunc(e.Mappings, func(a, b Mapping) int { return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Value, b.Value)) })
	slices.SortFunc(e.Blocks, func(a, b Block) int { return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Value, b.Value)) })
	slices.SortFunc(e.Lists, func(a, b *RevocationList) int { return cmp.Compare(a.Source, b.Source) })
	e.blocked = make(map[string]bool, len(e.Blocks))
	for _, b := range e.Blocks {
		e.blocked[b.Kind+b.Value] = true
	}
	e.exact = make(map[string]*Mapping, len(e.Mappings))
	for i := range e.Mappings {
		if m := &e.Mappings[i]; m.Identity == AnyIdentity {
			e.templates = append(e.templates, m)
		} else {
			e.exact[m.Kind+" "+m.Value] = m
		}
	}
	return e
}

// Authorities are all authorities of a snapshot. Two snapshots have the same pointer when nothing of it changed between them.
type Authorities struct{ entries []*AuthorityEntry }

// All returns the entries by name; the slice must not be changed.
func (a *Authorities) All() []*AuthorityEntry {
	if a == nil {
		return nil
	}
	return a.entries
}

// Find returns the authority of this name.
func (a *Authorities) Find(name string) (*AuthorityEntry, bool) {
	all := a.All()
	i, ok := slices.BinarySearchFunc(all, name, func(e *AuthorityEntry, n string) int { return cmp.Compare(e.Authority.Name, n) })
	if !ok {
		return nil, false
	}
	return all[i], true
}

// with returns the authorities with e in the place of the one of that name; a nil e removes it. None at all is nil.
func (a *Authorities) with(name string, e *AuthorityEntry) *Authorities {
	next := slices.DeleteFunc(slices.Clone(a.All()), func(o *AuthorityEntry) bool { return o.Authority.Name == name })
	if e != nil {
		next = append(next, e)
		slices.SortFunc(next, func(x, y *AuthorityEntry) int { return cmp.Compare(x.Authority.Name, y.Authority.Name) })
	}
	if len(next) == 0 {
		return nil
	}
	return &Authorities{next}
}

// Match is one rule that fits a certificate, and the identity that it names.
type Match struct {
	Mapping  *Mapping
	Identity string
}

// Matches returns every rule that fits a certificate with these marks.
func (e *AuthorityEntry) Matches(marks *Marks) []Match {
	var found []Match
	exact := func(kind, value string) {
		if m := e.exact[kind+" "+value]; m != nil {
			found = append(found, Match{m, m.Identity})
		}
	}
	exact(MapFingerprint, marks.Fingerprint.String())
	if marks.SPIFFE != "" {
		exact(MapSPIFFE, marks.SPIFFE)
	}
	for _, name := range marks.DNS {
		exact(MapDNS, name)
	}
	if marks.Subject != nil {
		exact(MapSubject, marks.Subject.String())
	}
	for _, m := range e.templates {
		if name, ok := m.Matches(marks); ok {
			found = append(found, Match{m, name})
		}
	}
	return found
}
