package proxy

import (
	"strconv"
	"strings"
	"time"

	"github.com/tenantgate/tenantgate/proxy/wire"
)

// h1Coding is how an answer's body ends.
type h1Coding uint8

const (
	codingLength h1Coding = iota
	codingChunked
	codingClose
)

// proceed implements caller.
func (h *h1) proceed() error {
	h.open()
	h.out = append(h.out, "HTTP/1.1 100 Continue\r\n\r\n"...)
	return h.flush()
}

// open has a buffer ready for what the caller is to get.
func (h *h1) open() {
	if h.buf == nil {
		h.buf = wire.GetBuffer()
		h.out = h.buf[:0]
	}
}

func (h *h1) giveBuffer() {
	if h.buf != nil {
		wire.PutBuffer(h.buf)
		h.buf, h.out = nil, nil
	}
}

// begin implements caller.
func (h *h1) begin(status int, reason string) {
	h.open()
	h.out = append(h.out[:0], "HTTP/1.1 "...) // what may be there is a head that was never finished
	h.out = strconv.AppendInt(h.out, int64(status), 10)
	h.out = append(h.out, ' ')
	h.out = append(h.out, reason...)
	h.out = append(h.out, "\r\n"...)
	h.dated = false
}

// field implements caller.
func (h *h1) field(name, value string) {
	h.dated = h.dated || len(name) == len("Date") && strings.EqualFold(name, "Date")
	h.out = wire.AppendField(h.out, name, value)
}

// interim implements caller.
func (h *h1) interim() error {
	h.out = append(h.out, "\r\n"...)
	return h.flush()
}

// last implements caller.
func (h *h1) last() { h.closing = true }

// farewell implements caller.
func (h *h1) farewell() { h.closing = true }

// head implements caller.
func (h *h1) head(length, announced int64) {
	h.coding = codingLength
	h.closing = h.closing || h.engine.server.draining.Load()
	switch {
	case length < 0 && h.req.Minor == 1:
		h.coding = codingChunked
		h.out = append(h.out, "Transfer-Encoding: chunked\r\n"...)
	case length < 0:
		h.coding, h.closing = codingClose, true
	case announced >= 0:
		h.out = wire.AppendLength(h.out, announced)
	}
	if !h.dated { // RFC 9110, section 6.6.1
		h.out = wire.AppendField(h.out, "Date", h.engine.server.date())
	}
	switch {
	case h.closing:
		h.out = append(h.out, "Connection: close\r\n"...)
	case h.req.Minor == 0:
		h.out = append(h.out, "Connection: keep-alive\r\n"...)
	}
	h.out = append(h.out, "\r\n"...)
}

// chunkFrame is what a chunk needs beside its data.
const chunkFrame = wire.ChunkHead + len("\r\n")

// room implements caller.
func (h *h1) room() []byte {
	if cap(h.out)-len(h.out)-chunkFrame < minRoom {
		h.flush() // an error comes again with the next write
	}
	at := len(h.out)
	if h.coding == codingChunked {
		at += wire.ChunkHead
	}
	return h.out[at : cap(h.out)-len("\r\n")]
}

// minRoom is less than what is worth reading.
const minRoom = 4 << 10

// wrote implements caller.
func (h *h1) wrote(n int) error {
	at := len(h.out)
	if h.coding == codingChunked {
		h.out = h.out[:at+wire.ChunkHead+n]
		wire.PutChunkHead(h.out[at:], n)
		h.out = append(h.out, "\r\n"...)
	} else {
		h.out = h.out[:at+n]
	}
	return h.broken
}

// flush implements caller.
func (h *h1) flush() error {
	if len(h.out) == 0 {
		return nil
	}
	limit := int64(h.engine.limits.WriteTimeout)
	want := time.Now().UnixNano() + limit
	if h.written < want {
		h.written = want + limit/8
		h.conn.raw.SetWriteDeadline(time.Unix(0, h.written))
	}
	if h.broken == nil {
		h.broken = h.conn.raw.writeTLS(h.tls, h.out)
	}
	h.out = h.out[:0]
	return h.broken
}

// finish implements caller.
func (h *h1) finish(trailer []wire.Field) error {
	if h.coding == codingChunked {
		h.out = append(h.out, "0\r\n"...)
		for _, f := range trailer {
			h.out = wire.AppendField(h.out, f.Name, f.Value)
		}
		h.out = append(h.out, "\r\n"...)
	}
	return h.flush()
}
