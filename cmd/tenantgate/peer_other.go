//go:build !linux

package main

import (
	"net"
	"os"
)

// peerUID is this process's own user where the kernel's word for the other end is not asked for: the mode
// of the socket file decides alone.
func peerUID(net.Conn) (uint32, error) { return uint32(os.Geteuid()), nil }
