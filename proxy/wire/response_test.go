package wire

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// responses reads all final responses of in to requests with the given method, and whether octets are left that belong to none.
func responses(in []byte, piece int, method string) (all []message, err error, left bool) {
	var r Reader
	r.Init(&pieces{in, piece})
	limits := Limits{Octets: 32 << 10, Fields: 100}
	var p Response
	var b Body
	for {
		if err := r.ReadResponse(&p, method, limits); err != nil {
			if err == io.EOF {
				err = nil
			}
			return all, err, r.Buffered() > 0
		}
		m := message{method: fmt.Sprint(p.Status), target: strings.Clone(p.Reason), minor: p.Minor, length: p.Length, fields: flat(p.Fields)}
		b.Reset(&r, p.Length, limits)
		body, err := io.ReadAll(iotestSmall{&b, piece})
		if err != nil {
			return all, err, false
		}
		m.body, m.trailer = string(body), flat(b.Trailer)
		all = append(all, m)
		persistent := p.Persistent() && !p.Informational()
		p.Release()
		if !persistent {
			return all, nil, r.Buffered() > 0
		}
	}
}

func TestReadsResponses(t *testing.T) {
	for name, tt := range map[string]struct{ in, method, want string }{
		"length":         {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "GET", "[{200 OK  1 5 [Content-Length: 5] hello []}]"},
		"two":            {"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\naHTTP/1.1 204 No Content\r\n\r\n", "GET", "[{200 OK  1 1 [Content-Length: 1] a []} {204 No Content  1 0 []  []}]"},
		"chunked":        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n", "GET", "[{200 OK  1 -1 [Transfer-Encoding: chunked] abc [X-Sum: 1]}]"},
		"until close":    {"HTTP/1.1 200 OK\r\n\r\nall of it", "GET", "[{200 OK  1 -2 [] all of it []}]"},
		"http 1.0":       {"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nabc", "GET", "[{200 OK  0 1 [Content-Length: 1] a []}]"},
		"head":           {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "HEAD", "[{200 OK  1 0 [Content-Length: 5]  []}]"},
		"not modified":   {"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", "GET", "[{304 Not Modified  1 0 [Content-Length: 5]  []}]"},
		"no reason":      {"HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n", "GET", "[{200   1 0 [Content-Length: 0]  []}]"},
		"no space":       {"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", "GET", "[{200   1 0 [Content-Length: 0]  []}]"},
		"odd reason":     {"HTTP/1.1 299 So: la-la\r\nContent-Length: 0\r\n\r\n", "GET", "[{299 So: la-la  1 0 [Content-Length: 0]  []}]"},
		"close and more": {"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\nabc", "GET", "[{200 OK  1 1 [Connection: close Content-Length: 1] a []}]"},
	} {
		for _, piece := range []int{1, 7, 4096} {
			got, err, _ := responses([]byte(tt.in), piece, tt.method)
			if err != nil || fmt.Sprint(got) != tt.want {
				t.Errorf("%s, read by %d: got %v, %v, want %s", name, piece, got, err, tt.want)
			}
		}
	}
}

// What follows an answer on the connection is never lost from sight: whoever would reuse the connection must see it.
func TestWhatFollowsAnAnswerStaysVisible(t *testing.T) {
	for _, answer := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "HTTP/1.1 204 No Content\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
	} {
		for size := 1; size < 80; size++ { // of the buffer that the body is read into
			var r Reader
			r.Init(strings.NewReader(answer + "more"))
			var p Response
			var b Body
			if err := r.ReadResponse(&p, "GET", Limits{1 << 10, 10}); err != nil {
				t.Fatal(err)
			}
			b.Reset(&r, p.Length, Limits{1 << 10, 10})
			for buf := make([]byte, size); !b.Done(); {
				if _, err := b.Read(buf); err != nil && err != io.EOF {
					t.Fatal(err)
				}
			}
			if r.Buffered() != len("more") {
				t.Errorf("%q, read by %d: %d octets are visible", answer, size, r.Buffered())
			}
		}
	}
}

// The same for a reader that takes the body straight from the connection.
func TestWhatFollowsALongBodyStaysVisible(t *testing.T) {
	body := strings.Repeat("x", 40<<10)
	for _, size := range []int{1, 100, 4096, len(body) - 8<<10 - 1, len(body) - 1, len(body), len(body) + 1, len(body) + 10} {
		var r Reader
		r.Init(strings.NewReader(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%smore", len(body), body)))
		var p Response
		var b Body
		if err := r.ReadResponse(&p, "GET", Limits{1 << 10, 10}); err != nil {
			t.Fatal(err)
		}
		b.Reset(&r, p.Length, Limits{1 << 10, 10})
		got := 0
		for buf := make([]byte, size); !b.Done(); {
			n, err := b.Read(buf)
			if got += n; err != nil && err != io.EOF {
				t.Fatal(err)
			}
		}
		rest := r.Buffered()
		for r.Receive() == nil {
			rest = r.Buffered()
		}
		if got != len(body) || rest != len("more") {
			t.Errorf("read by %d: got %d octets and %d behind them", size, got, rest)
		}
	}
}

func FuzzResponsesNeverMoreLenientThanNetHTTP(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"), 3, false)
	f.Add([]byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX: 1\r\n\r\n"), 1, false)
	f.Add([]byte("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 200 OK\r\n\r\nall of it"), 2, true)
	f.Fuzz(func(t *testing.T, in []byte, piece int, head bool) {
		if piece < 1 || piece > 1<<16 {
			return
		}
		method := "GET"
		if head {
			method = "HEAD"
		}
		got, err, _ := responses(in, piece, method)
		got1, err1, _ := responses(in, len(in)+1, method)
		if fmt.Sprint(got) != fmt.Sprint(got1) || (err == nil) != (err1 == nil) {
			t.Fatalf("the verdict depends on how the octets arrive: %v %v and %v %v", got, err, got1, err1)
		}
		r := bufio.NewReader(bytes.NewReader(in))
		for _, m := range got {
			resp, err := http.ReadResponse(r, &http.Request{Method: method})
			if err != nil {
				t.Fatalf("net/http refuses what is read here as %v: %v in %q", m, err, in)
			}
			body, err := io.ReadAll(resp.Body)
			if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Fatalf("net/http refuses a body which is read here as %v: %v in %q", m, err, in)
			}
			if fmt.Sprint(resp.StatusCode) != m.method || string(body) != m.body {
				t.Fatalf("net/http reads %d %q, here it is %v", resp.StatusCode, body, m)
			}
		}
	})
}
