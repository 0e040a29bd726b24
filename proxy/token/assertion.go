package token

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// assertionLife is how long an assertion is good for, in all; assertionBackdate of it lies behind, for servers whose clocks are
// behind ours.
const (
	assertionLife     = time.Minute
	assertionBackdate = 10 * time.Second
)

// AssertionOptions say what stands in the head of an assertion. The zero value is a head with the algorithm alone.
type AssertionOptions struct {
	// KeyID is the kid by which the server finds the key; "" sends none.
	KeyID string
	// Algorithm is "" for the one of the key's type (RS256, ES256, ES384, EdDSA), or PS256 for an RSA key.
	Algorithm string
	// Certificate, of the same key, is named by its SHA-256 (x5t#S256, RFC 7515 section 4.1.8). nil sends none.
	Certificate *x509.Certificate
}

// AssertionKey signs the assertions with which a client proves itself (RFC 7523 section 2.2). It prints as [redacted], is immutable and safe
// for concurrent use.
type AssertionKey struct {
	signer  jose.Signer
	public  crypto.PublicKey
	options AssertionOptions  // with Algorithm filled in
	mark    [sha256.Size]byte // of all that makes its assertions what they are
}

// NewAssertionKey returns the key with its options checked.
func NewAssertionKey(key crypto.Signer, o AssertionOptions) (*AssertionKey, error) {
	own, err := algorithm(key.Public())
	if err != nil {
		return nil, err
	}
	_, isRSA := key.Public().(*rsa.PublicKey)
	switch {
	case o.Algorithm == "":
		o.Algorithm = string(own)
	case o.Algorithm != string(own) && (!isRSA || o.Algorithm != string(jose.PS256)):
		return nil, fmt.Errorf("making assertion key: algorithm %.20q does not fit the key, which signs with %s", o.Algorithm, own)
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, fmt.Errorf("making assertion key: %w", err)
	}
	signing := &jose.SignerOptions{}
	signing.WithType("JWT")
	if o.KeyID != "" {
		signing.WithHeader("kid", o.KeyID)
	}
	named := []byte(nil)
	if o.Certificate != nil {
		named = o.Certificate.Raw
		if !equalKeys(o.Certificate.PublicKey, key.Public()) {
			return nil, errors.New("making assertion key: the certificate is of another key")
		}
		sum := sha256.Sum256(o.Certificate.Raw)
		signing.WithHeader("x5t#S256", base64.RawURLEncoding.EncodeToString(sum[:]))
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(o.Algorithm), Key: key}, signing)
	if err != nil {
		return nil, errors.New("making assertion key: the key cannot sign") // the library's text may describe the key
	}
	k := &AssertionKey{signer: signer, public: key.Public(), options: o}
	sum := sha256.New()
	for _, part := range [][]byte{der, []byte(o.KeyID), []byte(o.Algorithm), named} {
		_ = binary.Write(sum, binary.BigEndian, uint64(len(part))) // a hash takes all
		_, _ = sum.Write(part)
	}
	sum.Sum(k.mark[:0])
	return k, nil
}

// algorithm is the one that goes with a key's type (RFC 7518 section 3.1, RFC 8037 section 3.1).
func algorithm(key crypto.PublicKey) (jose.SignatureAlgorithm, error) {
	switch k := key.(type) {
	case *rsa.PublicKey:
		return jose.RS256, nil
	case *ecdsa.PublicKey:
		switch k.Curve {
		case elliptic.P256():
			return jose.ES256, nil
		case elliptic.P384():
			return jose.ES384, nil
		}
	case ed25519.PublicKey:
		return jose.EdDSA, nil
	}
	return "", errors.New("making assertion key: only RSA, P-256, P-384 and Ed25519 keys sign assertions")
}

func equalKeys(a, b crypto.PublicKey) bool {
	k, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && k.Equal(b)
}

// sign makes one assertion: of the client about itself, for one server, once, for a minute (RFC 7523 section 3).
func (k *AssertionKey) sign(clientID, audience string, now time.Time) (string, error) {
	claims, err := json.Marshal(map[string]any{
		"iss": clientID, "sub": clientID, "aud": audience, "jti": rand.Text(),
		"iat": now.Add(-assertionBackdate).Unix(), "exp": now.Add(assertionLife - assertionBackdate).Unix(),
	})
	if err != nil {
		return "", fmt.Errorf("writing assertion: %w", err)
	}
	signed, err := k.signer.Sign(claims)
	if err != nil {
		return "", errors.New("signing assertion: the key does not sign")
	}
	return signed.CompactSerialize()
}

// JWKS is the key set (RFC 7517) to register with the server: the public key, with the kid and the algorithm that assertions carry.
func (k *AssertionKey) JWKS() ([]byte, error) {
	return json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{
		Key: k.public, KeyID: k.options.KeyID, Algorithm: k.options.Algorithm, Use: "sig",
	}}})
}

// CertificateJWKS is the key set to register with a server for self_signed_tls_client_auth (RFC 8705 section 2.2.1): the certificate, as
// x5c, and its key.
func CertificateJWKS(leaf *x509.Certificate) ([]byte, error) {
	id, err := KeyID(leaf.PublicKey)
	if err != nil {
		return nil, err
	}
	return json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: leaf.PublicKey, KeyID: id, Use: "sig", Certificates: []*x509.Certificate{leaf}}}})
}

// KeyID returns the thumbprint of a public key (RFC 7638, SHA-256, base64url), which makes a good [AssertionOptions.KeyID].
func KeyID(key crypto.PublicKey) (string, error) {
	sum, err := (&jose.JSONWebKey{Key: key}).Thumbprint(crypto.SHA256)
	if err != nil {
		return "", fmt.Errorf("naming key: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(sum), nil
}

// same reports whether both sign alike.
func (k *AssertionKey) same(other *AssertionKey) bool {
	if k == nil || other == nil {
		return k == other
	}
	return k.mark == other.mark
}

// fingerprint is what two keys that sign alike have in common, nil for none. Nothing of it is secret.
func (k *AssertionKey) fingerprint() []byte {
	if k == nil {
		return nil
	}
	public, err := x509.MarshalPKIXPublicKey(k.public)
	if err != nil {
		return nil // [NewAssertionKey] takes none of a kind that has no form
	}
	b := append(public, k.options.KeyID+"\x00"+k.options.Algorithm+"\x00"...)
	if k.options.Certificate != nil {
		b = append(b, k.options.Certificate.Raw...)
	}
	return b
}

// Format implements [fmt.Formatter] for every verb.
func (k *AssertionKey) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// MarshalJSON implements [json.Marshaler] with "[redacted]".
func (k *AssertionKey) MarshalJSON() ([]byte, error) { return json.Marshal(redacted) }
