package tenantsim

import (
	"bytes"
	"cmp"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// oauthProblem is an error answer of the token endpoint.
type oauthProblem struct {
	status            int
	code, description string
	challenge         bool // with WWW-Authenticate
}

// Error implements error.
func (p *oauthProblem) Error() string { return p.code + ": " + p.description }

func unauthorized(description string) *oauthProblem {
	return &oauthProblem{http.StatusUnauthorized, "invalid_client", description, true}
}

// serveToken is the token server, on both of its listeners.
func (s *Sim) serveToken(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/oauth/token", "/oauth2/token":
		sw := s.switches.Load()
		if s.spoiled(w, r, sw.TokenFault) || s.limited(w, r, sw.TokenRate) {
			return
		}
		reply, problem := s.grant(r, w.(*exchange))
		if problem != nil {
			problem.write(w)
			return
		}
		writeJSON(w, http.StatusOK, reply)
	case "/token_keys", "/oauth2/certs":
		s.mu.Lock()
		keys := s.issuer.keys()
		s.mu.Unlock()
		writeJSON(w, http.StatusOK, keys)
	case "/.well-known/openid-configuration":
		s.describe(w)
	default:
		writeNotFound(w)
	}
}

// describe answers with the token server's metadata. XSUAA's name the issuer of its tokens (TENANTS.md 2.6), on the host for certificates as
// well; Neo has none.
func (s *Sim) describe(w http.ResponseWriter) {
	issuer, endpoint, keys := s.url(Token)+"/oauth/token", s.TokenURL(), s.url(Token)+"/token_keys"
	switch s.switches.Load().Vendor {
	case Neo:
		writeNotFound(w)
		return
	case IAS:
		issuer, endpoint, keys = s.url(Token), s.url(Token)+"/oauth2/token", s.url(Token)+"/oauth2/certs"
	}
	writeJSON(w, http.StatusOK, map[string]any{
		"issuer": issuer, "token_endpoint": endpoint, "jwks_uri": keys,
		"grant_types_supported":                 []string{"client_credentials"},
		"token_endpoint_auth_methods_supported": []string{"client_secret_basic", "client_secret_post", "tls_client_auth", "private_key_jwt"},
		"mtls_endpoint_aliases":                 map[string]any{"token_endpoint": s.MTLSTokenURL()},
	})
}

// spoiled answers in the way of the fault, and reports whether it did.
func (s *Sim) spoiled(w http.ResponseWriter, r *http.Request, f *TokenFault) bool {
	if f == nil {
		return false
	}
	body, _ := io.ReadAll(io.LimitReader(r.Body, 1<<20)) // so that net/http notices when the client goes away
	r.Body = io.NopCloser(bytes.NewReader(body))         // a delay alone spoils nothing
	if !s.pause(r, f.Delay) {
		return true
	}
	switch {
	case f.Hang:
		s.pause(r, math.MaxInt64)
	case f.Redirect != "":
		http.Redirect(w, r, f.Redirect, http.StatusTemporaryRedirect)
	case f.Status != 0 || f.Body != "" || f.Size > 0:
		writeFault(w, f)
	default:
		return false
	}
	return true
}

func writeFault(w http.ResponseWriter, f *TokenFault) {
	for name, values := range f.Header {
		w.Header()[http.CanonicalHeaderKey(name)] = values
	}
	if w.Header().Get("Content-Type") == "" {
		w.Header().Set("Content-Type", "application/json")
	}
	if f.Truncate {
		w.Header().Set("Content-Length", strconv.Itoa(len(f.Body)+1))
	}
	w.WriteHeader(cmp.Or(f.Status, http.StatusOK))
	_, _ = io.WriteString(w, f.Body)
	padding := strings.Repeat(" ", 32<<10)
	for left := f.Size - int64(len(f.Body)); left > 0; left -= int64(len(padding)) {
		if _, err := io.WriteString(w, padding[:min(left, int64(len(padding)))]); err != nil {
			return
		}
	}
}

// pause waits, and reports false when the client or the Sim went away.
func (s *Sim) pause(r *http.Request, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-r.Context().Done():
	case <-s.done:
	}
	return false
}

// limited is the rate limit of TENANTS.md 2.4: what is above is queued, what is far above gets nginx's page.
func (s *Sim) limited(w http.ResponseWriter, r *http.Request, rate int) bool {
	if rate <= 0 {
		return false
	}
	now := time.Now()
	s.mu.Lock()
	if s.nextSlot.Before(now.Add(-time.Second)) {
		s.nextSlot = now.Add(-time.Second) // a second's worth at once
	}
	wait := s.nextSlot.Sub(now)
	refused := wait > time.Second
	if !refused {
		s.nextSlot = s.nextSlot.Add(time.Second / time.Duration(rate))
	}
	s.mu.Unlock()
	if !refused {
		return !s.pause(r, wait)
	}
	w.Header().Set("Retry-After", "1")
	writeHTML(w, http.StatusTooManyRequests, "<html>\r\n<head><title>429 Too Many Requests</title></head>\r\n<body>\r\n<center><h1>429 Too Many Requests</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n")
	return true
}

// grant is the client credentials grant (RFC 6749 section 4.4) with the error table of TENANTS.md 2.5.
func (s *Sim) grant(r *http.Request, x *exchange) (map[string]any, *oauthProblem) {
	if r.Method != http.MethodPost {
		return nil, &oauthProblem{status: http.StatusMethodNotAllowed, code: "method_not_allowed", description: "Request method '" + r.Method + "' not supported"}
	}
	r.Body = http.MaxBytesReader(x, r.Body, 1<<20)
	if err := r.ParseForm(); err != nil {
		return nil, &oauthProblem{status: http.StatusBadRequest, code: "invalid_request", description: "Malformed request"}
	}
	sw := s.switches.Load()
	s.mu.Lock()
	defer s.mu.Unlock()
	c, certificate, problem := s.authenticate(r, sw.Vendor)
	if problem != nil {
		return nil, problem
	}
	x.as(c.ID, false)
	switch grant := r.Form.Get("grant_type"); grant { // in the body or in the query string
	case "client_credentials":
	case "":
		return nil, &oauthProblem{status: http.StatusBadRequest, code: "invalid_request", description: "Missing grant type"}
	default:
		return nil, &oauthProblem{status: http.StatusBadRequest, code: "unsupported_grant_type", description: "Unsupported grant type"}
	}
	now := time.Now()
	roles, problem := narrowed(c.roles(now), r.Form.Get("scope"), sw.NarrowScope)
	if problem != nil {
		return nil, problem
	}
	return s.issue(c.ID, roles, certificate, sw, now)
}

// narrowed returns the roles that are granted when scopes are asked for.
func narrowed(roles []string, scope string, silently bool) ([]string, *oauthProblem) {
	wanted := strings.Fields(scope)
	if len(wanted) == 0 {
		return roles, nil
	}
	var granted []string
	for _, want := range wanted {
		want = strings.TrimPrefix(want, appName+".")
		switch {
		case slices.Contains(roles, want):
			granted = append(granted, want)
		case !silently:
			return nil, &oauthProblem{status: http.StatusBadRequest, code: "invalid_scope", description: want + " is invalid. Please use a valid scope name in the request"}
		}
	}
	return granted, nil
}

// issue makes the reply. s.mu is held.
func (s *Sim) issue(client string, roles []string, certificate *x509.Certificate, sw *Switches, now time.Time) (map[string]any, *oauthProblem) {
	lifetime := sw.TokenLifetime
	if lifetime == 0 {
		lifetime = time.Hour
	}
	scopes := make([]string, len(roles))
	for i, role := range roles {
		scopes[i] = appName + "." + role
	}
	token, id, err := s.issuer.sign(s.url(Token), client, scopes, certificate, now, lifetime)
	if err != nil {
		return nil, &oauthProblem{status: http.StatusInternalServerError, code: "server_error", description: "Signing failed"}
	}
	s.issuer.remember(token, issued{client: client, roles: slices.Clone(roles), expires: now.Add(lifetime)}, now)
	seconds := int64(lifetime/time.Second) - 1
	if lifetime < 10*time.Second {
		seconds = max(1, int64(lifetime/time.Second))
	}
	reply := map[string]any{"access_token": token, "token_type": "bearer", "expires_in": seconds, "scope": strings.Join(scopes, " "), "jti": id}
	switch sw.Vendor {
	case Neo:
		reply = map[string]any{"access_token": token, "token_type": "Bearer", "expires_in": 0, "scopes": []string{}}
	case IAS:
		reply["token_type"] = "Bearer"
	}
	if sw.TokenType != "" {
		reply["token_type"] = sw.TokenType
	}
	switch sw.ExpiresIn {
	case "":
	case "omit":
		delete(reply, "expires_in")
	default:
		reply["expires_in"] = json.RawMessage(sw.ExpiresIn)
	}
	return reply, nil
}

// authenticate finds the client of a token request. s.mu is held.
func (s *Sim) authenticate(r *http.Request, v Vendor) (*registered, *x509.Certificate, *oauthProblem) {
	bodyID := r.PostForm.Get("client_id")
	if tapOf(r.Context()) != nil && len(r.TLS.PeerCertificates) > 0 {
		leaf := r.TLS.PeerCertificates[0]
		c := s.clients[bodyID]
		if c == nil || !c.shown(leaf) {
			return nil, nil, unauthorized("Client authentication failed")
		}
		return c, leaf, nil
	}
	if r.PostForm.Get("client_assertion") != "" && v != Neo {
		c, problem := s.asserted(r, time.Now())
		return c, nil, problem
	}
	id, secret, problem := presented(r, v)
	if problem != nil {
		return nil, nil, problem
	}
	if bodyID != "" && bodyID != id {
		return nil, nil, unauthorized("Given client ID does not match authenticated client")
	}
	c := s.clients[id]
	if c == nil {
		return nil, nil, &oauthProblem{http.StatusUnauthorized, "unauthorized", "Bad credentials", true}
	}
	now := time.Now()
	if v == IAS && now.Before(c.locked) {
		return nil, nil, unauthorized("Client is locked")
	}
	if secret == "" || c.Secret != secret && !slices.Contains(c.secrets, secret) {
		if c.failures++; c.failures >= 5 {
			c.locked, c.failures = now.Add(time.Hour), 0
		}
		return nil, nil, &oauthProblem{http.StatusUnauthorized, "unauthorized", "Bad credentials", true}
	}
	c.failures = 0
	return c, nil, nil
}

// presented reads id and secret in the way the vendor does.
func presented(r *http.Request, v Vendor) (id, secret string, problem *oauthProblem) {
	authorization, basic := strings.CutPrefix(r.Header.Get("Authorization"), "Basic ")
	if !basic {
		if r.PostForm.Get("client_secret") == "" || v == Neo {
			return "", "", &oauthProblem{http.StatusUnauthorized, "unauthorized", "An Authentication object was not found in the SecurityContext", true}
		}
		return r.PostForm.Get("client_id"), r.PostForm.Get("client_secret"), nil
	}
	pair, err := base64.StdEncoding.DecodeString(authorization)
	id, secret, ok := strings.Cut(string(pair), ":")
	if err != nil || !ok {
		return "", "", unauthorized("Invalid basic authentication token")
	}
	if v == IAS || (v == XSUAA && r.Header.Get("X-CF-ENCODED-CREDENTIALS") == "true") {
		decodedID, err1 := url.QueryUnescape(id)
		decodedSecret, err2 := url.QueryUnescape(secret)
		if err1 != nil || err2 != nil {
			return "", "", unauthorized("Credentials are not form-urlencoded")
		}
		return decodedID, decodedSecret, nil
	}
	return id, secret, nil
}

func (p *oauthProblem) write(w http.ResponseWriter) {
	h := w.Header()
	if p.challenge {
		h.Set("WWW-Authenticate", fmt.Sprintf("Basic realm=%q, error=%q, error_description=%q", "UAA/client", p.code, p.description))
	}
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	writeJSON(w, p.status, map[string]any{"error": p.code, "error_description": p.description})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	h := w.Header()
	h.Set("Content-Type", "application/json;charset=UTF-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Pragma", "no-cache")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the client may have gone
}

func writeHTML(w http.ResponseWriter, status int, page string) {
	w.Header().Set("Content-Type", "text/html;charset=utf-8")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, page)
}

func writeNotFound(w http.ResponseWriter) {
	writeHTML(w, http.StatusNotFound, "<!doctype html><html lang=\"en\"><head><title>HTTP Status 404 – Not Found</title></head><body><h1>HTTP Status 404 – Not Found</h1></body></html>")
}
