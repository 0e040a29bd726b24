package wire_test

import (
	"strings"
	"testing"

	"github.com/tenantgate/tenantgate/proxy/wire"
)

// What says how long a body is means nothing in an answer to CONNECT that agrees (RFC 9110, section 9.3.6), and all in one that refuses.
func TestAnAnswerToCONNECTThatAgreesHasNoBody(t *testing.T) {
	for head, want := range map[string]int64{
		"HTTP/1.1 200 OK\r\n\r\n":                               0,
		"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n":          0,
		"HTTP/1.1 299 OK\r\nTransfer-Encoding: chunked\r\n\r\n": 0,
		"HTTP/1.1 407 No\r\nContent-Length: 7\r\n\r\n":          7,
		"HTTP/1.1 502 No\r\n\r\n":                               wire.UntilClose,
	} {
		var r wire.Reader
		r.Init(strings.NewReader(head))
		var p wire.Response
		if err := r.ReadResponse(&p, "CONNECT", wire.Limits{Octets: 1000, Fields: 10}); err != nil || p.Length != want {
			t.Errorf("%q: got length %d, %v, want %d", head, p.Length, err, want)
		}
	}
}
