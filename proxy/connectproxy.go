package proxy

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/proxy/wire"
)

// connectProxy is a proxy of the company's through which a tenant and its token endpoint are called (CONNECT; RFC 9110, section 9.3.6). It sees their names
// and octets of TLS. Only the registry names one: proxies of the environment are ignored.
type connectProxy struct {
	dialer  net.Dialer
	address string
	tls     *tls.Config // nil: it is spoken with in the clear
}

func newConnectProxy(t *identity.Tenant, d net.Dialer) (*connectProxy, error) {
	u, err := url.Parse(t.HTTPProxy)
	if err != nil {
		return nil, fmt.Errorf("reading HTTP proxy of tenant %s: %w", t.Name, err)
	}
	c := &connectProxy{dialer: d, address: u.Host}
	if u.Scheme == "https" {
		// It is trusted with less than the tenant is, so it may come from the system's authorities though the tenant may not.
		roots, err := x509.SystemCertPool()
		if err != nil {
			roots = x509.NewCertPool()
		}
		roots.AppendCertsFromPEM([]byte(t.CABundle))
		c.tls = &tls.Config{MinVersion: tls.VersionTLS12, ServerName: u.Hostname(), RootCAs: roots, NextProtos: []string{"http/1.1"}}
	}
	return c, nil
}

// dialer is how connections begin, to a tenant or to a proxy. Which of several addresses is taken is its business (RFC 8305).
func (p *pool) dialer() net.Dialer {
	return net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second, Resolver: p.keep.resolver}
}

// reach connects to the tenant, by whichever way there is.
func (p *pool) reach(ctx context.Context, network, address string) (net.Conn, error) {
	if p.via != nil {
		return p.via.dial(ctx, network, address)
	}
	d := p.dialer()
	return d.DialContext(ctx, network, address)
}

// dial connects to the address, whose name only the proxy has to know.
func (c *connectProxy) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := c.dialer.DialContext(ctx, network, c.address)
	if err != nil {
		return nil, fmt.Errorf("HTTP proxy: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	through, err := c.ask(ctx, conn, address)
	if err != nil {
		conn.Close()
		if ctx.Err() == context.DeadlineExceeded {
			err = errors.New("no answer in time")
		}
		return nil, fmt.Errorf("HTTP proxy: %w", err)
	}
	return through, nil
}

// ask has the proxy connect to the address.
func (c *connectProxy) ask(ctx context.Context, conn net.Conn, address string) (net.Conn, error) {
	if !wire.ValidAuthority(address) {
		return nil, errors.New("the address cannot be asked for")
	}
	if c.tls != nil {
		below := newSocket(conn)
		t := &throughTLS{tls.Client(below, c.tls), below}
		if err := t.HandshakeContext(ctx); err != nil {
			return nil, fmt.Errorf("TLS handshake: %w", err)
		}
		conn = t
	}
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(past) })
	defer stop()
	if _, err := conn.Write(wire.AppendField([]byte("CONNECT "+address+" HTTP/1.1\r\n"), "Host", address+"\r\n")); err != nil {
		return nil, err
	}
	if err := connected(conn); err != nil {
		return nil, err
	}
	if !stop() {
		return nil, ctx.Err()
	}
	return conn, nil
}

// connected reads the proxy's answer, as strictly as a tenant's.
func connected(conn net.Conn) error {
	var in wire.Reader
	in.Init(conn)
	defer in.Discard()
	var resp wire.Response
	defer resp.Release()
	for range maxInterim {
		if err := in.ReadResponse(&resp, "CONNECT", tenantLimits); err != nil {
			return fmt.Errorf("reading its answer: %w", err)
		}
		switch {
		case resp.Status == 101:
			return errors.New("it switches protocols without being asked")
		case resp.Informational():
		case resp.Status == 407:
			return errors.New("it asks for a password (407), which is not supported")
		case resp.Status >= 300:
			return fmt.Errorf("it refuses with status %d", resp.Status)
		case in.Buffered() > 0: // a TLS server waits for its client: these octets are not the tenant's
			return errors.New("it sends more than its answer")
		default:
			return nil
		}
	}
	return errors.New("it sends interim answers without end")
}

// throughTLS is a connection through a proxy that is itself spoken with over TLS.
type throughTLS struct {
	*tls.Conn
	below *socket
}

// Close closes without ceremony: a write that hangs must not hold it up.
func (t *throughTLS) Close() error { return t.below.Close() }

// tryBelow is tryRead for a connection that is itself TLS.
func (s *socket) tryBelow(p []byte) (int, error) {
	s.below.mode = readEager
	n, err := s.Conn.Read(p)
	s.below.mode = readWaits
	return n, err
}
