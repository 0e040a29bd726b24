package identity

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// Fingerprint is the SHA-256 digest of a certificate's whole DER encoding. It is the key by which a certificate is bound to an
// identity: subject, issuer and serial number are never compared.
type Fingerprint [sha256.Size]byte

// FingerprintOf returns the fingerprint of the certificate with this DER encoding.
func FingerprintOf(der []byte) Fingerprint { return sha256.Sum256(der) }

// ParseFingerprint reads 64 hexadecimal digits of either case, with or without a colon after each two.
func ParseFingerprint(s string) (Fingerprint, error) {
	var f Fingerprint
	digits := s
	if len(s) == 3*len(f)-1 {
		digits = strings.ReplaceAll(s, ":", "")
	}
	if len(digits) != 2*len(f) {
		return f, badFingerprint(s)
	}
	if _, err := hex.Decode(f[:], []byte(digits)); err != nil {
		return Fingerprint{}, badFingerprint(s)
	}
	return f, nil
}

func badFingerprint(s string) error {
	return &Error{Code: ErrInvalid, Object: ObjectCertificate, Name: shortened(s), Field: "fingerprint",
		Message: "not a SHA-256 fingerprint",
		Hint:    "give the 64 hexadecimal digits that `openssl x509 -noout -fingerprint -sha256` prints"}
}

// String returns the fingerprint as 64 lower-case hexadecimal digits.
func (f Fingerprint) String() string { return hex.EncodeToString(f[:]) }

// IsZero reports whether the fingerprint is all zero, which no certificate has.
func (f Fingerprint) IsZero() bool { return f == Fingerprint{} }

// MarshalText returns what String returns.
func (f Fingerprint) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

// UnmarshalText reads what ParseFingerprint reads.
func (f *Fingerprint) UnmarshalText(text []byte) error {
	parsed, err := ParseFingerprint(string(text))
	if err != nil {
		return err
	}
	*f = parsed
	return nil
}
