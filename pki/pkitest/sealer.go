package pkitest

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"sync"
)

// Sealer is a [pki.Sealer] with a random key, made at first use.
type Sealer struct {
	once sync.Once
	aead cipher.AEAD
}

func (s *Sealer) init() {
	s.once.Do(func() {
		var key [32]byte
		rand.Read(key[:]) // never fails (crypto/rand)
		block, err := aes.NewCipher(key[:])
		if err == nil {
			s.aead, err = cipher.NewGCMWithRandomNonce(block)
		}
		if err != nil {
			panic(err) // a 32-octet key is always accepted
		}
	})
}

// Seal encrypts plaintext, bound to context.
func (s *Sealer) Seal(plaintext, context []byte) ([]byte, error) {
	s.init()
	return s.aead.Seal(nil, nil, plaintext, context), nil
}

// Open decrypts what Seal made with the same context.
func (s *Sealer) Open(ciphertext, context []byte) ([]byte, error) {
	s.init()
	return s.aead.Open(nil, nil, ciphertext, context)
}
