package identity

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
)

// PrivateKey returns the key of a credential of KindCertificate or KindAssertion. Its error quotes nothing of it.
func (c *Credential) PrivateKey() (crypto.Signer, error) {
	rest := []byte(c.Secret.Reveal())
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return nil, errors.New("there is no PEM block of a private key")
		}
		if block.Type == "ENCRYPTED PRIVATE KEY" || block.Headers["DEK-Info"] != "" {
			return nil, errors.New("the private key is encrypted")
		}
		if strings.HasSuffix(block.Type, "PRIVATE KEY") { // others, such as EC PARAMETERS, may stand before it
			return parsePrivateKey(block.Bytes)
		}
	}
}

func parsePrivateKey(der []byte) (crypto.Signer, error) {
	var key any
	var err error
	if key, err = x509.ParsePKCS8PrivateKey(der); err != nil {
		if key, err = x509.ParsePKCS1PrivateKey(der); err != nil {
			if key, err = x509.ParseECPrivateKey(der); err != nil {
				return nil, errors.New("the private key cannot be read")
			}
		}
	}
	switch k := key.(type) {
	case *rsa.PrivateKey:
		if k.N.BitLen() < 2048 {
			return nil, fmt.Errorf("an RSA key of %d bits is too weak, 2048 is the least", k.N.BitLen())
		}
		return k, nil
	case *ecdsa.PrivateKey:
		if k.Curve == elliptic.P256() || k.Curve == elliptic.P384() {
			return k, nil
		}
	case ed25519.PrivateKey:
		return k, nil
	}
	return nil, errors.New("the key is none of RSA, P-256, P-384 and Ed25519")
}

// Leaf returns the first certificate of the credential's chain, nil if it has none.
func (c *Credential) Leaf() (*x509.Certificate, error) {
	if c.Certificate == "" {
		return nil, nil
	}
	block, _ := pem.Decode([]byte(c.Certificate))
	if block == nil {
		return nil, fmt.Errorf("reading certificate of credential %s: no PEM", c.ID)
	}
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("reading certificate of credential %s: %w", c.ID, err)
	}
	return leaf, nil
}

// signingKey checks the key of a credential of KindAssertion, and the certificate that may belong to it.
func (v *validation) signingKey(c Credential) {
	if c.AuthStyle != "" && c.AuthStyle != AuthPrivateKeyJWT {
		v.fail("auth_style", c.AuthStyle+" does not sign assertions", "use kind secret or certificate, or the style private_key_jwt")
		return
	}
	const hint = "give an unencrypted PEM private key: RSA with 2048 bits or more, P-256, P-384 or Ed25519"
	key, err := c.PrivateKey()
	if err != nil {
		v.fail("secret", "the key cannot be used: "+err.Error(), hint)
		return
	}
	if c.AssertionAlgorithm != "" && !signsWith(key, c.AssertionAlgorithm) {
		v.fail("assertion_algorithm", quoted(c.AssertionAlgorithm)+" does not fit the key", "leave it out for the one of the key's type, or give PS256 for an RSA key")
	}
	if c.Certificate == "" {
		return
	}
	if _, err := c.leaf(); err != nil {
		v.fail("certificate", "certificate and private key cannot be used: "+err.Error(), "give the PEM certificate of the key, or none")
	}
}

func signsWith(key crypto.Signer, algorithm string) bool {
	switch k := key.(type) {
	case *rsa.PrivateKey:
		return algorithm == "RS256" || algorithm == "PS256"
	case *ecdsa.PrivateKey:
		return k.Curve == elliptic.P256() && algorithm == "ES256" || k.Curve == elliptic.P384() && algorithm == "ES384"
	}
	return algorithm == "EdDSA"
}
