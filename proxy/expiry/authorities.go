package expiry

import (
	"context"
	"crypto/x509"
	"time"

	"github.com/tenantgate/tenantgate/identity"
)

// OtherAuthorities is the source of the certificates and the revocation lists of the CAs beside our own. A certificate is replaced when the authority has
// another one of its rank that began and ends later: a root and its successor. Those of disabled authorities end unseen.
func OtherAuthorities(r *identity.Registry) Source {
	return func(_ context.Context, _ time.Time, yield func(Item) bool) error {
		for _, e := range r.Snapshot().Authorities().All() {
			if e.Authority.Disabled {
				continue
			}
			for _, i := range append(authorityCertificates(e.Authority), authorityLists(e)...) {
				if !yield(i) {
					return nil
				}
			}
		}
		return nil
	}
}

// authorityCertificates are the items of an authority's certificates. That they cannot be read is told by its own check.
func authorityCertificates(a *identity.Authority) (items []Item) {
	anchors, err := a.Anchors()
	if err != nil {
		return nil
	}
	helpers, err := a.Helpers()
	if err != nil {
		return nil
	}
	for _, rank := range []struct {
		flag string
		all  []*x509.Certificate
	}{{"--ca", anchors}, {"--intermediates", helpers}} {
		for name, c := range Authorities(rank.all) {
			i := certificate(KindAuthorityCertificate, a.Name+": "+name, c)
			i.Command = "tenantgate authority set " + a.Name + " " + rank.flag + " FILE"
			if followed(c, rank.all) {
				i.State = Replaced
			}
			items = append(items, i)
		}
	}
	return items
}

// authorityLists are the items of an authority's revocation lists, where it checks them. One that is fetched comes anew by itself, from some CAs no more than a
// few hours before the end of a week; one that was uploaded does not.
func authorityLists(e *identity.AuthorityEntry) (items []Item) {
	if !e.Authority.ChecksCRL() {
		return nil
	}
	for _, l := range e.Lists {
		i := Item{
			Kind: KindAuthorityRevocationList, ID: e.Authority.Name + " " + l.Source, Name: e.Authority.Name + ": revocation list of " + l.Issuer,
			Expires: l.NextUpdate, Automatic: !l.Uploaded(), Warn: max(1, l.NextUpdate.Sub(l.ThisUpdate)/20),
			Command: "tenantgate authority check " + e.Authority.Name,
		}
		if l.Uploaded() {
			i.Warn, i.Command = max(1, l.NextUpdate.Sub(l.ThisUpdate)/4), "tenantgate authority crl "+e.Authority.Name+" FILE"
		}
		items = append(items, i)
	}
	return items
}

// loginWarning is how long before a login closes its nearness matters: its callers must have moved.
const loginWarning = 30 * day

// Logins is the source of the days on which logins close, whatever their callers do. What is closed is no reason to do anything.
func Logins(r *identity.Registry) Source {
	return func(_ context.Context, now time.Time, yield func(Item) bool) error {
		snapshot := r.Snapshot()
		for _, l := range snapshot.Logins() {
			holder, ok := snapshot.Identity(l.Identity)
			if !ok || holder.Disabled || l.StageAt(now) == identity.StageClosed {
				continue
			}
			if !yield(Item{
				Kind: KindLogin, ID: l.User, Name: l.User, Owner: snapshot.LoginOwner(l), Expires: l.Closes(), Warn: loginWarning,
				Command: "tenantgate login show " + l.User,
			}) {
				return nil
			}
		}
		return nil
	}
}
