package pki

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"strings"
)

// ParsePrivateKey reads one unencrypted private key in PEM: PKCS#8, PKCS#1 or SEC 1 (RFC 5915), as openssl writes them. Certificates and EC
// parameters beside it are passed over; a second key is refused. An error never repeats what was read.
func ParsePrivateKey(b []byte) (crypto.Signer, error) {
	var found crypto.Signer
	for {
		var block *pem.Block
		if block, b = pem.Decode(b); block == nil {
			break
		}
		if !strings.HasSuffix(block.Type, "PRIVATE KEY") {
			continue
		}
		if found != nil {
			return nil, &FileError{Problem: "there is more than one private key in it", Hint: "keep one key in a file"}
		}
		var err error
		if found, err = parseKeyBlock(block); err != nil {
			return nil, err
		}
	}
	if found == nil {
		return nil, &FileError{Problem: "there is no private key in it", Hint: "a key begins with -----BEGIN PRIVATE KEY-----"}
	}
	return found, nil
}

func parseKeyBlock(block *pem.Block) (crypto.Signer, error) {
	var key any
	var err error
	switch {
	case block.Type == "ENCRYPTED PRIVATE KEY", block.Headers["DEK-Info"] != "":
		return nil, &FileError{Problem: "the private key is encrypted", Hint: "openssl pkey -in FILE -out PLAIN, and keep that file private"}
	case block.Type == "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case block.Type == "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case block.Type == "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	default:
		return nil, &FileError{Problem: fmt.Sprintf("a %.40s is of a kind that is not known", block.Type)}
	}
	if err != nil {
		return nil, &FileError{Problem: "the private key is damaged"}
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, &FileError{Problem: "the private key cannot sign", Hint: "use RSA, P-256, P-384 or Ed25519"}
	}
	return signer, nil
}
