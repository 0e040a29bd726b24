package token

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"time"
)

// Sealer encrypts what is stored. The context is authenticated and not stored: what was sealed under one context opens under no other. Implementations are
// safe for concurrent use.
type Sealer interface {
	Seal(plaintext, context []byte) ([]byte, error)
	Open(ciphertext, context []byte) ([]byte, error)
}

// fingerprint tells whether a credential would still fetch the same token in the same way. It covers the client secret, which may be weak, so it is stored
// sealed only. What is trusted at the token endpoint (RootCAs) says nothing about a token that is there already, and Dial is told by Via. Scope and parameters
// are part of what a sealed token is bound to.
func (c Credential) fingerprint() (sum [sha256.Size]byte) {
	var b bytes.Buffer
	field := func(content []byte) {
		_ = binary.Write(&b, binary.BigEndian, uint32(len(content)))
		b.Write(content)
	}
	for _, text := range []string{c.TokenURL, c.Issuer, c.Via, string(c.Style), c.ClientID, c.Secret.Reveal(), c.AssertionAudience} {
		field([]byte(text))
	}
	var certificate []byte
	if c.Certificate != nil && len(c.Certificate.Certificate) > 0 {
		certificate = c.Certificate.Certificate[0]
	}
	field(certificate)
	field(c.Assertion.fingerprint())
	return sha256.Sum256(b.Bytes())
}

// sealContext binds what is sealed to its place in the database, so that nobody without the key can move it to another credential or scope.
func sealContext(kind string, fields ...string) []byte {
	b := []byte("tenantgate " + kind + " 1")
	for _, field := range fields {
		b = binary.BigEndian.AppendUint32(b, uint32(len(field)))
		b = append(b, field...)
	}
	return b
}

// savedToken is a token as it is stored. Its times are by the wall clock, because nothing else outlives the process.
type savedToken struct {
	fingerprint       [sha256.Size]byte
	obtained, expires time.Time
	value             Secret
}

func (t *savedToken) seal(s Sealer, key sourceKey) ([]byte, error) {
	b := append([]byte(nil), t.fingerprint[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(t.obtained.UnixMicro()))
	b = binary.BigEndian.AppendUint64(b, uint64(t.expires.UnixMicro()))
	b = append(b, t.value.Reveal()...)
	return s.Seal(b, sealContext("token", key.id, key.scope, key.parameters))
}

var errUnreadable = errors.New("what was sealed cannot be read")

func openToken(s Sealer, key sourceKey, sealed []byte) (*savedToken, error) {
	b, err := s.Open(sealed, sealContext("token", key.id, key.scope, key.parameters))
	if err != nil || len(b) <= sha256.Size+16 {
		return nil, errUnreadable
	}
	t := &savedToken{fingerprint: [sha256.Size]byte(b)}
	b = b[sha256.Size:]
	t.obtained = time.UnixMicro(int64(binary.BigEndian.Uint64(b)))
	t.expires = time.UnixMicro(int64(binary.BigEndian.Uint64(b[8:])))
	t.value = NewSecret(string(b[16:]))
	return t, nil
}

// skew is how far clocks of nodes may differ, and how far one may go back over a restart, for a stored time to be believed.
const skew = time.Minute

// held is the token as it is held from now on, nil if it is of no use: it ends, or its times make no sense under the clock as it is now. A clock that was
// set back by more than skew makes it look as if it came from the future; one that was set forward, as if it had ended.
func (e *Engine) held(t *savedToken, wall time.Time) *held {
	lifetime, age := t.expires.Sub(t.obtained), wall.Sub(t.obtained)
	if lifetime <= 0 || lifetime > e.maxLifetime() || age < -skew {
		return nil
	}
	h := e.newHeld(t.value.Reveal(), time.Since(e.base)-max(age, 0), lifetime)
	if !h.good(time.Since(e.base)) {
		return nil
	}
	return h
}

// savedRefusal is what is stored of a client that its token server refuses.
type savedRefusal struct {
	fingerprint [sha256.Size]byte
	refusals    int
	until       time.Time // zero while it may be tried
	status      int
	code, text  string
}

func (r *savedRefusal) seal(s Sealer, id string) ([]byte, error) {
	b := append([]byte(nil), r.fingerprint[:]...)
	until := int64(0)
	if !r.until.IsZero() {
		until = r.until.UnixMicro()
	}
	for _, n := range []int64{int64(r.refusals), until, int64(r.status), int64(len(r.code))} {
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	}
	return s.Seal(append(b, r.code+r.text...), sealContext("refusal", id))
}

func openRefusal(s Sealer, id string, sealed []byte) (*savedRefusal, error) {
	b, err := s.Open(sealed, sealContext("refusal", id))
	if err != nil || len(b) < sha256.Size+32 {
		return nil, errUnreadable
	}
	r := &savedRefusal{fingerprint: [sha256.Size]byte(b)}
	b = b[sha256.Size:]
	number := func(i int) int64 { return int64(binary.BigEndian.Uint64(b[8*i:])) }
	r.refusals, r.status = int(number(0)), int(number(2))
	if until := number(1); until != 0 {
		r.until = time.UnixMicro(until)
	}
	length, rest := number(3), b[32:]
	if length < 0 || length > int64(len(rest)) {
		return nil, errUnreadable
	}
	r.code, r.text = string(rest[:length]), string(rest[length:])
	return r, nil
}
