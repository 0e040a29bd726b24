package servercert

import (
	"context"
	"crypto/tls"
	"errors"
	"time"

	"github.com/mholt/acmez/v3/acme"
)

// How often an ACME server is asked when it would have a certificate renewed (RFC 9773 section 4.3 wants its Retry-After kept within bounds).
const (
	adviceInterval = 6 * time.Hour
	adviceLeast    = 10 * time.Minute
	adviceMost     = 24 * time.Hour
	adviceTimeout  = time.Minute
)

// advice is what the ACME server says about one certificate: a CA that has to revoke says so in time. It can only bring a renewal forward.
type advice struct {
	about *tls.Certificate
	renew time.Time // a time of our own within its window; zero when it has no advice
	next  time.Time // when to ask again
}

// heed asks for advice about the certificate of a name when it is time, and says when to come again.
func (a *ACME) heed(life context.Context, name string) time.Time {
	a.mu.Lock()
	w := a.names[name]
	held, known := w.bare, w.advice
	a.mu.Unlock()
	now := time.Now()
	if held == nil {
		return now.Add(adviceMost)
	}
	if known.about == held && now.Before(known.next) {
		return known.next
	}
	ctx, cancel := context.WithTimeout(life, adviceTimeout)
	defer cancel()
	fresh := advice{about: held, next: now.Add(adviceInterval)}
	if known.about == held {
		fresh.renew = known.renew // it stays good while there is no answer
	}
	said, err := a.issuer.client().GetRenewalInfo(ctx, held.Leaf)
	switch {
	case err == nil:
		if fresh.renew.IsZero() || fresh.renew.Before(said.SuggestedWindow.Start) || fresh.renew.After(said.SuggestedWindow.End) {
			fresh.renew = said.SelectedTime
		}
		if said.RetryAfter != nil {
			fresh.next = now.Add(min(max(said.RetryAfter.Sub(now), adviceLeast), adviceMost))
		}
	case errors.Is(err, acme.ErrUnsupported):
		fresh.next = now.Add(adviceMost)
	case life.Err() == nil:
		a.options.Logger.Info("server certificate: the ACME server gives no advice on renewal", "name", name, "error", plain(err.Error()))
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if w.bare == held {
		w.advice = fresh
	}
	return fresh.next
}

// dueAt is when the certificate is renewed: when a third of its life is left or, where the ACME server says so, earlier.
func (w *ordered) dueAt() time.Time {
	due := dueAt(w.bare)
	if at := w.advice.renew; w.advice.about == w.bare && !at.IsZero() && at.Before(due) {
		return at
	}
	return due
}
