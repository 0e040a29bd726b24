package servercert

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// The bounds on what an ACME server may cost: it is believed in what it certifies, and in nothing else.
const (
	maxACMEAnswer  = 512 << 10 // bytes; a directory, an order, a chain
	maxACMEError   = 16 << 10  // bytes; it comes into logs
	acmeTimeout    = 30 * time.Second
	attemptTimeout = 5 * time.Minute // from account to certificate
)

// newHTTPClient makes the client that speaks with the ACME server: TLS only, verified by roots (nil is the system's), no redirect, no answer larger than
// the bound. A proxy of the environment is used.
func newHTTPClient(roots *x509.CertPool) *http.Client {
	transport := &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
		TLSHandshakeTimeout:    10 * time.Second,
		ResponseHeaderTimeout:  acmeTimeout,
		MaxResponseHeaderBytes: 64 << 10,
		ForceAttemptHTTP2:      true,
		IdleConnTimeout:        10 * time.Second,
	}
	return &http.Client{
		Transport: &bounded{transport},
		Timeout:   acmeTimeout,
		// RFC 8555 knows no redirect but for the directory's users; a signed request belongs to the address it was signed for.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// bounded refuses to send in the clear, and to read more than the bound.
type bounded struct{ *http.Transport }

var errLargeAnswer = errors.New("the ACME server's answer is larger than 512 KiB, or its error larger than 16 KiB")

// RoundTrip implements [http.RoundTripper].
func (b *bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme != "https" {
		return nil, fmt.Errorf("the ACME server names %.200s, which is not https", r.URL)
	}
	response, err := b.Transport.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if response.StatusCode >= 300 && response.StatusCode < 400 {
		response.Body.Close()
		return nil, fmt.Errorf("the ACME server redirects %.200s to %.200q: name the address itself", r.URL, response.Header.Get("Location"))
	}
	limit := maxACMEAnswer
	if response.StatusCode >= 400 {
		limit = maxACMEError
	}
	response.Body = &boundedBody{response.Body, limit}
	return response, nil
}

type boundedBody struct {
	io.ReadCloser
	left int
}

// Read implements [io.Reader].
func (b *boundedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.left -= n; b.left < 0 {
		return 0, errLargeAnswer
	}
	return n, err
}
