package identity

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"
)

// Sealer encrypts what is stored. The context is authenticated, not stored: what was sealed under one context opens under no other,
// so a ciphertext that is copied to another row of the database is of no use there. Implementations are safe for concurrent use.
type Sealer interface {
	Seal(plaintext, context []byte) ([]byte, error)
	Open(ciphertext, context []byte) ([]byte, error)
}

// GenerateKey returns a new key for [NewSealer]: a Tink keyset as JSON, in the clear, with one AES-256-GCM key. Whoever has it and
// the database has the secrets.
func GenerateKey() ([]byte, error) {
	handle, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		return nil, fmt.Errorf("generating an encryption key: %w", err)
	}
	var b bytes.Buffer
	if err := insecurecleartextkeyset.Write(handle, keyset.NewJSONWriter(&b)); err != nil {
		return nil, fmt.Errorf("encoding an encryption key: %w", err)
	}
	b.WriteByte('\n')
	return b.Bytes(), nil
}

// NewSealer returns a sealer on a key of [GenerateKey]. Each secret is encrypted under a data key of its own, and that under the
// keyset's primary key (Tink's KMS envelope), so that a key in a KMS can take the keyset's place. A keyset may hold older keys
// beside the primary: what they sealed still opens.
func NewSealer(key []byte) (Sealer, error) {
	handle, err := insecurecleartextkeyset.Read(keyset.NewJSONReader(bytes.NewReader(key)))
	if err != nil {
		// Tink's error may quote the input, which is the key.
		return nil, errors.New("reading the encryption key: not a Tink keyset in JSON (give the file that init made)")
	}
	kek, err := aead.New(handle)
	if err != nil {
		return nil, errors.New("reading the encryption key: the keyset is not for AEAD (give the file that init made)")
	}
	return envelope{aead.NewKMSEnvelopeAEAD2(aead.AES256GCMKeyTemplate(), kek)}, nil
}

// envelope is Tink's envelope encryption as a Sealer.
type envelope struct{ aead tink.AEAD }

func (e envelope) Seal(plaintext, context []byte) ([]byte, error) {
	return e.aead.Encrypt(plaintext, context)
}

func (e envelope) Open(ciphertext, context []byte) ([]byte, error) {
	return e.aead.Decrypt(ciphertext, context)
}

// sealContext returns what a credential's ciphertext is bound to: its ID and everything that says who may use the secret and where
// it is sent. Whoever can write to the database but has no key cannot turn a secret to another identity or token endpoint.
func (c *Credential) sealContext() []byte {
	b := []byte("tenantgate credential 1")
	bound := []string{c.ID, c.Identity, c.Tenant, c.ClientID, c.AuthStyle, c.TokenURL, c.Kind}
	further := []string{c.Issuer, string(c.TokenParameters), c.KeyID, c.AssertionAlgorithm, c.AssertionAudience, strconv.FormatBool(c.Keyless)}
	if strings.Join(further, "") != "false" { // what has none of them was sealed before they were
		b, bound = []byte("tenantgate credential 2"), append(bound, further...)
	}
	for _, field := range bound {
		b = binary.BigEndian.AppendUint32(b, uint32(len(field)))
		b = append(b, field...)
	}
	return b
}
