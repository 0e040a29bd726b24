package token

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// metadata are what an authorization server says of itself (RFC 8414 section 2, RFC 8705 section 5), as far as it matters here.
type metadata struct{ issuer, tokenURL, mtlsTokenURL string }

// endpoint returns the one for the style: with certificates it may be another (RFC 8705 section 5).
func (m *metadata) endpoint(style Style) endpoint {
	if style == MTLS {
		return endpoint{cmp.Or(m.mtlsTokenURL, m.tokenURL), m.issuer}
	}
	return endpoint{m.tokenURL, m.issuer}
}

// readMetadata asks at the two places where metadata may be: OpenID Connect Discovery 1.0 section 4 and RFC 8414 section 3.
func (e *Engine) readMetadata(ctx context.Context, c Credential) (*metadata, *Error) {
	u, err := url.Parse(c.Issuer)
	if err != nil {
		return nil, c.undiscovered(err)
	}
	path := strings.TrimRight(u.EscapedPath(), "/")
	origin := u.Scheme + "://" + u.Host
	open := c
	open.Style = "" // no certificate is shown to whoever tells the way
	transport := e.transport(open)
	defer transport.CloseIdleConnections()
	client := &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	var failed *Error
	for _, at := range []string{origin + path + "/.well-known/openid-configuration", origin + "/.well-known/oauth-authorization-server" + path} {
		body, err := e.get(ctx, client, c, at)
		if err == nil {
			m, err := c.judgeMetadata(body)
			if err != nil {
				return nil, c.undiscovered(err)
			}
			return m, nil
		}
		if failed = err; err.Status/100 != 4 || err.Status == http.StatusTooManyRequests {
			break // the next place is at the same server
		}
	}
	return nil, failed
}

// get reads one document.
func (e *Engine) get(ctx context.Context, client *http.Client, c Credential, at string) ([]byte, *Error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return nil, c.undiscovered(errors.New("the address of the metadata cannot be built"))
	}
	req.Header.Set("Accept", "application/json")
	res, err := client.Do(req)
	if err != nil {
		return nil, c.undiscovered(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, e.maxBody()+1))
	switch {
	case res.StatusCode != http.StatusOK:
		failed := c.undiscovered(errors.New("no metadata at " + req.URL.Path + contentType(res)))
		if res.StatusCode/100 == 3 {
			failed = c.undiscovered(errors.New("the server redirects from " + req.URL.Path + ", which is not followed: give the issuer that its metadata name"))
		}
		failed.Status, failed.RetryAfter = res.StatusCode, retryAfter(res, time.Now())
		return nil, failed
	case err != nil:
		return nil, c.undiscovered(err)
	case int64(len(body)) > e.maxBody():
		return nil, c.undiscovered(fmt.Errorf("the metadata are larger than %d bytes", e.maxBody()))
	}
	return body, nil
}

// judgeMetadata reads a document. What it names decides where a secret goes.
func (c Credential) judgeMetadata(body []byte) (*metadata, error) {
	fields, err := object(body)
	if err != nil {
		return nil, err
	}
	m := &metadata{}
	if m.issuer, err = text(fields, "issuer"); err != nil {
		return nil, err
	}
	if !c.isIssuer(m.issuer) {
		return nil, fmt.Errorf("the metadata are of issuer %q (RFC 8414 section 3.3): if that is the one, configure it so", m.issuer)
	}
	if m.tokenURL, err = text(fields, "token_endpoint"); err != nil {
		return nil, err
	}
	if m.tokenURL == "" {
		return nil, errors.New("the metadata name no token_endpoint")
	}
	if raw, ok := fields["mtls_endpoint_aliases"]; ok && !isNull(raw) {
		var aliases map[string]json.RawMessage
		if json.Unmarshal(raw, &aliases) != nil {
			return nil, errors.New("mtls_endpoint_aliases is no JSON object")
		}
		if m.mtlsTokenURL, err = text(aliases, "token_endpoint"); err != nil {
			return nil, err
		}
	}
	for _, address := range []string{m.tokenURL, m.mtlsTokenURL} {
		if address == "" {
			continue
		}
		if err := c.checkURL("token_endpoint of the metadata", address); err != nil {
			return nil, err
		}
		if strings.HasPrefix(c.Issuer, "https:") && !strings.HasPrefix(address, "https:") {
			return nil, errors.New("the metadata name a token_endpoint that is not https")
		}
	}
	return m, nil
}

// isIssuer compares with the issuer that was asked for, octet by octet (RFC 8414 section 3.3), but for one vendor's habit: XSUAA's
// metadata lie below https://<host> and name the issuer https://<host>/oauth/token, the one of its tokens (TENANTS.md 2.6).
func (c Credential) isIssuer(name string) bool {
	if name == c.Issuer {
		return true
	}
	asked, err := url.Parse(c.Issuer)
	return err == nil && (asked.Path == "" || asked.Path == "/") && name == asked.Scheme+"://"+asked.Host+"/oauth/token"
}

// undiscovered is the error of a discovery.
func (c Credential) undiscovered(err error) *Error {
	e := &Error{Step: StepDiscover, Host: hostOf(c.Issuer)}
	text := err.Error()
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		e.cause, text = context.DeadlineExceeded, "no answer in time"
	case errors.Is(err, context.Canceled):
		e.cause = context.Canceled
	}
	e.Description = c.clean(text, maxDescription)
	return e
}
