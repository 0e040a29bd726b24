package external

import (
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/cryptobyte"
	cryptobyteasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/tenantgate/tenantgate/identity"
)

var oidSubjectAltName = asn1.ObjectIdentifier{2, 5, 29, 17}

// marksOf reads what a certificate can be mapped by. It refuses a certificate that claims a name of our own trust domain, and one with several URIs of which one
// is a SPIFFE ID (X509-SVID section 2: exactly one).
func marksOf(leaf *x509.Certificate, trustDomain string) (*identity.Marks, error) {
	m := &identity.Marks{Fingerprint: identity.FingerprintOf(leaf.Raw), Subject: identity.SubjectName(leaf.RawSubject)}
	for _, name := range leaf.DNSNames {
		m.DNS = append(m.DNS, strings.ToLower(name))
	}
	uris, err := rawURIs(leaf)
	if err != nil {
		return nil, err
	}
	for _, uri := range uris {
		if len(uri) < len("spiffe:") || !strings.EqualFold(uri[:len("spiffe:")], "spiffe:") {
			continue
		}
		domain, ok := identity.SPIFFETrustDomain(uri)
		switch {
		case len(uris) > 1:
			return nil, fmt.Errorf("it has %d URI alternative names, one of them a SPIFFE ID, which must be the only one", len(uris))
		case !ok:
			return nil, errors.New("its SPIFFE ID is malformed")
		case domain == trustDomain:
			return nil, fmt.Errorf("it claims a name of our own trust domain %s, which only our own CA gives", trustDomain)
		}
		m.SPIFFE = uri
	}
	return m, nil
}

// rawURIs returns the URIs as they stand in the certificate: net/url reads and writes some in another form.
func rawURIs(leaf *x509.Certificate) ([]string, error) {
	var uris []string
	for _, e := range leaf.Extensions {
		if !e.Id.Equal(oidSubjectAltName) {
			continue
		}
		in := cryptobyte.String(e.Value)
		var names cryptobyte.String
		if !in.ReadASN1(&names, cryptobyteasn1.SEQUENCE) {
			return nil, errors.New("its alternative names are malformed")
		}
		for !names.Empty() {
			var value cryptobyte.String
			var tag cryptobyteasn1.Tag
			if !names.ReadAnyASN1(&value, &tag) {
				return nil, errors.New("its alternative names are malformed")
			}
			if tag == cryptobyteasn1.Tag(6).ContextSpecific() {
				uris = append(uris, string(value))
			}
		}
	}
	return uris, nil
}
