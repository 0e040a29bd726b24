package admin

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
)

// maxSocketPath is what sockaddr_un holds on Linux, less the final NUL (unix(7)).
const maxSocketPath = 107

// SocketError says why the admin socket cannot be opened, and what to do.
type SocketError struct {
	Path, Problem, Hint string
	Err                 error // the system's error, or nil
}

// Error returns path, problem and cause.
func (e *SocketError) Error() string {
	s := "opening the admin socket " + e.Path + ": " + e.Problem
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *SocketError) Unwrap() error { return e.Err }

// ListenUnix listens on a Unix socket at path whose file has mode 0600 from its first moment, and accepts connections of this process's
// user and of root only, whatever becomes of the mode. A socket file that nobody answers on, as kill -9 leaves it, is replaced; a live
// server's, and a file that is no socket, is not. Its error is a *[SocketError]. Closing the listener removes the file.
func ListenUnix(path string) (net.Listener, error) {
	if len(path) > maxSocketPath {
		return nil, &SocketError{path, fmt.Sprintf("the path is longer than %d bytes, which no Unix socket can have", maxSocketPath), "choose a shorter path, such as /run/tenantgate/admin.sock", nil}
	}
	l, err := bind(path)
	if errors.Is(err, syscall.EADDRINUSE) {
		if err := removeStale(path); err != nil {
			return nil, err
		}
		l, err = bind(path)
	}
	if err != nil {
		return nil, &SocketError{path, "it cannot be made", "does its directory exist, and may this user write there?", err}
	}
	if err := os.Chmod(path, 0o600); err != nil { // where bind could not see to it
		l.Close()
		return nil, &SocketError{path, "its mode cannot be set", "may this user write there?", err}
	}
	return ownPeers{l}, nil
}

func bind(path string) (net.Listener, error) {
	config := net.ListenConfig{Control: func(_, _ string, conn syscall.RawConn) error {
		var modeErr error
		err := conn.Control(func(fd uintptr) { modeErr = private(fd) })
		return errors.Join(err, modeErr)
	}}
	return config.Listen(context.Background(), "unix", path)
}

// removeStale removes a socket file on which nobody answers.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return &SocketError{path, "it cannot be looked at", "may this user read its directory?", err}
	}
	if info.Mode()&os.ModeSocket == 0 {
		return &SocketError{path, "a file that is no socket is there", "remove it or choose another path", nil}
	}
	conn, err := net.Dial("unix", path)
	if err == nil {
		conn.Close()
		return &SocketError{path, "it is in use", "another server answers there; stop it or choose another path", nil}
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return &SocketError{path, "another user's socket is there", "remove it or choose another path", err}
	}
	if err := os.Remove(path); err != nil {
		return &SocketError{path, "the socket that a dead server left cannot be removed", "remove it", err}
	}
	return nil
}

// ownPeers accepts connections of administrators only and closes all others.
type ownPeers struct{ net.Listener }

// Accept implements net.Listener.
func (l ownPeers) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if uid, err := peerUID(conn); err == nil && mayAdminister(uid) {
			return conn, nil
		}
		conn.Close()
	}
}
