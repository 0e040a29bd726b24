package pki

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"net"
	"regexp"
	"time"
)

// checkLeaf judges the leaf by itself, before any path is looked for.
func checkLeaf(c *x509.Certificate, now time.Time) error {
	if err := checkForm(c); err != nil {
		return &RejectedError{Reason: Malformed, Detail: err.Error()}
	}
	if err := checkKey(c.PublicKey); err != nil {
		return &RejectedError{Reason: WeakKey, Detail: err.Error()}
	}
	if c.IsCA {
		return &RejectedError{Reason: IsCA, Detail: "a CA certificate cannot be used as a client certificate"}
	}
	if err := checkLeafExtensions(c); err != nil {
		return &RejectedError{Reason: Malformed, Detail: err.Error()}
	}
	if err := checkClientUsage(c); err != nil {
		return &RejectedError{Reason: NotClientAuth, Detail: err.Error()}
	}
	if now.Before(c.NotBefore) {
		return &RejectedError{Reason: NotYetValid, Detail: "not valid before " + c.NotBefore.UTC().Format(time.RFC3339)}
	}
	if now.After(c.NotAfter) {
		return &RejectedError{Reason: Expired, Detail: "expired on " + c.NotAfter.UTC().Format(time.RFC3339)}
	}
	return nil
}

// checkForm holds what RFC 5280 section 4.1 asks of every certificate.
func checkForm(c *x509.Certificate) error {
	switch {
	case len(c.Raw) == 0:
		return errors.New("not a parsed certificate")
	case c.Version != 3:
		return fmt.Errorf("X.509 version %d, only version 3 is accepted", c.Version)
	case c.SerialNumber == nil || c.SerialNumber.Sign() <= 0:
		return errors.New("the serial number is not positive (RFC 5280 section 4.1.2.2)")
	case c.SerialNumber.BitLen() > 159: // 20 octets in DER, where the top bit is the sign
		return errors.New("the serial number is longer than 20 octets (RFC 5280 section 4.1.2.2)")
	case emptyName(c.RawIssuer):
		return errors.New("the issuer is empty (RFC 5280 section 4.1.2.4)")
	}
	for _, e := range c.Extensions {
		// RFC 5280 sections 4.2.1.1, 4.2.1.2, 4.2.2.1: "MUST mark this extension as non-critical".
		if e.Critical && (e.Id.Equal(oidAuthorityKeyID) || e.Id.Equal(oidSubjectKeyID) || e.Id.Equal(oidAuthorityInfo)) {
			return fmt.Errorf("extension %v must not be critical", e.Id)
		}
	}
	return nil
}

// checkLeafExtensions holds what RFC 5280 section 4.2 asks of an end entity.
func checkLeafExtensions(c *x509.Certificate) error {
	if c.AuthorityKeyId == nil {
		return errors.New("there is no authority key identifier (RFC 5280 section 4.2.1.1)")
	}
	if find(c, oidNameConstraints) != nil {
		return errors.New("name constraints are for CA certificates only (RFC 5280 section 4.2.1.10)")
	}
	if c.KeyUsage&x509.KeyUsageCertSign != 0 {
		return errors.New("key usage keyCertSign without being a CA (RFC 5280 section 4.2.1.9)")
	}
	if san := find(c, oidSubjectAltName); san != nil && !san.Critical && emptyName(c.RawSubject) {
		return errors.New("the subject is empty and the alternative name is not critical (RFC 5280 section 4.2.1.6)")
	}
	// Names times constraints is work that a client could make us do; no honest one has more than a few.
	if n := len(c.DNSNames) + len(c.EmailAddresses) + len(c.IPAddresses) + len(c.URIs) + len(c.Subject.Names); n > maxNames {
		return fmt.Errorf("%d names are too many, %d are the most", n, maxNames)
	}
	for _, name := range c.DNSNames {
		if net.ParseIP(name) != nil || !dnsNameRE.MatchString(name) {
			return fmt.Errorf("the alternative name %q is no DNS name (RFC 5280 section 4.2.1.6)", name)
		}
	}
	return nil
}

// maxNames bounds a leaf's subject attributes and alternative names together.
const maxNames = 100

// dnsNameRE is the preferred name syntax of RFC 1034 section 3.5 with RFC 6125's wildcard as the whole leftmost label.
var dnsNameRE = regexp.MustCompile(`^(\*\.)?([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)*[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$`)

// checkClientUsage wants an explicit permission. crypto/x509 takes a missing EKU and anyExtendedKeyUsage for one.
func checkClientUsage(c *x509.Certificate) error {
	client := false
	for _, u := range c.ExtKeyUsage {
		switch u {
		case x509.ExtKeyUsageAny:
			return errors.New("extended key usage any is not accepted, clientAuth must be named")
		case x509.ExtKeyUsageClientAuth:
			client = true
		}
	}
	if !client {
		if find(c, oidExtKeyUsage) == nil {
			return errors.New("there is no extended key usage, clientAuth must be named")
		}
		return errors.New("the extended key usage does not name clientAuth")
	}
	if find(c, oidKeyUsage) != nil && c.KeyUsage&x509.KeyUsageDigitalSignature == 0 {
		return errors.New("the key usage does not allow digital signatures, which TLS clients make")
	}
	return nil
}

// checkCA holds what RFC 5280 asks of a certificate that signs others, trust anchors included: an anchor that breaks the
// rules was made by a tool that should not be trusted.
func checkCA(c *x509.Certificate) error {
	if c == nil {
		return errors.New("not a parsed certificate")
	}
	if err := checkForm(c); err != nil {
		return err
	}
	if err := checkKey(c.PublicKey); err != nil {
		return err
	}
	constraints := find(c, oidBasicConstraints)
	switch {
	case emptyName(c.RawSubject):
		return errors.New("a CA needs a subject (RFC 5280 section 4.1.2.6)")
	case constraints == nil || !c.BasicConstraintsValid || !c.IsCA:
		return errors.New("not a CA certificate (RFC 5280 section 4.2.1.9)")
	case !constraints.Critical:
		return errors.New("the basic constraints of a CA must be critical (RFC 5280 section 4.2.1.9)")
	case find(c, oidKeyUsage) != nil && c.KeyUsage&x509.KeyUsageCertSign == 0:
		return errors.New("its key usage does not allow to sign certificates (RFC 5280 section 4.2.1.3)")
	case c.SubjectKeyId == nil:
		return errors.New("a CA needs a subject key identifier (RFC 5280 section 4.2.1.2)")
	}
	for _, id := range []asn1.ObjectIdentifier{oidNameConstraints, oidPolicyConstraints} { // sections 4.2.1.10, 4.2.1.11
		if e := find(c, id); e != nil && !e.Critical {
			return fmt.Errorf("extension %v must be critical", id)
		}
	}
	return nil
}

func find(c *x509.Certificate, id asn1.ObjectIdentifier) *pkix.Extension {
	for i := range c.Extensions {
		if c.Extensions[i].Id.Equal(id) {
			return &c.Extensions[i]
		}
	}
	return nil
}

// emptyName reports whether raw is the empty SEQUENCE.
func emptyName(raw []byte) bool { return len(raw) == 0 || bytes.Equal(raw, []byte{0x30, 0}) }
