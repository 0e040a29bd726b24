package pki

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"strings"

	"go.step.sm/crypto/pemutil"
	"software.sslmate.com/src/go-pkcs12"
)

// OpenPrivateKey reads one private key as PEM: PKCS#8, PKCS#1 or SEC 1, encrypted or not. An encrypted one without a password, or with the wrong one, is a
// *[FileError] with [ErrPassphrase] among its causes.
func OpenPrivateKey(b []byte, password string) (crypto.Signer, error) {
	b = bytes.TrimPrefix(b, []byte("\xef\xbb\xbf"))
	for rest := b; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return nil, &FileError{Problem: "there is no private key in it", Hint: "a PEM file begins with -----BEGIN PRIVATE KEY----- or the like"}
		}
		if !strings.HasSuffix(block.Type, "PRIVATE KEY") {
			continue // EC PARAMETERS, or certificates in front of the key
		}
		return openKeyBlock(block, password)
	}
}

func openKeyBlock(block *pem.Block, password string) (crypto.Signer, error) {
	encrypted := block.Type == "ENCRYPTED PRIVATE KEY" || strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED")
	if encrypted && password == "" {
		return nil, &FileError{Problem: "the key is encrypted, and no password is given", Err: ErrPassphrase}
	}
	var options []pemutil.Options
	if encrypted {
		options = append(options, pemutil.WithPassword([]byte(password)))
	}
	key, err := pemutil.ParseKey(pem.EncodeToMemory(block), options...)
	switch {
	case err != nil && encrypted:
		return nil, &FileError{Problem: "opening the key", Err: ErrPassphrase, Hint: "check the password; the file may be damaged too"}
	case err != nil:
		return nil, &FileError{Problem: "the private key is damaged, or of a kind that is not known", Err: errors.New(trimX509(err))}
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, &FileError{Problem: "the private key cannot sign"}
	}
	return signer, nil
}

// DecodePKCS12 reads a PKCS#12 file with one key: the certificate, its intermediates and, told apart by being signed by themselves, the roots. Errors are
// *[FileError], with [ErrPassphrase] among their causes where the password is wrong or missing.
func DecodePKCS12(b []byte, password string) (Contents, error) {
	if password == "" {
		return Contents{}, &FileError{Problem: "no password is given for the PKCS#12 file", Err: ErrPassphrase}
	}
	key, leaf, others, err := pkcs12.DecodeChain(b, password)
	switch {
	case errors.Is(err, pkcs12.ErrIncorrectPassword):
		return Contents{}, &FileError{Problem: "opening the PKCS#12 file", Err: ErrPassphrase, Hint: "check the password"}
	case err != nil:
		if what := nameDER(b); what != "" && !strings.Contains(what, "PKCS#12") {
			return Contents{}, &FileError{Problem: "this is " + what + ", not a PKCS#12 file"}
		}
		return Contents{}, &FileError{Problem: "reading the PKCS#12 file", Err: errors.New(strings.TrimPrefix(err.Error(), "pkcs12: "))}
	}
	c := Contents{Key: key, Chain: []*x509.Certificate{leaf}}
	for _, cert := range others {
		if bytes.Equal(cert.RawIssuer, cert.RawSubject) {
			c.Roots = append(c.Roots, cert)
			continue
		}
		c.Chain = append(c.Chain, cert)
	}
	return c, nil
}
