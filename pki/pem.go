package pki

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"fmt"
)

// maxBundle bounds a file of certificates or revocation lists, in bytes.
const maxBundle = 32 << 20

// ParseCertificates reads one or more certificates, PEM (with any text between the blocks, as openssl writes it) or one
// in DER. Anything else in the file is an error that says what it is; so is a file without any certificate.
func ParseCertificates(b []byte) ([]*x509.Certificate, error) {
	return parseBundle(b, "certificate", []string{"CERTIFICATE"}, x509.ParseCertificate)
}

// ParseCRLs reads one or more certificate revocation lists (RFC 5280 section 5), PEM or one in DER, as
// [ParseCertificates] does. It verifies nothing: [Trust.VerifyClient] does.
func ParseCRLs(b []byte) ([]*x509.RevocationList, error) {
	return parseBundle(b, "certificate revocation list", []string{"X509 CRL", "CRL"}, x509.ParseRevocationList)
}

func parseBundle[T any](b []byte, want string, labels []string, parse func([]byte) (T, error)) ([]T, error) {
	if len(b) > maxBundle {
		return nil, &FileError{Problem: fmt.Sprintf("%d bytes are too many for a file of this kind", len(b))}
	}
	b = bytes.TrimPrefix(b, []byte("\xef\xbb\xbf"))
	if len(bytes.TrimSpace(b)) == 0 {
		return nil, &FileError{Problem: "the file is empty", Hint: "it must hold at least one " + want}
	}
	if b[0] == 0x30 && !bytes.Contains(b, []byte("-----BEGIN ")) {
		one, err := parse(b)
		if err != nil {
			if what := nameDER(b); what != "" {
				return nil, &FileError{Problem: "this is " + what + ", not a " + want}
			}
			return nil, &FileError{Problem: "reading the " + want, Err: err}
		}
		return []T{one}, nil
	}
	var all []T
	for n := 1; ; n++ {
		var block *pem.Block
		rest := b
		if block, b = pem.Decode(b); block == nil {
			if bytes.Contains(rest, []byte("-----BEGIN ")) {
				return nil, &FileError{Problem: fmt.Sprintf("broken PEM: block %d has a BEGIN line but is not whole", n), Hint: "copy the file whole"}
			}
			break
		}
		// pem.Decode silently skips blocks it cannot decode. Count what it passed over.
		if skipped := rest[:len(rest)-len(b)]; bytes.Count(skipped, []byte("-----BEGIN ")) > 1 {
			return nil, &FileError{Problem: fmt.Sprintf("broken PEM: block %d is damaged", n), Hint: "copy the file whole"}
		}
		ok := false
		for _, l := range labels {
			ok = ok || l == block.Type
		}
		if !ok {
			return nil, &FileError{Problem: fmt.Sprintf("block %d is %s, not a %s", n, namePEM(block), want)}
		}
		one, err := parse(block.Bytes)
		if err != nil {
			return nil, &FileError{Problem: fmt.Sprintf("reading %s %d", want, n), Err: err}
		}
		all = append(all, one)
	}
	if len(all) == 0 {
		return nil, &FileError{Problem: "there is no " + want + " in it", Hint: "a PEM file begins with -----BEGIN " + labels[0] + "-----"}
	}
	return all, nil
}

// EncodeCertificates returns the certificates as PEM, in the order given.
func EncodeCertificates(certs ...*x509.Certificate) []byte {
	var b bytes.Buffer
	for _, c := range certs {
		pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}) // a bytes.Buffer takes everything
	}
	return b.Bytes()
}

// EncodeCRL returns a certificate revocation list, given in DER, as PEM (RFC 7468 section 6).
func EncodeCRL(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der})
}

// EncodePrivateKey returns a private key as unencrypted PKCS#8 PEM. Keep it in a file of mode 0600.
func EncodePrivateKey(key crypto.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encoding private key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}
