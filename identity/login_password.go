package identity

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
	"golang.org/x/text/unicode/norm"
)

// MaxPassword bounds a login's password, in octets of UTF-8.
const MaxPassword = 1024

// The cost of a new hash: what OWASP's Password Storage Cheat Sheet gives for Argon2id with the least memory. It takes some 25 ms, and a node computes a
// bounded number at once.
const (
	argonMemory = 19 << 10 // KiB
	argonTime   = 2
	argonKey    = 32 // octets
	argonSalt   = 16
)

// Bounds of the cost of hashes that are read. Of an imported bcrypt hash the lower one keeps out what is guessed in no time and the upper one what blocks a node.
const (
	maxArgonMemory = 64 << 10
	maxArgonTime   = 10
	minBcryptCost  = 4
	maxBcryptCost  = 12
)

// PasswordHash is what a password is compared with: Argon2id (RFC 9106), or a bcrypt hash that was imported and is replaced when its password is first seen.
// It shows itself as [redacted] however it is printed. The zero value is none, which no password fits.
type PasswordHash struct {
	SecretMaterial // the PHC string
}

// Kind is "argon2id" or "bcrypt", "" for none.
func (h PasswordHash) Kind() string {
	switch text := h.Reveal(); {
	case text == "":
		return ""
	case strings.HasPrefix(text, "$argon2id$"):
		return "argon2id"
	}
	return "bcrypt"
}

// NormalPassword returns a password as it is hashed: in normalization form C, as RFC 8265 (OpaqueString) has it.
func NormalPassword(password string) string { return norm.NFC.String(password) }

// HashPassword returns the Argon2id hash of a password under a new salt. It takes some 25 ms and 19 MiB. The error is an *[Error] with code [ErrInvalid] for a
// password that callers could not send.
func HashPassword(password string) (PasswordHash, error) {
	v := validation{object: ObjectLogin}
	v.password("password", password)
	if err := v.err(); err != nil {
		return PasswordHash{}, err
	}
	salt := make([]byte, argonSalt)
	_, _ = rand.Read(salt) // it never fails (crypto/rand)
	key := argon2.IDKey([]byte(NormalPassword(password)), salt, argonTime, argonMemory, 1, argonKey)
	return PasswordHash{NewSecret(fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=1$%s$%s", argon2.Version, argonMemory, argonTime,
		base64.RawStdEncoding.EncodeToString(salt), base64.RawStdEncoding.EncodeToString(key)))}, nil
}

// password checks a password. Messages do not hold it.
func (v *validation) password(field, s string) {
	switch {
	case s == "":
		v.fail(field, "empty", "give the password that the callers send")
	case len(s) > MaxPassword:
		v.fail(field, fmt.Sprintf("longer than %d octets", MaxPassword), "give at most 1 KiB")
	case !printable(s):
		v.fail(field, "is no UTF-8 or holds a control character", "HTTP Basic cannot carry it (RFC 7617, section 2); look for a line end that was copied along")
	}
}

// ParsePasswordHash reads a hash that was made elsewhere: bcrypt ($2a$, $2b$ or $2y$, as htpasswd -B writes it) of cost 4 to 12, or Argon2id as a PHC string of
// at most 64 MiB and 10 passes. Whatever else there is can be reversed in hours and is refused.
func ParsePasswordHash(text string) (PasswordHash, error) {
	bad := func(message, hint string) (PasswordHash, error) {
		return PasswordHash{}, &Error{Code: ErrInvalid, Object: ObjectLogin, Field: "password", Message: message, Hint: hint}
	}
	switch {
	case strings.HasPrefix(text, "$argon2id$"):
		if _, ok := parseArgon(text); !ok {
			return bad("not an Argon2id hash that can be computed here", "make it with at most 64 MiB, 10 passes and one lane, or give the password")
		}
	case strings.HasPrefix(text, "$2a$"), strings.HasPrefix(text, "$2b$"), strings.HasPrefix(text, "$2y$"):
		cost, err := bcrypt.Cost([]byte(text))
		if err != nil || len(text) != 60 {
			return bad("not a bcrypt hash", "copy the whole line that htpasswd -B wrote")
		}
		if cost < minBcryptCost || cost > maxBcryptCost {
			return bad(fmt.Sprintf("a bcrypt hash of cost %d", cost), "a cost between 4 and 12 can be checked here: give the password")
		}
	case strings.HasPrefix(text, "{SHA}"):
		return bad("an unsalted SHA-1 hash", "it can be reversed in minutes: give the password, or make the line with htpasswd -B")
	case strings.HasPrefix(text, "$apr1$"), strings.HasPrefix(text, "$1$"):
		return bad("an MD5 hash", "it can be reversed in hours: give the password, or make the line with htpasswd -B")
	default:
		return bad("a hash of an unknown kind", "bcrypt and Argon2id are read: make the line with htpasswd -B")
	}
	return PasswordHash{NewSecret(text)}, nil
}

// argonHash is an Argon2id hash in parts.
type argonHash struct {
	memory, time uint32
	salt, key    []byte
}

// parseArgon reads a PHC string.
func parseArgon(text string) (h argonHash, ok bool) {
	parts := strings.Split(text, "$")
	if len(parts) != 6 || parts[2] != "v=19" {
		return h, false
	}
	costs := strings.Split(parts[3], ",")
	if len(costs) != 3 || costs[2] != "p=1" {
		return h, false
	}
	memory, okM := cost(costs[0], "m=", maxArgonMemory)
	passes, okT := cost(costs[1], "t=", maxArgonTime)
	salt, errS := base64.RawStdEncoding.Strict().DecodeString(parts[4])
	key, errK := base64.RawStdEncoding.Strict().DecodeString(parts[5])
	if !okM || !okT || errS != nil || errK != nil || len(salt) < 8 || len(salt) > 64 || len(key) < 16 || len(key) > 64 {
		return h, false
	}
	return argonHash{memory, passes, salt, key}, true
}

func cost(s, prefix string, limit uint64) (uint32, bool) {
	digits, ok := strings.CutPrefix(s, prefix)
	n, err := strconv.ParseUint(digits, 10, 32)
	return uint32(n), ok && err == nil && n > 0 && n <= limit
}

// Fits reports whether the hash was made of the password. It takes as long as hashing does, and no lock.
func (h PasswordHash) Fits(password string) bool {
	text := h.Reveal()
	switch h.Kind() {
	case "argon2id":
		a, ok := parseArgon(text)
		if !ok {
			return false
		}
		key := argon2.IDKey([]byte(NormalPassword(password)), a.salt, a.time, a.memory, 1, uint32(len(a.key)))
		return subtle.ConstantTimeCompare(key, a.key) == 1
	case "bcrypt":
		return bcrypt.CompareHashAndPassword([]byte(text), []byte(NormalPassword(password))) == nil
	}
	return false
}

// Stale reports whether the password should be hashed anew once it is known.
func (h PasswordHash) Stale() bool {
	a, ok := parseArgon(h.Reveal())
	return !h.IsZero() && (!ok || a.memory != argonMemory || a.time != argonTime)
}

// Equal compares two hashes, not what they were made of.
func (h PasswordHash) Equal(o PasswordHash) bool { return h.SecretMaterial.Equal(o.SecretMaterial) }

// EvenHashing compares passwords with hashes of any kind in the same time, so that the time tells nobody which user names there are or what is stored for them.
type EvenHashing struct{ cost int } // the highest of a bcrypt hash in the registry, 0 for none

// EvenHashing returns what passwords are compared with. It looks at all logins: it is for the slow path.
func (s *Snapshot) EvenHashing() EvenHashing {
	var e EvenHashing
	s.logins.all(func(_ string, b *Binding) bool {
		if b.Login.Password.Kind() == "bcrypt" {
			if cost, err := bcrypt.Cost([]byte(b.Login.Password.Reveal())); err == nil {
				e.cost = max(e.cost, cost)
			}
		}
		return true
	})
	return e
}

// Fits reports whether the hash, which may be the zero value, was made of the password. Whatever the hash is, it takes one Argon2id and, while there are bcrypt
// hashes in the registry, as long as the slowest of them.
func (e EvenHashing) Fits(h PasswordHash, password string) bool {
	fits := h.Fits(password)
	if h.Kind() != "argon2id" {
		argon2.IDKey([]byte(NormalPassword(password)), make([]byte, argonSalt), argonTime, argonMemory, 1, argonKey)
	}
	from := e.cost
	if h.Kind() == "bcrypt" {
		if cost, err := bcrypt.Cost([]byte(h.Reveal())); err == nil {
			from = cost // 2^cost are done; those of cost, cost+1 ... e.cost-1 make 2^e.cost together
		}
	} else if from > 0 {
		spend(from)
	}
	for ; from < e.cost; from++ {
		spend(from)
	}
	return fits
}

// spend takes as long as comparing with a bcrypt hash of this cost.
func spend(cost int) { _, _ = bcrypt.GenerateFromPassword([]byte("spent"), cost) }
