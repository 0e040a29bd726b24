package proxy

import "golang.org/x/sys/unix"

// state asks the kernel how much of the connection is left. It may be called beside any other method.
func (s *socket) state() (state socketState) {
	switch {
	case s.below != nil:
		return s.below.state()
	case s.rc == nil:
		return socketOpen
	}
	s.rc.Control(func(fd uintptr) {
		fds := [1]unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
		if n, err := unix.Poll(fds[:], 0); err != nil || n == 0 {
			return
		}
		if state = socketHalf; fds[0].Revents&(unix.POLLERR|unix.POLLHUP|unix.POLLNVAL) != 0 {
			state = socketClosed
		}
	})
	return state
}
