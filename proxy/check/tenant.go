package check

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"time"
)

// Reach connects to the tenant and shakes hands, and sends nothing: nothing there can be executed.
func (w *Way) Reach(ctx context.Context) []Step {
	ctx, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	t := &trail{}
	conn, err := w.Dial(httptrace.WithClientTrace(ctx, t.hooks()), "tcp", w.Address)
	steps := t.connection(StepTenantDNS, StepTenantTCP, w.Via, err)
	if err != nil {
		return steps
	}
	defer conn.Close()
	if w.TLS == nil {
		return append(steps, Step{Name: StepTenantTLS, State: Skipped, Detail: "a tenant on loopback, spoken with in the clear"})
	}
	return append(steps, w.shake(ctx, conn, t)...)
}

// reachTimeout bounds reaching a tenant.
const reachTimeout = 15 * time.Second

// lateAlert is how long a server is given to say that it wanted another certificate: what it says takes one way there and back.
func (t *trail) lateAlert() time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	return time.Now().Add(min(300*time.Millisecond+3*t.tcpTook, 3*time.Second))
}

// shake is the handshake as callers' connections have it. TLS 1.3 servers refuse a client certificate only behind it.
func (w *Way) shake(ctx context.Context, conn net.Conn, t *trail) []Step {
	config := w.TLS.Clone()
	config.ClientSessionCache = nil
	asked, showed, show := false, config.GetClientCertificate != nil, config.GetClientCertificate
	config.GetClientCertificate = func(i *tls.CertificateRequestInfo) (*tls.Certificate, error) {
		asked = true
		if show == nil {
			return new(tls.Certificate), nil
		}
		return show(i)
	}
	t.hooks().TLSHandshakeStart()
	client := tls.Client(conn, config)
	err := client.HandshakeContext(ctx)
	t.shaken(client.ConnectionState(), err)
	if err == nil && asked && client.ConnectionState().Version == tls.VersionTLS13 {
		_ = conn.SetReadDeadline(t.lateAlert())
		_, late := client.Read(make([]byte, 1))
		if op, ok := errors.AsType[*net.OpError](late); ok && op.Op == "remote error" {
			err = late
		}
	}
	if err != nil {
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			err = errTimeout
		}
		t.shaken(tls.ConnectionState{}, err)
	}
	steps := t.handshake(StepTenantTLS, showed, "show it the credential's certificate: tenant set NAME --client-certificate credential")
	if agreed := client.ConnectionState().NegotiatedProtocol; w.HTTP2 && (noProtocol(err) || err == nil && agreed != alpnHTTP2) {
		return append(steps[:len(steps)-1], Step{Name: StepTenantTLS, State: Fail, Detail: "the tenant does not choose HTTP/2 (ALPN h2), which is what its protocol says",
			Hint: "where it speaks HTTP/1.1 only: tenant set NAME --protocol http1; a proxy that looks into TLS may be in between"})
	}
	if asked && err == nil {
		last := &steps[len(steps)-1]
		if showed {
			last.Detail += "; it asks for a client certificate and is shown the credential's"
		} else {
			last.Detail += "; it asks for a client certificate and does without"
		}
	}
	return steps
}

const alpnHTTP2 = "h2"

// noProtocol reports whether a server ended the handshake because it speaks none of the protocols that it was offered (RFC 7301, section 3.2). Of that alert
// crypto/tls shows its text only.
func noProtocol(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "remote error" && strings.HasSuffix(op.Err.Error(), "no application protocol")
}

// Probe is a request to the tenant.
type Probe struct {
	Method string // GET or HEAD
	URL    string
}

// probe makes the request that the operator has named, with the token, and tells what came back. The body is not kept.
func (w *Way) probe(ctx context.Context, p *Probe, authorization string) Step {
	s := Step{Name: StepTenantProbe}
	ctx, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, p.Method, p.URL, nil)
	if err != nil {
		s.State, s.Detail = Fail, "the address cannot be asked for"
		return s
	}
	request.Header.Set("Authorization", authorization)
	transport := &http.Transport{DialContext: w.Dial, TLSClientConfig: w.TLS.Clone(), DisableKeepAlives: true, DisableCompression: true,
		MaxResponseHeaderBytes: 64 << 10, Protocols: new(http.Protocols)}
	transport.Protocols.SetHTTP1(!w.HTTP2)
	transport.Protocols.SetHTTP2(w.HTTP2)
	transport.Protocols.SetUnencryptedHTTP2(w.HTTP2)
	defer transport.CloseIdleConnections()
	began := time.Now()
	response, err := transport.RoundTrip(request) // not a Client: redirects are told, and not followed with a token
	s.Milliseconds = ms(time.Since(began))
	if err != nil {
		s.State, s.Detail = Fail, clean(withoutURL(err), 200)
		return s
	}
	defer response.Body.Close()
	_, _ = io.CopyN(io.Discard, response.Body, 1<<10)
	kind, _, _ := strings.Cut(response.Header.Get("Content-Type"), ";")
	s.Detail = fmt.Sprintf("%s %s: status %d", p.Method, clean(request.URL.RequestURI(), 80), response.StatusCode)
	if kind != "" {
		s.Detail += " (" + clean(kind, 40) + ")"
	}
	s.State, s.Hint = probed(response)
	return s
}

func withoutURL(err error) string {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return op.Err.Error()
	}
	return err.Error()
}

// probed judges an answer of the tenant (TENANTS.md 3.1-3.5).
func probed(r *http.Response) (State, string) {
	switch {
	case r.StatusCode == http.StatusUnauthorized:
		return Fail, "the tenant does not accept the token: is it from the token server of the same subaccount, and for this host?"
	case r.StatusCode == http.StatusForbidden && strings.EqualFold(r.Header.Get("X-CSRF-Token"), "required"):
		return Warn, "the tenant wants a CSRF token there; the token itself was accepted"
	case r.StatusCode == http.StatusForbidden:
		return Fail, "the client lacks the role that this path wants; a change of roles may take up to an hour to act"
	case r.StatusCode == http.StatusNotFound:
		return Warn, "nothing is deployed there, or the path belongs to the other host or prefix (/http, /cxf, /api/v1)"
	case r.StatusCode >= 500:
		return Warn, "the tenant was reached and has a problem there"
	case r.StatusCode/100 == 3:
		return Warn, "the tenant redirects: callers are handed that answer as it is"
	}
	return OK, ""
}
