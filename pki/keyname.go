package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
)

// KeyType names the type of a public key as [GenerateKey] takes it: "P-256", "RSA-2048" and so on, by the exact size of the key. "" is a
// key of an algorithm that is not accepted anywhere here.
func KeyType(key crypto.PublicKey) string {
	switch k := key.(type) {
	case *rsa.PublicKey:
		return fmt.Sprintf("RSA-%d", k.N.BitLen())
	case *ecdsa.PublicKey:
		return k.Curve.Params().Name
	case ed25519.PublicKey:
		return Ed25519
	}
	return ""
}

// KeyFingerprint identifies a public key: the SHA-256 of its SubjectPublicKeyInfo (RFC 5280 section 4.1), in lower-case hex, as
// `openssl pkey -in FILE -pubout -outform DER | openssl sha256` prints it.
func KeyFingerprint(key crypto.PublicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return "", fmt.Errorf("encoding a public key: %w", err)
	}
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:]), nil
}
