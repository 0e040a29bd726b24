package identity_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/internal/database/databasetest"
)

// TestReadersSeeWholeChanges has readers look at an identity whose two certificates and role change together, while writers of two
// registries change it.
func TestReadersSeeWholeChanges(t *testing.T) {
	db, sealer := openDatabase(t, databasetest.SQLite(t)), newSealer(t)
	r, other := openRegistry(t, db, sealer), openRegistry(t, db, sealer)
	one, two := certificate("erp", "one"), certificate("erp", "two")
	change(t, r, func(ctx context.Context, tx *identity.Tx) error {
		_, e1 := tx.AddIdentity(ctx, person("erp", "orders.send"))
		_, e2 := tx.BindCertificate(ctx, one)
		_, e3 := tx.BindCertificate(ctx, two)
		_, e4 := tx.AddTenant(ctx, tenant("cpi"))
		return errors.Join(e1, e2, e3, e4)
	})
	var done atomic.Bool
	var readers, writers sync.WaitGroup
	path := []byte("/a/0/x")
	for range 4 {
		readers.Go(func() {
			for last := int64(0); !done.Load(); {
				s := r.Snapshot()
				a, _ := s.Binding(one.Fingerprint)
				b, _ := s.Binding(two.Fingerprint)
				if a.HasRole("orders.send") != b.HasRole("orders.send") || a.Identity != b.Identity {
					t.Error("a reader saw half of a change")
				}
				s.Match("h", path, path, "GET")
				s.Identities()
				if s.Revision() < last {
					t.Error("the revision went back")
				}
				last = s.Revision()
			}
		})
	}
	for n, w := range []*identity.Registry{r, other} {
		writers.Go(func() {
			for i := range 30 {
				err := w.Change(context.Background(), func(tx *identity.Tx) error {
					ctx := context.Background()
					_, e1 := tx.DisableIdentity(ctx, "erp")
					_, e2 := tx.AddRoute(ctx, identity.Route{Name: fmt.Sprintf("r%d-%d", n, i), Path: fmt.Sprintf("/%d/%d/*", n, i), Tenant: "cpi", Role: "x"})
					_, e3 := tx.BindCertificate(ctx, certificate("erp", fmt.Sprint(n, i)))
					if i%2 == 0 {
						_, e1 = tx.EnableIdentity(ctx, "erp")
					}
					return errors.Join(e1, e2, e3)
				})
				if err == nil {
					err = r.Refresh(context.Background())
				}
				if err != nil {
					t.Errorf("changing: %v", err)
				}
			}
		})
	}
	writers.Wait()
	done.Store(true)
	readers.Wait()
	wantSame(t, db, sealer, r)
}

// TestOpenWhileOthersChange shows that a registry which is read while it changes is read whole.
func TestOpenWhileOthersChange(t *testing.T) {
	databasetest.Each(t, func(t *testing.T, create func(testing.TB) string) {
		db, sealer := openDatabase(t, create(t)), newSealer(t)
		r := openRegistry(t, db, sealer)
		var done atomic.Bool
		var writer sync.WaitGroup
		writer.Go(func() {
			for n := 0; !done.Load(); n++ {
				name := fmt.Sprintf("id%d", n)
				change(t, r, func(ctx context.Context, tx *identity.Tx) error {
					_, e1 := tx.AddIdentity(ctx, person(name, "role"))
					_, e2 := tx.BindCertificate(ctx, certificate(name, name))
					return errors.Join(e1, e2)
				})
			}
		})
		for range 30 {
			fresh := openRegistry(t, db, sealer)
			s := fresh.Snapshot()
			for c := range s.AllCertificates() {
				if b, ok := s.Binding(c.Fingerprint); !ok || !b.HasRole("role") {
					t.Fatalf("certificate %s stands for nobody", c.Subject)
				}
			}
			if c := s.Counts(); c.Identities != c.Certificates {
				t.Fatalf("got %+v, want as many of each", c)
			}
		}
		done.Store(true)
		writer.Wait()
		wantSame(t, db, sealer, r)
	})
}

func TestReadsDoNotAllocate(t *testing.T) {
	r := openRegistry(t, openDatabase(t, databasetest.SQLite(t)), newSealer(t))
	cert := certificate("erp", "one")
	change(t, r, func(ctx context.Context, tx *identity.Tx) error {
		_, e1 := tx.AddTenant(ctx, tenant("cpi"))
		_, e2 := tx.AddIdentity(ctx, person("erp", "a", "b"))
		_, e3 := tx.BindCertificate(ctx, cert)
		_, e4 := tx.AddCredential(ctx, secret("erp", "cpi"))
		_, e5 := tx.AddRoute(ctx, identity.Route{Name: "a", Host: "h.example", Path: "/http/a-rather-long-path-that-outgrows-small-buffers/*", Tenant: "cpi", Role: "a"})
		_, e6 := tx.AddRoute(ctx, identity.Route{Name: "b", Path: "/HTTP/exact-and-also-rather-long-for-a-small-buffer", Tenant: "cpi", Role: "a"})
		return errors.Join(e1, e2, e3, e4, e5, e6)
	})
	prefix, exact := []byte("/http/a-rather-long-path-that-outgrows-small-buffers/x/y"), []byte("/http/exact-and-also-rather-long-for-a-small-buffer")
	ok := true
	allocs := testing.AllocsPerRun(100, func() {
		s := r.Snapshot()
		b, found := s.Binding(cert.Fingerprint)
		_, m1 := s.Match("h.example", prefix, prefix, "POST")
		_, m2 := s.Match("any.example", exact, exact, "GET")
		ok = ok && found && b.HasRole("b") && m1 && m2 && len(s.Credentials("erp", "cpi")) == 1
	})
	if allocs != 0 || !ok {
		t.Errorf("got %v allocations and result %v, want none and true", allocs, ok)
	}
}
