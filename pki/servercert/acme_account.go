package servercert

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"

	"github.com/mholt/acmez/v3"
	"github.com/mholt/acmez/v3/acme"

	"github.com/tenantgate/tenantgate/pki"
)

// storedAccount is an account at the ACME server with its key, in one value, so that neither is ever there without the other. The storage seals it.
type storedAccount struct {
	Account acme.Account `json:"account"`
	Key     string       `json:"key"` // PKCS#8, PEM
}

// accountPath is where the account is kept: one for each directory, address and binding, so that another binding or address is another account.
func (i *issuer) accountPath() string {
	sum := sha256.Sum256([]byte(i.Email + "\x00" + i.EABKeyID))
	return path.Join(i.prefix(), "accounts", hex.EncodeToString(sum[:8])+".json")
}

// account returns the account that all nodes share, registering it if there is none.
func (i *issuer) account(ctx context.Context, client *acmez.Client) (acme.Account, error) {
	account, err := i.loadAccount(ctx)
	if !errors.Is(err, fs.ErrNotExist) {
		return account, err
	}
	lock := i.accountPath()
	if err := i.storage.Lock(ctx, lock); err != nil {
		return account, fmt.Errorf("waiting to register the ACME account: %w", err)
	}
	defer i.storage.Unlock(context.WithoutCancel(ctx), lock) // else its lease ends
	if account, err = i.loadAccount(ctx); !errors.Is(err, fs.ErrNotExist) {
		return account, err // another node was faster
	}
	return i.register(ctx, client)
}

func (i *issuer) loadAccount(ctx context.Context) (acme.Account, error) {
	b, err := i.storage.Load(ctx, i.accountPath())
	if err != nil {
		return acme.Account{}, err
	}
	var stored storedAccount
	if err := json.Unmarshal(b, &stored); err != nil {
		return acme.Account{}, fmt.Errorf("reading the ACME account: %w", err)
	}
	key, err := pki.ParsePrivateKey([]byte(stored.Key))
	if err != nil {
		return acme.Account{}, fmt.Errorf("reading the ACME account: %w", err)
	}
	stored.Account.PrivateKey = key
	return stored.Account, nil
}

// register makes an account. Its key is stored only with the account: one whose answer was lost costs nothing but an account that nobody uses.
func (i *issuer) register(ctx context.Context, client *acmez.Client) (acme.Account, error) {
	var key crypto.Signer
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return acme.Account{}, fmt.Errorf("making the ACME account's key: %w", err)
	}
	account := acme.Account{PrivateKey: key, TermsOfServiceAgreed: true} // the configuration says so, or there is no issuer
	if i.Email != "" {
		account.Contact = []string{"mailto:" + i.Email}
	}
	if i.EABKeyID != "" {
		binding := acme.EAB{KeyID: i.EABKeyID, MACKey: base64.RawURLEncoding.EncodeToString(i.EABKey)}
		if err := account.SetExternalAccountBinding(ctx, client.Client, binding); err != nil {
			return acme.Account{}, fmt.Errorf("binding the ACME account: %w", err)
		}
	}
	if account, err = client.NewAccount(ctx, account); err != nil {
		return acme.Account{}, fmt.Errorf("registering the ACME account: %w", err)
	}
	account.PrivateKey, account.ExternalAccountBinding = key, nil
	if account.Status == "" { // some servers say nothing about an account that is good
		account.Status = acme.StatusValid
	}
	encoded, err := pki.EncodePrivateKey(key)
	if err != nil {
		return acme.Account{}, err
	}
	b, err := json.Marshal(storedAccount{account, string(encoded)})
	if err != nil {
		return acme.Account{}, fmt.Errorf("storing the ACME account: %w", err)
	}
	if err := i.storage.Store(ctx, i.accountPath(), b); err != nil {
		return acme.Account{}, err
	}
	i.logger.Info("registered at the ACME server", "directory", i.Directory, "account", account.Location)
	return account, nil
}

// forget takes an account away that the server does not know any more.
func (i *issuer) forget(ctx context.Context) error {
	i.logger.Warn("the ACME server does not know the account any more; another one is registered", "directory", i.Directory)
	return i.storage.Delete(ctx, i.accountPath())
}
