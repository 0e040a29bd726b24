package pki_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"net"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/pki/pkitest"
)

func der(t testing.TB, b []byte) []byte {
	t.Helper()
	block, _ := pem.Decode(b)
	if block == nil {
		t.Fatal("not PEM")
	}
	return block.Bytes
}

func TestParseRequestSaysWhatItIsInstead(t *testing.T) {
	env := pkitest.New(t)
	key := env.Key(pki.P256)
	good := env.Request(key, &x509.CertificateRequest{})
	keyPEM, err := pki.EncodePrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	cert := pkitest.PEM(env.Client("orders"))
	for _, c := range []struct {
		name  string
		input []byte
		want  string
	}{
		{"empty", nil, "empty"},
		{"blank", []byte("\n \n"), "empty"},
		{"garbage", []byte("hello"), "neither PEM nor DER"},
		{"DER garbage", []byte{0x30, 0x03, 2, 1, 5}, "not a certificate request"},
		{"private key", keyPEM, "a private key, not a certificate request (a private key must never leave"},
		{"private key in DER", der(t, keyPEM), "a private key"},
		{"certificate", cert, "a certificate, not"},
		{"certificate in DER", der(t, cert), "a certificate, not"},
		{"cut off", good[:len(good)/2], "broken PEM"},
		{"trailing certificate", append(slices.Clone(good), cert...), "second PEM block (a certificate)"},
		{"trailing text", append(slices.Clone(good), "tail"...), "other data behind"},
		{"trailing DER", append(slices.Clone(der(t, good)), 0), "trailing data"},
		{"huge", make([]byte, 1<<20), "too many"},
		{"other PEM", []byte("-----BEGIN FOO-----\nAAAA\n-----END FOO-----\n"), `of type "FOO"`},
	} {
		_, err := pki.ParseRequest(c.input)
		var re *pki.RequestError
		if !errors.As(err, &re) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), "MIG") {
			t.Errorf("%s: the error quotes the input: %v", c.name, err)
		}
	}
	for name, input := range map[string][]byte{
		"PEM": good, "DER": der(t, good), "CRLF": []byte(strings.ReplaceAll(string(good), "\n", "\r\n")),
		"keytool's label": []byte(strings.ReplaceAll(string(good), "CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST")),
		"openssl -text":   append([]byte("Certificate Request:\n    Data:\n"), good...), "byte order mark": append([]byte("\xef\xbb\xbf"), good...),
	} {
		if _, err := pki.ParseRequest(input); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func extension(t testing.TB, id asn1.ObjectIdentifier, value any) pkix.Extension {
	t.Helper()
	b, err := asn1.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return pkix.Extension{Id: id, Value: b}
}

// One row per thing a request may ask for: refused at which field, or dropped with which message, or granted.
func TestRequestPolicy(t *testing.T) {
	env := pkitest.New(t)
	key := env.Key(pki.P256)
	uri := func(s string) []*url.URL {
		u, err := url.Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		return []*url.URL{u}
	}
	ext := func(e ...pkix.Extension) *x509.CertificateRequest {
		return &x509.CertificateRequest{ExtraExtensions: e}
	}
	cn := func(name string) *x509.CertificateRequest {
		return &x509.CertificateRequest{Subject: pkix.Name{CommonName: name}}
	}
	otherName := asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: []byte{6, 1, 42, 0xa0, 3, 0x0c, 1, 'x'}}
	for _, c := range []struct {
		name    string
		csr     *x509.CertificateRequest
		refused string // field, or ""
		dropped string // part of a message, or ""
	}{
		{name: "nothing", csr: &x509.CertificateRequest{}},
		{name: "the name itself", csr: cn("orders")},
		{name: "another name", csr: cn("payroll"), refused: "subject"},
		{name: "the name in capitals", csr: cn("Orders"), refused: "subject"},
		{name: "e-mail in CN", csr: cn("jane@example.com"), refused: "subject"},
		{name: "e-mail in O", csr: &x509.CertificateRequest{Subject: pkix.Name{Organization: []string{"jane@example.com"}}}, refused: "subject"},
		{name: "emailAddress attribute", csr: &x509.CertificateRequest{Subject: pkix.Name{CommonName: "orders", ExtraNames: []pkix.AttributeTypeAndValue{
			{Type: asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 1}, Value: "jane"}}}}, refused: "subject"},
		{name: "second CN", csr: &x509.CertificateRequest{Subject: pkix.Name{CommonName: "orders", ExtraNames: []pkix.AttributeTypeAndValue{
			{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: "orders"}, {Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: "payroll"}}}}, refused: "subject"},
		{name: "e-mail SAN", csr: &x509.CertificateRequest{EmailAddresses: []string{"jane@example.com"}}, refused: "subjectAltName"},
		{name: "DNS SAN", csr: &x509.CertificateRequest{DNSNames: []string{"orders"}}, refused: "subjectAltName"},
		{name: "IP SAN", csr: &x509.CertificateRequest{IPAddresses: []net.IP{net.IPv4(10, 0, 0, 1)}}, refused: "subjectAltName"},
		{name: "own SPIFFE ID", csr: &x509.CertificateRequest{URIs: uri("spiffe://test.internal/identity/orders")}},
		{name: "another's SPIFFE ID", csr: &x509.CertificateRequest{URIs: uri("spiffe://test.internal/identity/payroll")}, refused: "subjectAltName"},
		{name: "admin SPIFFE ID", csr: &x509.CertificateRequest{URIs: uri("spiffe://test.internal/admin/orders")}, refused: "subjectAltName"},
		{name: "another trust domain", csr: &x509.CertificateRequest{URIs: uri("spiffe://evil/identity/orders")}, refused: "subjectAltName"},
		{name: "web URI", csr: &x509.CertificateRequest{URIs: uri("https://example.com/")}, refused: "subjectAltName"},
		{name: "otherName", csr: ext(extension(t, asn1.ObjectIdentifier{2, 5, 29, 17}, []asn1.RawValue{otherName})), refused: "subjectAltName"},
		{name: "CA:TRUE", csr: ext(extension(t, asn1.ObjectIdentifier{2, 5, 29, 19}, struct{ CA bool }{true})), refused: "basicConstraints"},
		{name: "CA:FALSE", csr: ext(extension(t, asn1.ObjectIdentifier{2, 5, 29, 19}, struct{}{}))},
		{name: "malformed constraints", csr: ext(pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 19}, Value: []byte{1}}), refused: "csr"},
		{name: "clientAuth", csr: ext(extension(t, asn1.ObjectIdentifier{2, 5, 29, 37}, []asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 2}}))},
		{name: "serverAuth", csr: ext(extension(t, asn1.ObjectIdentifier{2, 5, 29, 37}, []asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 1}})), dropped: "serverAuth"},
		{name: "keyCertSign", csr: ext(extension(t, asn1.ObjectIdentifier{2, 5, 29, 15}, asn1.BitString{Bytes: []byte{0x86}, BitLength: 8})), dropped: "keyCertSign"},
		{name: "unknown extension", csr: ext(pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3, 4}, Critical: true, Value: []byte{5, 0}}), dropped: "1.2.3.4"},
		{name: "organisation", csr: &x509.CertificateRequest{Subject: pkix.Name{CommonName: "orders", Organization: []string{"ACME"}, Country: []string{"DE"}}}, dropped: `O="ACME"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			request, err := pki.ParseRequest(env.Request(key, c.csr))
			var issued *pki.Issued
			if err == nil {
				issued, err = issue(t, env, pki.IssueOptions{Profile: pki.ClientProfile(), Name: "orders", Request: request})
			}
			var re *pki.RequestError
			if c.refused != "" {
				if !errors.As(err, &re) || re.Field != c.refused || re.Hint == "" {
					t.Fatalf("got %v, want a refusal of %s with a hint", err, c.refused)
				}
				return
			}
			if err != nil {
				t.Fatalf("refused: %v", err)
			}
			checkProfile(t, issued.Leaf, "client", "orders")
			if got := strings.Join(issued.Dropped, "; "); !strings.Contains(got, c.dropped) || (c.dropped == "") != (got == "") {
				t.Errorf("dropped %q, want %q", got, c.dropped)
			}
		})
	}
}

func TestParseRequestRefusesWeakKeysAndBadSignatures(t *testing.T) {
	env := pkitest.New(t)
	t.Setenv("GODEBUG", "rsa1024min=0")
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	odd, err := rsa.GenerateKey(rand.Reader, 2049)
	if err != nil {
		t.Fatal(err)
	}
	p521, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, csr := range map[string][]byte{"RSA-1024": env.Request(weak, &x509.CertificateRequest{}), "RSA-2049": env.Request(odd, &x509.CertificateRequest{}),
		"P-521": env.Request(p521, &x509.CertificateRequest{}), "P-224": env.Request(p224, &x509.CertificateRequest{})} {
		var re *pki.RequestError
		if _, err := pki.ParseRequest(csr); !errors.As(err, &re) || re.Field != "key" {
			t.Errorf("%s: got %v, want a refusal of the key", name, err)
		}
	}
	for _, kt := range []string{pki.P256, pki.P384, pki.RSA2048, pki.Ed25519} {
		b := der(t, env.Request(env.Key(kt), &x509.CertificateRequest{}))
		if _, err := pki.ParseRequest(b); err != nil {
			t.Errorf("%s: %v", kt, err)
		}
		b[len(b)-1] ^= 1
		var re *pki.RequestError
		if _, err := pki.ParseRequest(b); !errors.As(err, &re) || re.Field != "signature" {
			t.Errorf("%s with a bad signature: got %v", kt, err)
		}
	}
}

// A request that is signed by an algorithm that cannot be judged is not damaged, and its maker looks in the wrong place when told so.
func TestAForeignSignatureAlgorithmIsNamed(t *testing.T) {
	env := pkitest.New(t)
	key := env.Key(pki.RSA2048)
	pss := der(t, env.Request(key, &x509.CertificateRequest{SignatureAlgorithm: x509.SHA256WithRSAPSS}))
	if _, err := pki.ParseRequest(pss); err != nil {
		t.Errorf("PSS with a salt as long as the hash: %v", err)
	}
	// The salt's length stands at the end of the parameters (RFC 4055, 3.1): 20 octets in place of 32.
	salt := bytes.LastIndex(pss, []byte{0xa2, 3, 2, 1, 32})
	if salt < 0 {
		t.Fatal("no salt length in the request")
	}
	unusual := slices.Clone(pss)
	unusual[salt+4] = 20
	md5 := slices.Clone(der(t, env.Request(key, &x509.CertificateRequest{SignatureAlgorithm: x509.SHA256WithRSA})))
	at := bytes.LastIndex(md5, []byte{0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 11})
	md5[at+8] = 4
	unknown := slices.Clone(md5)
	unknown[at+8] = 99
	for want, csr := range map[string][]byte{"RSA-PSS with unusual parameters": unusual, "MD5-RSA": md5, "1.2.840.113549.1.1.99": unknown} {
		var re *pki.RequestError
		if _, err := pki.ParseRequest(csr); !errors.As(err, &re) || re.Field != "signature" || !strings.Contains(re.Problem, want) || !strings.Contains(re.Hint, "SHA-256") {
			t.Errorf("got %v, want an algorithm that is not taken: %s", err, want)
		}
	}
}

// checkProfile asserts everything a certificate may hold.
func checkProfile(t *testing.T, c *x509.Certificate, kind, name string) {
	t.Helper()
	if c.Subject.String() != "CN="+name || len(c.Subject.Names) != 1 {
		t.Errorf("subject %s", c.Subject)
	}
	path := map[string]string{"client": "identity", "admin": "admin"}[kind]
	if len(c.URIs) != 1 || c.URIs[0].String() != "spiffe://test.internal/"+path+"/"+name {
		t.Errorf("URIs %v", c.URIs)
	}
	if len(c.DNSNames)+len(c.IPAddresses)+len(c.EmailAddresses) != 0 {
		t.Errorf("names %v %v %v", c.DNSNames, c.IPAddresses, c.EmailAddresses)
	}
	if !slices.Equal(c.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}) || len(c.UnknownExtKeyUsage) != 0 {
		t.Errorf("EKU %v %v", c.ExtKeyUsage, c.UnknownExtKeyUsage)
	}
	if c.KeyUsage != x509.KeyUsageDigitalSignature || c.IsCA || !c.BasicConstraintsValid {
		t.Errorf("KU %v, CA %v", c.KeyUsage, c.IsCA)
	}
	// Key usage, EKU, constraints, SKI, AKI, SAN and nothing else.
	if len(c.Extensions) != 6 {
		t.Errorf("%d extensions: %v", len(c.Extensions), c.Extensions)
	}
	if k, n, ok := pki.Subject(c, "test.internal"); !ok || k != kind || n != name {
		t.Errorf("Subject: %s %s %v", k, n, ok)
	}
}

func FuzzParseRequest(f *testing.F) {
	env := pkitest.New(f)
	key := env.Key(pki.P256)
	good := env.Request(key, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "orders", Organization: []string{"ACME"}}, DNSNames: []string{"a.example"}})
	f.Add(good)
	f.Add(der(f, good))
	f.Add(pkitest.PEM(env.Client("orders")))
	f.Add([]byte("-----BEGIN CERTIFICATE REQUEST-----\n-----END CERTIFICATE REQUEST-----\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		request, err := pki.ParseRequest(b)
		if err != nil {
			var re *pki.RequestError
			if !errors.As(err, &re) || re.Problem == "" || len(err.Error()) > 4096 {
				t.Errorf("not a clear error: %v", err)
			}
			return
		}
		// What is accepted becomes exactly the profile's certificate or is refused.
		tx, err := env.DB.BeginTx(context.Background(), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer tx.Rollback()
		issued, err := env.CA.Issue(context.Background(), tx, pki.IssueOptions{Profile: pki.ClientProfile(), Name: "orders", Request: request})
		if err == nil {
			checkProfile(t, issued.Leaf, "client", "orders")
		}
	})
}
