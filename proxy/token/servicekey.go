package token

import (
	"time"
)

// Shape is the kind of document that a vendor hands out.
type Shape string

const (
	ShapeIntegration            Shape = "integration"                      // Process Integration Runtime with a secret (TENANTS.md 1.1, 1.2)
	ShapeIntegrationCertificate Shape = "integration-certificate"          // the same with certificate and key (1.3)
	ShapeIntegrationExternal    Shape = "integration-external-certificate" // the same with a certificate whose key only its maker has (1.4)
	ShapeXSUAA                  Shape = "xsuaa"                            // XSUAA binding with a secret (1.6)
	ShapeXSUAACertificate       Shape = "xsuaa-certificate"                // XSUAA binding, x509, with its key (1.6)
	ShapeXSUAAExternal          Shape = "xsuaa-external-certificate"       // XSUAA binding, x509, self-managed: without key, or without both (1.6)
	ShapeIAS                    Shape = "ias"                              // Identity Authentication with a secret (1.7)
	ShapeIASCertificate         Shape = "ias-certificate"                  // Identity Authentication with certificate and key (1.7)
	ShapeIASExternal            Shape = "ias-external-certificate"         // Identity Authentication with a provided certificate, without key (1.7)
	ShapeIASNone                Shape = "ias-none"                         // Identity Authentication without any credentials (1.7)
)

var shapeTexts = map[Shape]string{
	ShapeIntegration:            "Process Integration Runtime service key with a secret",
	ShapeIntegrationCertificate: "Process Integration Runtime service key with a certificate",
	ShapeIntegrationExternal:    "Process Integration Runtime service key with an external certificate",
	ShapeXSUAA:                  "XSUAA binding with a secret",
	ShapeXSUAACertificate:       "XSUAA binding with a certificate",
	ShapeXSUAAExternal:          "XSUAA binding with a self-managed certificate",
	ShapeIAS:                    "Identity Authentication binding with a secret",
	ShapeIASCertificate:         "Identity Authentication binding with a certificate",
	ShapeIASExternal:            "Identity Authentication binding with a provided certificate",
	ShapeIASNone:                "Identity Authentication binding without credentials",
}

// String describes the shape in words for people.
func (s Shape) String() string {
	if text, ok := shapeTexts[s]; ok {
		return text
	}
	return "service key"
}

// family is whose token server it is, whatever the client proves itself with: ShapeIntegration, ShapeXSUAA or ShapeIAS.
func (s Shape) family() Shape {
	switch s {
	case ShapeIAS, ShapeIASCertificate, ShapeIASExternal, ShapeIASNone:
		return ShapeIAS
	case ShapeXSUAA, ShapeXSUAACertificate, ShapeXSUAAExternal:
		return ShapeXSUAA
	}
	return ShapeIntegration
}

// RateLimit is the limit of the shape's token server that its operator has published, in words, for people to plan with (TENANTS.md 2.4).
func (s Shape) RateLimit() string {
	if s.family() == ShapeIAS {
		return "50 token requests a second from one address, 1000 a minute for the tenant"
	}
	return "60 token requests a second for the subaccount, secrets and certificates each"
}

// ServiceKey is what a service key says about an OAuth client. A ServiceKey without error is complete, unless it was read for a tenant only:
// ClientID and TokenURL are set, and either Secret or a certificate with the key that belongs to it.
type ServiceKey struct {
	Shape          Shape
	Plan           string // PlanIntegrationFlow, PlanAPI, or "" when neither client id nor address tells
	ClientID       string
	Secret         Secret    // client secret; empty with a certificate
	CertificatePEM string    // chain, the client's own first, one PEM block after the other; empty with a secret
	KeyPEM         Secret    // private key, one PEM block; empty with a secret
	TokenURL       string    // https, unless it was given beside the document
	Style          Style     // Body for a secret and MTLS for a certificate, unless it was given beside the document
	URL            string    // where the service itself is; "" where the document does not say so, as those of XSUAA and Identity Authentication
	Created        time.Time // of the document; zero when it does not say so
	NotAfter       time.Time // end of the client's own certificate; zero with a secret, whose end no key tells
	From           Origins
	Notes          []string // what a person should know of how it was read, one sentence each, without secrets
}

// Origins say where the items of a [ServiceKey] come from, in words or as the path of a JSON member.
type Origins struct{ ClientID, TokenURL, Style, URL, NotAfter string }

// Plans of the Process Integration Runtime: each has hosts and clients of its own (TENANTS.md 1.2).
const (
	PlanIntegrationFlow = "integration-flow" // the runtime: /http, /cxf
	PlanAPI             = "api"              // the OData API: /api/v1
)

// KeyOptions are what is given beside a service key. The zero value takes everything out of the document.
type KeyOptions struct {
	// Binding chooses one of several bindings in a VCAP_SERVICES document, by "label/name", or by its name or label where that is the only one.
	Binding string
	// Style decides between secret and certificate, and in which way a secret is sent; "" leaves it to the document.
	Style Style
	// TokenURL is taken in place of the document's.
	TokenURL string
	// CertificatePEM and KeyPEM are a client certificate, chain or leaf, and its key, for documents without one or both of them.
	CertificatePEM string
	KeyPEM         Secret
	// TenantOnly asks for no proof: what a tenant needs is read, the secret, certificate and key are not, and may be missing.
	TenantOnly bool
}

// KeyError says what a document is and what is wrong with it. It quotes no secret and no value of the document.
type KeyError struct {
	Shape   Shape  // what the document looks like, "" when that is unknown
	Field   string // the JSON member in question, "" when it is the document
	Problem string
	Hint    string // what to do, may be ""
	Mends   string // the fields of [KeyOptions] that would mend it, with a comma between; "" when none would
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

// ParseServiceKey reads a service key or binding as SAP hands it out: Process Integration Runtime, XSUAA and Identity Authentication, with a
// secret, with certificate and key, or with a certificate whose key comes in o. The client may stand at the top, in "credentials", "oauth" or
// "uaa", or in VCAP_SERVICES. Before the document may stand the heading that the cf command prints. PEM may come with line breaks, with literal
// \n, with CRLF or in one line, and the chain in any order. Members that are not needed are ignored; members that are given twice,
// documents that contradict themselves and more than one document are refused. Its error is a [*KeyError].
func ParseServiceKey(b []byte, o KeyOptions) (ServiceKey, error) {
	root, err := readDocument(b)
	if err != nil {
		return ServiceKey{}, err
	}
	c, err := findClient(root, o.Binding)
	if err != nil {
		return ServiceKey{}, err
	}
	return c.read(o)
}
