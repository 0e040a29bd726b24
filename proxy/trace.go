package proxy

import (
	"math/rand/v2"
	"strings"
	"unsafe"

	"github.com/tenantgate/tenantgate/proxy/wire"
)

// W3C Trace Context (level 1 is the recommendation, level 2 its successor): the tenant gets exactly one traceparent. A caller's trace goes on, with a
// span of ours as the parent; one that cannot be read is begun anew, and its tracestate ends here, because it would speak of another trace. The access
// record has both ids.

const (
	traceLength = len("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	traceIDAt   = len("00-")
	traceIDEnd  = traceIDAt + 32
	spanIDAt    = traceIDEnd + 1
	spanIDEnd   = spanIDAt + 16
	flagsAt     = spanIDEnd + 1
)

const (
	traceSampled = 1 << iota // the caller may have recorded the trace
	traceRandom              // the right-most seven octets of its id are random (level 2)
)

// trace is where a request belongs.
type trace struct {
	parent [traceLength]byte // the field's value for the tenant
	begun  bool              // here: the caller gave none, or none that can be read
}

// begin reads the caller's trace or begins one. It allocates nothing.
func (t *trace) begin(fields wire.Fields) {
	var parent string
	found := 0
	for i := range fields {
		if f := &fields[i]; len(f.Name) == len("traceparent") && strings.EqualFold(f.Name, "traceparent") {
			parent = f.Value
			found++
		}
	}
	var flags byte
	ok := false
	if found == 1 {
		flags, ok = readTraceparent(parent)
	}
	copy(t.parent[:], "00-")
	t.parent[traceIDEnd], t.parent[spanIDEnd] = '-', '-'
	if t.begun = !ok; t.begun {
		// Nothing is recorded here but the access record, so sampling is not asked of anybody.
		flags = traceRandom
		high, low := rand.Uint64(), rand.Uint64()
		if high|low == 0 {
			low = 1
		}
		putHex(t.parent[traceIDAt:], high)
		putHex(t.parent[traceIDAt+16:], low)
	} else {
		copy(t.parent[traceIDAt:], parent[traceIDAt:traceIDEnd])
	}
	span := rand.Uint64()
	if span == 0 {
		span = 1
	}
	putHex(t.parent[spanIDAt:], span)
	t.parent[flagsAt], t.parent[flagsAt+1] = '0', '0'+flags
}

// readTraceparent judges a value and returns those of its flags that have a meaning. A version after 00 may have more behind the flags, and of its flags
// only the first is known to be what it was (Trace Context, section 4.3).
func readTraceparent(v string) (flags byte, ok bool) {
	if len(v) < traceLength || v[2] != '-' || v[traceIDEnd] != '-' || v[spanIDEnd] != '-' {
		return 0, false
	}
	version := v[:2]
	switch {
	case !isLowerHex(version), version == "ff", version == "00" && len(v) != traceLength, len(v) > traceLength && v[traceLength] != '-':
		return 0, false
	case !isTraceID(v[traceIDAt:traceIDEnd]), !isTraceID(v[spanIDAt:spanIDEnd]), !isLowerHex(v[flagsAt:traceLength]):
		return 0, false
	}
	flags = wire.Unhex(v[flagsAt+1]) & (traceSampled | traceRandom)
	if version != "00" {
		flags &= traceSampled
	}
	return flags, true
}

// isTraceID reports whether an id is lower-case hexadecimal and not all zeros.
func isTraceID(s string) bool { return isLowerHex(s) && strings.Trim(s, "0") != "" }

func isLowerHex(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// putHex writes v in 16 digits.
func putHex(dst []byte, v uint64) {
	const digits = "0123456789abcdef"
	for i := 15; i >= 0; i-- {
		dst[i] = digits[v&15]
		v >>= 4
	}
}

// value, id and span point into t.
func (t *trace) value() string { return unsafe.String(&t.parent[0], traceLength) }
func (t *trace) id() string    { return unsafe.String(&t.parent[traceIDAt], traceIDEnd-traceIDAt) }
func (t *trace) span() string  { return unsafe.String(&t.parent[spanIDAt], spanIDEnd-spanIDAt) }

// replaces reports whether a caller's field of this name gives way: its traceparent always, its tracestate together with a trace that was not its own.
func (t *trace) replaces(name string) bool {
	switch len(name) {
	case len("traceparent"):
		return strings.EqualFold(name, "traceparent")
	case len("tracestate"):
		return t.begun && strings.EqualFold(name, "tracestate")
	}
	return false
}
