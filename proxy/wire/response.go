package wire

import "strings"

// UntilClose is the [Response.Length] of a body that ends with its connection.
const UntilClose = -2

// Response is the head of a response. It is meant to be reused: its slices are kept. Its strings are valid until Release.
type Response struct {
	Status int
	Reason string
	Minor  int   // of the HTTP version: 1, or 0
	Length int64 // octets of the body, -1 when it is chunked, UntilClose
	// Announced is the Content-Length that was given, -1 when there was none. In the answer to a HEAD, and in a 304, it speaks of a body that is not there.
	Announced int64
	Fields    Fields
	Conn      connection

	held []byte
}

// ReadResponse reads the head of a response to a request with the given method from r into p. An *Error means that it is none; io.EOF that the
// connection ended before the first octet. After a deadline it may be called again.
func (r *Reader) ReadResponse(p *Response, method string, l Limits) error {
	head, err := r.head(l, false)
	if err != nil {
		return err
	}
	if e := p.parse(head, method, l.Fields); e != nil {
		return e
	}
	if p.Length == -1 { // reading chunks would overwrite the head
		p.held = r.detach()
	}
	return nil
}

// Release gives the head's buffer back. Every string of p is invalid afterwards.
func (p *Response) Release() {
	if p.held != nil {
		put(p.held)
	}
	*p = Response{Fields: p.Fields[:0], Conn: connection{Options: p.Conn.Options[:0]}}
}

// Informational reports whether another response follows (RFC 9110, section 15.2).
func (p *Response) Informational() bool { return p.Status < 200 }

// Persistent reports whether the connection can carry another request.
func (p *Response) Persistent() bool {
	return p.Length != UntilClose && !p.Conn.Close && (p.Minor == 1 || p.Conn.KeepAlive)
}

func (p *Response) parse(head, method string, maxFields int) *Error {
	p.Fields, p.Announced = p.Fields[:0], -1
	p.Conn.reset()
	line, rest := cutLine(head)
	if e := p.statusLine(line); e != nil {
		return e
	}
	var f framing
	for {
		line, rest = cutLine(rest)
		if line == "" {
			break
		}
		if len(p.Fields) == maxFields {
			return &Error{TooLarge, "response has too many header fields"}
		}
		fl, e := fieldLine(line)
		if e != nil {
			return e
		}
		p.Fields = append(p.Fields, fl)
		switch kind := classify(fl.Name); kind {
		case fieldConnection:
			p.Conn.add(fl.Value)
		case fieldContentLength, fieldTransferEncoding:
			if e := f.take(kind, fl.Value); e != nil {
				return e
			}
		}
	}
	if f.hasLength {
		p.Announced = f.length
	}
	switch { // RFC 9112, section 6.3
	case p.Status < 200 || p.Status == 204 || p.Status == 304 || method == "HEAD" || method == "CONNECT" && p.Status < 300:
		if f.chunked && f.hasLength {
			return malformed("Content-Length and Transfer-Encoding are both given")
		}
		p.Length = 0
		return nil
	case f.chunked:
		p.Length = -1
	case f.hasLength:
		p.Length = f.length
	default:
		p.Length = UntilClose
	}
	return f.end(p.Minor)
}

// statusLine judges "HTTP-version SP status-code SP [ reason-phrase ]" (RFC 9112, section 4). The space behind the code may be missing together with
// the phrase, as many servers have it.
func (p *Response) statusLine(line string) *Error {
	version, rest, ok := strings.Cut(line, " ")
	switch {
	case !ok || !isVersion(version):
		return malformed("status line does not begin with an HTTP version")
	case version == "HTTP/1.1":
		p.Minor = 1
	case version == "HTTP/1.0":
		p.Minor = 0
	default:
		return malformed("HTTP version is neither 1.1 nor 1.0")
	}
	if len(rest) < 3 || !isDigit(rest[0]) || !isDigit(rest[1]) || !isDigit(rest[2]) || rest[0] == '0' || len(rest) > 3 && rest[3] != ' ' {
		return malformed("status code is not three digits")
	}
	p.Status = int(rest[0]-'0')*100 + int(rest[1]-'0')*10 + int(rest[2]-'0')
	p.Reason = ""
	if len(rest) > 4 {
		p.Reason = rest[4:]
	}
	for i := range len(p.Reason) {
		if !isValueByte[p.Reason[i]] {
			return malformed("reason phrase has a control character")
		}
	}
	return nil
}
