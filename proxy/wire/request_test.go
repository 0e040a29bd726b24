package wire

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// pieces hands out octets in pieces of a given size.
type pieces struct {
	in    []byte
	piece int
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.in) == 0 {
		return 0, io.EOF
	}
	n := copy(b, p.in[:min(p.piece, len(p.in))])
	p.in = p.in[n:]
	return n, nil
}

// message is a request that was read whole.
type message struct {
	method, target, host string
	minor                int
	length               int64
	fields               []string
	body                 string
	trailer              []string
}

// requests reads all requests of in, which arrives in pieces. whole tells that it ends where a request ends.
func requests(in []byte, piece int) (all []message, violation *Error, whole bool) {
	var r Reader
	r.Init(&pieces{in, piece})
	limits := Limits{Octets: 32 << 10, Fields: 100}
	var q Request
	var b Body
	for {
		if r.Buffered() == 0 {
			if err := r.Receive(); err != nil {
				return all, nil, err == io.EOF
			}
		}
		if err := r.ReadRequest(&q, limits); err != nil {
			errors.As(err, &violation)
			return all, violation, false
		}
		m := message{strings.Clone(q.Method), strings.Clone(q.Target), strings.Clone(q.Host), q.Minor, q.Length, flat(q.Fields), "", nil}
		b.Reset(&r, q.Length, limits)
		body, err := io.ReadAll(iotestSmall{&b, piece})
		if err != nil {
			errors.As(err, &violation)
			return all, violation, false
		}
		m.body, m.trailer = string(body), flat(b.Trailer)
		if got := (message{q.Method, q.Target, q.Host, q.Minor, q.Length, flat(q.Fields), "", nil}); fmt.Sprint(got) != fmt.Sprint(message{m.method, m.target, m.host, m.minor, m.length, m.fields, "", nil}) {
			panic("reading the body changed the head")
		}
		all = append(all, m)
		q.Release()
	}
}

// iotestSmall reads with buffers of a given size.
type iotestSmall struct {
	r io.Reader
	n int
}

func (s iotestSmall) Read(p []byte) (int, error) { return s.r.Read(p[:min(len(p), s.n)]) }

func flat(f Fields) (out []string) {
	for _, x := range f {
		out = append(out, x.Name+": "+x.Value)
	}
	return out
}

const head = "POST /x HTTP/1.1\r\nHost: a\r\n"

func TestReadsWellFormedRequests(t *testing.T) {
	for name, tt := range map[string]struct{ in, want string }{
		"no body":            {"GET / HTTP/1.1\r\nHost: a\r\n\r\n", `[{GET / a 1 0 [Host: a]  []}]`},
		"http 1.0":           {"GET / HTTP/1.0\r\nHost: a\r\n\r\n", `[{GET / a 0 0 [Host: a]  []}]`},
		"length":             {head + "Content-Length: 5\r\n\r\nhello", `[{POST /x a 1 5 [Host: a Content-Length: 5] hello []}]`},
		"padding is trimmed": {head + "Content-Length: \t5 \r\n\r\nhello", `[{POST /x a 1 5 [Host: a Content-Length: 5] hello []}]`},
		"pipelined": {head + "Content-Length: 5\r\n\r\nhello" + head + "\r\n" + head + "Content-Length: 0\r\n\r\n",
			`[{POST /x a 1 5 [Host: a Content-Length: 5] hello []} {POST /x a 1 0 [Host: a]  []} {POST /x a 1 0 [Host: a Content-Length: 0]  []}]`},
		"chunked": {head + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nA\r\n0123456789\r\n0\r\n\r\n" + head + "\r\n",
			`[{POST /x a 1 -1 [Host: a Transfer-Encoding: chunked] hello0123456789 []} {POST /x a 1 0 [Host: a]  []}]`},
		"trailer":         {head + "Transfer-Encoding: Chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n", `[{POST /x a 1 -1 [Host: a Transfer-Encoding: Chunked] hello [X-Sum: 1]}]`},
		"chunk extension": {head + "Transfer-Encoding: chunked\r\n\r\n5;a=b;c=\"d e\";f\r\nhello\r\n0\r\n\r\n", `[{POST /x a 1 -1 [Host: a Transfer-Encoding: chunked] hello []}]`},
		"expect":          {head + "Expect: 100-Continue\r\nContent-Length: 1\r\n\r\nx", `[{POST /x a 1 1 [Host: a Expect: 100-Continue Content-Length: 1] x []}]`},
		"obs-text":        {head + "X: caf\xe9\r\n\r\n", "[{POST /x a 1 0 [Host: a X: caf\xe9]  []}]"},
		"ipv6":            {"GET / HTTP/1.1\r\nHost: [::1]:8443\r\n\r\n", `[{GET / [::1]:8443 1 0 [Host: [::1]:8443]  []}]`},
	} {
		for _, piece := range []int{1, 7, 4096} {
			got, v, whole := requests([]byte(tt.in), piece)
			if v != nil || !whole || fmt.Sprint(got) != tt.want {
				t.Errorf("%s, read by %d: got %v, violation %v, whole %v, want %s", name, piece, got, v, whole, tt.want)
			}
		}
	}
}

func TestRefusesWhatTwoParsersCouldReadDifferently(t *testing.T) {
	for name, in := range map[string]string{
		"bare LF":                         "GET / HTTP/1.1\nHost: a\n\n",
		"bare LF in the head":             head + "A: b\nC: d\r\n\r\n",
		"bare CR":                         head + "A: b\rC: d\r\n\r\n",
		"NUL":                             head + "A: b\x00\r\n\r\n",
		"control character":               head + "A: b\x01\r\n\r\n",
		"folded field":                    head + "A: b\r\n c\r\n\r\n",
		"space before colon":              head + "A : b\r\n\r\n",
		"empty name":                      head + ": b\r\n\r\n",
		"no colon":                        head + "A\r\n\r\n",
		"name with a space":               head + "A B: c\r\n\r\n",
		"two lengths":                     head + "Content-Length: 1\r\nContent-Length: 1\r\n\r\nx",
		"list of lengths":                 head + "Content-Length: 1, 1\r\n\r\nx",
		"signed length":                   head + "Content-Length: +1\r\n\r\nx",
		"empty length":                    head + "Content-Length:\r\n\r\n",
		"hexadecimal length":              head + "Content-Length: 0x1\r\n\r\nx",
		"huge length":                     head + "Content-Length: 99999999999999999999\r\n\r\n",
		"length and chunked":              head + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"chunked and length":              head + "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
		"two codings":                     head + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
		"chunked twice":                   head + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"identity":                        head + "Transfer-Encoding: identity\r\n\r\n",
		"vertical tab before chunked":     head + "Transfer-Encoding: \x0bchunked\r\n\r\n",
		"chunked in HTTP/1.0":             "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"no host":                         "GET / HTTP/1.1\r\n\r\n",
		"two hosts":                       "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
		"host with userinfo":              "GET / HTTP/1.1\r\nHost: a@b\r\n\r\n",
		"empty host":                      "GET / HTTP/1.1\r\nHost:\r\n\r\n",
		"absolute form":                   "GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
		"asterisk":                        "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
		"connect":                         "CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n",
		"two spaces":                      "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
		"tab in the request line":         "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n",
		"no version":                      "GET /\r\nHost: a\r\n\r\n",
		"HTTP/2.0":                        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"HTTP/1.2":                        "GET / HTTP/1.2\r\nHost: a\r\n\r\n",
		"lower-case version":              "GET / http/1.1\r\nHost: a\r\n\r\n",
		"empty line first":                "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
		"raw octet in the target":         "GET /\xe9 HTTP/1.1\r\nHost: a\r\n\r\n",
		"incomplete escape":               "GET /%4 HTTP/1.1\r\nHost: a\r\n\r\n",
		"method with a slash":             "GE/T / HTTP/1.1\r\nHost: a\r\n\r\n",
		"unknown expectation":             head + "Expect: tea\r\n\r\n",
		"chunk size with sign":            head + "Transfer-Encoding: chunked\r\n\r\n+5\r\nhello\r\n0\r\n\r\n",
		"chunk size with 0x":              head + "Transfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n",
		"chunk size with space":           head + "Transfer-Encoding: chunked\r\n\r\n5 \r\nhello\r\n0\r\n\r\n",
		"chunk size too large":            head + "Transfer-Encoding: chunked\r\n\r\n10000000000000000\r\n",
		"empty chunk size":                head + "Transfer-Encoding: chunked\r\n\r\n\r\nhello\r\n0\r\n\r\n",
		"bare LF after chunk size":        head + "Transfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n",
		"bare LF after chunk data":        head + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\n0\r\n\r\n",
		"chunk longer than its size":      head + "Transfer-Encoding: chunked\r\n\r\n3\r\nhello\r\n0\r\n\r\n",
		"chunk extension with a bare LF":  head + "Transfer-Encoding: chunked\r\n\r\n5;a\nb\r\nhello\r\n0\r\n\r\n",
		"chunk extension without a name":  head + "Transfer-Encoding: chunked\r\n\r\n5;\r\nhello\r\n0\r\n\r\n",
		"chunk extension unterminated":    head + "Transfer-Encoding: chunked\r\n\r\n5;a=\"b\r\nhello\r\n0\r\n\r\n",
		"trailer names a length":          head + "Transfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 5\r\n\r\n",
		"trailer names an authorization":  head + "Transfer-Encoding: chunked\r\n\r\n0\r\nAuthorization: x\r\n\r\n",
		"head too large":                  head + "A: " + strings.Repeat("x", 40<<10) + "\r\n\r\n",
		"head too large, no end":          head + strings.Repeat("x", 40<<10),
		"too many fields":                 head + strings.Repeat("a: b\r\n", 101) + "\r\n",
		"too many trailer fields":         head + "Transfer-Encoding: chunked\r\n\r\n0\r\n" + strings.Repeat("a: b\r\n", 101) + "\r\n",
		"second request is the malformed": "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\nHost: a\r\n\r\n",
	} {
		for _, piece := range []int{1, 7, 1 << 20} {
			if got, v, _ := requests([]byte(in), piece); v == nil {
				t.Errorf("%s, read by %d: passes as %.100v", name, piece, got)
			}
		}
	}
}

// A differential fuzz test against net/http: whatever is read here whole, net/http reads as the same requests, so this reader is never the more lenient
// of the two.
func FuzzNeverMoreLenientThanNetHTTP(f *testing.F) {
	f.Add([]byte(head+"Content-Length: 5\r\n\r\nhello"), 3)
	f.Add([]byte(head+"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"+head+"\r\n"), 1)
	for _, c := range corpus(f) {
		f.Add(c.raw, 4096)
	}
	f.Fuzz(func(t *testing.T, in []byte, piece int) {
		if piece < 1 || piece > 1<<16 {
			return
		}
		got, v, whole := requests(in, piece)
		if got1, v1, whole1 := requests(in, len(in)+1); (v == nil) != (v1 == nil) || whole != whole1 || fmt.Sprint(got) != fmt.Sprint(got1) {
			t.Fatalf("the verdict depends on how the octets arrive: %v %v and %v %v", got, v, got1, v1)
		}
		r := bufio.NewReader(bytes.NewReader(in))
		for _, m := range got {
			req, err := http.ReadRequest(r)
			if err != nil {
				t.Fatalf("net/http refuses what is read here as %v: %v in %q", m, err, in)
			}
			body, err := io.ReadAll(req.Body)
			if err != nil {
				t.Fatalf("net/http refuses a body which is read here as %v: %v in %q", m, err, in)
			}
			if req.Method != m.method || req.RequestURI != m.target || req.Host != m.host || string(body) != m.body || req.ContentLength != m.length {
				t.Fatalf("net/http reads %s %s %s %d %q, here it is %v", req.Method, req.RequestURI, req.Host, req.ContentLength, body, m)
			}
		}
		if _, err := r.Peek(1); whole && err == nil {
			t.Fatalf("net/http has octets left of %q, here it was %v", in, got)
		}
	})
}

type corpusCase struct {
	id, expect string
	raw        []byte
}

// corpus reads the raw requests of llhttp and smuggler from the suites beside the project, when they are there.
func corpus(tb testing.TB) []corpusCase {
	tb.Helper()
	f, err := os.Open(suite("h1-corpus.jsonl"))
	if err != nil {
		return nil
	}
	defer f.Close()
	var cases []corpusCase
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var c struct{ ID, Hex, Expect string }
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			tb.Fatal(err)
		}
		raw, err := hex.DecodeString(c.Hex)
		if err != nil {
			tb.Fatal(err)
		}
		cases = append(cases, corpusCase{c.ID, c.Expect, raw})
	}
	return cases
}

// suite is the path of a file among the test data that nobody here wrote.
func suite(name string) string {
	dir := os.Getenv("TENANTGATE_SUITES")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared", "suites")
	}
	return filepath.Join(dir, name)
}

func TestIsStricterThanTheCorpusAsks(t *testing.T) {
	cases := corpus(t)
	if cases == nil {
		if os.Getenv("CI") != "" {
			t.Fatal("h1-corpus.jsonl is missing")
		}
		t.Skip("SKIP: h1-corpus.jsonl is not beside the project; set TENANTGATE_SUITES")
	}
	// llhttp knows a list of methods; here the routes say which methods there are.
	unknownMethod := map[string]bool{"llhttp/invalid.md:68": true, "llhttp/invalid.md:358": true}
	counts := map[string]int{}
	for _, c := range cases {
		_, v, whole := requests(c.raw, 4096)
		verdict := "incomplete"
		switch {
		case v != nil:
			verdict = "refused"
		case whole:
			verdict = "passed"
		}
		counts[c.expect+" "+verdict]++
		if c.expect == "reject" && whole && !unknownMethod[c.id] {
			t.Errorf("%s passes: %q", c.id, c.raw)
		}
		if c.expect == "accept" && v != nil {
			t.Logf("stricter than llhttp: %s: %s", c.id, v.Cause)
		}
	}
	t.Logf("%d requests: %v", len(cases), counts)
}
