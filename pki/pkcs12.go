package pki

import (
	"crypto"
	"crypto/x509"
	"fmt"

	"software.sslmate.com/src/go-pkcs12"
)

// EncodePKCS12 packs key, certificate, intermediates and roots into one PKCS#12 file (RFC 7292) under password. The
// encoding is Modern2023 (PBES2 with AES-256, HMAC-SHA-256), which OpenSSL 1.1.1 and Java 8u301 or later open; legacy
// chooses the 3DES and SHA-1 of old SAP JVMs and sapgenpse, whose password protects next to nothing.
func EncodePKCS12(key crypto.PrivateKey, issued *Issued, roots []*x509.Certificate, password string, legacy bool) ([]byte, error) {
	if issued == nil || issued.Leaf == nil || len(issued.Chain) == 0 {
		return nil, fmt.Errorf("encoding PKCS#12: no certificate given")
	}
	signer, ok := key.(crypto.Signer)
	if !ok || !publicKeyEqual(signer.Public(), issued.Leaf.PublicKey) {
		return nil, fmt.Errorf("encoding PKCS#12: the private key does not belong to the certificate of %s", issued.Leaf.Subject)
	}
	if password == "" {
		return nil, fmt.Errorf("encoding PKCS#12: no password given")
	}
	encoder := pkcs12.Modern2023
	if legacy {
		encoder = pkcs12.LegacyDES
	}
	cas := append(append([]*x509.Certificate{}, issued.Chain[1:]...), roots...)
	b, err := encoder.Encode(key, issued.Leaf, cas, password)
	if err != nil {
		return nil, fmt.Errorf("encoding PKCS#12: %w", err)
	}
	return b, nil
}
