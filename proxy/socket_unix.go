//go:build unix

package proxy

import (
	"io"
	"syscall"
)

// rawReader reads once, below the standard library's connection, without an allocation.
type rawReader struct {
	p    []byte
	n    int
	err  error
	wait bool
	fn   func(fd uintptr) bool
}

// await blocks until octets have been received, and takes the first of them. Waiting here and not in a read of TLS keeps the stack of a goroutine that
// idles small, and needs no buffer.
func (s *socket) await() error {
	if len(s.first) > 0 || s.rc == nil {
		return nil
	}
	n, err := s.rawRead(s.buf[:], true)
	s.first = s.buf[:n]
	return err
}

// tryRead reads what has been received: errWouldWait when that is nothing.
func (s *socket) tryRead(p []byte) (int, error) {
	switch {
	case s.below != nil:
		return s.tryBelow(p)
	case s.rc == nil:
		return 0, errWouldWait
	}
	return s.rawRead(p, false)
}

func (s *socket) rawRead(p []byte, wait bool) (int, error) {
	r := &s.reader
	if r.fn == nil {
		r.fn = func(fd uintptr) bool {
			for {
				r.n, r.err = syscall.Read(int(fd), r.p)
				if r.err != syscall.EINTR {
					return !r.wait || r.err != syscall.EAGAIN
				}
			}
		}
	}
	r.p, r.wait = p, wait
	err := s.rc.Read(r.fn)
	r.p = nil
	switch {
	case err != nil:
		return 0, err
	case r.err == syscall.EAGAIN:
		return 0, errWouldWait
	case r.err != nil:
		return 0, r.err
	case r.n == 0:
		return 0, io.EOF
	}
	return r.n, nil
}
