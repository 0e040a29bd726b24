package proxy

import (
	"strings"

	"github.com/tenantgate/tenantgate/proxy/wire"
)

// When a message fails, SAP Cloud Integration answers 500 with the id of its message processing log in the text, and nowhere else:
//
//	An internal server error occured: The MPL ID for the failed message is : AGabc...
//
// A text of the flow's own may stand before it. The id, and nothing else of a body, goes into the access record. The body passes as it is: it is looked at
// in the pieces in which it is passed on.

const (
	mplText   = "MPL ID for the failed message is" // its first letter is nowhere else in it: see read
	mplLength = 28                                 // "AG" and 26 characters of base64url
	mplWindow = 1 << 10                            // octets of a body that are looked at
	mplField  = "SAP_MessageProcessingLogID"       // where a flow lets the header through
)

// mplScanner looks for an id in a text that comes in pieces.
type mplScanner struct {
	left  int // octets yet to be looked at
	text  int // octets of mplText that were seen in a row
	count int // octets of id
	id    [mplLength + 1]byte
}

// begin has the scanner look at the body of an answer, if it may hold an id.
func (s *mplScanner) begin(r *wire.Response) {
	s.left, s.text, s.count = 0, 0, 0
	if r.Status < 500 || r.Length == 0 {
		return
	}
	kind, _, _ := strings.Cut(r.Fields.Get("Content-Type"), ";")
	if strings.EqualFold(wire.TrimOWS(kind), "text/plain") && r.Fields.Get("Content-Encoding") == "" {
		s.left = mplWindow
	}
}

// read looks at the next piece.
func (s *mplScanner) read(p []byte) {
	p = p[:min(len(p), s.left)]
	s.left -= len(p)
	for _, c := range p {
		switch {
		case s.text < len(mplText):
			if c != mplText[s.text] {
				s.text = 0
			}
			if c == mplText[s.text] {
				s.text++
			}
		case s.count == 0 && (c == ' ' || c == ':'):
		case s.count <= mplLength && isBase64URL(c):
			s.id[s.count] = c
			s.count++
		case s.count == mplLength: // it has ended
			s.left = 0
			return
		default:
			s.text, s.count = 0, 0
		}
	}
}

// found is the id, or "". It must be asked for when the body has ended, or enough of it was seen.
func (s *mplScanner) found() string {
	if s.count != mplLength {
		return ""
	}
	id := string(s.id[:mplLength])
	if !isMPLID(id) {
		return ""
	}
	return id
}

func isMPLID(s string) bool {
	if len(s) != mplLength || s[:2] != "AG" {
		return false
	}
	for i := range len(s) {
		if !isBase64URL(s[i]) {
			return false
		}
	}
	return true
}

func isBase64URL(c byte) bool {
	return c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '_'
}
