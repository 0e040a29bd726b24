package pki

import (
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"go.step.sm/crypto/pemutil"
)

// keyID names a key: the SHA-256 of its SubjectPublicKeyInfo in lower-case hex.
func keyID(pub crypto.PublicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:]), nil
}

func authoritySealContext(keyID string) []byte { return []byte("tenantgate pki_authorities " + keyID) }

// sealAuthorityKey encrypts an intermediate's key for the database: under the CA's passphrase, as a file would be, and then under the master key.
func (ca *CA) sealAuthorityKey(key crypto.Signer) ([]byte, error) {
	switch {
	case len(ca.options.Passphrase) == 0:
		return nil, &AuthorityError{Problem: "there is no passphrase to encrypt a new intermediate's key with", Hint: "set ca.passphrase_file, or name a key in a KMS: --key URI"}
	case ca.options.Sealer == nil:
		return nil, errors.New("sealing the intermediate's key: no sealer given")
	}
	id, err := keyID(key.Public())
	if err != nil {
		return nil, err
	}
	pem, err := encryptKey(key, ca.options.Passphrase)
	if err != nil {
		return nil, err
	}
	return ca.options.Sealer.Seal(pem, authoritySealContext(id))
}

// openAuthorityKey opens the key of a, wherever it is. Keys are kept: a passphrase takes long on purpose, a KMS may be far.
func (ca *CA) openAuthorityKey(a *AuthorityRecord) (crypto.Signer, error) {
	if key, ok := ca.keys[a.ID]; ok {
		return key, nil
	}
	pub, err := a.publicKey()
	if err != nil {
		return nil, err
	}
	var key crypto.Signer
	switch a.Location {
	case LocationFile:
		return nil, errors.New("its key is not in this node's directory")
	case LocationOffline:
		return nil, errors.New("its key is not here")
	case LocationDatabase:
		if a.State == AuthorityRetired {
			key = &lateKey{public: pub, open: func() (crypto.Signer, error) { return ca.unsealAuthorityKey(a) }}
		} else if key, err = ca.unsealAuthorityKey(a); err != nil {
			return nil, err
		}
	default:
		if err := ca.mayLoad(a.Location); err != nil {
			return nil, err
		}
		if key, err = OpenKMSKey(a.Location, ca.options.PIN); err != nil {
			return nil, err
		}
	}
	if !publicKeyEqual(key.Public(), pub) {
		return nil, errors.New("the key at " + a.Location + " belongs to another certificate")
	}
	ca.keys[a.ID] = key
	return key, nil
}

// mayLoad refuses a URI whose PKCS#11 library this node's configuration does not name.
func (ca *CA) mayLoad(uri string) error {
	if !strings.HasPrefix(uri, "pkcs11:") {
		return nil
	}
	_, library := connectionOf(uri)
	if strings.HasPrefix(ca.options.KeyURI, "pkcs11:") {
		if _, own := connectionOf(ca.options.KeyURI); own == library {
			return nil
		}
	}
	if library != "" && library == ca.options.PKCS11Module {
		return nil
	}
	return &AuthorityError{Problem: "the library of that URI is not one that this server loads", Hint: "name it in the configuration of every node: ca.pkcs11_module"}
}

// lateKey is a key that is opened when it has to sign: that of a retired intermediate signs a list now and then, and a passphrase takes long at every start.
type lateKey struct {
	public crypto.PublicKey
	open   func() (crypto.Signer, error)

	once   sync.Once
	signer crypto.Signer
	err    error
}

// Public returns the public key.
func (k *lateKey) Public() crypto.PublicKey { return k.public }

// Sign opens the key at first.
func (k *lateKey) Sign(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	k.once.Do(func() { k.signer, k.err = k.open() })
	if k.err != nil {
		return nil, fmt.Errorf("opening the key of a retired intermediate: %w", k.err)
	}
	return k.signer.Sign(random, digest, opts)
}

func (a *AuthorityRecord) publicKey() (crypto.PublicKey, error) {
	if a.Certificate != nil {
		return a.Certificate.PublicKey, nil
	}
	request, err := x509.ParseCertificateRequest(a.Request)
	if err != nil {
		return nil, fmt.Errorf("reading the request of %s: %w", a.ID, err)
	}
	return request.PublicKey, nil
}

// unseal returns the key in the database as the passphrase has encrypted it.
func (a *AuthorityRecord) unseal(sealer Sealer) (pem []byte, err error) {
	pub, err := a.publicKey()
	if err != nil {
		return nil, err
	}
	id, err := keyID(pub)
	if err != nil {
		return nil, err
	}
	if pem, err = sealer.Open(a.sealed, authoritySealContext(id)); err != nil {
		return nil, errors.New("the master key does not open it")
	}
	return pem, nil
}

func (ca *CA) unsealAuthorityKey(a *AuthorityRecord) (crypto.Signer, error) {
	if ca.options.Sealer == nil {
		return nil, errors.New("no sealer given")
	}
	pem, err := a.unseal(ca.options.Sealer)
	if err != nil {
		return nil, err
	}
	return decryptKey(pem, ca.options.Passphrase, ca.options.NextPassphrase)
}

// decryptKey opens an encrypted PKCS#8 key with the first passphrase that does. [ErrPassphrase] when none does.
func decryptKey(pem []byte, passphrases ...[]byte) (crypto.Signer, error) {
	var last error = ErrPassphrase
	for _, passphrase := range passphrases {
		if len(passphrase) == 0 { // pemutil would ask for one on the terminal
			continue
		}
		key, err := pemutil.ParseKey(pem, pemutil.WithPassword(passphrase))
		if err != nil {
			last = passphraseError(err)
			continue
		}
		signer, ok := key.(crypto.Signer)
		if !ok {
			return nil, fmt.Errorf("it is a %T, not a private key", key)
		}
		return signer, nil
	}
	return nil, last
}

// passphraseError tells a wrong passphrase from a damaged key, as far as that can be told.
func passphraseError(err error) error {
	if errors.Is(err, x509.IncorrectPasswordError) || strings.Contains(err.Error(), "password") {
		return ErrPassphrase
	}
	return err
}

// RekeyStored encrypts the intermediates' keys in the database under the passphrase to, in one transaction, and returns how many it has changed. Keys that
// it opens already stay as they are. The nodes that run have their keys open and do not notice.
func RekeyStored(ctx context.Context, tx *sql.Tx, sealer Sealer, from, to []byte) (changed int, err error) {
	if _, err := touchAuthorities(ctx, tx); err != nil {
		return 0, fmt.Errorf("changing the passphrase of the keys in the database: %w", err)
	}
	records, err := readAuthorityRows(ctx, tx)
	if err != nil {
		return 0, fmt.Errorf("changing the passphrase of the keys in the database: %w", err)
	}
	for _, a := range records {
		if a.Location != LocationDatabase {
			continue
		}
		done, err := rekeyOne(ctx, tx, sealer, a, from, to)
		if err != nil {
			return 0, fmt.Errorf("changing the passphrase of the key of intermediate %s: %w", a.ID[:16], err)
		}
		if done {
			changed++
		}
	}
	return changed, nil
}

func rekeyOne(ctx context.Context, tx *sql.Tx, sealer Sealer, a *AuthorityRecord, from, to []byte) (bool, error) {
	pub, err := a.publicKey()
	if err != nil {
		return false, err
	}
	id, err := keyID(pub)
	if err != nil {
		return false, err
	}
	pem, err := sealer.Open(a.sealed, authoritySealContext(id))
	if err != nil {
		return false, errors.New("the master key does not open it")
	}
	if _, err := decryptKey(pem, to); err == nil {
		return false, nil
	}
	key, err := decryptKey(pem, from)
	if err != nil {
		return false, err
	}
	if pem, err = encryptKey(key, to); err != nil {
		return false, err
	}
	sealed, err := sealer.Seal(pem, authoritySealContext(id))
	if err != nil {
		return false, err
	}
	_, err = tx.ExecContext(ctx, `UPDATE pki_authorities SET sealed = $1 WHERE id = $2`, sealed, a.ID)
	return true, err
}
