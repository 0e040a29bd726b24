package wire

import "strings"

// Request is the head of a request. It is meant to be reused: its slices are kept. Its strings are valid until Release.
type Request struct {
	Method string
	Target string // in origin form, byte for byte
	Host   string
	Minor  int   // of the HTTP version: 1, or 0
	Length int64 // octets of the body; -1 when it is chunked
	Sized  bool  // there was a Content-Length
	Expect bool  // 100-continue (RFC 9110, section 10.1.1)
	Fields Fields
	Conn   connection

	held []byte // the buffer that the strings point into, when the reader no longer has it
}

const maxMethod = 32

// ReadRequest reads the head of the next request from r into q. An *Error means that it is no request that anybody should interpret; any other error is
// the connection's, and io.EOF that it ended where a request may end.
func (r *Reader) ReadRequest(q *Request, l Limits) error {
	head, err := r.head(l, false)
	if err != nil {
		return err
	}
	if e := q.parse(head, l.Fields); e != nil {
		return e
	}
	if q.Length == -1 { // reading chunks would overwrite the head
		q.held = r.detach()
	}
	return nil
}

// Release gives the head's buffer back. Every string of q is invalid afterwards.
func (q *Request) Release() {
	if q.held != nil {
		put(q.held)
	}
	*q = Request{Fields: q.Fields[:0], Conn: connection{Options: q.Conn.Options[:0]}}
}

func (q *Request) parse(head string, maxFields int) *Error {
	q.Fields, q.Length, q.Expect, q.Host = q.Fields[:0], 0, false, ""
	q.Conn.reset()
	line, rest := cutLine(head)
	if e := q.requestLine(line); e != nil {
		return e
	}
	var f framing
	host := false
	for {
		line, rest = cutLine(rest)
		if line == "" {
			break
		}
		if len(q.Fields) == maxFields {
			return &Error{TooLarge, "request has too many header fields"}
		}
		fl, e := fieldLine(line)
		if e != nil {
			return e
		}
		q.Fields = append(q.Fields, fl)
		switch kind := classify(fl.Name); kind {
		case fieldOther, fieldHopByHop, fieldAuthorization:
		case fieldHost:
			if host {
				return malformed("Host is given more than once")
			}
			if !ValidAuthority(fl.Value) {
				return malformed("Host is malformed")
			}
			q.Host, host = fl.Value, true
		case fieldExpect:
			if q.Expect || !equalFold(fl.Value, "100-continue") {
				return malformed("Expect is not 100-continue")
			}
			q.Expect = true
		case fieldConnection:
			q.Conn.add(fl.Value)
		default:
			if e := f.take(kind, fl.Value); e != nil {
				return e
			}
		}
	}
	if !host {
		return malformed("Host is missing")
	}
	q.Sized = f.hasLength
	if f.chunked {
		q.Length = -1
	} else {
		q.Length = f.length
	}
	return f.end(q.Minor)
}

// requestLine judges "method SP request-target SP HTTP-version" (RFC 9112, section 3).
func (q *Request) requestLine(line string) *Error {
	method, rest, ok1 := strings.Cut(line, " ")
	target, version, ok2 := strings.Cut(rest, " ")
	if !ok1 || !ok2 || !IsToken(method) || len(method) > maxMethod || target == "" {
		return malformed("request line is not method, target and version separated by single spaces")
	}
	for i := range len(target) {
		if !isTargetByte[target[i]] {
			return malformed("request target has an octet that must be percent-encoded")
		}
	}
	if method == "CONNECT" {
		return &Error{Method, "CONNECT is not served"}
	}
	if target[0] != '/' {
		return malformed("request target is not in origin form")
	}
	if !validEscapes(target) {
		return malformed("path has an incomplete percent-encoding")
	}
	switch version {
	case "HTTP/1.1":
		q.Minor = 1
	case "HTTP/1.0":
		q.Minor = 0
	default:
		if isVersion(version) {
			return malformed("HTTP version is neither 1.1 nor 1.0")
		}
		return malformed("HTTP version is malformed")
	}
	q.Method, q.Target = method, target
	return nil
}

// Persistent reports whether the sender means to send another request on the connection (RFC 9112, section 9.3).
func (q *Request) Persistent() bool {
	return !q.Conn.Close && (q.Minor == 1 || q.Conn.KeepAlive)
}
