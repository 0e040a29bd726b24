package check

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http/httptrace"
	"strings"
	"sync"
	"time"
)

// trail is how far a connection came. Its hooks are called by the goroutines of net and net/http.
type trail struct {
	mu         sync.Mutex // guards what follows
	asked      string     // the name that was resolved
	addresses  []string
	dnsErr     error
	dnsBegun   time.Time
	dnsTook    time.Duration
	tcpBegun   time.Time
	tcpTook    time.Duration
	connected  string // the address that answered
	refused    []string
	tlsBegun   time.Time
	tlsTook    time.Duration
	tlsState   *tls.ConnectionState
	tlsErr     error
	handshakes int
}

func (t *trail) hooks() *httptrace.ClientTrace {
	locked := func(fn func()) {
		t.mu.Lock()
		defer t.mu.Unlock()
		fn()
	}
	return &httptrace.ClientTrace{
		DNSStart: func(i httptrace.DNSStartInfo) { locked(func() { t.asked, t.dnsBegun = i.Host, time.Now() }) },
		DNSDone: func(i httptrace.DNSDoneInfo) {
			locked(func() {
				t.dnsErr, t.dnsTook = i.Err, time.Since(t.dnsBegun)
				for _, a := range i.Addrs {
					t.addresses = append(t.addresses, a.String())
				}
			})
		},
		ConnectStart: func(_, _ string) {
			locked(func() {
				if t.tcpBegun.IsZero() {
					t.tcpBegun = time.Now()
				}
			})
		},
		ConnectDone: func(_, address string, err error) {
			locked(func() {
				if err != nil {
					t.refused = append(t.refused, address+": "+cause(err))
					return
				}
				t.connected, t.tcpTook = address, time.Since(t.tcpBegun)
			})
		},
		TLSHandshakeStart: func() { locked(func() { t.tlsBegun = time.Now() }) },
		TLSHandshakeDone:  func(s tls.ConnectionState, err error) { t.shaken(s, err) },
	}
}

// shaken notes the end of a handshake.
func (t *trail) shaken(s tls.ConnectionState, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.handshakes++
	t.tlsErr = err
	t.tlsState = nil
	if err == nil {
		t.tlsState = &s
	}
	if !t.tlsBegun.IsZero() && t.tlsTook == 0 {
		t.tlsTook = time.Since(t.tlsBegun)
	}
}

// connection says what became of name and connection. dialErr is the error of the dialer, nil when it was not told; via is the HTTP proxy in between.
func (t *trail) connection(dns, tcp, via string, dialErr error) []Step {
	t.mu.Lock()
	defer t.mu.Unlock()
	of := ""
	if via != "" {
		of = " of the HTTP proxy"
	}
	var steps []Step
	switch {
	case t.dnsErr != nil:
		return append(steps, Step{Name: dns, State: Fail, Detail: fmt.Sprintf("the name%s %s has no address: %s", of, t.asked, cause(t.dnsErr)),
			Hint: "look for a slip in the address; a network that resolves no outside names reaches tenants through an HTTP proxy " +
				"(tenant set NAME --http-proxy URL)",
			Milliseconds: ms(t.dnsTook)})
	case t.asked != "" && len(t.addresses) > 0:
		steps = append(steps, Step{Name: dns, State: OK, Detail: t.asked + of + " is " + short(t.addresses, 4), Milliseconds: ms(t.dnsTook)})
	}
	s := Step{Name: tcp, Milliseconds: ms(t.tcpTook)}
	switch {
	case t.connected == "":
		s.State, s.Detail = Fail, "no connection"
		if via != "" {
			s.Detail += " to the HTTP proxy"
		}
		if len(t.refused) > 0 {
			s.Detail += ": " + short(t.refused, 3)
		} else if dialErr != nil {
			s.Detail += ": " + cause(dialErr)
		}
		s.Hint = "a firewall in between? where the way out is an HTTP proxy: tenant set NAME --http-proxy URL"
		if via != "" {
			s.Hint = "is the HTTP proxy's address right, and does it take connections from here?"
		}
	case dialErr != nil && via != "":
		s.State, s.Detail = Fail, cause(dialErr)
		s.Hint = "the HTTP proxy must allow CONNECT to this host and port, without a password; its administrator knows"
	default:
		s.State, s.Detail = OK, "connected to "+t.connected
		if via != "" {
			s.Detail = "connected through the HTTP proxy " + via
		}
	}
	return append(steps, s)
}

// handshake says what became of TLS, and which hint fits; nothing when it was not reached.
func (t *trail) handshake(name string, showed bool, alertHint string) []Step {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.handshakes == 0 {
		return nil
	}
	s := Step{Name: name, Milliseconds: ms(t.tlsTook)}
	if t.tlsErr != nil {
		s.State = Fail
		s.Detail, s.Hint = explainTLS(t.tlsErr, showed, alertHint)
		return []Step{s}
	}
	s.State, s.Detail, s.Hint = describeTLS(t.tlsState, time.Now())
	return []Step{s}
}

// cause is the innermost text of a network error, which names no address twice.
func cause(err error) string {
	if d, ok := errors.AsType[*net.DNSError](err); ok {
		return d.Err
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Err != nil && !strings.HasPrefix(err.Error(), "HTTP proxy") {
		return op.Err.Error()
	}
	return clean(err.Error(), 200)
}

// short joins the first n of a list.
func short(list []string, n int) string {
	if len(list) <= n {
		return strings.Join(list, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(list[:n], ", "), len(list)-n)
}

// clean makes text of others fit for a terminal and a log.
func clean(s string, limit int) string {
	s = strings.Map(func(r rune) rune {
		if r < 0x20 || r > 0x7e {
			return '?'
		}
		return r
	}, s)
	if len(s) > limit {
		return s[:limit] + "..."
	}
	return s
}

func ms(d time.Duration) int64 { return d.Milliseconds() }
