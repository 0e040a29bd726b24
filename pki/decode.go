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

// OpenPrivateKey is [ParsePrivateKey] for a key that may be encrypted. An encrypted one without a password, or with the wrong one, is a *[FileError] with
// [ErrPassphrase] among its causes.
func OpenPrivateKey(b []byte, password string) (crypto.Signer, error) {
	block, rest := pem.Decode(bytes.TrimPrefix(b, []byte("\xef\xbb\xbf")))
	if block == nil || block.Type != "ENCRYPTED PRIVATE KEY" && !strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED") {
		return ParsePrivateKey(b)
	}
	switch {
	case password == "":
		return nil, &FileError{Problem: "the key is encrypted, and no password is given", Err: ErrPassphrase}
	case bytes.Contains(rest, []byte("PRIVATE KEY-----")):
		return nil, &FileError{Problem: "there is more than one private key in it", Hint: "keep one key in a file"}
	}
	key, err := pemutil.ParseKey(pem.EncodeToMemory(block), pemutil.WithPassword([]byte(password)))
	if err != nil {
		return nil, &FileError{Problem: "opening the key", Err: ErrPassphrase, Hint: "check the password; the file may be damaged too"}
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
