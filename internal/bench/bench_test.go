package main

import (
	"bytes"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

func TestTableHasMediansAndRatios(t *testing.T) {
	r := newResults([]peer{{name: "nginx"}, {name: "tenantgate"}, {name: "relay"}})
	for i, v := range []float64{20, 30, 1000} {
		r.add("GET", "ms", "nginx", v)
		r.add("GET", "ms", "tenantgate", v/2)
		r.add("idle", "KiB", "tenantgate", float64(i))
	}
	var b strings.Builder
	if err := r.writeTable(&b, machine{}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"| what | unit | nginx | tenantgate | relay |\n", "| GET | ms | 30.0 | 15.0 (0.50x) | - |\n", "| idle | KiB | - | 1.00 | - |\n"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the table lacks %q:\n%s", want, &b)
		}
	}
}

func TestFlagsNameWhatThereIs(t *testing.T) {
	for _, args := range [][]string{{"--only", "apache"}, {"--what", "get,put"}, {"--rounds", "0"}, {"extra"}, {"--no-such-flag"}} {
		var out, errs strings.Builder
		if status := run(args, &out, &errs); status != 2 || !strings.Contains(errs.String(), "hint:") {
			t.Errorf("%q: status %d, %q", args, status, &errs)
		}
	}
	var out strings.Builder
	if status := run([]string{"--help"}, &out, io.Discard); status != 0 {
		t.Errorf("--help: status %d", status)
	}
	for _, name := range append(measureNames(), peerNames...) {
		if !strings.Contains(out.String(), "\n  "+name) {
			t.Errorf("--help does not explain %s", name)
		}
	}
}

// The relay must pass on messages whose head and body arrive in any pieces.
func TestRelayPassesMessagesWhole(t *testing.T) {
	body := strings.Repeat("x", 100<<10)
	message := "POST / HTTP/1.1\r\nContent-Length: 102400\r\n\r\n" + body
	want := "POST / HTTP/1.1\r\nContent-Length: 102400\r\n" + bearerField + "\r\n" + body
	for _, piece := range []int{7, 45, 4 << 10, 1 << 20} {
		near, from := net.Pipe()
		to, far := net.Pipe()
		go func() {
			for rest := message; rest != ""; {
				n := min(piece, len(rest))
				io.WriteString(near, rest[:n])
				rest = rest[n:]
			}
		}()
		go func() {
			if err := pass(to, from, make([]byte, 32<<10), 0, bearerField); err != nil {
				t.Errorf("in pieces of %d: %v", piece, err)
			}
			to.Close()
		}()
		far.SetReadDeadline(time.Now().Add(10 * time.Second))
		got, err := io.ReadAll(far)
		if err != nil || !bytes.Equal(got, []byte(want)) {
			t.Errorf("in pieces of %d: got %d octets and %v, want %d", piece, len(got), err, len(want))
		}
		near.Close()
		from.Close()
	}
}
