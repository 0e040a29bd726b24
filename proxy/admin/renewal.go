package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/proxy/record"
)

// renewalActor is who renews, in change records.
const renewalActor = "tenantgate:renewal"

// Renewal renews the certificates of keyless credentials. Each renewal is one transaction with its change record, in which it is looked
// at again whether it is due: however many nodes try at the same time, one of them renews. Safe for concurrent use.
//
// A new credential with the same key, subject and issuer takes the place of the old one, which stays beside it until it ends: whoever
// holds that the new one is not accepted yet falls back. Where the identity has another credential for the tenant already, the old one
// goes at once.
type Renewal struct {
	// Registry holds the credentials, CA issues. Its tables must be in the registry's database. Both are required.
	Registry *identity.Registry
	CA       *pki.CA
	// Now is the clock; nil is time.Now. The CA's should be the same.
	Now func() time.Time
	// Logger is told of what was done; nil discards it.
	Logger *slog.Logger
}

// renewsAt is two thirds into a certificate's life.
func renewsAt(notBefore, notAfter time.Time) time.Time {
	return notBefore.Add(notAfter.Sub(notBefore) / 3 * 2)
}

// Renew renews what is due and removes what has ended and was replaced. A failure of one credential does not stop the others; the errors
// come joined.
func (r *Renewal) Renew(ctx context.Context) error {
	var errs []error
	snapshot := r.Registry.Snapshot()
	for c := range snapshot.AllCredentials() {
		holder, ok := snapshot.Identity(c.Identity)
		if !ok {
			continue
		}
		// Most have nothing due: they cost no transaction.
		if due, err := r.due(c, holder, snapshot.Credentials(c.Identity, c.Tenant)); err != nil || due == dueNothing {
			errs = append(errs, err)
			continue
		}
		if err := r.one(ctx, c.ID); err != nil {
			errs = append(errs, fmt.Errorf("renewing credential %s of identity %s for tenant %s: %w", c.ID, c.Identity, c.Tenant, err))
		}
	}
	return errors.Join(errs...)
}

// A task is what is due for one credential.
type task int

const (
	dueNothing task = iota
	dueRenewal
	dueRemoval
)

// due says what is to be done for a credential, one of those that its identity has for the tenant.
func (r *Renewal) due(c *identity.Credential, holder *identity.Identity, all []*identity.Credential) (task, error) {
	if !c.Keyless || c.Certificate == "" {
		return dueNothing, nil
	}
	leaf, err := c.Leaf()
	if err != nil {
		return dueNothing, err
	}
	now := r.now()
	replaced := slices.ContainsFunc(all, func(o *identity.Credential) bool { return succeeds(o, c) })
	switch {
	case replaced && !now.Before(leaf.NotAfter):
		return dueRemoval, nil
	case replaced, holder.Disabled, now.Before(renewsAt(leaf.NotBefore, leaf.NotAfter)):
		return dueNothing, nil
	}
	return dueRenewal, nil
}

// errNothing ends a transaction in which there turned out to be nothing to do.
var errNothing = errors.New("nothing to do")

// one renews or removes one credential, as the transaction sees it.
func (r *Renewal) one(ctx context.Context, id string) error {
	var done string
	err := r.Registry.Change(ctx, func(tx *identity.Tx) (err error) {
		done, err = r.act(ctx, tx, id)
		return err
	})
	if errors.Is(err, errNothing) || errors.Is(err, identity.ErrNotFound) { // another node was faster
		return nil
	}
	if err == nil && r.Logger != nil {
		r.Logger.Info(done, "credential", id)
	}
	return err
}

func (r *Renewal) act(ctx context.Context, tx *identity.Tx, id string) (done string, err error) {
	old, err := tx.Credential(id)
	if err != nil {
		return "", err
	}
	holder, err := tx.Identity(old.Identity)
	if err != nil {
		return "", err
	}
	var all []*identity.Credential
	for _, c := range tx.IdentityCredentials(old.Identity) {
		if c.Tenant == old.Tenant {
			all = append(all, &c)
		}
	}
	switch due, err := r.due(&old, &holder, all); {
	case err != nil:
		return "", err
	case due == dueRemoval:
		return "credential ended and was replaced: removed", r.remove(ctx, tx, &old)
	case due == dueRenewal:
		return "certificate of a credential renewed", r.renew(ctx, tx, old, len(all) > 1)
	}
	return "", errNothing
}

// succeeds reports whether c takes the place of old: the same client with the same key and a certificate that ends later.
func succeeds(c, old *identity.Credential) bool {
	return c.ID != old.ID && c.Keyless && c.ClientID == old.ClientID && c.Kind == old.Kind && c.Secret.Equal(old.Secret) && c.NotAfter.After(old.NotAfter)
}

func (r *Renewal) remove(ctx context.Context, tx *identity.Tx, old *identity.Credential) error {
	if err := tx.RemoveCredential(ctx, old.ID); err != nil {
		return err
	}
	return recorded(ctx, tx, "remove", old.ID, renewed{Reason: "ended and was replaced"})
}

// renew stores what takes the place of old.
func (r *Renewal) renew(ctx context.Context, tx *identity.Tx, old identity.Credential, crowded bool) error {
	key, err := old.PrivateKey()
	if err != nil {
		return err
	}
	if crowded {
		if err := tx.RemoveCredential(ctx, old.ID); err != nil {
			return err
		}
	}
	next := old
	if err := (&ownKey{key}).certify(ctx, r.CA, tx, &next, true); err != nil {
		return err
	}
	if next, err = tx.AddCredential(ctx, next); err != nil {
		return err
	}
	if !next.NotAfter.After(old.NotAfter) {
		return fmt.Errorf("the new certificate would end on %s, no later than the old one: sign a new intermediate", next.NotAfter.Format(time.RFC3339))
	}
	return recorded(ctx, tx, "renew", next.ID, renewed{Replaces: old.ID, Removed: crowded, Credential: &next})
}

// renewed is the detail of a renewal's change record.
type renewed struct {
	Reason     string               `json:"reason,omitempty"`
	Replaces   string               `json:"replaces,omitempty"`
	Removed    bool                 `json:"removed,omitempty"` // the one that was replaced, at once
	Credential *identity.Credential `json:"credential,omitempty"`
}

func recorded(ctx context.Context, tx *identity.Tx, verb, name string, detail renewed) error {
	b, err := json.Marshal(detail)
	if err != nil {
		return err
	}
	_, err = record.AppendChange(ctx, tx.SQL(), record.Change{
		Actor: renewalActor, Action: identity.ObjectCredential + "." + verb, Object: identity.ObjectCredential, Name: name, Detail: b,
	})
	return err
}

func (r *Renewal) now() time.Time {
	if r.Now != nil {
		return r.Now()
	}
	return time.Now()
}
