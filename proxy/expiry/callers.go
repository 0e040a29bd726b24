package expiry

import (
	"context"
	"sync"
	"time"

	"github.com/tenantgate/tenantgate/identity"
)

const (
	// stillUsed is how recent the last call with a certificate must be for it to count as used although there is a newer one. Whoever has renewed has a day to
	// put the new one to use.
	stillUsed = 7 * day
	newInUse  = day
	// usedWhenEnded is for how long a certificate is shown that was used until its end while another one of its identity lives on: one of several callers
	// stands still.
	usedWhenEnded = 30 * day
	// callsAge is for how long what was read of last calls is good.
	callsAge = time.Minute
)

// Callers is the source of the certificates that are bound to identities. Of an identity's several certificates those are replaced beside which there is a
// newer one that lives on, unless they are still used: then another caller of the same identity has that newer one. Certificates of disabled identities and
// revoked ones end unseen. Of those that have ended, only what still hinders a caller is shown.
func Callers(r *identity.Registry) Source {
	c := &callers{registry: r}
	return c.each
}

type callers struct {
	registry *identity.Registry

	mu    sync.Mutex // guards what follows; held while the database is asked, which no request waits for
	read  time.Time
	calls map[identity.Fingerprint]time.Time
}

func (c *callers) each(ctx context.Context, now time.Time, yield func(Item) bool) error {
	snapshot := c.registry.Snapshot()
	for _, i := range snapshot.Identities() {
		if i.Disabled {
			continue
		}
		certificates := snapshot.Certificates(i.Name)
		for n, one := range certificates {
			state, shown, err := c.judge(ctx, now, certificates, n)
			if err != nil {
				return err
			}
			if shown && !yield(Item{
				Kind: KindCaller, ID: one.Serial, Name: i.Name, Owner: i.Owner, Expires: one.NotAfter, State: state,
				Warn: Warning(one.NotAfter.Sub(one.NotBefore)), Command: "tenantgate cert token " + i.Name,
			}) {
				return nil
			}
		}
	}
	return nil
}

// judge says whether one of an identity's certificates, which come newest first, is replaced, and whether it is shown at all.
func (c *callers) judge(ctx context.Context, now time.Time, all []*identity.Certificate, n int) (state State, shown bool, err error) {
	one := all[n]
	if one.Revoked() {
		return "", false, nil
	}
	newer := successor(now, all, n)
	if newer == nil {
		return "", true, nil
	}
	if one.NotAfter.Sub(now) > Warning(one.NotAfter.Sub(one.NotBefore)) { // far from its end it does not matter who uses it
		return Replaced, true, nil
	}
	last, err := c.last(ctx, now, one.Fingerprint)
	if err != nil {
		return "", false, err
	}
	if one.Expired(now) {
		return "", now.Sub(one.NotAfter) < usedWhenEnded && one.NotAfter.Sub(last) < stillUsed && last.Sub(newer.Created) > newInUse, nil
	}
	if now.Sub(last) < stillUsed && last.Sub(newer.Created) > newInUse {
		return "", true, nil
	}
	return Replaced, true, nil
}

// successor returns what takes the place of a certificate: the first of the newer ones that lives on. For one that has ended it is any other that has not
// or, where all have ended, one that ended later.
func successor(now time.Time, all []*identity.Certificate, n int) *identity.Certificate {
	one := all[n]
	for k, other := range all {
		switch {
		case k == n || other.Revoked() || !other.NotAfter.After(one.NotAfter):
		case one.Expired(now):
			return other
		case k < n && other.NotAfter.Sub(now) > Warning(other.NotAfter.Sub(other.NotBefore)):
			return other
		}
	}
	return nil
}

// last returns the last call with a certificate, as far back as it matters.
func (c *callers) last(ctx context.Context, now time.Time, f identity.Fingerprint) (time.Time, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.calls == nil || now.Sub(c.read) > callsAge || now.Before(c.read) {
		calls, err := c.registry.Calls().After(ctx, now.Add(-stillUsed-usedWhenEnded))
		if err != nil {
			return time.Time{}, err
		}
		c.calls, c.read = calls, now
	}
	return c.calls[f], nil
}

// reviewWarning is how long before the day of review its nearness matters.
const reviewWarning = 30 * day

// Reviews is the source of the dates by which identities must be reviewed. Those of disabled identities pass unseen.
func Reviews(r *identity.Registry) Source {
	return func(_ context.Context, _ time.Time, yield func(Item) bool) error {
		for _, i := range r.Snapshot().Identities() {
			end := i.ReviewEnd()
			if i.Disabled || end.IsZero() {
				continue
			}
			if !yield(Item{
				Kind: KindReview, ID: i.Name, Name: i.Name, Owner: i.Owner, Expires: end, Warn: reviewWarning, Command: "tenantgate identity reviewed " + i.Name,
			}) {
				return nil
			}
		}
		return nil
	}
}

// Credentials is the source of the credentials whose end is known. One is replaced when its identity has another one for the tenant that lives on.
func Credentials(r *identity.Registry) Source {
	return func(_ context.Context, now time.Time, yield func(Item) bool) error {
		snapshot := r.Snapshot()
		for c := range snapshot.AllCredentials() {
			holder, ok := snapshot.Identity(c.Identity)
			if !ok || holder.Disabled || c.NotAfter.IsZero() {
				continue
			}
			i := Item{
				Kind: KindCredential, ID: c.ID, Name: c.Identity, Tenant: c.Tenant, Owner: holder.Owner, Expires: c.NotAfter, Automatic: c.Keyless && c.Certificate != "",
				Command: "tenantgate credential rotate " + c.Identity + " " + c.Tenant + " --service-key FILE",
			}
			if i.Automatic {
				i.Command = "tenantgate credential rotate " + c.Identity + " " + c.Tenant + " --keyless"
			}
			switch {
			case !c.EndsSoon(now):
				i.State = OK
			case !snapshot.NeedsSuccessor(c, now):
				i.State = Replaced
			default:
				i.Warn = c.NotAfter.Sub(c.WarnFrom())
			}
			if !yield(i) {
				return nil
			}
		}
		return nil
	}
}
