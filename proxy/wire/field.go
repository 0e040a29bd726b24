package wire

import "strings"

// Field is one header or trailer field, in the spelling it came in. Its strings point into the buffer of the message: they are valid until the message is
// released, and must be copied by whoever keeps them longer.
type Field struct {
	Name, Value string
}

// Fields are the fields of a message in the order they came in.
type Fields []Field

// Get returns the first value of the field with this name, in any case of its letters, or "".
func (f Fields) Get(name string) string {
	for i := range f {
		if strings.EqualFold(f[i].Name, name) {
			return f[i].Value
		}
	}
	return ""
}

// Tokens calls yield for each element of a comma-separated list (RFC 9110, section 5.6.1); empty elements are left out.
func Tokens(list string, yield func(token string)) {
	for list != "" {
		var token string
		token, list, _ = strings.Cut(list, ",")
		if token = TrimOWS(token); token != "" {
			yield(token)
		}
	}
}

// field is a name that decides about framing or about the connection.
type field uint8

const (
	fieldOther field = iota
	fieldHost
	fieldContentLength
	fieldTransferEncoding
	fieldExpect
	fieldConnection
	fieldAuthorization
	fieldHopByHop // keep-alive, te, trailer, upgrade, proxy-connection
)

func classify(name string) field {
	switch len(name) {
	case 2:
		if equalFold(name, "te") {
			return fieldHopByHop
		}
	case 4:
		if equalFold(name, "host") {
			return fieldHost
		}
	case 6:
		if equalFold(name, "expect") {
			return fieldExpect
		}
	case 7:
		if equalFold(name, "upgrade") || equalFold(name, "trailer") {
			return fieldHopByHop
		}
	case 10:
		if equalFold(name, "connection") {
			return fieldConnection
		}
		if equalFold(name, "keep-alive") {
			return fieldHopByHop
		}
	case 13:
		if equalFold(name, "authorization") {
			return fieldAuthorization
		}
	case 14:
		if equalFold(name, "content-length") {
			return fieldContentLength
		}
	case 16:
		if equalFold(name, "proxy-connection") {
			return fieldHopByHop
		}
	case 17:
		if equalFold(name, "transfer-encoding") {
			return fieldTransferEncoding
		}
	}
	return fieldOther
}

// connection is what the Connection fields of a message say.
type connection struct {
	Close     bool     // "close"
	KeepAlive bool     // "keep-alive"
	Upgrade   bool     // "upgrade"
	Options   []string // everything else: names of fields that end at this connection
}

func (c *connection) reset() { *c = connection{Options: c.Options[:0]} }

func (c *connection) add(value string) {
	for value != "" {
		var token string
		token, value, _ = strings.Cut(value, ",")
		switch token = TrimOWS(token); {
		case token == "":
		case equalFold(token, "close"):
			c.Close = true
		case equalFold(token, "keep-alive"):
			c.KeepAlive = true
		case equalFold(token, "upgrade"):
			c.Upgrade = true
		default:
			c.Options = append(c.Options, token)
		}
	}
}

// Drops reports whether the sender asked for a field of this name to end here (RFC 9110, section 7.6.1).
func (c *connection) Drops(name string) bool {
	for _, o := range c.Options {
		if len(o) == len(name) && strings.EqualFold(o, name) {
			return true
		}
	}
	return false
}

// fieldLine judges and splits one field line without its CRLF (RFC 9112, section 5).
func fieldLine(line string) (Field, *Error) {
	if line[0] == ' ' || line[0] == '\t' {
		return Field{}, malformed("a header field is folded")
	}
	colon := strings.IndexByte(line, ':')
	if colon <= 0 {
		return Field{}, malformed("a header field has no name")
	}
	for i := range colon {
		if !isTokenByte[line[i]] {
			return Field{}, malformed("a header field name has a character that is not allowed")
		}
	}
	value := line[colon+1:]
	for i := range len(value) {
		if !isValueByte[value[i]] {
			return Field{}, malformed("a header field value has a control character")
		}
	}
	return Field{line[:colon], TrimOWS(value)}, nil
}

// framing is where a body ends, as its message's head says.
type framing struct {
	hasLength, chunked bool
	length             int64
}

// take judges a field that may decide about the framing.
func (f *framing) take(kind field, value string) *Error {
	switch kind {
	case fieldContentLength:
		n, ok := ParseLength(value)
		if f.hasLength || !ok {
			return malformed("Content-Length is not one decimal number")
		}
		f.hasLength, f.length = true, n
	case fieldTransferEncoding:
		if f.chunked || !equalFold(value, "chunked") {
			return malformed("Transfer-Encoding is not exactly chunked")
		}
		f.chunked = true
	}
	return nil
}

// end judges the framing as a whole. minor is that of the HTTP version.
func (f *framing) end(minor int) *Error {
	switch {
	case f.chunked && f.hasLength:
		return malformed("Content-Length and Transfer-Encoding are both given")
	case f.chunked && minor == 0:
		return malformed("Transfer-Encoding is given with HTTP/1.0")
	}
	return nil
}

// cutLine returns the first line of head without its CRLF, and the rest. Every line of head is known to end with CRLF.
func cutLine(head string) (line, rest string) {
	i := strings.IndexByte(head, '\n')
	return head[:i-1], head[i+1:]
}
