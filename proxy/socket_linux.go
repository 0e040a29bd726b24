package proxy

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// peek asks the kernel about a socket, without reading from it and without waiting.
func peek(rc syscall.RawConn) (s socketState) {
	rc.Control(func(fd uintptr) { s = pollSocket(fd) })
	return s
}

func pollSocket(fd uintptr) socketState {
	fds := [1]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN | unix.POLLRDHUP}}
	if n, err := unix.Poll(fds[:], 0); err != nil || n == 0 {
		return socketQuiet
	}
	switch got := fds[0].Revents; {
	case got&(unix.POLLERR|unix.POLLHUP|unix.POLLNVAL) != 0:
		return socketClosed
	case got&unix.POLLRDHUP != 0:
		return socketHalf
	}
	return socketPending
}

// pending is peek for a link, without an allocation.
func (l *link) pending() socketState {
	if l.probe.fn == nil {
		l.probe.fn = func(fd uintptr) { l.probe.state = pollSocket(fd) }
	}
	l.probe.state = socketClosed
	l.rc.Control(l.probe.fn)
	if l.probe.state == socketHalf { // a tenant that has closed its half answers nothing more
		return socketClosed
	}
	return l.probe.state
}
