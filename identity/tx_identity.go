package identity

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Identity returns the identity of this name as the transaction sees it, or an [ErrNotFound] error.
func (tx *Tx) Identity(name string) (Identity, error) {
	if i, ok := tx.draft.identity(name); ok {
		c := *i
		c.Roles, c.KeyTypes = slices.Clone(c.Roles), slices.Clone(c.KeyTypes)
		c.CallingWindows, c.Networks = slices.Clone(c.CallingWindows), slices.Clone(c.Networks)
		return c, nil
	}
	return Identity{}, notFound(ObjectIdentity, name)
}

// AddIdentity stores a new identity and returns it as stored. A name that was removed may be used again; certificates of the former
// holder stay revoked.
func (tx *Tx) AddIdentity(ctx context.Context, i Identity) (Identity, error) {
	if err := i.Validate(); err != nil {
		return Identity{}, err
	}
	if err := i.checkPeople(nil); err != nil {
		return Identity{}, err
	}
	if _, ok := tx.draft.identity(i.Name); ok {
		return Identity{}, exists(ObjectIdentity, i.Name)
	}
	i.Created = tx.now
	return tx.storeIdentity(ctx, i, insertIdentity)
}

// SetIdentity replaces all fields of the identity of that name and returns it as stored.
func (tx *Tx) SetIdentity(ctx context.Context, i Identity) (Identity, error) {
	if err := i.Validate(); err != nil {
		return Identity{}, err
	}
	old, err := tx.Identity(i.Name)
	if err != nil {
		return Identity{}, err
	}
	if err := i.checkPeople(&old); err != nil {
		return Identity{}, err
	}
	i.Created = old.Created
	return tx.storeIdentity(ctx, i, updateIdentity)
}

func (tx *Tx) storeIdentity(ctx context.Context, i Identity, statement string) (Identity, error) {
	i = i.normal()
	i.Updated = tx.now
	if err := tx.exec(ctx, "storing an identity", statement, identityArgs(&i)...); err != nil {
		return Identity{}, err
	}
	stored := i
	stored.Roles, stored.KeyTypes = slices.Clone(i.Roles), slices.Clone(i.KeyTypes)
	stored.CallingWindows, stored.Networks = slices.Clone(i.CallingWindows), slices.Clone(i.Networks)
	tx.draft.putIdentity(&stored)
	return i, nil
}

// DisableIdentity has every request of the identity refused and returns it as stored. It may be disabled already.
func (tx *Tx) DisableIdentity(ctx context.Context, name string) (Identity, error) {
	return tx.switchIdentity(ctx, name, true)
}

// EnableIdentity undoes DisableIdentity. The identity may be enabled already.
func (tx *Tx) EnableIdentity(ctx context.Context, name string) (Identity, error) {
	return tx.switchIdentity(ctx, name, false)
}

func (tx *Tx) switchIdentity(ctx context.Context, name string, disabled bool) (Identity, error) {
	i, err := tx.Identity(name)
	if err != nil {
		return Identity{}, err
	}
	i.Disabled = disabled
	return tx.storeIdentity(ctx, i, updateIdentity)
}

// RemoveIdentity removes an identity. While it has a credential, a login or a mapping, a caller that was moved to it, or a certificate that is neither expired nor
// revoked, it is refused, unless cascade says that credentials, logins, moves and the mappings of authorities go too. Either way all its certificates are revoked; those that were not before are
// returned, so that the caller can have their issuer revoke them in the same transaction.
func (tx *Tx) RemoveIdentity(ctx context.Context, name string, cascade bool) ([]Certificate, error) {
	if _, err := tx.Identity(name); err != nil {
		return nil, err
	}
	h, _ := tx.draft.holders.get(name)
	live := func(c *Certificate) bool { return !c.Revoked() && !c.Expired(tx.now) }
	const hint = "remove its credentials and revoke its certificates first, or have that done by asking for a cascade"
	switch {
	case cascade:
	case len(h.logins) > 0:
		return nil, inUse(ObjectIdentity, name, "login "+quoted(h.logins[0].User), "remove its logins first, or have that done by asking for a cascade")
	case len(h.credentials) > 0:
		return nil, inUse(ObjectIdentity, name, "a credential for tenant "+quoted(h.credentials[0].Tenant), hint)
	case len(tx.MovesTo(name)) > 0:
		m := tx.MovesTo(name)[0]
		return nil, inUse(ObjectIdentity, name, "the move of caller "+m.Caller+" of login "+quoted(m.Login), "take its moves back first (migration undo), or have that done by asking for a cascade: "+
			"the login lets those callers in again")
	case len(tx.Mappings(name)) > 0:
		return nil, inUse(ObjectIdentity, name, "a mapping of authority "+quoted(tx.Mappings(name)[0]), "remove its mappings first (authority unmap), or have that done by asking for a cascade")
	case slices.ContainsFunc(h.certificates, live):
		return nil, inUse(ObjectIdentity, name, "a valid certificate", hint)
	}
	for _, c := range h.credentials {
		if err := tx.RemoveCredential(ctx, c.ID); err != nil {
			return nil, err
		}
	}
	for _, l := range h.logins {
		if err := tx.RemoveLogin(ctx, l.User); err != nil {
			return nil, err
		}
	}
	for _, m := range tx.MovesTo(name) {
		if _, err := tx.RemoveMove(ctx, m.Login, m.Caller); err != nil {
			return nil, err
		}
	}
	if err := tx.dropMappings(ctx, name); err != nil {
		return nil, err
	}
	var revoked []Certificate
	for _, c := range h.certificates {
		if c.Revoked() {
			continue
		}
		r, err := tx.RevokeCertificate(ctx, c.Fingerprint, "cessationOfOperation", tx.now)
		if err != nil {
			return nil, err
		}
		revoked = append(revoked, r)
	}
	if err := tx.exec(ctx, "removing an identity", deleteIdentity, name); err != nil {
		return nil, err
	}
	if err := forgetDailyUse(ctx, tx.sql, name); err != nil {
		return nil, fmt.Errorf("removing an identity: %w", err)
	}
	tx.draft.dropIdentity(name)
	return revoked, nil
}

// Credential returns the credential with this ID as the transaction sees it, or an [ErrNotFound] error.
func (tx *Tx) Credential(id string) (Credential, error) {
	if c, ok := tx.draft.credentials.get(id); ok {
		return *c, nil
	}
	return Credential{}, notFound(ObjectCredential, id)
}

// IdentityCredentials returns all credentials of the identity as the transaction sees them, by tenant, the newest first.
func (tx *Tx) IdentityCredentials(identity string) []Credential {
	var list []Credential
	if h, ok := tx.draft.holders.get(identity); ok {
		for _, c := range h.credentials {
			list = append(list, *c)
		}
	}
	return list
}

// AddCredential stores a new credential under an ID of its own, its secret sealed, and returns it as stored.
func (tx *Tx) AddCredential(ctx context.Context, c Credential) (Credential, error) {
	c = c.normal()
	if err := c.Validate(); err != nil {
		return Credential{}, err
	}
	if _, err := tx.Identity(c.Identity); err != nil {
		return Credential{}, err
	}
	tenant, err := tx.Tenant(c.Tenant)
	if err != nil {
		return Credential{}, err
	}
	if err := tx.roomForCredential(c.Identity, c.Tenant); err != nil {
		return Credential{}, err
	}
	c.ID = ""
	if err := c.fits(&tenant); err != nil {
		return Credential{}, err
	}
	if err := c.checkEnd(tx.now); err != nil {
		return Credential{}, err
	}
	c.ID, c.Created = strings.ToLower(rand.Text()), tx.now
	sealed, err := tx.sealer.Seal([]byte(c.Secret.Reveal()), c.sealContext())
	if err != nil {
		return Credential{}, fmt.Errorf("sealing a secret: %w", err)
	}
	if err := tx.exec(ctx, "storing a credential", insertCredential, credentialArgs(&c, sealed)...); err != nil {
		return Credential{}, err
	}
	stored := c
	tx.draft.putCredential(&stored)
	return c, nil
}

// MaxCredentials is how many credentials an identity may hold for one tenant: one, and another while that one is replaced.
const MaxCredentials = 2

// roomForCredential refuses a third credential: of three, nobody could say which one is the fallback.
func (tx *Tx) roomForCredential(identity, tenant string) error {
	h, _ := tx.draft.holders.get(identity)
	held := h.credentialsFor(tenant)
	if len(held) < MaxCredentials {
		return nil
	}
	return &Error{Code: ErrExists, Object: ObjectIdentity, Name: identity, Field: "tenant",
		Message: fmt.Sprintf("holds %d credentials for tenant %s already, one to be replaced by the other", len(held), quoted(tenant)),
		Hint:    "remove the one that is not needed any more: credential list shows which one is in use"}
}

// checkEnd fills in NotAfter from the certificate and refuses what has ended.
func (c *Credential) checkEnd(now time.Time) error {
	if c.Certificate != "" {
		leaf, err := c.leaf()
		if err != nil {
			return fmt.Errorf("reading a credential's certificate: %w", err)
		}
		c.NotAfter = leaf.NotAfter
	}
	c.NotAfter = c.NotAfter.UTC().Truncate(time.Microsecond)
	if !c.NotAfter.IsZero() && !now.Before(c.NotAfter) {
		return &Error{Code: ErrInvalid, Object: ObjectCredential, Name: c.ClientID, Field: "not_after",
			Message: "ended at " + c.NotAfter.Format(time.RFC3339), Hint: "make a new service key or certificate at the tenant and give that"}
	}
	return nil
}

// SetCredentialEnd notes when a secret ends, because vendors tell that elsewhere than in the secret, and returns the credential as stored. A zero end is
// one that is not known. It is all of a credential that can be changed; a certificate has an end of its own.
func (tx *Tx) SetCredentialEnd(ctx context.Context, id string, end time.Time) (Credential, error) {
	c, err := tx.Credential(id)
	if err != nil {
		return Credential{}, err
	}
	if end = stored(end); !end.Equal(c.NotAfter) && c.Kind == KindCertificate {
		return Credential{}, &Error{Code: ErrInvalid, Object: ObjectCredential, Name: id, Field: "not_after",
			Message: "a certificate says itself when it ends", Hint: "leave it out"}
	}
	c.NotAfter = end
	if err := tx.exec(ctx, "storing the end of a credential", setCredentialEnd, id, micros(c.NotAfter)); err != nil {
		return Credential{}, err
	}
	kept := c
	tx.draft.putCredential(&kept)
	return c, nil
}

// RemoveCredential removes a credential and its secret.
func (tx *Tx) RemoveCredential(ctx context.Context, id string) error {
	if _, err := tx.Credential(id); err != nil {
		return err
	}
	if err := tx.exec(ctx, "removing a credential", deleteCredential, id); err != nil {
		return err
	}
	tx.draft.dropCredential(id)
	return nil
}

// Certificate returns the certificate with this fingerprint as the transaction sees it, or an [ErrNotFound] error.
func (tx *Tx) Certificate(f Fingerprint) (Certificate, error) {
	if b, ok := tx.draft.bindings.get(f); ok {
		return *b.Certificate, nil
	}
	return Certificate{}, notFound(ObjectCertificate, f.String())
}

// Certificates returns the certificates of an identity as the transaction sees them, or an [ErrNotFound] error.
func (tx *Tx) Certificates(name string) ([]Certificate, error) {
	if _, err := tx.Identity(name); err != nil {
		return nil, err
	}
	h, _ := tx.draft.holders.get(name)
	list := make([]Certificate, 0, len(h.certificates))
	for _, c := range h.certificates {
		list = append(list, *c)
	}
	return list, nil
}

// BindCertificate lets a certificate stand for its identity and returns it as stored. A certificate that is bound already, also one
// that was revoked, is refused: it is bound once and to one identity. So is one for an identity to which the policy gives no certificate.
func (tx *Tx) BindCertificate(ctx context.Context, c Certificate) (Certificate, error) {
	return tx.bindCertificate(ctx, c, false)
}

// BindRenewal is [Tx.BindCertificate] for a certificate in the place of another one, which its holder has proved to have. That one must be the same
// identity's and not be revoked; it stays as it is. The policy judges it as a renewal.
func (tx *Tx) BindRenewal(ctx context.Context, c Certificate, old Fingerprint) (Certificate, error) {
	before, err := tx.Certificate(old)
	if err != nil {
		return Certificate{}, err
	}
	if before.Identity != c.Identity || before.Revoked() {
		return Certificate{}, &Error{Code: ErrInvalid, Object: ObjectCertificate, Name: old.String(), Field: "identity",
			Message: "revoked, or another identity's: it cannot be renewed for identity " + quoted(c.Identity), Hint: "issue a new one"}
	}
	return tx.bindCertificate(ctx, c, true)
}

func (tx *Tx) bindCertificate(ctx context.Context, c Certificate, renewal bool) (Certificate, error) {
	if err := c.Validate(); err != nil {
		return Certificate{}, err
	}
	if err := tx.MayHaveCertificate(c.Identity, renewal); err != nil {
		return Certificate{}, err
	}
	if b, ok := tx.draft.bindings.get(c.Fingerprint); ok {
		return Certificate{}, &Error{Code: ErrExists, Object: ObjectCertificate, Name: c.Fingerprint.String(), Field: "fingerprint",
			Message: "bound to identity " + quoted(b.Certificate.Identity) + " already", Hint: "issue another certificate: one stands for one identity"}
	}
	c.NotBefore, c.NotAfter = stored(c.NotBefore), stored(c.NotAfter)
	c.Created, c.RevokedAt, c.RevocationReason = tx.now, time.Time{}, ""
	if err := tx.exec(ctx, "binding a certificate", insertCertificate, certificateArgs(&c)...); err != nil {
		return Certificate{}, err
	}
	bound := c
	tx.draft.putCertificate(&bound)
	return c, nil
}

// RevokeCertificate has requests with the certificate refused from now on, whatever the time at, and returns it as stored. Revoking
// again changes nothing and returns the first revocation: a revocation is never undone or moved. A zero at means now.
func (tx *Tx) RevokeCertificate(ctx context.Context, f Fingerprint, reason string, at time.Time) (Certificate, error) {
	c, err := tx.Certificate(f)
	if err != nil || c.Revoked() {
		return c, err
	}
	if micros(at) <= 0 { // 0 is stored for "not revoked"
		at = tx.now
	}
	c.RevokedAt, c.RevocationReason = stored(at), reason
	if err := c.Validate(); err != nil {
		return Certificate{}, err
	}
	if err := tx.exec(ctx, "revoking a certificate", revokeCertificate, f.String(), micros(c.RevokedAt), reason); err != nil {
		return Certificate{}, err
	}
	revoked := c
	tx.draft.putCertificate(&revoked)
	return c, nil
}

// stored returns a time as the database gives it back.
func stored(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }
