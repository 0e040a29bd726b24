package pki

import (
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"net/url"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// asked is what a request wants beyond a key and a subject, as far as we care.
type asked struct {
	ca       bool
	usages   []asn1.ObjectIdentifier // extended key usages
	oddNames []string                // SAN entries that Go's parser skips: otherName, directoryName, ...
	dropped  []string
}

// readAsked reads the extensions and attributes of a request strictly: what cannot be read is refused, so that nothing
// is overlooked.
func readAsked(csr *x509.CertificateRequest) (asked, error) {
	var a asked
	for _, ext := range csr.Extensions {
		var err error
		switch {
		case ext.Id.Equal(oidSubjectAltName):
			a.oddNames, err = oddNames(ext.Value)
		case ext.Id.Equal(oidBasicConstraints):
			var bc struct {
				IsCA       bool `asn1:"optional"`
				MaxPathLen int  `asn1:"optional,default:-1"`
			}
			err = unmarshal(ext.Value, &bc)
			a.ca = bc.IsCA
		case ext.Id.Equal(oidExtKeyUsage):
			err = unmarshal(ext.Value, &a.usages)
		case ext.Id.Equal(oidKeyUsage):
			var bits asn1.BitString
			if err = unmarshal(ext.Value, &bits); err == nil {
				for i := 1; i < bits.BitLength; i++ { // bit 0 is digitalSignature, which every profile has
					if bits.At(i) == 1 && i != 2 { // 2 is keyEncipherment: asked for by every tool, harmless to leave out
						a.dropped = append(a.dropped, fmt.Sprintf("key usage %s: the profile decides", keyUsageName(i)))
					}
				}
			}
		case ext.Id.Equal(oidSubjectKeyID):
			// made anew from the key
		default:
			a.dropped = append(a.dropped, fmt.Sprintf("extension %v: not part of the profile", ext.Id))
		}
		if err != nil {
			return a, &RequestError{Field: "csr", Problem: fmt.Sprintf("extension %v is malformed", ext.Id), Hint: "create the request anew, without extensions"}
		}
	}
	return a, a.readAttributes(csr.RawTBSCertificateRequest)
}

// readAttributes names the attributes that are ignored (challengePassword, Microsoft's own extension list, ...).
func (a *asked) readAttributes(tbs []byte) error {
	broken := &RequestError{Field: "csr", Problem: "the attributes are malformed", Hint: "create the request anew"}
	whole := cryptobyte.String(tbs)
	var s, attrs cryptobyte.String
	var present bool
	if !whole.ReadASN1(&s, cbasn1.SEQUENCE) || !s.SkipASN1(cbasn1.INTEGER) || !s.SkipASN1(cbasn1.SEQUENCE) || !s.SkipASN1(cbasn1.SEQUENCE) ||
		!s.ReadOptionalASN1(&attrs, &present, cbasn1.Tag(0).Constructed().ContextSpecific()) {
		return broken
	}
	for !attrs.Empty() {
		var attr cryptobyte.String
		var id asn1.ObjectIdentifier
		if !attrs.ReadASN1(&attr, cbasn1.SEQUENCE) || !attr.ReadASN1ObjectIdentifier(&id) {
			return broken
		}
		if !id.Equal(oidExtensionRequest) {
			a.dropped = append(a.dropped, fmt.Sprintf("attribute %v: not used", id))
		}
	}
	return nil
}

// oddNames lists the GeneralNames (RFC 5280 section 4.2.1.6) that crypto/x509 passes over in silence.
func oddNames(value []byte) (names []string, err error) {
	var seq []asn1.RawValue
	if err := unmarshal(value, &seq); err != nil {
		return nil, err
	}
	kinds := map[int]string{0: "otherName", 3: "x400Address", 4: "directoryName", 5: "ediPartyName", 8: "registeredID"}
	for _, n := range seq {
		if n.Class != asn1.ClassContextSpecific || n.Tag > 8 {
			return nil, fmt.Errorf("general name with tag %d", n.Tag)
		}
		if kind, odd := kinds[n.Tag]; odd {
			names = append(names, kind)
		}
	}
	return names, nil
}

// fit says whether the request may become a certificate of profile p for name, and what of it is left out.
func (r *Request) fit(p Profile, trustDomain, name string) (dropped []string, err error) {
	if err := r.fitNames(p, p.uri(trustDomain, name), name); err != nil {
		return nil, err
	}
	dropped = append(dropped, r.dropped...)
	for _, attr := range r.csr.Subject.Names {
		if !attr.Type.Equal(oidCommonName) {
			dropped = append(dropped, fmt.Sprintf("subject %s=%q: the subject is CN=%s alone", attributeName(attr.Type), fmt.Sprint(attr.Value), name))
		}
	}
	want := oidClientAuth
	if p.kind == "server" {
		want = oidServerAuth
	}
	for _, u := range r.asked.usages {
		if !u.Equal(want) {
			dropped = append(dropped, fmt.Sprintf("extended key usage %s: not part of the %s profile", usageName(u), p.kind))
		}
	}
	return dropped, nil
}

// fitNames refuses every name that is not the one the certificate is for.
func (r *Request) fitNames(p Profile, own *url.URL, name string) error {
	for _, attr := range r.csr.Subject.Names {
		if !attr.Type.Equal(oidCommonName) {
			continue
		}
		if cn, ok := attr.Value.(string); !ok || (cn != "" && cn != name) {
			return &RequestError{Field: "subject", Problem: fmt.Sprintf("CN=%q is not %q, the name this certificate is for", fmt.Sprint(attr.Value), name),
				Hint: fmt.Sprintf("create the request with CN=%s or without a subject", name)}
		}
	}
	foreign := func(kind, value string) error {
		hint := "create the request without subject alternative names; the profile sets the right one"
		return &RequestError{Field: "subjectAltName", Problem: fmt.Sprintf("asks for the %s %q, which the %s profile does not grant", kind, value, p.kind), Hint: hint}
	}
	for _, u := range r.csr.URIs {
		if own == nil || u.String() != own.String() {
			if own != nil && u.Scheme == "spiffe" {
				return &RequestError{Field: "subjectAltName", Problem: fmt.Sprintf("asks for another identity, %q", u), Hint: fmt.Sprintf("this certificate is for %s; leave the name out or ask for that one", own)}
			}
			return foreign("URI", u.String())
		}
	}
	for _, dns := range r.csr.DNSNames {
		if p.kind != "server" || dns != name {
			return foreign("DNS name", dns)
		}
	}
	for _, ip := range r.csr.IPAddresses {
		if p.kind != "server" || ip.String() != name {
			return foreign("IP address", ip.String())
		}
	}
	for _, odd := range r.asked.oddNames {
		return foreign("name of kind", odd)
	}
	return nil
}

func unmarshal(der []byte, into any) error {
	rest, err := asn1.Unmarshal(der, into)
	if err == nil && len(rest) > 0 {
		err = asn1.SyntaxError{Msg: "trailing data"}
	}
	return err
}

func keyUsageName(bit int) string {
	names := []string{"digitalSignature", "nonRepudiation", "keyEncipherment", "dataEncipherment", "keyAgreement", "keyCertSign", "cRLSign", "encipherOnly", "decipherOnly"}
	if bit < len(names) {
		return names[bit]
	}
	return fmt.Sprintf("bit %d", bit)
}

func usageName(id asn1.ObjectIdentifier) string {
	switch {
	case id.Equal(oidServerAuth):
		return "serverAuth"
	case id.Equal(oidClientAuth):
		return "clientAuth"
	}
	return id.String()
}

// attributeName gives the short names of RFC 4519 section 2 that tools print.
func attributeName(id asn1.ObjectIdentifier) string {
	names := map[string]string{"2.5.4.3": "CN", "2.5.4.4": "SN", "2.5.4.5": "serialNumber", "2.5.4.6": "C", "2.5.4.7": "L", "2.5.4.8": "ST", "2.5.4.9": "street",
		"2.5.4.10": "O", "2.5.4.11": "OU", "2.5.4.12": "title", "2.5.4.17": "postalCode", "2.5.4.42": "givenName",
		"0.9.2342.19200300.100.1.1": "UID", "0.9.2342.19200300.100.1.25": "DC", "1.2.840.113549.1.9.1": "emailAddress"}
	if n, ok := names[id.String()]; ok {
		return n
	}
	return id.String()
}
