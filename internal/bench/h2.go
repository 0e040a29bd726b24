package main

import (
	"bufio"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"
)

// h2Load is the same GET again and again over HTTP/2 (RFC 9113), with a number of requests in flight on each connection.
type h2Load struct {
	path    string
	conns   int
	streams int // in flight on each
	callers []*h2Caller
}

// errNoHTTP2 is that the proxy does not speak HTTP/2.
var errNoHTTP2 = errors.New("no HTTP/2")

// h2Caller is one connection of HTTP/2. It knows as much of the protocol as it takes to count answers.
type h2Caller struct {
	conn  *tls.Conn
	in    *bufio.Reader
	out   []byte // frames that have not been sent yet
	block []byte // the header block of each request
	next  uint32 // stream of the next request
	taken uint32 // octets of data since the connection's window was opened again
	sent  map[uint32]time.Time
}

// Frame types and flags of RFC 9113, section 6.
const (
	frameData, frameHeaders, frameReset, frameSettings, framePing, frameGoAway, frameWindow = 0, 1, 3, 4, 6, 7, 8

	flagAck, flagEndStream, flagEndHeaders, flagPadded, flagPriority = 1, 1, 4, 8, 32
)

func (l *h2Load) open(t target) error {
	conf := t.tls.Clone()
	conf.NextProtos = []string{"h2"}
	for range l.conns {
		conn, err := tls.Dial("tcp", t.addr, conf)
		if err != nil {
			return fmt.Errorf("connecting: %w", err)
		}
		c := &h2Caller{conn: conn, in: bufio.NewReaderSize(conn, 32<<10), block: h2Block(l.path), next: 1, sent: map[uint32]time.Time{}}
		l.callers = append(l.callers, c)
		if conn.ConnectionState().NegotiatedProtocol != "h2" {
			return errNoHTTP2
		}
		c.out = append(c.out, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"...)
		c.frame(frameSettings, 0, 0, []byte{0, 2, 0, 0, 0, 0}) // SETTINGS_ENABLE_PUSH: no
		c.window(1 << 30)
	}
	return nil
}

func (l *h2Load) close() {
	for _, c := range l.callers {
		c.conn.Close()
	}
}

// h2Block is the header block of a GET, none of it in the dynamic table (RFC 7541).
func h2Block(path string) []byte {
	b := []byte{0x82, 0x87} // :method GET, :scheme https
	literal := func(name []byte, value string) { b = append(append(append(b, name...), byte(len(value))), value...) }
	literal([]byte{0x04}, path)
	literal([]byte{0x01}, "localhost")
	literal([]byte{0x0f, 58 - 15}, "bench") // user-agent
	literal([]byte{0x0f, 19 - 15}, "*/*")   // accept
	return b
}

func (l *h2Load) run(d time.Duration) (tally, error) {
	end := time.Now().Add(d)
	return together(l.conns, func(i int) (t tally, err error) {
		c := l.callers[i]
		for range l.streams {
			c.send()
		}
		for len(c.sent) > 0 {
			if c.in.Buffered() == 0 {
				if _, err := c.conn.Write(c.out); err != nil {
					return t, err
				}
				c.out = c.out[:0]
			}
			stream, err := c.readFrame()
			if err != nil {
				return t, err
			}
			if at, ok := c.sent[stream]; ok {
				delete(c.sent, stream)
				t.requests++
				t.latencies = append(t.latencies, time.Since(at))
				if time.Now().Before(end) {
					c.send()
				}
			}
		}
		return t, nil
	})
}

// send puts a request behind what is to be sent.
func (c *h2Caller) send() {
	c.frame(frameHeaders, flagEndStream|flagEndHeaders, c.next, c.block)
	c.sent[c.next] = time.Now()
	c.next += 2
}

func (c *h2Caller) frame(kind, flags byte, stream uint32, payload []byte) {
	c.out = append(c.out, byte(len(payload)>>16), byte(len(payload)>>8), byte(len(payload)), kind, flags)
	c.out = binary.BigEndian.AppendUint32(c.out, stream)
	c.out = append(c.out, payload...)
}

// window lets the other side send that many more octets on the connection.
func (c *h2Caller) window(octets uint32) {
	c.frame(frameWindow, 0, 0, binary.BigEndian.AppendUint32(nil, octets))
}

// readFrame reads a frame and answers it if need be. It returns the stream that ended with it, or 0.
func (c *h2Caller) readFrame() (ended uint32, err error) {
	head, err := c.in.Peek(9)
	if err != nil {
		return 0, fmt.Errorf("reading a frame: %w", err)
	}
	length := int(head[0])<<16 | int(head[1])<<8 | int(head[2])
	kind, flags, stream := head[3], head[4], binary.BigEndian.Uint32(head[5:])
	c.in.Discard(9)
	if length > c.in.Size() {
		return 0, fmt.Errorf("a frame has %d octets", length)
	}
	payload, err := c.in.Peek(length)
	if err != nil {
		return 0, fmt.Errorf("reading a frame: %w", err)
	}
	defer c.in.Discard(length)
	switch kind {
	case frameData:
		if c.taken += uint32(length); c.taken >= 1<<20 {
			c.window(c.taken)
			c.taken = 0
		}
	case frameHeaders:
		if flags&(flagPadded|flagPriority) != 0 {
			return 0, errors.New("a header block is padded")
		}
		for len(payload) > 0 && payload[0]>>5 == 1 { // dynamic table size update
			payload = payload[1:]
		}
		if len(payload) == 0 || payload[0] != 0x88 { // :status 200
			return 0, fmt.Errorf("the answer is not a good one: header block %.40q", payload)
		}
	case frameSettings:
		if flags&flagAck == 0 {
			c.frame(frameSettings, flagAck, 0, nil)
		}
	case framePing:
		if flags&flagAck == 0 {
			c.frame(framePing, flagAck, 0, payload)
		}
	case frameReset, frameGoAway:
		return 0, fmt.Errorf("stream %d was reset, or the connection is going away: %w", stream, io.ErrUnexpectedEOF)
	}
	if (kind == frameData || kind == frameHeaders) && flags&flagEndStream != 0 {
		return stream, nil
	}
	return 0, nil
}
