package expiry_test

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/internal/database"
	"github.com/tenantgate/tenantgate/internal/database/databasetest"
	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/pki/pkitest"
	"github.com/tenantgate/tenantgate/proxy/expiry"
)

const day = 24 * time.Hour

func TestWarningsDependOnTheLifetime(t *testing.T) {
	for _, tc := range []struct{ lifetime, want time.Duration }{
		{3650 * day, 180 * day}, {1825 * day, 180 * day}, {1824 * day, 90 * day}, {730 * day, 90 * day}, {729 * day, 30 * day}, {155 * day, 30 * day},
		{154 * day, 7 * day}, {90 * day, 7 * day}, {32 * day, 7 * day}, {31 * day, 3 * day}, {15 * day, 3 * day}, {14 * day, day}, {4 * day, day},
		// What is renewed after two thirds of its life is not warned of before.
		{2 * day, 12 * time.Hour}, {day, 6 * time.Hour}, {time.Hour, 15 * time.Minute},
	} {
		if got := expiry.Warning(tc.lifetime); got != tc.want {
			t.Errorf("%v: got %v, want %v", tc.lifetime, got, tc.want)
		}
	}
}

func TestStatesFollowTheTimeThatIsLeft(t *testing.T) {
	now := time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
	state := func(i expiry.Item) expiry.State {
		t.Helper()
		l := &expiry.List{Sources: []expiry.Source{func(_ context.Context, _ time.Time, yield func(expiry.Item) bool) error { yield(i); return nil }}}
		items, err := l.Items(t.Context(), now, nil)
		if err != nil || len(items) != 1 {
			t.Fatalf("%v, %v", items, err)
		}
		return items[0].State
	}
	for _, tc := range []struct {
		left time.Duration
		want expiry.State
	}{{9 * day, expiry.OK}, {8 * day, expiry.Soon}, {2*day + 1, expiry.Soon}, {2 * day, expiry.Urgent}, {1, expiry.Urgent}, {0, expiry.Expired}, {-day, expiry.Expired}} {
		if got := state(expiry.Item{Expires: now.Add(tc.left), Warn: 8 * day}); got != tc.want {
			t.Errorf("%v before the end: got %s, want %s", tc.left, got, tc.want)
		}
		if got := state(expiry.Item{Expires: now.Add(tc.left), Warn: 8 * day, State: expiry.Replaced}); got != expiry.Replaced || got.Due() {
			t.Errorf("%v before the end of what is replaced: got %s", tc.left, got)
		}
		if got := state(expiry.Item{Expires: now.Add(tc.left)}); got != expiry.OK {
			t.Errorf("%v before an end that does not matter: got %s", tc.left, got)
		}
	}
}

func TestASourceThatFailsIsNoShortList(t *testing.T) {
	broken := errors.New("the database is away")
	l := &expiry.List{Sources: []expiry.Source{func(context.Context, time.Time, func(expiry.Item) bool) error { return broken }}}
	if _, err := l.Items(t.Context(), time.Now(), nil); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}

// house is a registry whose certificates have the times that a test wants.
type house struct {
	t        *testing.T
	registry *identity.Registry
	serials  map[string]string // names by serial numbers
}

func newHouse(t *testing.T) *house {
	t.Helper()
	db, err := database.Open(t.Context(), databasetest.SQLite(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	if err := database.Migrate(t.Context(), db, "identity", identity.Migrations()); err != nil {
		t.Fatal(err)
	}
	registry, err := identity.Open(t.Context(), db.DB, new(pkitest.Sealer))
	if err != nil {
		t.Fatal(err)
	}
	return &house{t, registry, map[string]string{}}
}

func (h *house) change(fn func(tx *identity.Tx) error) {
	h.t.Helper()
	if err := h.registry.Change(h.t.Context(), fn); err != nil {
		h.t.Fatal(err)
	}
}

// certificate binds one that ends in so long, of a lifetime of 90 days, to the identity of the name before the first '/'.
func (h *house) certificate(name string, left time.Duration) identity.Fingerprint {
	h.t.Helper()
	owner, _, _ := strings.Cut(name, "/")
	end := time.Now().Add(left)
	f := identity.Fingerprint(sha256.Sum256([]byte(name)))
	serial := fmt.Sprintf("%x", f[:8])
	h.serials[serial] = name
	h.change(func(tx *identity.Tx) error {
		if _, err := tx.Identity(owner); err != nil {
			if _, err := tx.AddIdentity(h.t.Context(), identity.Identity{Name: owner, Owner: "team-" + owner}); err != nil {
				return err
			}
		}
		_, err := tx.BindCertificate(h.t.Context(), identity.Certificate{Fingerprint: f, Identity: owner, Serial: serial, NotBefore: end.Add(-90 * day), NotAfter: end})
		return err
	})
	return f
}

// want compares what the callers' source yields at a time ahead of now.
func (h *house) want(ahead time.Duration, want ...string) {
	h.t.Helper()
	l := &expiry.List{Sources: []expiry.Source{expiry.Callers(h.registry)}}
	items, err := l.Items(h.t.Context(), time.Now().Add(ahead), nil)
	if err != nil {
		h.t.Fatal(err)
	}
	var got []string
	for _, i := range items {
		got = append(got, h.serials[i.ID]+" "+string(i.State))
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		h.t.Errorf("in %v: got %q, want %q", ahead, got, want)
	}
}

func TestACertificateIsReplacedByANewerOneThatLivesOn(t *testing.T) {
	h := newHouse(t)
	h.certificate("erp/old", 3*day)
	h.want(0, "erp/old soon")
	h.certificate("erp/brief", 5*day) // ends soon itself
	h.want(0, "erp/old soon", "erp/brief soon")
	h.certificate("erp/new", 80*day)
	h.want(0, "erp/old replaced", "erp/brief replaced", "erp/new ok")
	h.certificate("crm/one", day)
	h.want(0, "erp/old replaced", "erp/brief replaced", "erp/new ok", "crm/one urgent")
	// What has ended and was replaced is gone; what has ended and was not stays.
	h.want(6*day, "erp/new ok", "crm/one expired")
	h.want(100*day, "erp/new expired", "crm/one expired")
	h.change(func(tx *identity.Tx) error { _, err := tx.DisableIdentity(t.Context(), "crm"); return err })
	h.want(6*day, "erp/new ok")
}

// A second caller of the same identity has not got the new certificate: its own is not replaced.
func TestACertificateThatIsStillUsedIsNotReplaced(t *testing.T) {
	h := newHouse(t)
	a := h.certificate("erp/host-a", 6*day)
	h.certificate("erp/host-b", 80*day)
	h.want(0, "erp/host-a replaced", "erp/host-b ok")
	now := time.Now()
	h.registry.Calls().Of(a).Note(now.Add(12 * time.Hour)) // it has had a day to change
	h.want(day, "erp/host-a replaced", "erp/host-b ok")
	h.registry.Calls().Of(a).Note(now.Add(3 * day))
	h.want(3*day, "erp/host-a soon", "erp/host-b ok")
	h.want(7*day, "erp/host-a expired", "erp/host-b ok") // it was used until its end
	h.want(40*day, "erp/host-b ok")                      // and that has been shown for long enough
}

func TestRevokedCertificatesEndUnseen(t *testing.T) {
	h := newHouse(t)
	f := h.certificate("erp/one", day)
	h.change(func(tx *identity.Tx) error {
		_, err := tx.RevokeCertificate(t.Context(), f, "", time.Time{})
		return err
	})
	h.want(0)
}

// What counts is which one signs: one that waits does no work yet, and one that is retiring does none any more, whichever ends first.
func TestACAThatIsRotatedIsReplaced(t *testing.T) {
	now := time.Now()
	old := &x509.Certificate{Raw: []byte("old"), IsCA: true, NotBefore: now.Add(-1800 * day), NotAfter: now.Add(25 * day)}
	next := &x509.Certificate{Raw: []byte("new"), IsCA: true, NotBefore: now.Add(-day), NotAfter: now.Add(1824 * day)}
	brief := &x509.Certificate{Raw: []byte("brief"), IsCA: true, NotBefore: now.Add(-day), NotAfter: now.Add(20 * day)}
	old.Subject.CommonName, next.Subject.CommonName, brief.Subject.CommonName = "CA", "CA", "CA"
	type states map[*x509.Certificate]pki.AuthorityState
	for _, tc := range []struct {
		states states
		want   string
	}{
		{states{old: pki.AuthorityActive}, "urgent"},
		{states{old: pki.AuthorityActive, next: pki.AuthorityPending}, "urgent ok"},
		{states{old: pki.AuthorityRetiring, next: pki.AuthorityActive}, "replaced ok"},
		{states{old: pki.AuthorityRetiring, brief: pki.AuthorityActive}, "ok replaced"},
		{states{old: "", next: pki.AuthorityActive}, "replaced ok"},
	} {
		all := func() []*x509.Certificate { return slices.Collect(maps.Keys(tc.states)) }
		l := &expiry.List{Sources: []expiry.Source{expiry.LineageOf(expiry.KindIntermediate, func(c *x509.Certificate) pki.AuthorityState { return tc.states[c] }, all)}}
		items, err := l.Items(t.Context(), now, nil)
		var got []string
		for _, i := range items {
			got = append(got, string(i.State))
		}
		if err != nil || strings.Join(got, " ") != tc.want {
			t.Errorf("%d certificates: got %q, %v, want %q", len(tc.states), got, err, tc.want)
		}
	}
}

func TestAdministratorsCertificatesAreOfOneName(t *testing.T) {
	env := pkitest.New(t)
	env.Admin("anna")
	env.Admin("anna")
	env.Admin("bert")
	l := &expiry.List{Sources: []expiry.Source{expiry.Administrators(env.CA), expiry.Tokens(env.CA)}}
	items, err := l.Items(t.Context(), time.Now(), nil)
	if err != nil || len(items) != 3 {
		t.Errorf("got %+v, %v", items, err)
	}
}
