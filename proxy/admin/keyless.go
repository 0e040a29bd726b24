package admin

import (
	"context"
	"crypto"
	"errors"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/proxy/token"
)

// ownKey is a private key that was made here for a credential. It goes into the registry, sealed, and nowhere else.
type ownKey struct{ crypto.Signer }

// newOwnKey makes the key of a keyless credential and fills in what follows from it. What kind of key it is the style says, the
// credential's or its tenant's.
func newOwnKey(snapshot *identity.Snapshot, c *identity.Credential, keyType string) (*ownKey, error) {
	tenant, ok := snapshot.Tenant(c.Tenant)
	if !ok {
		return nil, absent(identity.ObjectTenant, c.Tenant)
	}
	kind := map[string]string{identity.AuthMTLS: identity.KindCertificate, identity.AuthPrivateKeyJWT: identity.KindAssertion}[c.Style(tenant)]
	if kind == "" || c.Kind != "" && c.Kind != kind {
		return nil, invalid("auth_style", "keyless does not go with this auth style or kind: only keys are made here, a secret is made by the vendor",
			"give the auth style mtls or private_key_jwt")
	}
	key, err := pki.GenerateKey(keyType)
	if err != nil {
		return nil, err
	}
	encoded, err := pki.EncodePrivateKey(key)
	if err != nil {
		return nil, err
	}
	c.Kind, c.Keyless, c.Secret = kind, true, identity.NewSecret(string(encoded))
	if kind == identity.KindAssertion && c.KeyID == "" {
		if c.KeyID, err = token.KeyID(key.Public()); err != nil {
			return nil, err
		}
	}
	return &ownKey{key}, nil
}

// certify has the CA issue the certificate of a keyless credential that shows one, in the transaction that stores it.
func (k *ownKey) certify(ctx context.Context, ca *pki.CA, tx *identity.Tx, c *identity.Credential, renewal bool) error {
	if c.Kind != identity.KindCertificate {
		return nil
	}
	if err := tx.MayHaveCertificate(c.Identity, renewal); err != nil {
		return err
	}
	if _, err := tx.Tenant(c.Tenant); err != nil {
		return err
	}
	issued, err := ca.Issue(ctx, tx.SQL(), pki.IssueOptions{
		Profile: pki.OutboundProfile(c.Tenant), Name: c.Identity, PublicKey: k.Public(), Lifetime: time.Duration(c.Lifetime),
	})
	if err != nil {
		return err
	}
	c.Certificate = string(issued.PEM())
	return nil
}

// revokeOwn revokes the certificate that the CA has issued for a credential. Others are not ours to revoke.
func revokeOwn(ctx context.Context, ca *pki.CA, tx *identity.Tx, c *identity.Credential) error {
	if !c.Keyless || c.Certificate == "" {
		return nil
	}
	leaf, err := c.Leaf()
	if err != nil {
		return err
	}
	err = ca.Revoke(ctx, tx.SQL(), pki.FormatSerial(leaf.SerialNumber), "cessationOfOperation", time.Now())
	if errors.Is(err, pki.ErrNotFound) { // the CA's records are another one's: it was replaced
		return nil
	}
	return err
}
