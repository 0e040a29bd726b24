package external

import (
	"crypto/x509"
	"fmt"
	"slices"
	"time"

	"github.com/tenantgate/tenantgate/identity"
)

// Warnings says what of an authority wants an operator at the time now: certificates of it that end soon (in the last tenth of their life, a month at most) or
// have ended, lists that are missing or stale, and what was chosen unsafely and acts. None is well.
func Warnings(e *identity.AuthorityEntry, now time.Time) []string {
	var all []string
	warn := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	_, certificates, err := trustOf(e.Authority)
	if err != nil {
		warn("its certificates cannot be used: %v", err)
	}
	for _, c := range certificates {
		switch soon := min(c.NotAfter.Sub(c.NotBefore)/10, 30*24*time.Hour); {
		case now.After(c.NotAfter):
			warn("%s has expired on %s", name(c), c.NotAfter.UTC().Format(time.DateOnly))
		case now.Add(soon).After(c.NotAfter):
			warn("%s expires on %s", name(c), c.NotAfter.UTC().Format(time.DateOnly))
		}
	}
	if !e.Authority.ChecksCRL() {
		return all
	}
	if len(e.Lists) == 0 && len(e.Authority.CRLURLs) == 0 {
		warn("it requires revocation lists and has none: upload one, or name where to fetch it")
	}
	effect := "its certificates are refused"
	if e.Authority.CRLOnStale == identity.OnFaultAccept {
		effect = "its certificates are accepted all the same (unsafe_accept)"
	}
	have := map[string]bool{}
	for _, l := range e.Lists {
		have[l.Source] = true
		if !slices.ContainsFunc(certificates, func(c *x509.Certificate) bool { return c.Subject.String() == l.Issuer }) {
			warn("the list of %s is of none of its certificates any more: %s", l.Issuer, effect)
		}
		if !now.Before(l.NextUpdate) {
			warn("the list of %s went stale on %s: %s", l.Issuer, l.NextUpdate.UTC().Format(time.RFC3339), effect)
		}
	}
	for _, url := range e.Authority.CRLURLs {
		if !have[url] {
			warn("no list has come from %s yet: %s", url, effect)
		}
	}
	return all
}

// Expiry returns when the first of an authority's certificates expires; zero when they cannot be read.
func Expiry(a *identity.Authority) time.Time {
	trust, _, err := trustOf(a)
	if err != nil {
		return time.Time{}
	}
	return trust.NotAfter()
}
