package backup

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"filippo.io/age"
)

// MinPassphrase is how long a passphrase must be, in octets: the keys of every tenant are behind it, and whoever has the file may try for years.
const MinPassphrase = 16

// workFactor is the base-2 logarithm of scrypt's N: 128 MiB and half a second for each try. A file that asks for more is refused, because it would take
// the memory of whoever looks at it.
const workFactor = 17

// Encrypt encrypts files that are keys with age (https://age-encryption.org/v1, a scrypt recipient), for [Source.Keys].
func Encrypt(files []File, passphrase string) ([]byte, error) {
	if len(passphrase) < MinPassphrase {
		return nil, fmt.Errorf("encrypting the keys: the passphrase has %d octets, and %d are the least", len(passphrase), MinPassphrase)
	}
	recipient, err := age.NewScryptRecipient(passphrase)
	if err != nil {
		return nil, fmt.Errorf("encrypting the keys: %w", err)
	}
	recipient.SetWorkFactor(workFactor)
	plain, err := json.Marshal(files)
	if err != nil {
		return nil, fmt.Errorf("encrypting the keys: %w", err)
	}
	var b bytes.Buffer
	w, err := age.Encrypt(&b, recipient)
	if err != nil {
		return nil, fmt.Errorf("encrypting the keys: %w", err)
	}
	if _, err := w.Write(plain); err != nil {
		return nil, fmt.Errorf("encrypting the keys: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("encrypting the keys: %w", err)
	}
	return b.Bytes(), nil
}

// ErrPassphrase is that a passphrase does not open the keys of a backup.
var ErrPassphrase = errors.New("the passphrase does not open the keys in the backup")

// Decrypt opens the keys of a header, in which there are some. A wrong passphrase is [ErrPassphrase].
func (h *Header) Decrypt(passphrase string) ([]File, error) {
	identity, err := age.NewScryptIdentity(passphrase)
	if err != nil {
		return nil, fmt.Errorf("opening the keys: %w", err)
	}
	identity.SetMaxWorkFactor(workFactor)
	r, err := age.Decrypt(bytes.NewReader(h.Keys), identity)
	if _, wrong := errors.AsType[*age.NoIdentityMatchError](err); wrong {
		return nil, ErrPassphrase
	}
	if err != nil {
		return nil, damaged("its keys cannot be opened: %v", err)
	}
	plain, err := io.ReadAll(io.LimitReader(r, maxHeader))
	if err != nil {
		return nil, damaged("its keys cannot be opened: %v", err)
	}
	var files []File
	if err := json.Unmarshal(plain, &files); err != nil {
		return nil, damaged("its keys are not what a backup holds")
	}
	for _, f := range files {
		if !plainName.MatchString(f.Name) || sum(f.Content) != f.SHA256 {
			return nil, damaged("its keys are not what a backup holds")
		}
	}
	return files, nil
}
