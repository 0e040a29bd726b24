//go:build unix

package proxy

import (
	"io"
	"syscall"
)

// tryReader reads once without waiting and without an allocation.
type tryReader struct {
	p   []byte
	n   int
	err error
	fn  func(fd uintptr) bool
}

// tryRead reads what has been received: errWouldWait when that is nothing.
func (s *socket) tryRead(p []byte) (int, error) {
	r := &s.reader
	if s.rc == nil {
		return 0, errWouldWait
	}
	if r.fn == nil {
		r.fn = func(fd uintptr) bool {
			r.n, r.err = syscall.Read(int(fd), r.p)
			return true
		}
	}
	r.p = p
	err := s.rc.Read(r.fn)
	r.p = nil
	switch {
	case err != nil:
		return 0, err
	case r.err == syscall.EAGAIN || r.err == syscall.EINTR:
		return 0, errWouldWait
	case r.err != nil:
		return 0, r.err
	case r.n == 0:
		return 0, io.EOF
	}
	return r.n, nil
}
