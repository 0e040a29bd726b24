package pki_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/pki/pkitest"
)

// certmagic's contract, as its own FileStorage fulfils it.
func testStorageFulfilsItsContract(t *testing.T, db *sql.DB) {
	s, ctx := pki.NewStorage(db, new(pkitest.Sealer)), t.Context()
	if _, err := s.Load(ctx, "a/b"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Load of nothing: %v", err)
	}
	if _, err := s.Stat(ctx, "a"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Stat of nothing: %v", err)
	}
	if s.Exists(ctx, "a") {
		t.Error("nothing exists")
	}
	if err := s.Delete(ctx, "a"); err != nil {
		t.Errorf("Delete of nothing: %v", err)
	}
	for _, key := range []string{"a/b", "a/c/d", "a/c/e", "ab/x", "a%/x", "A/b", "ä/ö"} {
		if err := s.Store(ctx, key, []byte("old")); err != nil {
			t.Fatal(err)
		}
		if err := s.Store(ctx, key, []byte("value of "+key)); err != nil {
			t.Fatal(err)
		}
		if got, err := s.Load(ctx, key); err != nil || string(got) != "value of "+key {
			t.Errorf("Load %s: %q, %v", key, got, err)
		}
	}
	if info, err := s.Stat(ctx, "a/b"); err != nil || !info.IsTerminal || info.Size != int64(len("value of a/b")) || info.Key != "a/b" || time.Since(info.Modified) > time.Minute {
		t.Errorf("Stat of a value: %+v, %v", info, err)
	}
	if info, err := s.Stat(ctx, "a/c"); err != nil || info.IsTerminal {
		t.Errorf("Stat of a directory: %+v, %v", info, err)
	}
	for _, c := range []struct {
		path      string
		recursive bool
		want      []string
	}{
		{"a", false, []string{"a/b", "a/c"}},
		{"a", true, []string{"a/b", "a/c", "a/c/d", "a/c/e"}},
		{"a/", false, []string{"a/b", "a/c"}},
		{"ä", true, []string{"ä/ö"}},
		{"", false, []string{"A", "a", "a%", "ab", "ä"}},
	} {
		if got, err := s.List(ctx, c.path, c.recursive); err != nil || !slices.Equal(got, c.want) {
			t.Errorf("List %q %v: %q, %v, want %q", c.path, c.recursive, got, err, c.want)
		}
	}
	if err := s.Delete(ctx, "a/c"); err != nil {
		t.Fatal(err)
	}
	if s.Exists(ctx, "a/c/d") || !s.Exists(ctx, "a/b") || !s.Exists(ctx, "ab/x") {
		t.Error("Delete of a directory took too little or too much")
	}
}

// What lies in the database neither shows the value nor opens under another path.
func TestStorageSealsValuesToTheirPath(t *testing.T) {
	db := pkitest.Database(t)
	s, ctx := pki.NewStorage(db, new(pkitest.Sealer)), t.Context()
	if err := s.Store(ctx, "a", []byte("PRIVATE KEY of a")); err != nil {
		t.Fatal(err)
	}
	var sealed []byte
	if err := db.QueryRow(`SELECT value FROM pki_storage WHERE path = 'a'`).Scan(&sealed); err != nil || bytes.Contains(sealed, []byte("PRIVATE")) {
		t.Errorf("stored in the clear, %v", err)
	}
	if _, err := db.Exec(`UPDATE pki_storage SET path = 'b' WHERE path = 'a'`); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Load(ctx, "b"); err == nil || !strings.Contains(err.Error(), "unsealing b") {
		t.Errorf("moved value: got %v", err)
	}
}

func testStorageLockHasOneHolder(t *testing.T, db *sql.DB) {
	var inside, most atomic.Int32
	var wg sync.WaitGroup
	for range 4 {
		node := pki.NewStorage(db, new(pkitest.Sealer)) // as many nodes
		wg.Go(func() {
			for range 3 {
				if err := node.Lock(t.Context(), "issue"); err != nil {
					t.Error(err)
					return
				}
				if n := inside.Add(1); n > most.Load() {
					most.Store(n)
				}
				inside.Add(-1)
				if err := node.Unlock(t.Context(), "issue"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if most.Load() != 1 {
		t.Errorf("%d holders at once", most.Load())
	}
	a, b := pki.NewStorage(db, new(pkitest.Sealer)), pki.NewStorage(db, new(pkitest.Sealer))
	if ok, err := a.TryLock(t.Context(), "x"); !ok || err != nil {
		t.Fatalf("TryLock: %v, %v", ok, err)
	}
	if ok, err := b.TryLock(t.Context(), "x"); ok || err != nil {
		t.Errorf("TryLock of a held lock: %v, %v", ok, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.Lock(ctx, "x"); err == nil {
		t.Error("Lock of a held lock with an ended context: no error")
	}
	if err := a.RenewLockLease(t.Context(), "x", -time.Second); err != nil { // it expires
		t.Fatal(err)
	}
	if ok, err := b.TryLock(t.Context(), "x"); !ok || err != nil {
		t.Errorf("TryLock of an expired lock: %v, %v", ok, err)
	}
	if err := a.RenewLockLease(t.Context(), "x", time.Minute); err == nil {
		t.Error("renewed a lock that another holds")
	}
	if err := a.Unlock(t.Context(), "x"); err != nil {
		t.Errorf("Unlock of a lost lock: %v", err)
	}
	if ok, err := a.TryLock(t.Context(), "x"); ok || err != nil {
		t.Errorf("a lost lock was freed for its new holder: %v, %v", ok, err)
	}
}
