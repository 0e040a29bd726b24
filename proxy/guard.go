package proxy

import (
	"bytes"
	"errors"
	"net"
	"os"
	"strings"
	"sync/atomic"
)

// guard reads HTTP/1.1 strictly before net/http sees a byte of it. net/http accepts bare line feeds, folded headers, Content-Length together with
// Transfer-Encoding and more; whatever two parsers could read differently must not reach the decision core. The guard follows the framing octet by
// octet (RFC 9112) and, at the first violation, hands out nothing more: the rest of the connection is never parsed by anybody.
//
// A guard belongs to the goroutine that reads the connection; busy is the only field that others touch.
type guard struct {
	net.Conn
	conn      *conn
	limits    headLimits
	malformed func(violation) // answers and records; called at most once, and only while no request is being served

	busy    atomic.Bool // a handler is at work: it sees the error itself when it reads the body
	started bool        // octets of a request head have been read
	state   guardState
	err     error // what every further Read returns
	line    []byte
	head    int // octets of this head (or trailer section) so far
	fields  int
	req     headFacts
	remain  uint64 // octets left in the body or the chunk
}

// headLimits bounds a request head. All are octets, except MaxFields.
type headLimits struct {
	maxHead   int
	maxFields int
}

// violation is why a request was refused before it was one.
type violation struct {
	outcome violationKind
	cause   string
}

type violationKind uint8

const (
	violationMalformed violationKind = iota
	violationHeadTooLarge
	violationMethod
	violationSlow
)

// errViolation is what a body read returns after a violation.
type errViolation struct{ violation }

func (e *errViolation) Error() string { return e.cause }

// headFacts is what a head must say only once.
type headFacts struct {
	http10, host, hasLength, chunked, expect bool
	length                                   uint64
}

type guardState uint8

const (
	inRequestLine guardState = iota
	inFields
	inBody
	inChunkSize
	inChunkData
	inChunkEnd // the CRLF behind the data of a chunk
	inTrailers
)

// Read hands out octets of unambiguous requests only.
func (g *guard) Read(p []byte) (int, error) {
	if g.err != nil {
		return 0, g.err
	}
	n, err := g.Conn.Read(p)
	good, bad := g.scan(p[:n])
	switch {
	case bad != nil:
		g.fail(*bad)
		if good > 0 {
			return good, nil
		}
		return 0, g.err
	case err != nil && g.started && errors.Is(err, os.ErrDeadlineExceeded):
		g.fail(violation{violationSlow, "request head was not complete in time"})
	}
	return n, err
}

// fail ends the reading of this connection.
func (g *guard) fail(v violation) {
	g.err = &errViolation{v}
	if !g.busy.Load() {
		g.malformed(v)
	}
}

// scan follows the framing through b. It returns how many octets are unobjectionable, and the violation behind them if there is one.
func (g *guard) scan(b []byte) (int, *violation) {
	for i := 0; i < len(b); {
		switch g.state {
		case inBody, inChunkData:
			n := min(uint64(len(b)-i), g.remain)
			i += int(n)
			if g.remain -= n; g.remain == 0 {
				g.endData()
			}
		default:
			g.started = g.started || g.state == inRequestLine
			end := i
			for end < len(b) && b[end] != '\n' {
				end++
			}
			if end < len(b) {
				end++
			}
			if v := g.collect(b[i:end]); v != nil {
				return i, v
			}
			i = end
		}
	}
	return len(b), nil
}

// endData moves on from a body of known length or the data of a chunk.
func (g *guard) endData() {
	if g.state == inChunkData {
		g.state = inChunkEnd
		return
	}
	g.nextRequest()
}

func (g *guard) nextRequest() {
	g.state, g.req, g.head, g.fields, g.started = inRequestLine, headFacts{}, 0, 0, false
}

// collect adds part of a line, which ends with LF or is not complete, and judges the line when it is. The line never contains more than one LF.
func (g *guard) collect(part []byte) *violation {
	g.head += len(part)
	limit := g.limits.maxHead
	if g.state == inChunkSize || g.state == inChunkEnd {
		limit = maxChunkLine
		if len(g.line)+len(part) > limit {
			return &violation{violationMalformed, "chunk size line is too long"}
		}
	} else if g.head > limit {
		return &violation{violationHeadTooLarge, "request head is larger than the limit"}
	}
	g.line = append(g.line, part...)
	n := len(g.line)
	if g.line[n-1] != '\n' {
		// A CR may only stand before LF. Waiting for the rest of the line would let the part before it through.
		if i := bytes.IndexByte(g.line[:n-1], '\r'); i >= 0 {
			return &violation{violationMalformed, "a carriage return stands alone"}
		}
		return nil
	}
	if n < 2 || g.line[n-2] != '\r' {
		return &violation{violationMalformed, "a line ends with a bare line feed"}
	}
	line := g.line[:n-2]
	v := g.judge(line)
	g.line = g.line[:0]
	if cap(g.line) > 8<<10 {
		g.line = nil
	}
	return v
}

// judge takes one line without its CRLF.
func (g *guard) judge(line []byte) *violation {
	switch g.state {
	case inRequestLine:
		v := g.requestLine(line)
		g.state = inFields
		return v
	case inFields:
		if len(line) == 0 {
			return g.endHead()
		}
		return g.field(line, false)
	case inChunkSize:
		return g.chunkSize(line)
	case inChunkEnd:
		if len(line) != 0 {
			return &violation{violationMalformed, "chunk data is longer than its size"}
		}
		g.state, g.head = inChunkSize, 0
	case inTrailers:
		if len(line) == 0 {
			g.nextRequest()
			return nil
		}
		return g.field(line, true)
	}
	return nil
}

// requestLine judges "method SP request-target SP HTTP-version" (RFC 9112, section 3).
func (g *guard) requestLine(line []byte) *violation {
	s := string(line)
	method, rest, ok1 := strings.Cut(s, " ")
	target, version, ok2 := strings.Cut(rest, " ")
	if !ok1 || !ok2 || !isToken(method) || len(method) > maxMethod || target == "" {
		return &violation{violationMalformed, "request line is not method, target and version separated by single spaces"}
	}
	for i := range len(target) {
		if target[i] <= 0x20 || target[i] >= 0x7f {
			return &violation{violationMalformed, "request target has an octet that must be percent-encoded"}
		}
	}
	if method == "CONNECT" {
		return &violation{violationMethod, "CONNECT is not served"}
	}
	if target[0] != '/' {
		return &violation{violationMalformed, "request target is not in origin form"}
	}
	if !validEscapes(target) {
		return &violation{violationMalformed, "path has an incomplete percent-encoding"}
	}
	switch version {
	case "HTTP/1.1":
	case "HTTP/1.0":
		g.req.http10 = true
	default:
		if isVersion(version) {
			return &violation{violationMalformed, "HTTP version is neither 1.1 nor 1.0"}
		}
		return &violation{violationMalformed, "HTTP version is malformed"}
	}
	return nil
}

// field judges one field line (RFC 9112, section 5) of the head or of the trailer section.
func (g *guard) field(line []byte, trailer bool) *violation {
	if g.fields++; g.fields > g.limits.maxFields {
		return &violation{violationHeadTooLarge, "request has too many header fields"}
	}
	if line[0] == ' ' || line[0] == '\t' {
		return &violation{violationMalformed, "a header field is folded"}
	}
	colon := bytes.IndexByte(line, ':')
	if colon <= 0 {
		return &violation{violationMalformed, "a header field has no name"}
	}
	for _, c := range line[:colon] {
		if !isTokenByte[c] {
			return &violation{violationMalformed, "a header field name has a character that is not allowed"}
		}
	}
	value := line[colon+1:]
	for _, c := range value {
		if c < 0x20 && c != '\t' || c == 0x7f {
			return &violation{violationMalformed, "a header field value has a control character"}
		}
	}
	var buf [maxReservedName]byte
	name := asciiLower(buf[:0], line[:colon])
	if trailer {
		if framingNames[string(name)] || string(name) == "authorization" {
			return &violation{violationMalformed, "a trailer field is not allowed to be one"}
		}
		return nil
	}
	return g.framing(string(name), trimOWS(string(value)))
}

// framing takes the fields that decide where the request goes and where it ends.
func (g *guard) framing(name, value string) *violation {
	switch name {
	case "host":
		if g.req.host {
			return &violation{violationMalformed, "Host is given more than once"}
		}
		if !validAuthority(value) {
			return &violation{violationMalformed, "Host is malformed"}
		}
		g.req.host = true
	case "content-length":
		n, ok := parseLength(value)
		if g.req.hasLength || !ok {
			return &violation{violationMalformed, "Content-Length is not one decimal number"}
		}
		g.req.hasLength, g.req.length = true, n
	case "transfer-encoding":
		if g.req.chunked || !strings.EqualFold(value, "chunked") {
			return &violation{violationMalformed, "Transfer-Encoding is not exactly chunked"}
		}
		g.req.chunked = true
	case "expect":
		if g.req.expect || !strings.EqualFold(value, "100-continue") {
			return &violation{violationMalformed, "Expect is not 100-continue"}
		}
		g.req.expect = true
	}
	return nil
}

// endHead judges the head as a whole and finds where the body ends.
func (g *guard) endHead() *violation {
	switch {
	case !g.req.host:
		return &violation{violationMalformed, "Host is missing"}
	case g.req.chunked && g.req.hasLength:
		return &violation{violationMalformed, "Content-Length and Transfer-Encoding are both given"}
	case g.req.chunked && g.req.http10:
		return &violation{violationMalformed, "Transfer-Encoding is given with HTTP/1.0"}
	case g.req.chunked:
		g.state, g.head, g.started = inChunkSize, 0, false
	case g.req.length > 0:
		g.state, g.remain, g.started = inBody, g.req.length, false
	default:
		g.nextRequest()
	}
	return nil
}

// chunkSize judges "chunk-size [ chunk-ext ]" (RFC 9112, section 7.1).
func (g *guard) chunkSize(line []byte) *violation {
	digits := 0
	var n uint64
	for digits < len(line) && isHex(line[digits]) {
		n = n<<4 | uint64(unhex(line[digits]))
		if digits++; digits > maxChunkDigits {
			return &violation{violationMalformed, "chunk size is too large"}
		}
	}
	if digits == 0 || !validChunkExtension(line[digits:]) {
		return &violation{violationMalformed, "chunk size line is malformed"}
	}
	g.head, g.fields = 0, 0
	if n == 0 {
		g.state = inTrailers
		return nil
	}
	g.state, g.remain = inChunkData, n
	return nil
}

const (
	maxMethod      = 32
	maxChunkLine   = 256
	maxChunkDigits = 15 // below 2^60
)
