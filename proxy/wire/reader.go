package wire

import (
	"bytes"
	"io"
	"sync"
	"unsafe"
)

// Limits bounds the head of a message, and its trailer section.
type Limits struct {
	Octets int // of the head, the empty line included
	Fields int
}

// Reader is the receiving half of a connection. It holds a buffer only while there is something in it or a message is being read. It is not safe for
// concurrent use.
type Reader struct {
	src  io.Reader
	buf  []byte // nil while the connection idles
	r, w int    // buf[r:w] has been received and not consumed
}

// Init makes r a reader of src, typically a *tls.Conn.
func (r *Reader) Init(src io.Reader) { r.src = src }

// Buffers come in two sizes: one that holds most heads and small messages, and one for bodies that are copied through.
const (
	smallBuffer = 8 << 10
	// BufferSize is the size of the buffers of [GetBuffer]: two TLS records and what frames them.
	BufferSize = 36 << 10
)

var (
	smallBuffers = sync.Pool{New: func() any { return new([smallBuffer]byte) }}
	largeBuffers = sync.Pool{New: func() any { return new([BufferSize]byte) }}
)

// GetBuffer lends a buffer. Its contents are arbitrary.
func GetBuffer() *[BufferSize]byte { return largeBuffers.Get().(*[BufferSize]byte) }

// PutBuffer takes a buffer of [GetBuffer] back.
func PutBuffer(b *[BufferSize]byte) { largeBuffers.Put(b) }

func getSmall() []byte { return smallBuffers.Get().(*[smallBuffer]byte)[:] }

// put takes a buffer back if it came from the pool.
func put(b []byte) {
	if cap(b) == smallBuffer {
		smallBuffers.Put((*[smallBuffer]byte)(b[:smallBuffer]))
	}
}

// Buffered is how many octets have been received and not consumed.
func (r *Reader) Buffered() int { return r.w - r.r }

// Receive reads once from the connection, behind what is there.
func (r *Reader) Receive() error { return r.fill() }

// Release gives the buffer back when there is nothing in it.
func (r *Reader) Release() {
	if r.buf != nil && r.r == r.w {
		put(r.buf)
		r.buf, r.r, r.w = nil, 0, 0
	}
}

// Discard gives the buffer back with all that is in it. The reader must not be used again.
func (r *Reader) Discard() {
	r.r = r.w
	r.Release()
}

// fill receives more behind buf[r:w], which moves to the front or into a larger buffer when there is no room. Every string into the buffer is invalid
// afterwards.
func (r *Reader) fill() error {
	switch {
	case r.buf == nil:
		r.buf = getSmall()
	case r.r == r.w:
		r.r, r.w = 0, 0
	case r.w == len(r.buf) && r.r > 0:
		r.w = copy(r.buf, r.buf[r.r:r.w])
		r.r = 0
	case r.w == len(r.buf):
		larger := make([]byte, 2*len(r.buf))
		copy(larger, r.buf)
		put(r.buf)
		r.buf = larger
	}
	n, err := r.src.Read(r.buf[r.w:])
	r.w += n
	if n > 0 {
		return nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

// head returns a message's head with all its line ends, or a trailer section when trailer is set: an empty one is just the last CRLF. The string points
// into the buffer. Every line ends with CRLF and the last one is empty; nothing else has been judged. After an error other than an *Error, for example a
// deadline, it may be called again and goes on with what has been received.
func (r *Reader) head(l Limits, trailer bool) (string, error) {
	scanned, line := 0, 0 // of what has been received: how much was looked at, and where the line begins that was begun last
	for {
		for {
			b := r.buf[r.r:r.w]
			i := bytes.IndexByte(b[scanned:], '\n')
			if i < 0 {
				scanned = len(b)
				break
			}
			end := scanned + i + 1
			if end > l.Octets {
				return "", &Error{TooLarge, "head is larger than the limit"}
			}
			if end-line < 2 || b[end-2] != '\r' {
				return "", malformed("a line ends with a bare line feed")
			}
			if end-line == 2 { // an empty line
				if line == 0 && !trailer {
					return "", malformed("an empty line stands before the message")
				}
				r.r += end
				return unsafe.String(&b[0], end), nil
			}
			scanned, line = end, end
		}
		if scanned >= l.Octets {
			return "", &Error{TooLarge, "head is larger than the limit"}
		}
		if err := r.fill(); err != nil {
			if err == io.EOF && r.r < r.w {
				err = io.ErrUnexpectedEOF
			}
			return "", err
		}
	}
}

// push puts octets that were received into the empty buffer. It goes behind what is there, which may be a head that is still in use.
func (r *Reader) push(p []byte) {
	if len(r.buf)-r.w < len(p) {
		if r.buf = nil; len(p) <= smallBuffer { // strings into the old one keep it alive
			r.buf = getSmall()
		} else {
			r.buf = make([]byte, len(p))
		}
		r.r, r.w = 0, 0
	}
	r.w += copy(r.buf[r.w:], p)
}

// detach separates the buffer from the reader, so that strings into it stay valid while a body is read. What has been received and not consumed moves to
// a buffer of the reader's own. The caller must give the old one back with put.
func (r *Reader) detach() []byte {
	old := r.buf
	r.buf = nil
	if rest := old[r.r:r.w]; len(rest) > 0 {
		if len(rest) <= smallBuffer {
			r.buf = getSmall()
		} else {
			r.buf = make([]byte, len(rest))
		}
		r.w = copy(r.buf, rest)
	} else {
		r.w = 0
	}
	r.r = 0
	return old
}
