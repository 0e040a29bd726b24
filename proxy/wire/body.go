package wire

import (
	"bytes"
	"io"
)

// Body reads the body of one message from its connection. The zero Body is an empty one. It is not safe for concurrent use.
type Body struct {
	r      *Reader
	state  bodyState
	remain int64 // octets of the body, or of the chunk
	excess int64 // octets of chunked coding beyond what data of that size needs
	limits Limits
	err    error
	// Trailer is the trailer section, valid from the io.EOF of Read until the reader is used again.
	Trailer Fields
}

type bodyState uint8

const (
	bodyDone bodyState = iota
	bodyLength
	bodyUntilClose
	bodyChunkSize
	bodyChunkData
	bodyChunkEnd // the CRLF behind the data of a chunk
	bodyTrailer
)

const (
	maxChunkLine   = 256
	maxChunkDigits = 15 // below 2^60
	// maxExcess bounds what chunk extensions and tiny chunks may cost over the data they carry, as net/http does.
	maxExcess = 16 << 10
)

// Reset begins the body of a message whose head was read from r: length is its octets, -1 for chunked coding, [UntilClose] for a body that ends with the
// connection.
func (b *Body) Reset(r *Reader, length int64, l Limits) {
	*b = Body{r: r, limits: l, Trailer: b.Trailer[:0]}
	switch {
	case length > 0:
		b.state, b.remain = bodyLength, length
	case length == -1:
		b.state = bodyChunkSize
	case length == UntilClose:
		b.state = bodyUntilClose
	}
}

// Done reports whether the body was read to its end: what follows on the connection is another message.
func (b *Body) Done() bool { return b.state == bodyDone && b.err == nil }

// Read reads data of the body: what has been received, and only if that is nothing it waits for more. At the end it returns io.EOF, together with the
// last data or after it. A connection that ends before the body does is io.ErrUnexpectedEOF; an *Error is a violation of the chunked coding; any other
// error is the connection's. After a deadline reading may go on.
func (b *Body) Read(p []byte) (n int, err error) {
	if b.err != nil {
		return 0, b.err
	}
	for {
		switch b.state {
		case bodyDone:
			return n, io.EOF
		case bodyLength, bodyChunkData, bodyUntilClose:
			if n == len(p) {
				return n, nil
			}
			if n > 0 && b.r.Buffered() == 0 {
				return n, nil
			}
			m, err := b.data(p[n:])
			n += m
			if err != nil {
				return n, b.fail(err)
			}
		default:
			if n > 0 && !b.hasLine() {
				return n, nil
			}
			if err := b.line(); err != nil {
				if n > 0 {
					// The data is good; the next call finds the error again, or b.err.
					b.fail(err)
					return n, nil
				}
				return 0, b.fail(err)
			}
		}
	}
}

// fail keeps an error that nothing can follow.
func (b *Body) fail(err error) error {
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if _, violation := err.(*Error); violation || err == io.ErrUnexpectedEOF {
		b.err = err
	}
	return err
}

// data reads once: from the buffer, or straight from the connection into p. All of p may be written to: what follows the body, if it comes with it, goes
// from there to the buffer, so that nobody takes it for something else.
func (b *Body) data(p []byte) (n int, err error) {
	r, bounded := b.r, b.state != bodyUntilClose
	switch {
	case r.r < r.w:
		if bounded && int64(len(p)) > b.remain {
			p = p[:b.remain]
		}
		n = copy(p, r.buf[r.r:r.w])
		r.r += n
	case bounded && int64(len(p)) == b.remain && len(p) > 1: // what follows would stay where nobody sees it
		n, err = r.src.Read(p[:len(p)-1])
	case bounded && b.remain == 1 && len(p) == 1:
		var more [64]byte
		if n, err = r.src.Read(more[:]); n > len(p) {
			r.push(more[len(p):n])
		}
		n = copy(p, more[:n])
	default:
		n, err = r.src.Read(p)
		if bounded && int64(n) > b.remain {
			r.push(p[b.remain:n])
			n = int(b.remain)
		}
	}
	if n > 0 {
		err = nil
	} else if err == nil {
		err = io.ErrNoProgress
	}
	if !bounded {
		if err == io.EOF {
			b.state, err = bodyDone, nil
		}
		return n, err
	}
	b.remain -= int64(n)
	if b.remain == 0 {
		if b.state == bodyLength {
			b.state = bodyDone
		} else {
			b.state = bodyChunkEnd
		}
	}
	return n, err
}

// hasLine reports whether the next line, or the whole of an empty trailer section, has been received: taking it will not wait.
func (b *Body) hasLine() bool {
	got := b.r.buf[b.r.r:b.r.w]
	if b.state == bodyTrailer {
		return bytes.HasPrefix(got, crlf)
	}
	return bytes.IndexByte(got, '\n') >= 0
}

var crlf = []byte("\r\n")

// line takes one line of the chunked coding (RFC 9112, section 7.1).
func (b *Body) line() error {
	if b.state == bodyTrailer {
		return b.trailer()
	}
	r := b.r
	for scanned := 0; ; {
		buf := r.buf[r.r:r.w]
		if i := bytes.IndexByte(buf[scanned:], '\n'); i >= 0 {
			end := scanned + i
			switch {
			case end+1 > maxChunkLine:
				return malformed("chunk size line is too long")
			case end == 0 || buf[end-1] != '\r':
				return malformed("a line ends with a bare line feed")
			}
			r.r += end + 1
			return b.chunk(buf[:end-1])
		}
		scanned = len(buf)
		if scanned > maxChunkLine {
			return malformed("chunk size line is too long")
		}
		if j := bytes.IndexByte(buf, '\r'); j >= 0 && j != len(buf)-1 {
			return malformed("a carriage return stands alone")
		}
		if err := r.fill(); err != nil {
			return err
		}
	}
}

// chunk judges the line behind a chunk's data, or a chunk's first.
func (b *Body) chunk(line []byte) error {
	if b.state == bodyChunkEnd {
		if len(line) != 0 {
			return malformed("chunk data is longer than its size")
		}
		b.state = bodyChunkSize
		return nil
	}
	digits, n := 0, int64(0)
	for digits < len(line) && IsHex(line[digits]) {
		n = n<<4 | int64(Unhex(line[digits]))
		if digits++; digits > maxChunkDigits {
			return malformed("chunk size is too large")
		}
	}
	if digits == 0 || !validChunkExtension(line[digits:]) {
		return malformed("chunk size line is malformed")
	}
	b.excess = max(b.excess+int64(len(line))+4-16-2*n, 0)
	switch {
	case b.excess > maxExcess:
		return malformed("chunked coding is mostly overhead")
	case n == 0:
		b.state = bodyTrailer
	default:
		b.state, b.remain = bodyChunkData, n
	}
	return nil
}

// trailer takes the whole trailer section.
func (b *Body) trailer() error {
	section, err := b.r.head(b.limits, true)
	if err != nil {
		return err
	}
	for {
		var line string
		line, section = cutLine(section)
		if line == "" {
			b.state = bodyDone
			return nil
		}
		if len(b.Trailer) == b.limits.Fields {
			return &Error{TooLarge, "message has too many trailer fields"}
		}
		f, e := fieldLine(line)
		if e != nil {
			return e
		}
		if classify(f.Name) != fieldOther {
			return malformed("a trailer field is not allowed to be one")
		}
		b.Trailer = append(b.Trailer, f)
	}
}
