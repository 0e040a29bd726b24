package admin_test

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/tenantgate/tenantgate/proxy/admin"
)

func TestSocketIsPrivateFromItsFirstMoment(t *testing.T) {
	old := syscall.Umask(0)
	defer syscall.Umask(old)
	path := filepath.Join(t.TempDir(), "a.sock")
	l, err := admin.ListenUnix(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Lstat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v %v, want 0600", info.Mode(), err)
	}
	l.Close()
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file is there after Close: %v", err)
	}
}

func TestSocketReplacesADeadServersAndNoOther(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.sock")
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false) // as kill -9 leaves it
	dead.Close()
	l, err := admin.ListenUnix(path)
	if err != nil {
		t.Fatalf("a dead server's socket: %v", err)
	}
	defer l.Close()

	wantSocketError(t, path, "in use")
	if conn, err := net.Dial("unix", path); err != nil {
		t.Errorf("the live server lost its socket: %v", err)
	} else {
		conn.Close()
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	wantSocketError(t, file, "no socket")
	if b, err := os.ReadFile(file); err != nil || string(b) != "precious" {
		t.Errorf("the file was changed: %q %v", b, err)
	}
	wantSocketError(t, filepath.Join(dir, strings.Repeat("x", 120)), "longer than 107")
	wantSocketError(t, filepath.Join(dir, "none", "a.sock"), "cannot be made")
}

func wantSocketError(t *testing.T, path, text string) {
	t.Helper()
	l, err := admin.ListenUnix(path)
	if err == nil {
		l.Close()
	}
	if e, ok := errors.AsType[*admin.SocketError](err); !ok || !strings.Contains(e.Error(), text) || e.Hint == "" {
		t.Errorf("ListenUnix(%s): %v, want an error with a hint that says %q", path, err, text)
	}
}
