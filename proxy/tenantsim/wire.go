package tenantsim

import (
	"bytes"
	"context"
	"crypto/tls"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
)

// tapListener accepts TLS connections that keep a copy of every request head as it stood on the wire; net/http would have
// folded names and lost the order.
type tapListener struct {
	net.Listener
	config *tls.Config
	sim    *Sim
	name   Listener
	count  atomic.Int64
}

// Accept implements [net.Listener]. The handshake runs with the first read, on the connection's own goroutine.
func (l *tapListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &tapConn{Conn: tls.Server(c, l.config), id: string(l.name) + "-" + strconv.FormatInt(l.count.Add(1), 10),
		seen: l.sim.records.head}, nil
}

// tapConn is a connection whose request heads are kept.
type tapConn struct {
	*tls.Conn
	id   string
	seen func(connection, head string)

	mu    sync.Mutex // guards what follows
	heads []string   // complete and not yet taken
	tap   tap
}

type connKey struct{}

func tapOf(ctx context.Context) *tapConn {
	c, _ := ctx.Value(connKey{}).(*tapConn)
	return c
}

// Read implements [net.Conn].
func (c *tapConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 {
		c.mu.Lock()
		c.tap.feed(b[:n], func(head string) {
			c.heads = append(c.heads, head)
			c.seen(c.id, head)
		})
		c.mu.Unlock()
	}
	return n, err
}

// take returns the head of the oldest request that was not taken yet.
func (c *tapConn) take() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.heads) == 0 {
		return ""
	}
	head := c.heads[0]
	c.heads = c.heads[1:]
	return head
}

// tap follows HTTP/1.1 framing (RFC 9112 sections 6 and 7) far enough to know where the next head begins.
type tap struct {
	line    []byte // of the head, a chunk size or a trailer; without its end
	head    []byte
	skip    int64 // bytes of body or chunk to pass over
	chunked bool
	state   tapState
}

type tapState int

const (
	inHead tapState = iota
	inBody
	inChunkSize
	inChunk
	inTrailer
	lost // framing that nobody should follow: nothing more is kept
)

func (t *tap) feed(b []byte, done func(head string)) {
	for len(b) > 0 && t.state != lost {
		if t.state == inBody || t.state == inChunk {
			n := min(int64(len(b)), t.skip)
			b, t.skip = b[n:], t.skip-n
			if t.skip > 0 {
				return
			}
			if t.state = inHead; t.chunked {
				t.state = inChunkSize
			}
			continue
		}
		end := bytes.IndexByte(b, '\n')
		if end < 0 {
			t.line = append(t.line, b...)
			return
		}
		t.line = append(t.line, b[:end+1]...)
		b = b[end+1:]
		t.endLine(done)
		t.line = t.line[:0]
	}
}

// endLine handles one complete line.
func (t *tap) endLine(done func(head string)) {
	text := strings.TrimRight(string(t.line), "\r\n")
	switch t.state {
	case inHead:
		if text == "" && len(t.head) == 0 {
			return // empty lines before a request are allowed (RFC 9112 section 2.2)
		}
		t.head = append(t.head, t.line...)
		if text != "" {
			return
		}
		head := string(t.head)
		t.head = t.head[:0]
		t.begin(head)
		done(head)
	case inChunkSize:
		size, _, _ := strings.Cut(text, ";")
		n, err := strconv.ParseInt(strings.TrimSpace(size), 16, 63)
		switch {
		case err != nil || n < 0:
			t.state = lost
		case n == 0:
			t.state = inTrailer
		default:
			t.skip, t.state = n+2, inChunk // with its CRLF
		}
	case inTrailer:
		if text == "" {
			t.state, t.chunked = inHead, false
		}
	}
}

// begin reads the framing out of a head.
func (t *tap) begin(head string) {
	t.state, t.chunked, t.skip = inHead, false, 0
	for _, line := range lines(head)[1:] {
		name, value, _ := strings.Cut(line, ":")
		switch strings.ToLower(name) {
		case "transfer-encoding":
			t.chunked, t.state = true, inChunkSize
		case "content-length":
			n, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
			if err != nil || n < 0 {
				t.state = lost
				return
			}
			t.skip = n
		}
	}
	if !t.chunked && t.skip > 0 {
		t.state = inBody
	}
}

// lines splits a head into its lines, the first being the request line.
func lines(head string) []string {
	return strings.Split(strings.ReplaceAll(strings.TrimRight(head, "\r\n"), "\r\n", "\n"), "\n")
}
