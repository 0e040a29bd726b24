package token

import (
	"bytes"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// pair finds certificate and key, in the document or beside it, checks that they belong together and puts the chain in order.
func (c keyClient) pair(k *ServiceKey, t keyText, o KeyOptions) error {
	fail := func(field, problem, hint string) error {
		return &KeyError{Shape: k.Shape, Field: field, Problem: problem, Hint: hint}
	}
	if o.TenantOnly {
		return c.certificateOnly(k, t)
	}
	certificateField, certificatePEM := c.at("certificate"), t.certificate
	if o.CertificatePEM != "" {
		certificateField, certificatePEM = "the certificate given beside it", o.CertificatePEM
	}
	keyField, keyPEM := c.at("key"), NewSecret(t.key)
	if !o.KeyPEM.Empty() {
		keyField, keyPEM = "the key given beside it", o.KeyPEM
	}
	missing := func(field, problem, hint, mends string) error {
		return &KeyError{Shape: k.Shape, Field: field, Problem: problem, Hint: hint, Mends: mends}
	}
	switch {
	case certificatePEM == "" && keyPEM.Empty():
		return missing(c.at("certificate")+", "+c.at("key"), "both are missing",
			"a binding made with hide-certificate or from your own certificate has neither: give both beside it", "CertificatePEM,KeyPEM")
	case certificatePEM == "":
		return missing(certificateField, "it is missing beside the key", "give it beside the service key", "CertificatePEM")
	case keyPEM.Empty():
		return missing(keyField, "it is missing: this is an external certificate, whose key only its maker has", "give it beside the service key", "KeyPEM")
	}
	chain, err := readCertificates(certificatePEM)
	if err != nil {
		return fail(certificateField, err.Error(), "")
	}
	block, signer, err := readPrivateKey(keyPEM.Reveal())
	if errors.Is(err, errEncrypted) {
		return fail(keyField, err.Error(), "decrypt it first")
	}
	if err != nil {
		return fail(keyField, err.Error(), "")
	}
	ordered, moved := ownFirst(chain, signer.Public())
	if ordered == nil {
		return fail(certificateField+", "+keyField, "they do not belong together", "take both from the same key")
	}
	if moved {
		k.Notes = append(k.Notes, "the certificates came in another order; the client's own was found by its key")
	}
	var chainPEM []byte
	for _, certificate := range ordered {
		chainPEM = append(chainPEM, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Raw})...)
	}
	keyText := string(pem.EncodeToMemory(block))
	if _, err := tls.X509KeyPair(chainPEM, []byte(keyText)); err != nil {
		return fail(certificateField+", "+keyField, "they cannot be used in a handshake", "")
	}
	k.CertificatePEM, k.KeyPEM = string(chainPEM), NewSecret(keyText)
	k.NotAfter, k.From.NotAfter = ordered[0].NotAfter, certificateField
	if o.CertificatePEM != "" && t.certificate != "" {
		if err := c.sameHolder(k, t, ordered[0]); err != nil {
			return err
		}
	}
	c.noteEnd(k, o.CertificatePEM == "")
	noteUsage(k, ordered[0])
	return nil
}

// certificateOnly reads the end of a certificate where its key does not matter. One that cannot be read is the credential's problem.
func (c keyClient) certificateOnly(k *ServiceKey, t keyText) error {
	chain, err := readCertificates(t.certificate)
	if err != nil {
		return nil
	}
	k.NotAfter, k.From.NotAfter = chain[0].NotAfter, c.at("certificate")
	if _, signer, err := readPrivateKey(t.key); err == nil {
		if ordered, _ := ownFirst(chain, signer.Public()); ordered != nil {
			k.NotAfter = ordered[0].NotAfter
		}
	}
	c.noteEnd(k, true)
	return nil
}

// sameHolder compares the certificate that is given with the one that the vendor registered: pinned, only that one is accepted; without pinning, a
// later one with the same subject and issuer is (TENANTS.md 1.5, 1.6).
func (c keyClient) sameHolder(k *ServiceKey, t keyText, own *x509.Certificate) error {
	registered, err := readCertificates(t.certificate)
	if err != nil || slices.ContainsFunc(registered, own.Equal) {
		return nil
	}
	if !bytes.Equal(registered[0].RawSubject, own.RawSubject) || !bytes.Equal(registered[0].RawIssuer, own.RawIssuer) {
		return &KeyError{Shape: k.Shape, Field: c.at("certificate"), Problem: "it is another one than the certificate given beside it",
			Hint: "give the one that the key was made with"}
	}
	k.Notes = append(k.Notes, "the certificate is a later one than the key's: it is accepted only where the key was made without pinning")
	return nil
}

// noteEnd compares what the document says of the end with the certificate, which decides.
func (c keyClient) noteEnd(k *ServiceKey, ofDocument bool) {
	if details, there, _ := c.object("certificatedetails"); there && ofDocument {
		said, err := time.Parse(time.RFC3339, details.textOr("validuntil"))
		if d := said.Sub(k.NotAfter).Abs(); err == nil && d > time.Minute {
			k.Notes = append(k.Notes, fmt.Sprintf("the key says that the certificate ends on %s, the certificate itself says %s, and that counts",
				said.UTC().Format(time.RFC3339), k.NotAfter.UTC().Format(time.RFC3339)))
		}
	}
	if time.Now().After(k.NotAfter) {
		k.Notes = append(k.Notes, "the certificate has ended: make a new key")
	}
}

// noteUsage tells of a certificate that servers will not take from a client (RFC 5280 section 4.2.1.12).
func noteUsage(k *ServiceKey, own *x509.Certificate) {
	if len(own.ExtKeyUsage)+len(own.UnknownExtKeyUsage) > 0 && !slices.Contains(own.ExtKeyUsage, x509.ExtKeyUsageClientAuth) &&
		!slices.Contains(own.ExtKeyUsage, x509.ExtKeyUsageAny) {
		k.Notes = append(k.Notes, "the certificate is not for client authentication (extended key usage): servers refuse it")
	}
}

func readCertificates(text string) ([]*x509.Certificate, error) {
	blocks, err := readPEM(text)
	if err != nil {
		return nil, err
	}
	chain := make([]*x509.Certificate, 0, len(blocks))
	for _, b := range blocks {
		if b.Type != "CERTIFICATE" {
			return nil, errors.New("it contains a PEM block that is no certificate")
		}
		certificate, err := x509.ParseCertificate(b.Bytes)
		if err != nil {
			return nil, errors.New("one of the certificates cannot be read")
		}
		if !slices.ContainsFunc(chain, certificate.Equal) {
			chain = append(chain, certificate)
		}
	}
	return chain, nil
}

var errEncrypted = errors.New("it is encrypted")

func readPrivateKey(text string) (*pem.Block, crypto.Signer, error) {
	blocks, err := readPEM(text)
	if err != nil {
		return nil, nil, err
	}
	if len(blocks) != 1 || !strings.HasSuffix(blocks[0].Type, "PRIVATE KEY") {
		return nil, nil, errors.New("it is not exactly one private key")
	}
	if blocks[0].Type == "ENCRYPTED PRIVATE KEY" {
		return nil, nil, errEncrypted
	}
	der := blocks[0].Bytes
	if key, err := x509.ParsePKCS8PrivateKey(der); err == nil {
		if signer, ok := key.(crypto.Signer); ok {
			return blocks[0], signer, nil
		}
	} else if key, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return blocks[0], key, nil
	} else if key, err := x509.ParseECPrivateKey(der); err == nil {
		return blocks[0], key, nil
	}
	return nil, nil, errors.New("it cannot be read")
}

// ownFirst puts the certificate of the key first and its issuers behind it; what belongs to neither keeps its place at the end. nil when no certificate
// is the key's.
func ownFirst(chain []*x509.Certificate, public crypto.PublicKey) (ordered []*x509.Certificate, moved bool) {
	same, ok := public.(interface{ Equal(crypto.PublicKey) bool })
	if !ok {
		return nil, false
	}
	rest := slices.Clone(chain)
	next := slices.IndexFunc(rest, func(c *x509.Certificate) bool { return same.Equal(c.PublicKey) })
	if next < 0 {
		return nil, false
	}
	for next >= 0 {
		last := rest[next]
		ordered, rest = append(ordered, last), slices.Delete(rest, next, next+1)
		next = slices.IndexFunc(rest, func(c *x509.Certificate) bool {
			return bytes.Equal(last.RawIssuer, c.RawSubject) && last.CheckSignatureFrom(c) == nil
		})
	}
	ordered = append(ordered, rest...)
	return ordered, !slices.EqualFunc(ordered, chain, func(a, b *x509.Certificate) bool { return a == b })
}
