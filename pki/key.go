package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
)

// Key types that [GenerateKey] and [InitOptions] know.
const (
	P256    = "P-256"
	P384    = "P-384"
	RSA2048 = "RSA-2048"
	RSA3072 = "RSA-3072"
	RSA4096 = "RSA-4096"
	Ed25519 = "Ed25519"
)

// GenerateKey makes a private key of the given type; "" means P-256.
func GenerateKey(keyType string) (crypto.Signer, error) {
	switch keyType {
	case "", P256:
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case P384:
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case RSA2048:
		return rsa.GenerateKey(rand.Reader, 2048)
	case RSA3072:
		return rsa.GenerateKey(rand.Reader, 3072)
	case RSA4096:
		return rsa.GenerateKey(rand.Reader, 4096)
	case Ed25519:
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	}
	return nil, &RequestError{Field: "key", Problem: fmt.Sprintf("unknown key type %q", keyType),
		Hint: "use P-256, P-384, RSA-2048, RSA-3072, RSA-4096 or Ed25519"}
}

// checkKey is the one rule for public keys, in requests and in presented certificates: RSA of 2048 to 8192 bits in whole
// octets with a sane exponent, P-256, P-384 or Ed25519.
func checkKey(key crypto.PublicKey) error {
	switch k := key.(type) {
	case *rsa.PublicKey:
		bits := k.N.BitLen()
		switch {
		case bits < 2048:
			return fmt.Errorf("RSA key of %d bits is too weak, 2048 is the least", bits)
		case bits > 8192:
			return fmt.Errorf("RSA key of %d bits is too long, 8192 is the most", bits) // verification time grows with the square
		case bits%8 != 0:
			return fmt.Errorf("RSA key of %d bits is not a whole number of octets", bits)
		case k.E < 3 || k.E&1 == 0:
			return fmt.Errorf("RSA key has the unusable public exponent %d", k.E)
		}
		return nil
	case *ecdsa.PublicKey:
		switch k.Curve {
		case elliptic.P256(), elliptic.P384():
			return nil
		}
		return fmt.Errorf("elliptic curve %s is not accepted, only P-256 and P-384", k.Curve.Params().Name)
	case ed25519.PublicKey:
		if len(k) != ed25519.PublicKeySize {
			return errors.New("Ed25519 key has the wrong length")
		}
		return nil
	case nil:
		return errors.New("there is no public key, or one of an unknown algorithm")
	}
	return fmt.Errorf("keys of type %T are not accepted, only RSA, P-256, P-384 and Ed25519", key)
}

// checkKeyTypes refuses a list of key types with one that [GenerateKey] does not know.
func checkKeyTypes(types []string) error {
	for _, t := range types {
		switch t {
		case P256, P384, RSA2048, RSA3072, RSA4096, Ed25519:
		default:
			return fmt.Errorf("key type %q: use P-256, P-384, RSA-2048, RSA-3072, RSA-4096 or Ed25519", t)
		}
	}
	return nil
}

// allowedKey says whether one of types allows a key that checkKey has accepted. RSA-N stands for N bits and more.
func allowedKey(key crypto.PublicKey, types []string) bool {
	if len(types) == 0 {
		return true
	}
	for _, t := range types {
		switch k := key.(type) {
		case *rsa.PublicKey:
			if least := map[string]int{RSA2048: 2048, RSA3072: 3072, RSA4096: 4096}[t]; least > 0 && k.N.BitLen() >= least {
				return true
			}
		case *ecdsa.PublicKey:
			if t == P256 && k.Curve == elliptic.P256() || t == P384 && k.Curve == elliptic.P384() {
				return true
			}
		case ed25519.PublicKey:
			if t == Ed25519 {
				return true
			}
		}
	}
	return false
}

// publicKeyEqual compares keys of the standard library, all of which have an Equal method.
func publicKeyEqual(a, b crypto.PublicKey) bool {
	eq, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && b != nil && eq.Equal(b)
}
