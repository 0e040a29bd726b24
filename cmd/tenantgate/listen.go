package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
)

// maxSocketPath is the longest path of a Unix socket on Linux (sockaddr_un), without its final NUL.
const maxSocketPath = 107

// listenTCP listens on host:port; key is the configuration key that named it, for errors.
func listenTCP(key, address string) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	switch {
	case err == nil:
		return l, nil
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, hinted(fmt.Errorf("%s: %s is in use", key, address), "another program listens there, perhaps another tenantgate; stop it or change %s", key)
	case errors.Is(err, syscall.EACCES):
		return nil, hinted(fmt.Errorf("%s: %s: permission denied", key, address), "ports below 1024 need CAP_NET_BIND_SERVICE; see configs/tenantgate.service")
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return nil, hinted(fmt.Errorf("%s: %s is not an address of this machine", key, address), "use :PORT to listen on all addresses")
	}
	return nil, fmt.Errorf("%s: listening on %s: %w", key, address, err)
}

// listenSocket listens on a Unix socket that only this user can open. A socket file that nobody listens on
// any more (after a kill -9) is replaced.
func listenSocket(path string) (net.Listener, error) {
	if len(path) > maxSocketPath {
		return nil, hinted(fmt.Errorf("admin.socket: %s is longer than %d bytes, which Unix sockets cannot have", path, maxSocketPath), "choose a shorter path for admin.socket, such as /run/tenantgate/admin.sock")
	}
	l, err := net.Listen("unix", path)
	if errors.Is(err, syscall.EADDRINUSE) {
		if conn, dialErr := net.Dial("unix", path); dialErr == nil {
			conn.Close()
			return nil, hinted(fmt.Errorf("admin.socket: %s is in use", path), "another server uses it; stop it or change admin.socket")
		}
		if info, statErr := os.Lstat(path); statErr != nil || info.Mode()&os.ModeSocket == 0 {
			return nil, hinted(fmt.Errorf("admin.socket: %s exists and is not a socket", path), "remove it or change admin.socket")
		}
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("admin.socket: removing the stale socket: %w", err)
		}
		l, err = net.Listen("unix", path)
	}
	if err != nil {
		return nil, hinted(fmt.Errorf("admin.socket: listening on %s: %w", path, err), "does its directory exist, and may this user write there?")
	}
	// Until chmod the umask decides who can connect; whoever got in meanwhile is turned away by ownPeers.
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, fmt.Errorf("admin.socket: %w", err)
	}
	return &ownPeers{l}, nil
}

// ownPeers accepts connections of this process's user and of root only, whatever the file modes say.
type ownPeers struct{ net.Listener }

func (l *ownPeers) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		uid, err := peerUID(conn)
		if err == nil && (uid == uint32(os.Geteuid()) || uid == 0) {
			return conn, nil
		}
		conn.Close()
	}
}

// hostPort is the address of l as others can dial it: the unspecified address becomes loopback.
func dialable(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	if ip := net.ParseIP(host); host == "" || (ip != nil && ip.IsUnspecified()) {
		host = "127.0.0.1"
		if strings.Contains(address, "[") && ip != nil && ip.To4() == nil {
			host = "::1"
		}
	}
	return net.JoinHostPort(host, port)
}
