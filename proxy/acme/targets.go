package acme

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Targets says which hosts the server may call to look at their answers to challenges. The names are the operator's (an account asks for no others), but
// what they lead to is not: a caller who can change a DNS record must not make the server call what only the server can reach.
type Targets struct {
	// Allow are the networks in which callers' hosts are. An address outside of them is never called; empty allows none.
	Allow []netip.Prefix
	// UnsafeLoopback allows addresses of the server itself, if Allow has them: for tests on one machine.
	UnsafeLoopback bool
	// HTTPPort and TLSPort are where http-01 and tls-alpn-01 are looked for; 0 is 80 and 443 (RFC 8555 section 8.3, RFC 8737 section 3). On others, whoever
	// may open a port on a host can prove to have it.
	HTTPPort, TLSPort int
	// Resolve finds the addresses of a host; nil asks the system's resolver.
	Resolve func(ctx context.Context, host string) ([]netip.Addr, error)
}

// The bounds of one look.
const (
	lookTimeout   = 8 * time.Second // for all of it
	dialTimeout   = 3 * time.Second // for one address
	maxAnswer     = 4 << 10         // a key authorization has 90 characters
	maxAnswerHead = 16 << 10
	maxRedirects  = 3
	maxAddresses  = 4 // that are tried
)

// errNotAllowed is why an address was not called. Its text is for the record; the client is not told what a name leads to.
var errNotAllowed = errors.New("the name leads to no address that may be called")

// never are addresses that are not called whatever is allowed: they mean this machine, this link, nobody, everybody, another address, or where clouds
// hand out credentials.
var never = prefixes(
	"0.0.0.0/8", "169.254.0.0/16", "192.0.0.0/24", "224.0.0.0/4", "240.0.0.0/4", // "this" network, link-local (metadata), IETF, multicast, reserved and broadcast
	"100.100.100.200/32", "168.63.129.16/32", // metadata and wire server of two clouds
	"::/96", "64:ff9b::/96", "64:ff9b:1::/48", "2001::/23", "2002::/16", // unspecified, and tunnels to IPv4 addresses
	"fe80::/10", "fec0::/10", "ff00::/8", "fd00:ec2::/32", // link-local, site-local, multicast, metadata
)

var loopback = prefixes("127.0.0.0/8", "::1/128")

func prefixes(list ...string) []netip.Prefix {
	var all []netip.Prefix
	for _, s := range list {
		all = append(all, netip.MustParsePrefix(s))
	}
	return all
}

func within(list []netip.Prefix, a netip.Addr) bool {
	for _, p := range list {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// Allows reports whether an address may be called.
func (t *Targets) Allows(a netip.Addr) bool {
	if a.Zone() != "" {
		return false
	}
	a = a.Unmap()
	switch {
	case !a.IsValid():
		return false
	case within(loopback, a):
		return t.UnsafeLoopback && within(t.Allow, a)
	}
	return !within(never, a) && within(t.Allow, a)
}

func (t *Targets) httpPort() string { return port(t.HTTPPort, 80) }
func (t *Targets) tlsPort() string  { return port(t.TLSPort, 443) }

func port(given, usual int) string {
	if given == 0 {
		given = usual
	}
	return strconv.Itoa(given)
}

// look is one look at an answer, bounded by its context. It implements smallstep's acme.Client, whose methods carry none.
type look struct {
	ctx     context.Context
	targets *Targets
	refused error // that no address was allowed
}

// dial calls the host at an address that it leads to and that may be called. The address that was judged is the one that is called.
func (l *look) dial(ctx context.Context, _, hostPort string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(hostPort)
	if err != nil {
		return nil, err
	}
	if port != l.targets.httpPort() && port != l.targets.tlsPort() {
		return nil, fmt.Errorf("port %s is not one of a challenge", port)
	}
	addresses, err := l.resolve(ctx, host)
	if err != nil {
		return nil, err
	}
	dialer := net.Dialer{Timeout: dialTimeout, KeepAlive: -1}
	for _, a := range addresses {
		var conn net.Conn
		if conn, err = dialer.DialContext(ctx, "tcp", net.JoinHostPort(a.String(), port)); err == nil {
			return conn, nil
		}
	}
	return nil, err
}

// resolve finds the addresses that may be called: one at least.
func (l *look) resolve(ctx context.Context, host string) ([]netip.Addr, error) {
	resolve := l.targets.Resolve
	if resolve == nil {
		resolve = lookup
	}
	found, err := resolve(ctx, host)
	if err != nil {
		return nil, err
	}
	var good []netip.Addr
	for _, a := range found {
		if l.targets.Allows(a) && len(good) < maxAddresses {
			good = append(good, a.Unmap())
		}
	}
	if len(good) == 0 {
		l.refused = fmt.Errorf("%w: %v", errNotAllowed, found)
		return nil, l.refused
	}
	return good, nil
}

// lookup asks the system's resolver, and leaves its search list to names without a dot, which are nothing without one.
func lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	if strings.Contains(host, ".") {
		host += "."
	}
	return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
}

// Get fetches the answer to http-01. It follows a redirect to the same host alone, on the ports of the two challenges; a certificate there is not judged
// (RFC 8555 section 8.3). No proxy, no cookie, no compression.
func (l *look) Get(address string) (*http.Response, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, err
	}
	host := u.Hostname()
	u.Host = net.JoinHostPort(host, l.targets.httpPort())
	request, err := http.NewRequestWithContext(l.ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	request.Host = host // the port is a setting of ours
	request.Header.Set("User-Agent", "tenantgate-acme")
	transport := &http.Transport{
		DialContext: l.dial, DisableKeepAlives: true, DisableCompression: true, MaxResponseHeaderBytes: maxAnswerHead,
		// The host's certificate is what it is about to ask for.
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12, ServerName: host},
	}
	client := &http.Client{Transport: transport, CheckRedirect: l.redirect(host)}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		response.Body.Close()
		return nil, fmt.Errorf("the answer was %d", response.StatusCode)
	}
	response.Body = bounded{io.LimitReader(response.Body, maxAnswer), response.Body}
	return response, nil
}

type bounded struct {
	io.Reader
	io.Closer
}

func (l *look) redirect(host string) func(*http.Request, []*http.Request) error {
	return func(next *http.Request, before []*http.Request) error {
		u := next.URL
		switch {
		case len(before) > maxRedirects:
			return errors.New("too many redirects")
		case u.User != nil, u.Hostname() != host:
			return errors.New("a redirect to another host")
		case u.Scheme == "http" && (u.Port() == "" || u.Port() == "80" || u.Port() == l.targets.httpPort()):
			u.Host = net.JoinHostPort(host, l.targets.httpPort())
		case u.Scheme == "https" && (u.Port() == "" || u.Port() == "443" || u.Port() == l.targets.tlsPort()):
			u.Host = net.JoinHostPort(host, l.targets.tlsPort())
		default:
			return errors.New("a redirect to another scheme or port")
		}
		next.Host = host
		return nil
	}
}

// LookupTxt refuses: dns-01 is not offered.
func (l *look) LookupTxt(string) ([]string, error) { return nil, errors.New("dns-01 is not offered") }

// TLSDial shakes hands for tls-alpn-01.
func (l *look) TLSDial(network, hostPort string, config *tls.Config) (*tls.Conn, error) {
	host, _, err := net.SplitHostPort(hostPort)
	if err != nil {
		return nil, err
	}
	raw, err := l.dial(l.ctx, network, net.JoinHostPort(host, l.targets.tlsPort()))
	if err != nil {
		return nil, err
	}
	conn := tls.Client(raw, config)
	if err := conn.HandshakeContext(l.ctx); err != nil {
		raw.Close()
		return nil, err
	}
	return conn, nil
}
