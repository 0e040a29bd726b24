package admin

import (
	"errors"
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// peerUID is the user who opened the other end of a Unix socket, as the kernel knows it (SO_PEERCRED, unix(7)).
func peerUID(conn net.Conn) (uint32, error) {
	u, ok := conn.(*net.UnixConn)
	if !ok {
		return 0, errors.New("reading the peer's user: not a Unix socket")
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return 0, fmt.Errorf("reading the peer's user: %w", err)
	}
	var peer *unix.Ucred
	var peerErr error
	err = raw.Control(func(fd uintptr) { peer, peerErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if err = errors.Join(err, peerErr); err != nil {
		return 0, fmt.Errorf("reading the peer's user: %w", err)
	}
	return peer.Uid, nil
}

// private gives a socket, before it is bound, the mode that its file will have (fchmod on an unbound socket; unix_bind in the kernel's
// net/unix/af_unix.c takes the file's mode from it). So there is no moment in which the umask decides who can connect.
func private(fd uintptr) error { return unix.Fchmod(int(fd), 0o600) }
