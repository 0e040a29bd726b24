package admin_test

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"github.com/tenantgate/tenantgate/proxy/admin"
)

// TestSocketClosesOnOtherUsers: whatever the modes of file and directory have become, the kernel's word counts.
func TestSocketClosesOnOtherUsers(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: only root can connect as another user")
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "a.sock")
	l, err := admin.ListenUnix(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for name, mode := range map[string]os.FileMode{filepath.Dir(dir): 0o755, dir: 0o755, path: 0o666} {
		if err := os.Chmod(name, mode); err != nil {
			t.Fatal(err)
		}
	}
	accepted := make(chan error, 2)
	go func() {
		conn, err := l.Accept()
		if err == nil {
			conn.Close()
		}
		accepted <- err
	}()
	const nobody = 65534
	fd := connectAs(t, nobody, path)
	defer syscall.Close(fd)
	if n, err := syscall.Read(fd, make([]byte, 1)); n != 0 || err != nil {
		t.Errorf("user %d read %d bytes, %v; want the end of the connection", nobody, n, err)
	}
	select {
	case <-accepted:
		t.Error("the connection of another user was accepted")
	default:
	}
	conn, err := net.Dial("unix", path) // root's own
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
	if err := <-accepted; err != nil {
		t.Errorf("the owner's connection: %v", err)
	}
}

// connectAs connects with another effective user. A user belongs to a thread on Linux; the thread is not used again.
func connectAs(t *testing.T, uid uintptr, path string) (fd int) {
	t.Helper()
	type result struct {
		fd  int
		err error
	}
	done := make(chan result)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
		if err == nil {
			if _, _, errno := syscall.RawSyscall(syscall.SYS_SETRESUID, uid, uid, uid); errno != 0 {
				err = errno
			} else {
				err = syscall.Connect(fd, &syscall.SockaddrUnix{Name: path})
			}
		}
		done <- result{fd, err}
	}()
	r := <-done
	if r.err != nil {
		t.Fatal(r.err)
	}
	return r.fd
}
