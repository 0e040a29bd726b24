package external

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"time"
)

// Bounds of what is read from a CA's servers.
const (
	maxList       = 32 << 20
	maxOCSPAnswer = 64 << 10
	listTimeout   = 30 * time.Second
)

// newClient makes the client that asks CAs. It follows no redirect: what is asked is what an operator has named or, for a responder that a certificate names, what
// the CA has signed. guarded says that the address may come from a certificate: link-local addresses, where clouds hand out their secrets, are not called then.
func newClient(guarded bool) *http.Client {
	dialer := &net.Dialer{Timeout: 5 * time.Second}
	if guarded {
		dialer.Control = func(_, address string, _ syscall.RawConn) error {
			if a, err := netip.ParseAddrPort(address); err != nil || a.Addr().Unmap().IsLinkLocalUnicast() || a.Addr().IsMulticast() {
				return fmt.Errorf("address %s is not called for a certificate's sake", address)
			}
			return nil
		}
	}
	return &http.Client{
		Transport: &http.Transport{
			DialContext: dialer.DialContext, TLSHandshakeTimeout: 5 * time.Second, ResponseHeaderTimeout: 10 * time.Second, MaxResponseHeaderBytes: 16 << 10,
			MaxIdleConns: 16, MaxIdleConnsPerHost: 4, IdleConnTimeout: 30 * time.Second, DisableCompression: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// read makes a request and takes the body of a 200, at most limit octets.
func read(client *http.Client, q *http.Request, limit int64) ([]byte, error) {
	response, err := client.Do(q)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answered %s; redirects are not followed", q.URL.Host, response.Status)
	}
	b, err := io.ReadAll(io.LimitReader(response.Body, limit+1))
	if err != nil {
		return nil, fmt.Errorf("reading the answer of %s: %w", q.URL.Host, err)
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("the answer of %s is longer than %d octets", q.URL.Host, limit)
	}
	return b, nil
}
