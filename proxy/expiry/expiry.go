// Package expiry is the one list of all that ends: certificates of callers, administrators and listeners, credentials, the CA, its revocation list, the same of
// other authorities, open enrolment tokens, logins, and the dates by which identities must be reviewed. Whatever else ends joins the list by a [Source] of its own.
//
// It does not know who asks, who is told, or how a thing is renewed; it says by which command.
package expiry

import (
	"cmp"
	"context"
	"slices"
	"time"
)

// The kinds of what ends. Others than these may come from further sources; each is a word of a fixed set, for metrics have a series for each.
const (
	KindCaller         = "caller_certificate"
	KindAdministrator  = "administrator_certificate"
	KindServer         = "server_certificate"
	KindCredential     = "credential"
	KindRoot           = "root"
	KindIntermediate   = "intermediate"
	KindRevocationList = "revocation_list"
	KindToken          = "enrolment_token"
	KindReview         = "review"
	KindLogin          = "login"

	KindAuthorityCertificate    = "authority_certificate"
	KindAuthorityRevocationList = "authority_revocation_list"
)

// State says how near the end is.
type State string

// The states, in the order of urgency. What is replaced is no reason to do anything: something newer does its work.
const (
	Replaced State = "replaced"
	OK       State = "ok"
	Soon     State = "soon"
	Urgent   State = "urgent"
	Expired  State = "expired"
)

// Due reports whether somebody should act.
func (s State) Due() bool { return s == Soon || s == Urgent || s == Expired }

// Item is one thing that ends.
type Item struct {
	// Kind is what it is, and ID which one of its kind: a serial number, a fingerprint, a credential's id, an identity's name.
	Kind string `json:"kind"`
	ID   string `json:"id"`
	// Name is whose it is: an identity, an administrator, a host, a CA's subject.
	Name string `json:"name"`
	// Tenant is where it is used, for a credential.
	Tenant string `json:"tenant,omitempty"`
	// Owner is the team that answers for it; "" where the operators of this server do.
	Owner string `json:"owner,omitempty"`
	// Expires is the end.
	Expires time.Time `json:"expires"`
	// State is how near it is. [List.Each] sets it by Warn where the source has not.
	State State `json:"state"`
	// Automatic says that it is renewed without anybody's doing; that its end is near all the same means that this fails.
	Automatic bool `json:"automatic"`
	// Command is what to do about it.
	Command string `json:"command,omitempty"`
	// Warn is how long before the end its nearness matters; the last quarter of that is urgent. 0 is never: it may end unseen.
	Warn time.Duration `json:"-"`
}

// state is how near the end is at a time.
func (i *Item) state(now time.Time) State {
	left := i.Expires.Sub(now)
	switch {
	case i.State != "":
		return i.State
	case i.Warn == 0:
		return OK
	case left <= 0:
		return Expired
	case left <= i.Warn/4:
		return Urgent
	case left <= i.Warn:
		return Soon
	}
	return OK
}

// Key orders items: by their end, then by kind and id. It is plain text.
func (i *Item) Key() string {
	return i.Expires.UTC().Format("2006-01-02T15:04:05.000000Z") + " " + i.Kind + " " + i.ID
}

const day = 24 * time.Hour

// Warning is how long before its end something that lives so long is warned of. Up to a year it is what SAP's Destination service renews its own
// certificates by, but at most a quarter of the life: what is renewed after two thirds of it must not be warned of before that. What lives for years, a CA
// above all, takes months to replace at everybody who trusts it.
func Warning(lifetime time.Duration) time.Duration {
	w := 12 * time.Hour
	switch {
	case lifetime >= 5*365*day:
		w = 180 * day
	case lifetime >= 2*365*day:
		w = 90 * day
	case lifetime >= 155*day:
		w = 30 * day
	case lifetime >= 32*day:
		w = 7 * day
	case lifetime >= 15*day:
		w = 3 * day
	case lifetime >= 2*day:
		w = day
	}
	return min(w, lifetime/4)
}

// Source yields what it knows of that ends, in no order, until yield returns false. It returns an error when it does not know all.
type Source func(ctx context.Context, now time.Time, yield func(Item) bool) error

// List is all that ends. Its fields must not change once it is used; safe for concurrent use if its sources are.
type List struct {
	Sources []Source
}

// Each calls yield with each item, in no order, until it returns false. A source that fails ends it.
func (l *List) Each(ctx context.Context, now time.Time, yield func(*Item) bool) error {
	more := true
	for _, source := range l.Sources {
		err := source(ctx, now, func(i Item) bool {
			i.State = i.state(now)
			more = yield(&i)
			return more
		})
		if err != nil || !more {
			return err
		}
	}
	return nil
}

// Items returns the items that keep takes, the next end first. nil takes all.
func (l *List) Items(ctx context.Context, now time.Time, keep func(*Item) bool) ([]Item, error) {
	list := []Item{}
	err := l.Each(ctx, now, func(i *Item) bool {
		if keep == nil || keep(i) {
			list = append(list, *i)
		}
		return true
	})
	slices.SortFunc(list, func(a, b Item) int {
		return cmp.Or(a.Expires.Compare(b.Expires), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.ID, b.ID))
	})
	return list, err
}
