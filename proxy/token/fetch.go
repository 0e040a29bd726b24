package token

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
)

// fetch makes exactly one request to the token endpoint and reads the answer.
//
// golang.org/x/oauth2 forms the request (RFC 6749 section 4.4.2). The answer is read by exchange below, which hands the
// library a plain one: the library fails on an expires_in of 60.0, keeps a token without one for ever, and puts the raw
// body, which may echo the secret, into its error.
func (e *Engine) fetch(ctx context.Context, c Credential) (*reply, *Error) {
	if err := c.Validate(); err != nil {
		return nil, &Error{Step: StepRequest, Host: c.host(), Description: c.clean(err.Error(), maxDescription)}
	}
	at, failed := e.endpoint(ctx, c)
	if failed != nil {
		return nil, failed
	}
	transport := e.transport(c)
	defer transport.CloseIdleConnections()
	x := &exchange{credential: c, host: hostOf(at.tokenURL), maxBody: e.maxBody(), base: transport}
	params, err := x.parameters(at)
	if err != nil {
		return nil, &Error{Step: StepRequest, Host: x.host, Description: x.clean(err.Error(), maxDescription)}
	}
	config := clientcredentials.Config{ClientID: c.ClientID, TokenURL: at.tokenURL, Scopes: strings.Fields(c.Scope),
		EndpointParams: params, AuthStyle: oauth2.AuthStyleInParams}
	switch c.Style {
	case Basic, BasicRaw:
		config.AuthStyle, config.ClientSecret = oauth2.AuthStyleInHeader, c.Secret.Reveal()
	case Body:
		config.ClientSecret = c.Secret.Reveal()
	}
	httpClient := &http.Client{
		Transport:     x, // no Jar: no cookies
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	ctx = context.WithValue(x.trace(ctx), oauth2.HTTPClient, httpClient)
	_, err = config.Token(ctx)
	if err == nil && x.reply != nil {
		return x.reply, nil
	}
	var known *Error
	if !errors.As(err, &known) {
		known = x.broken(err)
	}
	if known.Step == StepDial || known.Status == http.StatusNotFound || known.Status/100 == 3 {
		e.discoveries.doubt(c) // it may have moved
	}
	return nil, known
}

// parameters are the form's fields beside those that the library knows.
func (x *exchange) parameters(at endpoint) (url.Values, error) {
	c := &x.credential
	params, err := url.ParseQuery(c.Parameters)
	if err != nil || c.Style != PrivateKeyJWT {
		return params, err
	}
	audience := c.AssertionAudience
	switch audience {
	case "":
		audience = at.tokenURL
	case IssuerAudience:
		audience = at.issuer
	}
	assertion, err := c.Assertion.sign(c.ClientID, audience, time.Now())
	if err != nil {
		return nil, err
	}
	x.assertion = NewSecret(assertion)
	params.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
	params.Set("client_assertion", assertion)
	return params, nil
}

// transport serves one request: fetches are half a token's lifetime apart, so nothing is gained by keeping a connection,
// and nothing can be shared between identities that does not exist.
func (e *Engine) transport(c Credential) *http.Transport {
	config := &tls.Config{RootCAs: c.RootCAs, MinVersion: tls.VersionTLS12}
	if c.Style == MTLS {
		// Not Certificates: crypto/tls would silently send none if it chains to none of the authorities that the server names.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return c.Certificate, nil }
	}
	dial, proxy := e.Dial, e.Proxy
	switch {
	case c.Dial != nil:
		dial, proxy = c.Dial, nil
	case dial == nil:
		dial = (&net.Dialer{}).DialContext
	}
	return &http.Transport{
		DialContext: dial, Proxy: proxy, TLSClientConfig: config, DisableKeepAlives: true, DisableCompression: true,
		MaxResponseHeaderBytes: 64 << 10,
	}
}

// exchange is the round tripper of one fetch.
type exchange struct {
	credential Credential
	assertion  Secret // what PrivateKeyJWT sent
	host       string
	maxBody    int64
	base       http.RoundTripper
	step       atomic.Pointer[Step] // how far the connection got; written by the transport's goroutines
	reply      *reply
}

// trace notes how far the connection gets.
func (x *exchange) trace(ctx context.Context) context.Context {
	reach := func(s Step) { x.step.Store(&s) }
	reach(StepDial)
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		TLSHandshakeStart: func() { reach(StepTLS) },
		GotConn:           func(httptrace.GotConnInfo) { reach(StepRequest) },
	})
}

// RoundTrip implements [http.RoundTripper]. Any answer but a usable token becomes an *Error here.
func (x *exchange) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	req.Header.Set("Accept", "application/json")
	x.authenticate(req.Header)
	res, err := x.base.RoundTrip(req)
	if err != nil {
		return nil, x.broken(err)
	}
	defer res.Body.Close()
	noticed(req.Context(), res)
	body, err := io.ReadAll(io.LimitReader(res.Body, x.maxBody+1))
	if err != nil && res.StatusCode == http.StatusOK {
		return nil, x.broken(err)
	}
	if res.StatusCode != http.StatusOK {
		return nil, x.status(res, body)
	}
	if int64(len(body)) > x.maxBody {
		return nil, x.problem(StepParse, res, fmt.Sprintf("the answer is larger than %d bytes", x.maxBody))
	}
	if code, description := oauthError(body); code != "" { // some servers answer 200
		return nil, x.oauth(res, code, description)
	}
	r, err := parseReply(body)
	if err != nil {
		return nil, x.problem(StepParse, res, err.Error()+contentType(res))
	}
	if r.scopeTold {
		if missing := missingScopes(x.credential.Scope, r.scope); len(missing) > 0 {
			return nil, x.problem(StepScope, res, "the token lacks "+strings.Join(missing, " "))
		}
	}
	x.reply = r
	plain := []byte(`{"access_token":"redacted","token_type":"Bearer"}`) // the token itself stays here
	return &http.Response{Status: "200 OK", StatusCode: http.StatusOK, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"Content-Type": {"application/json"}}, Request: req,
		ContentLength: int64(len(plain)), Body: io.NopCloser(bytes.NewReader(plain))}, nil
}

// authenticate adapts what the library wrote into Authorization.
func (x *exchange) authenticate(h http.Header) {
	id, secret := x.credential.ClientID, x.credential.Secret.Reveal()
	switch x.credential.Style {
	case BasicRaw:
		h.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(id+":"+secret)))
	case Basic:
		if url.QueryEscape(id) != id || url.QueryEscape(secret) != secret {
			h.Set("X-CF-ENCODED-CREDENTIALS", "true") // TENANTS.md 2.1
		}
	}
}

// status turns an answer other than 200 into an error.
func (x *exchange) status(res *http.Response, body []byte) *Error {
	if res.StatusCode/100 == 3 {
		target := "elsewhere"
		if u, err := res.Location(); err == nil {
			target = "to " + u.Scheme + "://" + u.Host
		}
		return x.problem(StepStatus, res, "the server redirects "+target+", which is not followed with a secret")
	}
	code, description := oauthError(body)
	if code == "" && description == "" {
		description = strings.TrimPrefix(contentType(res), " ")
	}
	return x.oauth(res, code, description)
}

// oauth judges an error answer: is this client refused, or has the server a problem?
func (x *exchange) oauth(res *http.Response, code, description string) *Error {
	step := StepStatus
	switch code {
	case "invalid_client", "unauthorized_client", "unauthorized", "access_denied":
		step = StepRefused
	case "invalid_request":
		if x.undecodable() {
			step = StepRefused
		}
	}
	if res.StatusCode == http.StatusUnauthorized || res.StatusCode == http.StatusForbidden {
		step = StepRefused
	}
	err := x.problem(step, res, description)
	err.Code = x.clean(code, maxCode)
	return err
}

// undecodable reports whether the credentials went out in a form that a strict reader of RFC 6749 section 2.3.1 cannot decode: to it a
// raw '%' is a broken escape, which it calls an invalid request where it means a failed log-on. Trying again would be one more.
func (x *exchange) undecodable() bool {
	_, idErr := url.QueryUnescape(x.credential.ClientID)
	_, secretErr := url.QueryUnescape(x.credential.Secret.Reveal())
	return x.credential.Style == BasicRaw && (idErr != nil || secretErr != nil)
}

func (x *exchange) problem(step Step, res *http.Response, description string) *Error {
	return &Error{Step: step, Host: x.host, Status: res.StatusCode, RetryAfter: retryAfter(res, time.Now()),
		Description: x.clean(description, maxDescription)}
}

// clean is [Credential.clean] with the assertion masked as well.
func (x *exchange) clean(text string, limit int) string {
	if assertion := x.assertion.Reveal(); assertion != "" {
		text = strings.ReplaceAll(text, assertion, redacted)
	}
	return x.credential.clean(text, limit)
}

// broken turns a failure of the connection into an error. The system's text is kept, masked; the system's error is not,
// because net/http quotes what it cannot parse.
func (x *exchange) broken(err error) *Error {
	step := *x.step.Load()
	var op *net.OpError
	if errors.As(err, &op) && (op.Op == "remote error" || op.Op == "local error") {
		step = StepTLS // an alert that came after the handshake, as TLS 1.3 does for a missing client certificate
	}
	e := &Error{Step: step, Host: x.host}
	text := "no token in the answer"
	if err != nil {
		text = err.Error()
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		e.cause, text = context.DeadlineExceeded, "no answer in time"
	case errors.Is(err, context.Canceled):
		e.cause = context.Canceled
	}
	e.Description = x.clean(text, maxDescription)
	return e
}

// oauthError reads an error answer (RFC 6749 section 5.2), if it is one.
func oauthError(body []byte) (code, description string) {
	fields, err := object(body)
	if err != nil {
		return "", ""
	}
	code, _ = text(fields, "error")
	description, _ = text(fields, "error_description")
	return code, description
}

// contentType describes what came in place of what was expected.
func contentType(res *http.Response) string {
	kind, _, _ := strings.Cut(res.Header.Get("Content-Type"), ";")
	if kind == "" || kind == "application/json" {
		return ""
	}
	return " (the answer calls itself " + kind + ")"
}

// retryAfter reads Retry-After, seconds or a date (RFC 9110 section 10.2.3); 0 if there is none that lies ahead.
func retryAfter(res *http.Response, now time.Time) time.Duration {
	value := strings.TrimSpace(res.Header.Get("Retry-After"))
	if seconds, err := strconv.ParseInt(value, 10, 64); err == nil {
		return time.Duration(min(max(seconds, 0), 365*24*3600)) * time.Second
	}
	if date, err := http.ParseTime(value); err == nil {
		return max(date.Sub(now), 0)
	}
	return 0
}

// hostOf names the token server: its host, in lower case, and its port unless it is that of https.
func hostOf(tokenURL string) string {
	u, err := url.Parse(tokenURL)
	if err != nil {
		return ""
	}
	host := strings.ToLower(u.Host)
	if u.Scheme == "https" {
		host = strings.TrimSuffix(host, ":443")
	}
	return host
}
