package enrolment

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/url"
	"strings"

	"github.com/tenantgate/tenantgate/pki"
)

// A Token is what an operator hands to whoever sets up a caller: where to enrol, how to recognise the CA there, and a secret that is good
// for one certificate. It prints as "[redacted]"; [Token.Reveal] returns its text.
type Token struct {
	// URL is the enrolment address, https://HOST:PORT without a path.
	URL string
	// Root is the SHA-256 of the DER of the root that the server there must lead to.
	Root [sha256.Size]byte
	// Identity is the name that the certificate will carry.
	Identity string

	text string
}

// tokenPrefix tells a token from other secrets, for people and for scanners of repositories.
const tokenPrefix = "tge1_"

// secretSize is 160 bits: a token is found by its hash and cannot be guessed.
const secretSize = 20

// sumSize is how much of a hash shows that a token was copied whole. It is no protection: the server has the hash of all of it.
const sumSize = 4

// payload is a token's content on the wire.
type payload struct {
	URL      string `json:"u"`
	Root     string `json:"f"`
	Identity string `json:"i"`
	Secret   []byte `json:"s"`
}

// NewToken makes a token with a new secret.
func NewToken(address string, root [sha256.Size]byte, identity string) *Token {
	secret := make([]byte, secretSize)
	rand.Read(secret) // never fails (crypto/rand)
	content, err := json.Marshal(payload{URL: address, Root: hex.EncodeToString(root[:]), Identity: identity, Secret: secret})
	if err != nil {
		panic(err) // strings and bytes always encode
	}
	sum := sha256.Sum256(content)
	text := tokenPrefix + base64.RawURLEncoding.EncodeToString(append(content, sum[:sumSize]...))
	return &Token{URL: address, Root: root, Identity: identity, text: text}
}

// ParseToken reads a token's text. An error never repeats it.
func ParseToken(text string) (*Token, error) {
	text = strings.TrimSpace(text)
	encoded, ok := strings.CutPrefix(text, tokenPrefix)
	if !ok {
		return nil, fmt.Errorf("this is no enrolment token: those begin with %s", tokenPrefix)
	}
	damaged := fmt.Errorf("the enrolment token is damaged: copy it whole, in one line")
	b, err := base64.RawURLEncoding.Strict().DecodeString(encoded)
	if err != nil || len(b) <= sumSize {
		return nil, damaged
	}
	content, sum := b[:len(b)-sumSize], b[len(b)-sumSize:]
	if own := sha256.Sum256(content); !bytes.Equal(own[:sumSize], sum) {
		return nil, damaged
	}
	var p payload
	if err := json.Unmarshal(content, &p); err != nil || len(p.Secret) != secretSize {
		return nil, damaged
	}
	t := &Token{URL: p.URL, Identity: p.Identity, text: text}
	if n, err := hex.Decode(t.Root[:], []byte(p.Root)); err != nil || n != len(t.Root) {
		return nil, damaged
	}
	if err := pki.ClientProfile().CheckName(t.Identity); err != nil { // it becomes the name of files
		return nil, damaged
	}
	return t, CheckURL(t.URL)
}

// CheckURL says whether an address is one of an enrolment listener: https://HOST or https://HOST:PORT, and nothing else.
func CheckURL(address string) error {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.Hostname() == "" || address != "https://"+u.Host {
		return fmt.Errorf("%q is not an enrolment address: https://HOST:PORT", address)
	}
	return nil
}

// Reveal returns the text, which whoever has it can use.
func (t *Token) Reveal() string { return t.text }

// Hash is what the server keeps of a token. All of the text is in it, so that a token whose address was altered is none.
func (t *Token) Hash() [sha256.Size]byte { return hashOf(t.text) }

func hashOf(text string) [sha256.Size]byte { return sha256.Sum256([]byte(text)) }

const redacted = "[redacted]"

// String returns "[redacted]".
func (t *Token) String() string { return redacted }

// GoString returns "[redacted]".
func (t *Token) GoString() string { return redacted }

// Format prints "[redacted]" for every verb.
func (t *Token) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// MarshalText returns "[redacted]".
func (t *Token) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// LogValue returns "[redacted]".
func (t *Token) LogValue() slog.Value { return slog.StringValue(redacted) }
