package proxy

import (
	"encoding/binary"
)

// Kinds of frames (RFC 9113, section 6).
const (
	frameData byte = iota
	frameHeaders
	framePriority
	frameReset
	frameSettings
	framePush
	framePing
	frameGoAway
	frameWindowUpdate
	frameContinuation
	frameOther
)

var frameNames = [...]string{
	"DATA", "HEADERS", "PRIORITY", "RST_STREAM", "SETTINGS", "PUSH_PROMISE", "PING", "GOAWAY", "WINDOW_UPDATE", "CONTINUATION", "unknown",
}

const (
	flagAck        = 0x1 // of SETTINGS
	flagEndStream  = 0x1
	flagEndHeaders = 0x4
	flagPadded     = 0x8

	prefaceOctets = 24
)

// frameScanner finds the heads of frames in octets that come in any pieces.
type frameScanner struct {
	head [9]byte
	have int // octets of head
	left int // octets of payload that are still to come
	body [8]byte
	got  int // octets of body: the first of the payload, of RST_STREAM and GOAWAY only
}

// next reads octets up to the end of a head, or of what is wanted of the payload, and returns what is behind.
func (s *frameScanner) next(p []byte) (rest []byte, found bool) {
	for len(p) > 0 {
		if s.left == 0 {
			n := copy(s.head[s.have:], p)
			s.have += n
			p = p[n:]
			if s.have < len(s.head) {
				return nil, false
			}
			s.have, s.got = 0, 0
			s.left = int(s.head[0])<<16 | int(s.head[1])<<8 | int(s.head[2])
			if s.wanted() == 0 {
				return p, true
			}
			continue
		}
		n := min(s.left, len(p))
		whole := false
		if want := s.wanted(); s.got < want {
			s.got += copy(s.body[s.got:want], p[:n])
			whole = s.got == want
		}
		s.left -= n
		p = p[n:]
		if whole {
			return p, true
		}
	}
	return nil, false
}

// wanted is how many octets of the payload are: those with an error code.
func (s *frameScanner) wanted() int {
	switch s.head[3] {
	case frameReset:
		return 4
	case frameGoAway:
		return 8
	}
	return 0
}

func (s *frameScanner) kind() byte  { return min(s.head[3], frameOther) }
func (s *frameScanner) flags() byte { return s.head[4] }
func (s *frameScanner) length() int64 {
	return int64(s.head[0])<<16 | int64(s.head[1])<<8 | int64(s.head[2])
}
func (s *frameScanner) stream() uint32 { return binary.BigEndian.Uint32(s.head[5:]) &^ (1 << 31) }
