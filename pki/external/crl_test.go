package external_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/internal/database"
	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/pki/external"
	"github.com/tenantgate/tenantgate/pki/pkitest"
)

func TestListsThatCannotBeBelieved(t *testing.T) {
	root := pkitest.NewCompany(t, "Example Root", nil)
	issuing := root.Sub("Example Issuing", nil)
	namesake := pkitest.NewCompany(t, "Example Root", nil)
	noSign := root.Sub("Example Without", func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCertSign })
	a := identity.Authority{Name: "corp", CA: root.PEM(), Intermediates: issuing.PEM() + noSign.PEM()}
	extension := func(id asn1.ObjectIdentifier, critical bool) func(*x509.RevocationList) {
		return func(l *x509.RevocationList) {
			l.ExtraExtensions = []pkix.Extension{{Id: id, Critical: critical, Value: []byte{0x30, 0}}}
		}
	}
	good := root.CRL(7, nil)
	for _, tc := range []struct {
		name string
		der  []byte
		want string // in the error; "" is believed
	}{
		{"of the root", good, ""},
		{"of the intermediate", issuing.CRL(1, nil), ""},
		{"as PEM", pki.EncodeCRL(good), ""},
		{"with an extension that is not critical", root.CRL(1, extension(asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 21, 14}, false)), ""},
		{"stale", root.CRL(1, func(l *x509.RevocationList) {
			l.ThisUpdate, l.NextUpdate = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
		}), "went stale"},
		{"of the future", root.CRL(1, func(l *x509.RevocationList) { l.ThisUpdate = time.Now().Add(time.Minute) }), "not valid before"},
		{"of another CA of the same name", namesake.CRL(1, nil), "signature|verification"},
		{"of an issuer that is not there", pkitest.NewCompany(t, "Nobody", nil).CRL(1, nil), "not among"},
		{"of a CA that may not sign lists", nil, "cannot sign"},
		{"with an unknown critical extension", root.CRL(1, extension(asn1.ObjectIdentifier{1, 2, 3, 4}, true)), "critical"},
		{"with an issuing distribution point", root.CRL(1, extension(asn1.ObjectIdentifier{2, 5, 29, 28}, true)), "distribution point"},
		{"with one that is not even critical", root.CRL(1, extension(asn1.ObjectIdentifier{2, 5, 29, 28}, false)), "distribution point"},
		{"a delta list", root.CRL(1, extension(asn1.ObjectIdentifier{2, 5, 29, 27}, true)), "delta"},
		{"truncated", good[:len(good)-10], "list"},
		{"with a flipped bit", flipped(good), "verification|signature|invalid"},
		{"empty", nil, "empty"},
		{"a page", []byte("<html>please log in</html>"), "no certificate revocation list"},
		{"two lists", append(pki.EncodeCRL(good), pki.EncodeCRL(good)...), "2 lists"},
		{"a certificate", []byte(root.PEM()), "not a certificate revocation list"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			der := tc.der
			if tc.name == "of a CA that may not sign lists" { // x509 makes none with its certificate
				may := *noSign
				cert := *noSign.Cert
				cert.KeyUsage |= x509.KeyUsageCRLSign
				may.Cert = &cert
				der = may.CRL(1, nil)
			}
			l, err := external.ReadCRL(&a, "http://pki.example.com/x.crl", der, time.Now())
			if tc.want == "" {
				if err != nil || l.Number == "" || len(l.DER) == 0 {
					t.Fatalf("got %+v, %v", l, err)
				}
				return
			}
			if err == nil {
				t.Fatal("it was believed")
			}
			for word := range strings.SplitSeq(tc.want, "|") {
				if strings.Contains(err.Error(), word) {
					return
				}
			}
			t.Errorf("got %v, want %s", err, tc.want)
		})
	}
}

func flipped(der []byte) []byte {
	b := bytes.Clone(der)
	b[len(b)-3] ^= 1
	return b
}

// A long list is read once, and asked in no time.
func TestAListOfTenMegabytes(t *testing.T) {
	root := pkitest.NewCompany(t, "Example Root", nil)
	leaf, other := root.Leaf("erp", nil), root.Leaf("erp", nil)
	entries := int64(370_000)
	if raceDetector { // making such a list takes it a minute
		entries = 20_000
	}
	long := root.CRL(1, func(l *x509.RevocationList) {
		for i := range entries {
			l.RevokedCertificateEntries = append(l.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: big.NewInt(1<<60 + i), RevocationTime: time.Now()})
		}
	}, other.Leaf)
	if len(long) < 9<<20 && !raceDetector {
		t.Fatalf("the list has %d octets", len(long))
	}
	r := openRegistry(t, nil)
	addAuthority(t, r, identity.Authority{Name: "corp", CA: root.PEM(), CRLRequired: true})
	a := r.Snapshot().Authorities().All()[0].Authority
	start := time.Now()
	list, err := external.ReadCRL(a, "", long, time.Now())
	must(t, err)
	change(t, r, func(ctx context.Context, tx *identity.Tx) error {
		_, err := tx.PutRevocationList(ctx, "corp", list)
		return err
	})
	stored := time.Since(start)
	v := external.NewVerifier(func() *pki.Trust { return nil }, "test.internal")
	judge := func(c *x509.Certificate) error {
		_, err := v.Judge(r.Snapshot().Authorities(), []*x509.Certificate{c}, time.Now())
		return err
	}
	start = time.Now()
	must(t, judge(leaf.Leaf))
	first := time.Since(start)
	start = time.Now()
	must(t, judge(leaf.Leaf))
	if second := time.Since(start); second > 50*time.Millisecond {
		t.Errorf("the second certificate took %v", second)
	} else {
		t.Logf("%d octets: verified and stored in %v, the first certificate %v, the second %v", len(long), stored, first, second)
	}
	if err := judge(other.Leaf); err == nil || !strings.Contains(err.Error(), "revoked") {
		t.Errorf("a certificate on the list: %v", err)
	}
}

// While a long list of one CA is read, only the callers of that CA wait.
func TestAListThatIsReadHoldsUpNoOtherCA(t *testing.T) {
	slow, other := pkitest.NewCompany(t, "Example Root", nil), pkitest.NewCompany(t, "Other Root", nil)
	r := openRegistry(t, nil)
	addAuthority(t, r, identity.Authority{Name: "corp", CA: slow.PEM(), CRLRequired: true})
	addAuthority(t, r, identity.Authority{Name: "other", CA: other.PEM()})
	list, err := external.ReadCRL(r.Snapshot().Authorities().All()[0].Authority, "", slow.CRL(1, nil), time.Now())
	must(t, err)
	change(t, r, func(ctx context.Context, tx *identity.Tx) error {
		_, err := tx.PutRevocationList(ctx, "corp", list)
		return err
	})
	v := external.NewVerifier(func() *pki.Trust { return nil }, "test.internal")
	judge := func(c *x509.Certificate) <-chan error {
		done := make(chan error, 1)
		go func() {
			_, err := v.Judge(r.Snapshot().Authorities(), []*x509.Certificate{c}, time.Now())
			done <- err
		}()
		return done
	}
	release := v.HoldLists(r.Snapshot().Authorities())
	waiting := judge(slow.Leaf("erp", nil).Leaf)
	select {
	case err := <-judge(other.Leaf("erp", nil).Leaf):
		must(t, err)
	case <-time.After(10 * time.Second):
		t.Error("a caller of another CA waited")
	}
	select {
	case err := <-waiting:
		t.Errorf("the list was not asked: %v", err)
	default:
	}
	release()
	must(t, <-waiting)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// openRegistry opens a registry with the identity orders, on db or on a database of its own.
func openRegistry(t testing.TB, db *database.DB) *identity.Registry {
	t.Helper()
	ctx := t.Context()
	if db == nil {
		db = openDatabase(t)
	}
	r, err := identity.Open(ctx, db.DB, sealerOf(t, db))
	must(t, err)
	if _, ok := r.Snapshot().Identity("orders"); !ok {
		change(t, r, func(ctx context.Context, tx *identity.Tx) error {
			_, err := tx.AddIdentity(ctx, identity.Identity{Name: "orders", Owner: "team"})
			return err
		})
	}
	return r
}

func openDatabase(t testing.TB) *database.DB {
	t.Helper()
	db, err := database.Open(t.Context(), filepath.Join(t.TempDir(), "tenantgate.db"))
	must(t, err)
	t.Cleanup(func() { db.Close() })
	must(t, database.Migrate(t.Context(), db, "identity", identity.Migrations()))
	return db
}

var sealers sync.Map

func sealerOf(t testing.TB, db *database.DB) identity.Sealer {
	t.Helper()
	if s, ok := sealers.Load(db); ok {
		return s.(identity.Sealer)
	}
	key, err := identity.GenerateKey()
	must(t, err)
	s, err := identity.NewSealer(key)
	must(t, err)
	sealers.Store(db, s)
	return s
}

func change(t testing.TB, r *identity.Registry, fn func(ctx context.Context, tx *identity.Tx) error) {
	t.Helper()
	must(t, r.Change(t.Context(), func(tx *identity.Tx) error { return fn(t.Context(), tx) }))
}

// addAuthority adds an authority that maps the subject erp to orders.
func addAuthority(t testing.TB, r *identity.Registry, a identity.Authority) {
	t.Helper()
	change(t, r, func(ctx context.Context, tx *identity.Tx) error {
		if _, err := tx.AddAuthority(ctx, a); err != nil {
			return err
		}
		_, err := tx.AddMapping(ctx, a.Name, identity.Mapping{Kind: identity.MapSubject, Value: "CN=erp,O=Example,C=DE", Identity: "orders"})
		return err
	})
}

// publisher serves one list, which can be changed.
type publisher struct {
	list  atomic.Pointer[[]byte]
	asked atomic.Int64
	*httptest.Server
}

func publish(t testing.TB, list []byte) *publisher {
	p := &publisher{}
	p.list.Store(&list)
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		p.asked.Add(1)
		if b := *p.list.Load(); b != nil {
			w.Write(b)
			return
		}
		http.Error(w, "gone", http.StatusServiceUnavailable)
	}))
	t.Cleanup(p.Close)
	return p
}

func (p *publisher) set(list []byte) { p.list.Store(&list) }

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("waited in vain for %s", what)
}

// One of several nodes fetches, all follow; what came is there after a restart while the CA's server is down; an older list does not replace a newer one.
func TestListsAreFetchedFollowedAndKept(t *testing.T) {
	root := pkitest.NewCompany(t, "Example Root", nil)
	leaf := root.Leaf("erp", nil)
	pub := publish(t, root.CRL(5, nil))
	db := openDatabase(t)
	one, two := openRegistry(t, db), openRegistry(t, db)
	addAuthority(t, one, identity.Authority{Name: "corp", CA: root.PEM(), CRLURLs: []string{pub.URL}, CRLRefresh: identity.Duration(time.Second)})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	keepers := []*external.Keeper{{Registry: one}, {Registry: two}}
	for i, r := range []*identity.Registry{one, two} {
		go keepers[i].Run(ctx)
		go func() {
			for ctx.Err() == nil {
				r.Refresh(ctx)
				time.Sleep(50 * time.Millisecond)
			}
		}()
	}
	v := external.NewVerifier(func() *pki.Trust { return nil }, "test.internal")
	judge := func(r *identity.Registry) error {
		_, err := v.Judge(r.Snapshot().Authorities(), []*x509.Certificate{leaf.Leaf}, time.Now())
		return err
	}
	eventually(t, "both nodes to have the list", func() bool { return judge(one) == nil && judge(two) == nil })
	start := pub.asked.Load()
	time.Sleep(3 * time.Second)
	if n := pub.asked.Load() - start; n > 5 {
		t.Errorf("two nodes fetched %d times in three seconds at one a second", n)
	}

	pub.set(root.CRL(4, nil)) // an old one is played back
	eventually(t, "the old list to be told", func() bool {
		stands, err := one.Fetches(ctx)
		must(t, err)
		return len(stands) == 1 && strings.Contains(stands[0].Error, "numbers do not go back")
	})
	if judge(one) != nil {
		t.Error("the list in force was lost")
	}
	begin := time.Now()
	pub.set(root.CRL(6, nil, leaf.Leaf))
	eventually(t, "both nodes to refuse", func() bool { return judge(one) != nil && judge(two) != nil })
	t.Logf("revoked on both nodes %v after publication, one fetch a second, behind two failed ones", time.Since(begin))

	cancel()
	pub.set(nil)
	again := openRegistry(t, db)
	if l := again.Snapshot().Authorities().All()[0].Lists; len(l) != 1 || l[0].Number != "6" {
		t.Errorf("after a restart: %+v", l)
	}
	if judge(again) == nil {
		t.Error("after a restart a revoked certificate is accepted")
	}
}

func TestFetchesAreBoundedAndFollowNoRedirect(t *testing.T) {
	root := pkitest.NewCompany(t, "Example Root", nil)
	r := openRegistry(t, nil)
	good := publish(t, root.CRL(1, nil))
	endless := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		for q.Context().Err() == nil {
			if _, err := w.Write(make([]byte, 1<<20)); err != nil {
				return
			}
		}
	}))
	defer endless.Close()
	redirect := httptest.NewServer(http.RedirectHandler(good.URL, http.StatusFound))
	defer redirect.Close()
	a := identity.Authority{Name: "corp", CA: root.PEM(), CRLURLs: []string{endless.URL, redirect.URL, good.URL}}
	addAuthority(t, r, a)
	k := &external.Keeper{Registry: r}
	for url, want := range map[string]string{endless.URL: "longer than", redirect.URL: "redirects are not followed", good.URL: ""} {
		_, err := k.Fetch(t.Context(), &a, url)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
