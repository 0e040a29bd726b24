package enrolment

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
	"unicode"

	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/proxy/record"
)

// Client is a caller's side. Its methods return a *[Refusal] when the server refuses, and another error when there is no answer, or none that
// can be understood: then a certificate may have been issued, and the same request with the same key will get it. Safe for concurrent use.
type Client struct {
	base string
	http *http.Client
}

// maxAnswer bounds what is read of an answer.
const maxAnswer = 1 << 20

// ErrOtherCA is the end of a first contact: the server does not have the root that the token names.
var ErrOtherCA = errors.New("the server there is not the one that the token was made for: it has another CA")

// Pin makes the first contact: it fetches the roots from base without believing the server, and returns the one that has the fingerprint
// (SHA-256 of its DER). Nothing is sent but the request for the roots.
func Pin(ctx context.Context, base string, fingerprint [sha256.Size]byte) (*x509.Certificate, error) {
	// Whoever answers is not believed: what he sends must have the fingerprint.
	c := newClient(base, &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: true})
	defer c.http.CloseIdleConnections()
	body, err := c.do(ctx, http.MethodGet, "/v1/roots", "", nil)
	if err != nil {
		return nil, err
	}
	roots, err := pki.ParseCertificates(body)
	if err != nil {
		return nil, fmt.Errorf("reading the roots from %s: %w", base, err)
	}
	for _, root := range roots {
		if sha256.Sum256(root.Raw) == fingerprint {
			return root, nil
		}
	}
	return nil, ErrOtherCA
}

// NewClient returns a client of the enrolment listener at base, https://HOST:PORT, whose certificate must lead to one of the roots. It shows a
// certificate, if there is one.
func NewClient(base string, roots []*x509.Certificate, show *tls.Certificate) *Client {
	config := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: x509.NewCertPool()}
	for _, root := range roots {
		config.RootCAs.AddCert(root)
	}
	if show != nil { // whatever authorities the server names; crypto/tls would otherwise show none that does not lead to them
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return show, nil }
	}
	return newClient(base, config)
}

func newClient(base string, config *tls.Config) *Client {
	return &Client{base: base, http: &http.Client{
		Timeout:       30 * time.Second,
		Transport:     &http.Transport{TLSClientConfig: config, TLSHandshakeTimeout: 10 * time.Second, DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // a token follows none
	}}
}

// Enroll has a certificate issued for a request (PEM) and a token.
func (c *Client) Enroll(ctx context.Context, token *Token, csr []byte) (*Answer, error) {
	return c.ask(ctx, "/v1/enroll", token.Reveal(), csr)
}

// Renew has a certificate issued for a request (PEM), in the place of the one that the client shows.
func (c *Client) Renew(ctx context.Context, csr []byte) (*Answer, error) {
	return c.ask(ctx, "/v1/renew", "", csr)
}

func (c *Client) ask(ctx context.Context, path, token string, csr []byte) (*Answer, error) {
	body, err := c.do(ctx, http.MethodPost, path, token, csr)
	if err != nil {
		return nil, err
	}
	var a Answer
	if err := json.Unmarshal(body, &a); err != nil {
		return nil, fmt.Errorf("reading the server's answer: %w", err)
	}
	return &a, nil
}

func (c *Client) do(ctx context.Context, method, path, token string, content []byte) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(content))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept", "application/json")
	if content != nil {
		request.Header.Set("Content-Type", requestType)
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading the server's answer: %w", err)
	case len(body) > maxAnswer:
		return nil, errors.New("reading the server's answer: it is longer than 1 MiB")
	case response.StatusCode == http.StatusOK:
		return body, nil
	}
	refused := &Refusal{}
	if !strings.HasPrefix(response.Header.Get("Content-Type"), record.ProblemContentType) || json.Unmarshal(body, refused) != nil {
		return nil, fmt.Errorf("there is no enrolment listener at %s: the answer was %d", c.base, response.StatusCode)
	}
	refused.Status = response.StatusCode
	refused.Detail, refused.Hint = plain(refused.Detail), plain(refused.Hint)
	return nil, refused
}

// plain is a text that somebody who is not believed yet has sent, fit to be shown on a terminal.
func plain(s string) string {
	const most = 500
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return '·'
		}
		return r
	}, s)
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "..."
	}
	return s
}
