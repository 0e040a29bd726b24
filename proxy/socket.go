package proxy

import (
	"crypto/tls"
	"net"
	"sync"
	"syscall"
)

// socket is a connection below TLS. crypto/tls writes each record by itself; a socket gathers the records of one large write into one system call.
// It can also be read for what is there, without waiting.
type socket struct {
	net.Conn
	rc     syscall.RawConn // nil when the connection has none
	below  *socket         // of a connection that is itself TLS: see throughTLS
	mode   readMode        // of the goroutine that reads
	shake  *shaking        // of readShake
	reader rawReader
	hello  string // fingerprint of the client hello, once it has come
	first  []byte // received by await and not read yet
	buf    [firstOctets]byte

	mu     sync.Mutex // guards what follows; held while writing, so that nothing overtakes what was gathered
	gather bool
	held   []byte
	failed error // of a write: what was written after it would not be what TLS believes
}

// tlsRecord is the most that one TLS record holds (RFC 8446, section 5.1).
const tlsRecord = 16 << 10

// gathered is room for the records of the largest buffers that are written, with what TLS adds to them.
const gathered = 68 << 10

var gatherBuffers = sync.Pool{New: func() any { return new([gathered]byte) }}

func newSocket(c net.Conn) *socket {
	s := &socket{Conn: c}
	if sc, ok := c.(syscall.Conn); ok {
		s.rc, _ = sc.SyscallConn()
	}
	if t, ok := c.(*throughTLS); ok {
		s.below = t.below
	}
	return s
}

// Read implements net.Conn for TLS.
func (s *socket) Read(p []byte) (int, error) {
	if len(s.first) > 0 {
		n := copy(p, s.first)
		s.first = s.first[n:]
		return n, nil
	}
	switch s.mode {
	case readDry:
		return 0, errWouldWait
	case readEager:
		return s.tryRead(p)
	case readShake:
		return s.shake.read(s, p)
	}
	return s.Conn.Read(p)
}

// readMode is how Read waits.
type readMode uint8

const (
	readWaits readMode = iota
	readEager          // takes what the kernel has
	readDry            // takes nothing: for what TLS has at hand
	readShake          // waits, and passes the turnstile behind that
)

// firstOctets is what await takes: a TLS record with a request without a body fits in.
const firstOctets = 512

// wholeRecord reports whether what await has received begins with a whole TLS record: reading it will not wait.
func (s *socket) wholeRecord() bool {
	return len(s.first) >= 5 && len(s.first) >= 5+int(s.first[3])<<8+int(s.first[4])
}

// errWouldWait is that nothing is there to be read. To crypto/tls it is a timeout, after which reading may go on.
var errWouldWait net.Error = wouldWait{}

type wouldWait struct{}

func (wouldWait) Error() string   { return "nothing has been received" }
func (wouldWait) Timeout() bool   { return true }
func (wouldWait) Temporary() bool { return true }

// Write implements net.Conn for TLS.
func (s *socket) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gather {
		s.held = append(s.held, p...)
		return len(p), nil
	}
	return s.write(p)
}

// write is Write with the lock held.
func (s *socket) write(p []byte) (n int, err error) {
	if s.failed == nil {
		n, s.failed = s.Conn.Write(p)
	}
	return n, s.failed
}

// writeTLS writes p to t, whose connection s is. It must not be called concurrently with itself.
func (s *socket) writeTLS(t *tls.Conn, p []byte) error {
	if len(p) <= tlsRecord {
		_, err := t.Write(p)
		return err
	}
	buf := gatherBuffers.Get().(*[gathered]byte)
	defer gatherBuffers.Put(buf)
	s.mu.Lock()
	s.gather, s.held = true, buf[:0]
	s.mu.Unlock()
	_, err := t.Write(p)
	s.mu.Lock()
	defer s.mu.Unlock()
	held := s.held
	s.gather, s.held = false, nil
	if _, werr := s.write(held); werr != nil {
		return werr
	}
	return err
}

// socketState is how much of a connection is left.
type socketState uint8

const (
	socketOpen   socketState = iota
	socketHalf               // the other side has closed its half
	socketClosed             // reset, or closed on both sides
)
