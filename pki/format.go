package pki

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"

	"github.com/smallstep/pkcs7"
	"software.sslmate.com/src/go-pkcs12"
)

// A Format is a kind of file in which callers take keys and certificates.
type Format string

// The formats. Those of Java and SAP hold the chain up to the root, because their tools refuse a certificate whose issuers they do not know.
const (
	// PEMChain is the certificate and its intermediates, without the root, as TLS sends them.
	PEMChain Format = "pem"
	// PKCS7 is the certificates alone in a SignedData that nobody signed (RFC 5652 section 5.1), as PEM: the answer to a request in STRUST.
	PKCS7 Format = "pkcs7"
	// PKCS7DER is the same as DER, for Windows.
	PKCS7DER Format = "pkcs7-der"
	// PKCS12 is key and certificates under PBES2 with AES-256, MAC by HMAC-SHA-256: OpenSSL 1.1.1, Java 8u301 and later. (PBMAC1 of RFC 9579 would be newer;
	// OpenSSL 3.0 and Java 17 cannot read it.)
	PKCS12 Format = "pkcs12"
	// PKCS12Legacy is the same under triple DES and SHA-1, for old JVMs and sapgenpse. The password protects next to nothing.
	PKCS12Legacy Format = "pkcs12-legacy"
	// JKS is Java's own key store, with the key under its alias. Its protection of the key is as weak as that of PKCS12Legacy.
	JKS Format = "jks"
	// TrustJKS and TrustPKCS12 are trust stores for Java: the roots alone, each under an alias.
	TrustJKS    Format = "truststore-jks"
	TrustPKCS12 Format = "truststore-pkcs12"
)

// Formats returns all formats; the slice is the caller's.
func Formats() []Format {
	return []Format{PEMChain, PKCS7, PKCS7DER, PKCS12, PKCS12Legacy, JKS, TrustJKS, TrustPKCS12}
}

// HoldsKey says whether a file of this format holds the private key.
func (f Format) HoldsKey() bool { return f == PKCS12 || f == PKCS12Legacy || f == JKS }

// HoldsChain says whether it holds the certificate of a caller, and not only roots.
func (f Format) HoldsChain() bool { return f != TrustJKS && f != TrustPKCS12 }

// NeedsPassword says whether a file of this format is made under a password.
func (f Format) NeedsPassword() bool { return f.HoldsKey() || !f.HoldsChain() }

// Contents are what goes into a file.
type Contents struct {
	// Key belongs to the first certificate of Chain. It is written only in a format that holds it.
	Key crypto.PrivateKey
	// Chain is the caller's certificate and its intermediates.
	Chain []*x509.Certificate
	// Roots are what the chain leads to.
	Roots []*x509.Certificate
	// Alias is the name of the key's entry; Java compares aliases in lower case. It begins the names of roots' entries. "" is the common name of the
	// certificate, or "tenantgate" where there is none.
	Alias string
}

// minStorePassword is what keytool asks of a password.
const minStorePassword = 6

// Encode writes the contents in the format, under password where one is needed. Errors are *[FormatError].
func (f Format) Encode(c Contents, password string) ([]byte, error) {
	if err := f.check(&c, password); err != nil {
		return nil, err
	}
	var b []byte
	var err error
	switch f {
	case PEMChain:
		return EncodeCertificates(c.Chain...), nil
	case PKCS7, PKCS7DER:
		b, err = encodePKCS7(append(slices.Clone(c.Chain), c.Roots...))
		if f == PKCS7 && err == nil {
			b = pem.EncodeToMemory(&pem.Block{Type: "PKCS7", Bytes: b})
		}
	case PKCS12:
		b, err = encodePKCS12(&c, pkcs12.Modern2023, password)
	case PKCS12Legacy:
		b, err = encodePKCS12(&c, pkcs12.LegacyDES, password)
	case TrustPKCS12:
		b, err = pkcs12.Modern2023.EncodeTrustStoreEntries(trustEntries(&c), password)
	case JKS:
		b, err = encodeJKS(&c, password)
	case TrustJKS:
		b, err = encodeTrustJKS(&c, password)
	}
	if err != nil {
		return nil, &FormatError{Format: f, Problem: err.Error()}
	}
	return b, nil
}

// A FormatError says why contents cannot be written in a format.
type FormatError struct {
	Format  Format
	Problem string
	Hint    string // what to do; may be empty
}

// Error returns format, problem and hint in one line.
func (e *FormatError) Error() string {
	s := "writing " + string(e.Format) + ": " + e.Problem
	if e.Hint != "" {
		s += " (" + e.Hint + ")"
	}
	return s
}

// check refuses contents that do not fit, and fills in the alias.
func (f Format) check(c *Contents, password string) error {
	refuse := func(problem, hint string) error { return &FormatError{f, problem, hint} }
	if !slices.Contains(Formats(), f) {
		return refuse("the format is unknown", "use "+formatNames())
	}
	if f.HoldsChain() && len(c.Chain) == 0 {
		return refuse("there is no certificate", "give the certificate with its intermediates")
	}
	if !f.HoldsChain() && len(c.Roots) == 0 {
		return refuse("there are no roots to trust", "give the CA's root certificate")
	}
	if f.HoldsKey() {
		signer, ok := c.Key.(crypto.Signer)
		if !ok {
			return refuse("there is no private key", "give the key, or choose pem or pkcs7 for the certificates alone")
		}
		if !publicKeyEqual(signer.Public(), c.Chain[0].PublicKey) {
			return refuse("the private key does not belong to the certificate of "+subjectOf(c.Chain[0]), "give the key that the certificate was requested with")
		}
	}
	if err := f.checkPassword(password, refuse); err != nil {
		return err
	}
	if c.Alias == "" && len(c.Chain) > 0 {
		c.Alias = c.Chain[0].Subject.CommonName
	}
	if c.Alias == "" {
		c.Alias = "tenantgate"
	}
	if len(c.Alias) > 200 || strings.ContainsFunc(c.Alias, func(r rune) bool { return r < ' ' || r > '~' }) {
		return refuse("the alias is longer than 200 characters, or has others than those of ASCII", "choose a short name, such as that of the identity")
	}
	return nil
}

func (f Format) checkPassword(password string, refuse func(problem, hint string) error) error {
	if !f.NeedsPassword() {
		return nil
	}
	if password == "" {
		return refuse("there is no password", "a file without one is open to whoever reads it, and Java and SAP refuse it")
	}
	if f == PKCS12 || f == PKCS12Legacy {
		return nil
	}
	if len(password) < minStorePassword {
		return refuse(fmt.Sprintf("the password is shorter than %d characters, and Java refuses that", minStorePassword), "choose a longer one")
	}
	if strings.ContainsFunc(password, func(r rune) bool { return r < ' ' || r > '~' }) {
		return refuse("the password has characters other than those of ASCII, which Java reads in more than one way", "choose letters, digits and punctuation")
	}
	return nil
}

func formatNames() string {
	var names []string
	for _, f := range Formats() {
		names = append(names, string(f))
	}
	return strings.Join(names, ", ")
}

func encodePKCS7(certs []*x509.Certificate) ([]byte, error) {
	var all []byte
	for _, c := range certs {
		all = append(all, c.Raw...)
	}
	return pkcs7.DegenerateCertificate(all)
}

func encodePKCS12(c *Contents, encoder *pkcs12.Encoder, password string) ([]byte, error) {
	b, err := encoder.Encode(c.Key, c.Chain[0], append(slices.Clone(c.Chain[1:]), c.Roots...), password)
	if err != nil {
		return nil, err
	}
	return nameKey(b, c.Alias, password)
}

func trustEntries(c *Contents) []pkcs12.TrustStoreEntry {
	var entries []pkcs12.TrustStoreEntry
	for i, root := range c.Roots {
		entries = append(entries, pkcs12.TrustStoreEntry{Cert: root, FriendlyName: rootAlias(c, i)})
	}
	return entries
}

// rootAlias names the entry of a root: alias-ca, alias-ca-2 and so on.
func rootAlias(c *Contents, i int) string {
	if i == 0 {
		return c.Alias + "-ca"
	}
	return fmt.Sprintf("%s-ca-%d", c.Alias, i+1)
}
