//go:build !linux

package admin

import (
	"errors"
	"net"
	"os"
)

// peerUID is this process's own user where the kernel is not asked for the other end's: the socket's mode alone decides who connects.
func peerUID(conn net.Conn) (uint32, error) {
	if _, ok := conn.(*net.UnixConn); !ok {
		return 0, errors.New("reading the peer's user: not a Unix socket")
	}
	return uint32(os.Geteuid()), nil
}

// private does nothing where a socket's mode can only be set once it has a file; ListenUnix does that.
func private(uintptr) error { return nil }
