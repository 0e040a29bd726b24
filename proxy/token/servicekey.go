package token

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"
)

// Shape is the kind of document that a vendor hands out.
type Shape string

const (
	ShapeIntegration            Shape = "integration"             // Process Integration Runtime with a secret (TENANTS.md 1.1, 1.2)
	ShapeIntegrationCertificate Shape = "integration-certificate" // the same with certificate and key (1.3), or without key (1.4)
	ShapeXSUAA                  Shape = "xsuaa"                   // XSUAA binding with a secret (1.6)
	ShapeXSUAACertificate       Shape = "xsuaa-certificate"       // XSUAA binding, x509 (1.6)
	ShapeIAS                    Shape = "ias"                     // Identity Authentication with a secret (1.7)
	ShapeIASCertificate         Shape = "ias-certificate"         // Identity Authentication with certificate and key (1.7)
)

var shapeTexts = map[Shape]string{
	ShapeIntegration:            "Process Integration Runtime service key with a secret",
	ShapeIntegrationCertificate: "Process Integration Runtime service key with a certificate",
	ShapeXSUAA:                  "XSUAA binding with a secret",
	ShapeXSUAACertificate:       "XSUAA binding with a certificate",
	ShapeIAS:                    "Identity Authentication binding with a secret",
	ShapeIASCertificate:         "Identity Authentication binding with a certificate",
}

// String describes the shape in words for people.
func (s Shape) String() string {
	if text, ok := shapeTexts[s]; ok {
		return text
	}
	return "service key"
}

// ServiceKey is what a service key says about an OAuth client. A ServiceKey without error is complete: ClientID and an https
// TokenURL are set, and either Secret or a certificate with the key that belongs to it.
type ServiceKey struct {
	Shape          Shape
	ClientID       string
	Secret         Secret    // client secret; empty with a certificate
	CertificatePEM string    // chain, leaf first, one PEM block after the other; empty with a secret
	KeyPEM         Secret    // private key, one PEM block; empty with a secret
	TokenURL       string    // https
	Style          Style     // Body or MTLS
	URL            string    // where the service itself is, if the key says so
	NotAfter       time.Time // end of the leaf certificate; zero with a secret, whose end no key tells
}

// KeyError says what a document is and what is wrong with it. It quotes no secret.
type KeyError struct {
	Shape   Shape  // what the document looks like, "" when that is unknown
	Field   string // the JSON member in question, "" when it is the document
	Problem string
	Hint    string // what to do, may be ""
}

// Error implements error.
func (e *KeyError) Error() string {
	text := "reading service key: "
	if e.Shape != "" {
		text = "reading " + e.Shape.String() + ": "
	}
	if e.Field != "" {
		text += e.Field + ": "
	}
	text += e.Problem
	if e.Hint != "" {
		text += " (" + e.Hint + ")"
	}
	return text
}

// maxServiceKey bounds a document in bytes.
const maxServiceKey = 1 << 20

// document has the members of all shapes; others are ignored.
type document struct {
	OAuth, Credentials, UAA *document
	Domains                 []string

	ClientID, ClientSecret, TokenURL, URL, CertURL, Certificate, Key, CredentialType, XSAppName, UAADomain string
}

// UnmarshalJSON reads the members by their exact names; a null is a missing one. A broken or surprising member that
// is not needed must not stop the import, so other types in unknown members are no error.
func (d *document) UnmarshalJSON(b []byte) error {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(b, &members); err != nil {
		return &KeyError{Problem: "it is no JSON object"}
	}
	for name, target := range map[string]any{
		"oauth": &d.OAuth, "credentials": &d.Credentials, "uaa": &d.UAA, "domains": &d.Domains,
		"clientid": &d.ClientID, "clientsecret": &d.ClientSecret, "tokenurl": &d.TokenURL, "url": &d.URL, "certurl": &d.CertURL,
		"certificate": &d.Certificate, "key": &d.Key, "credential-type": &d.CredentialType, "xsappname": &d.XSAppName,
		"uaadomain": &d.UAADomain,
	} {
		raw, ok := members[name]
		if !ok {
			continue
		}
		if err := json.Unmarshal(raw, target); err != nil {
			var inner *KeyError
			if errors.As(err, &inner) && inner.Field != "" {
				return &KeyError{Field: name + "." + inner.Field, Problem: inner.Problem}
			}
			return &KeyError{Field: name, Problem: "it has the wrong JSON type"}
		}
	}
	return nil
}

// ParseServiceKey reads a service key or binding as SAP hands it out: Process Integration Runtime, XSUAA (flat, in
// "credentials" or in "uaa") and Identity Authentication, with a secret or with certificate and key. PEM may come with line
// breaks, with literal \n, with CRLF or in one line. Unknown members are ignored; more than one document is refused. Its
// error is a [*KeyError].
func ParseServiceKey(b []byte) (ServiceKey, error) {
	d, err := decode(b)
	if err != nil {
		return ServiceKey{}, err
	}
	d, integration := d.inner()
	k := ServiceKey{Shape: d.shape(integration), ClientID: d.ClientID, URL: d.URL}
	if k.Shape == "" {
		return ServiceKey{}, &KeyError{Field: "clientid", Problem: "it is missing, and nothing else in the document looks like a service key",
			Hint: `expected a JSON object with "oauth", "credentials", "uaa" or "clientid"`}
	}
	if err := d.complete(&k); err != nil {
		return ServiceKey{}, err
	}
	return k, nil
}

func decode(b []byte) (*document, error) {
	b = bytes.TrimPrefix(b, []byte("\xef\xbb\xbf"))
	switch {
	case len(b) > maxServiceKey:
		return nil, &KeyError{Problem: fmt.Sprintf("it is larger than %d bytes", maxServiceKey)}
	case len(bytes.TrimSpace(b)) == 0:
		return nil, &KeyError{Problem: "it is empty"}
	case bytes.HasPrefix(bytes.TrimSpace(b), []byte("-----BEGIN")):
		return nil, &KeyError{Problem: "it is a PEM file and no service key", Hint: "give the whole JSON document"}
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	var d *document
	if err := dec.Decode(&d); err != nil {
		var inner *KeyError
		var syntax *json.SyntaxError
		switch {
		case errors.As(err, &inner):
			return nil, inner
		case errors.As(err, &syntax):
			return nil, &KeyError{Problem: fmt.Sprintf("it is no JSON: broken at byte %d", syntax.Offset)}
		case errors.Is(err, io.ErrUnexpectedEOF):
			return nil, &KeyError{Problem: "it is cut off: the JSON document does not end"}
		}
		return nil, &KeyError{Problem: "it is no JSON object"}
	}
	if d == nil {
		return nil, &KeyError{Problem: "it is no JSON object"}
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, &KeyError{Problem: "something follows the JSON document", Hint: "give one service key at a time"}
	}
	return d, nil
}

// inner unwraps what services nest, and reports whether it is an integration key.
func (d *document) inner() (*document, bool) {
	for range 3 { // credentials, then oauth or uaa
		switch {
		case d.OAuth != nil:
			return d.OAuth, true
		case d.ClientID != "":
			return d, d.TokenURL != "" && d.XSAppName == ""
		case d.UAA != nil:
			d = d.UAA
		case d.Credentials != nil:
			d = d.Credentials
		}
	}
	return d, d.TokenURL != ""
}

func (d *document) shape(integration bool) Shape {
	certificate := d.ClientSecret == "" && (d.Certificate != "" || d.Key != "" || d.CertURL != "" || strings.Contains(d.CredentialType, "x509") ||
		strings.HasPrefix(d.CredentialType, "X509"))
	pick := func(secret, withCertificate Shape) Shape {
		if certificate {
			return withCertificate
		}
		return secret
	}
	switch {
	case integration:
		return pick(ShapeIntegration, ShapeIntegrationCertificate)
	case d.ClientID == "" && d.ClientSecret == "" && d.XSAppName == "" && d.UAADomain == "" && d.Certificate == "":
		return ""
	case d.XSAppName == "" && d.UAADomain == "" && (len(d.Domains) > 0 || identityHost(d.URL)):
		return pick(ShapeIAS, ShapeIASCertificate)
	}
	return pick(ShapeXSUAA, ShapeXSUAACertificate)
}

func identityHost(raw string) bool {
	u, err := url.Parse(raw)
	return err == nil && (strings.HasSuffix(u.Hostname(), ".accounts.ondemand.com") || strings.HasSuffix(u.Hostname(), ".accounts.cloud.sap") ||
		strings.HasSuffix(u.Hostname(), ".accounts400.ondemand.com"))
}

// complete fills k from d or says what is missing.
func (d *document) complete(k *ServiceKey) error {
	fail := func(field, problem, hint string) error {
		return &KeyError{Shape: k.Shape, Field: field, Problem: problem, Hint: hint}
	}
	if k.ClientID == "" {
		return fail("clientid", "it is missing", "")
	}
	if strings.ContainsFunc(k.ClientID+d.ClientSecret, func(r rune) bool { return r < 0x20 || r == 0x7f }) {
		return fail("clientid, clientsecret", "one contains a control character", "")
	}
	if k.Shape.certificate() {
		if err := d.pair(k); err != nil {
			return err
		}
	} else {
		if d.ClientSecret == "" {
			if strings.EqualFold(d.CredentialType, "NONE") {
				return fail("credential-type", "it is NONE: this binding has no credentials", "make one of type SECRET or X509_GENERATED")
			}
			return fail("clientsecret", "it is missing, and so are certificate and key", "")
		}
		k.Style, k.Secret = Body, NewSecret(d.ClientSecret)
	}
	field, tokenURL := d.tokenURL(k.Shape)
	if tokenURL == "" {
		return fail(field, "it is missing: no token endpoint", "")
	}
	u, err := url.Parse(tokenURL)
	if err != nil || u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Opaque != "" {
		return fail(field, "it is no plain https address", "")
	}
	k.TokenURL = u.String()
	return nil
}

func (s Shape) certificate() bool {
	return s == ShapeIntegrationCertificate || s == ShapeXSUAACertificate || s == ShapeIASCertificate
}

// tokenURL returns the token endpoint and the member that it comes from.
func (d *document) tokenURL(s Shape) (field, address string) {
	with := func(base, path string) string {
		if base == "" {
			return ""
		}
		return strings.TrimRight(base, "/") + path
	}
	switch s {
	case ShapeIntegrationCertificate:
		// XSUAA takes certificates on the .cert. host only; keys were seen to name either (TENANTS.md 1.3).
		if !strings.Contains(d.TokenURL, ".authentication.cert.") {
			return "tokenurl", strings.Replace(d.TokenURL, ".authentication.", ".authentication.cert.", 1)
		}
		return "tokenurl", d.TokenURL
	case ShapeIntegration:
		return "tokenurl", d.TokenURL
	case ShapeXSUAACertificate:
		return "certurl", with(d.CertURL, "/oauth/token")
	case ShapeIAS, ShapeIASCertificate:
		return "url", with(d.URL, "/oauth2/token")
	}
	return "url", with(d.URL, "/oauth/token")
}

// pair checks certificate and key and puts them in order.
func (d *document) pair(k *ServiceKey) error {
	fail := func(field, problem, hint string) error {
		return &KeyError{Shape: k.Shape, Field: field, Problem: problem, Hint: hint}
	}
	switch {
	case d.Certificate == "" && d.Key == "":
		return fail("certificate, key", "both are missing", "a binding made with hide-certificate or from your own certificate has neither: give them as files")
	case d.Certificate == "":
		return fail("certificate", "it is missing beside the key", "")
	case d.Key == "":
		return fail("key", "it is missing: this is an external certificate, whose key only its maker has", "give certificate and key as files")
	}
	blocks, err := readPEM(d.Certificate)
	if err != nil {
		return fail("certificate", err.Error(), "")
	}
	for _, b := range blocks {
		if b.Type != "CERTIFICATE" {
			return fail("certificate", "it contains a PEM block that is no certificate", "")
		}
	}
	keys, err := readPEM(d.Key)
	if err != nil {
		return fail("key", err.Error(), "")
	}
	if len(keys) != 1 || !strings.HasSuffix(keys[0].Type, "PRIVATE KEY") {
		return fail("key", "it is not exactly one private key", "")
	}
	if keys[0].Type == "ENCRYPTED PRIVATE KEY" {
		return fail("key", "it is encrypted", "decrypt it first")
	}
	certificatePEM, keyPEM := writePEM(blocks), writePEM(keys)
	pair, err := tls.X509KeyPair(certificatePEM, keyPEM)
	if err != nil {
		return fail("certificate, key", pairProblem(err), "the first certificate must be the client's own")
	}
	k.Style, k.CertificatePEM, k.KeyPEM, k.NotAfter = MTLS, string(certificatePEM), NewSecret(string(keyPEM)), pair.Leaf.NotAfter
	return nil
}

// pairProblem keeps the two answers that help and nothing of the parser's.
func pairProblem(err error) string {
	if strings.Contains(err.Error(), "does not match") {
		return "they do not belong together"
	}
	return "one of them cannot be read"
}
