package record

import (
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"time"
)

// RequestIDLen is the length of a request id: 128 bits in lower-case hex, which is also the form of a W3C trace id.
const RequestIDLen = 32

// AppendRequestID appends a new request id: 48 bits of milliseconds since 1970, so that ids sort by time, and 80 random bits.
// An id is unique, not secret: the generator is the runtime's ChaCha8, and nothing may be decided by knowing an id.
func AppendRequestID(dst []byte) []byte { return AppendRequestIDAt(dst, time.Now()) }

// AppendRequestIDAt is AppendRequestID for those who have just looked at the clock.
func AppendRequestIDAt(dst []byte, now time.Time) []byte {
	var id [16]byte
	binary.BigEndian.PutUint64(id[:8], uint64(now.UnixMilli())<<16|uint64(rand.Uint32N(1<<16)))
	binary.BigEndian.PutUint64(id[8:], rand.Uint64())
	return hex.AppendEncode(dst, id[:])
}

// NewRequestID is a request id as a string: one allocation.
func NewRequestID() string {
	var b [RequestIDLen]byte
	return string(AppendRequestID(b[:0]))
}
