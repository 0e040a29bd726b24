package database_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/tenantgate/tenantgate/internal/database"
	"github.com/tenantgate/tenantgate/internal/database/databasetest"
)

// mount puts a small file system in a directory or skips the test where that is not allowed.
func mount(t *testing.T, options string) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		t.Skipf("SKIPPED: mounting a tmpfs needs root and the capability for it: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Errorf("unmounting %s: %v", dir, err)
		}
	})
	return dir
}

func TestOpenOnFullFileSystem(t *testing.T) {
	dir := mount(t, "size=1m,mode=0700")
	path := filepath.Join(dir, "x.db")
	if err := os.WriteFile(filepath.Join(dir, "filler"), make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := database.Open(t.Context(), path)
	wantError(t, err, database.ErrFull, path, "free space")
	if err := os.Remove(filepath.Join(dir, "filler")); err != nil {
		t.Fatal(err)
	}
	open(t, path)
}

func TestFileSystemThatFillsUp(t *testing.T) {
	path := filepath.Join(mount(t, "size=1m,mode=0700"), "x.db")
	db := open(t, path)
	if err := database.Migrate(t.Context(), db, "thing", schema(1)); err != nil {
		t.Fatal(err)
	}
	acknowledged := 0
	var err error
	for n := 0; n < 1000 && err == nil; n++ {
		if _, err = db.Exec(`INSERT INTO thing1 (name) VALUES ($1)`, strings.Repeat("x", 5000)+string(rune('0'+n))); err == nil {
			acknowledged++
		}
	}
	wantError(t, err, database.ErrFull, path, "free space")
	// What is left may do for some single pages, so the rest is taken and the check asked until the log's end is reached.
	if f, err := os.Create(filepath.Join(filepath.Dir(path), "filler")); err == nil {
		for err == nil {
			_, err = f.Write(make([]byte, 512))
		}
		_ = f.Close()
	}
	err = nil
	for n := 0; n < 300 && err == nil; n++ {
		err = db.Check(t.Context())
	}
	wantError(t, err, database.ErrFull, path)
	err = database.Migrate(t.Context(), db, "other", schema(2))
	wantError(t, err, database.ErrFull, path)
	var got int
	if err := db.QueryRow(`SELECT count(*) FROM thing1`).Scan(&got); err != nil || got != acknowledged {
		t.Errorf("got %d rows, %v, want %d", got, err, acknowledged)
	}
}

func TestOpenOnReadOnlyFileSystem(t *testing.T) {
	dir := mount(t, "size=4m,mode=0700")
	path := filepath.Join(dir, "x.db")
	if err := open(t, path).Close(); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Skipf("SKIPPED: remounting read-only: %v", err)
	}
	_, err := database.Open(t.Context(), path)
	wantError(t, err, database.ErrReadOnly, path, "writable")
}

// TestOpenReadOnlyFile binds a file read-only over itself, because root, who runs tests in containers, passes over file modes.
func TestOpenReadOnlyFile(t *testing.T) {
	path := databasetest.SQLite(t)
	if err := open(t, path).Close(); err != nil {
		t.Fatal(err)
	}
	if os.Getuid() == 0 {
		if err := unix.Mount(path, path, "", unix.MS_BIND, ""); err != nil {
			t.Skipf("SKIPPED: bind mounts are not allowed: %v", err)
		}
		t.Cleanup(func() { _ = unix.Unmount(path, unix.MNT_DETACH) })
		if err := unix.Mount("", path, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
			t.Skipf("SKIPPED: remounting read-only: %v", err)
		}
	} else if err := os.Chmod(path, 0o400); err != nil {
		t.Fatal(err)
	}
	_, err := database.Open(t.Context(), path)
	wantError(t, err, database.ErrReadOnly, path, "writable")
}
