package outside

import (
	"bufio"
	"bytes"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// OAuthClient is a client of the token server.
type OAuthClient struct {
	ID     string `json:"id"`
	Secret string `json:"secret,omitempty"`
	// Method is client_secret_basic, client_secret_post, tls_client_auth, self_signed_tls_client_auth or private_key_jwt.
	Method string `json:"method"`
	// JWKS is the key set of self_signed_tls_client_auth (with x5c) and private_key_jwt, JSON.
	JWKS json.RawMessage `json:"jwks,omitempty"`
	// Algorithm is the only one that the client may sign with; "" is any of RS256, PS256, ES256, ES384 and EdDSA.
	Algorithm string `json:"alg,omitempty"`
	// Subject is the subject that tls_client_auth asks for, as RFC 4514 writes it.
	Subject string `json:"subject,omitempty"`
	// Scope is what the client may have. What else it asks for is dropped from the token.
	Scope string `json:"scope"`
	// Lifetime of its tokens in seconds; 0 means 600.
	Lifetime int `json:"lifetime,omitempty"`
}

// OIDCProvider is the npm package oidc-provider, a certified OpenID implementation, over TLS on loopback.
type OIDCProvider struct {
	// Issuer is the server's own name, below which its metadata lie.
	Issuer string
	// TokenURL is the token endpoint, MTLSTokenURL the one that its metadata name for clients with certificates (RFC 8705 section 5).
	TokenURL, MTLSTokenURL string
	// CA is the PEM certificate to trust for it. The same CA issues its clients' certificates.
	CA string
	// Roots holds CA.
	Roots *x509.CertPool

	t      testing.TB
	base   string
	tenant OAuthClient // with which Introspect and Revoke authenticate
	caCert *x509.Certificate
	caKey  crypto.Signer
	http   *http.Client
}

// StartOIDCProvider starts one that ends with the test.
func StartOIDCProvider(t testing.TB, clients ...OAuthClient) *OIDCProvider {
	t.Helper()
	dir := installed(t, "oidc-provider")
	p := &OIDCProvider{t: t, tenant: OAuthClient{ID: "tenant", Secret: "of-the-tenant", Method: "client_secret_post"}, Roots: x509.NewCertPool()}
	p.caCert, p.caKey = authority(t)
	p.CA = encode("CERTIFICATE", p.caCert.Raw)
	p.Roots.AddCert(p.caCert)
	p.http = &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: p.Roots}, DisableKeepAlives: true}}
	server := p.issue(&x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	var alias string
	p.base, alias = p.start(dir, map[string]any{
		"clients": append(clients, p.tenant), "ca": p.CA, "cert": encode("CERTIFICATE", server.Certificate[0]), "key": keyPEM(t, server.PrivateKey),
	})
	p.Issuer, p.TokenURL, p.MTLSTokenURL = p.base, p.base+"/token", alias+"/token"
	return p
}

// start runs the server and returns its base URL and the one for clients with certificates.
func (p *OIDCProvider) start(dir string, config map[string]any) (base, alias string) {
	p.t.Helper()
	line, err := json.Marshal(config)
	if err != nil {
		p.t.Fatal(err)
	}
	var stderr bytes.Buffer
	node := Program(p.t, "node")
	if err := exec.Command(node, "-e", `require("node:crypto").hash || process.exit(1)`).Run(); err != nil {
		missing(p.t, "node is older than 20.12, which oidc-provider needs")
	}
	cmd := exec.Command(node, filepath.Join(dir, "server.mjs"))
	cmd.Dir, cmd.Stderr = dir, &stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() {
		_ = stdin.Close() // it ends with its input
		kill := time.AfterFunc(5*time.Second, func() { _ = cmd.Process.Kill() })
		defer kill.Stop()
		_ = cmd.Wait()
		if p.t.Failed() {
			p.t.Logf("oidc-provider said: %s", stderr.String())
		}
	})
	if _, err := stdin.Write(append(line, '\n')); err != nil {
		p.t.Fatalf("oidc-provider does not read: %v", err)
	}
	var ready struct{ Port, Alias int }
	giveUp := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
	defer giveUp.Stop()
	for lines := bufio.NewScanner(stdout); lines.Scan(); { // oidc-provider's notices come between
		if json.Unmarshal(lines.Bytes(), &ready) == nil && ready.Port != 0 {
			go func() { _, _ = io.Copy(io.Discard, stdout) }()
			return fmt.Sprintf("https://127.0.0.1:%d", ready.Port), fmt.Sprintf("https://127.0.0.1:%d", ready.Alias)
		}
	}
	p.t.Fatal("oidc-provider did not start")
	return "", ""
}

// TokenRequest is what reached the token endpoint.
type TokenRequest struct {
	ClientID string `json:"client_id"` // "" if there is no such client, or the request is held
	Proof    string `json:"proof"`     // basic, body, assertion or certificate: what the client showed, not what it should have
	Status   int    `json:"status"`    // 0 while it is held
	Alias    bool   `json:"alias"`     // it came to MTLSTokenURL
	Resource string `json:"resource"`  // as it stood in the form
	Audience string `json:"audience"`
}

// Requests returns the requests to the token endpoint, answered or not, in the order in which they came.
func (p *OIDCProvider) Requests() []TokenRequest {
	p.t.Helper()
	var all []TokenRequest
	p.post("/control/requests", nil, &all)
	return all
}

// Hold lets requests to the token endpoint wait until release is called.
func (p *OIDCProvider) Hold() (release func()) {
	p.t.Helper()
	p.post("/control/hold", nil, nil)
	return func() { p.post("/control/release", nil, nil) }
}

// Introspection is what the server knows of a token (RFC 7662).
type Introspection struct {
	Active   bool   `json:"active"`
	ClientID string `json:"client_id"`
	Scope    string `json:"scope"`
}

// Introspect asks the server about a token, as a tenant does.
func (p *OIDCProvider) Introspect(token string) Introspection {
	p.t.Helper()
	var known Introspection
	p.post("/token/introspection", url.Values{"token": {token}, "client_id": {p.tenant.ID}, "client_secret": {p.tenant.Secret}}, &known)
	return known
}

// Revoke ends a token (RFC 7009).
func (p *OIDCProvider) Revoke(token string) {
	p.t.Helper()
	p.post("/token/revocation", url.Values{"token": {token}, "client_id": {p.tenant.ID}, "client_secret": {p.tenant.Secret}}, nil)
}

// post reports with Errorf and not Fatalf: it is called from servers' goroutines as well.
func (p *OIDCProvider) post(path string, form url.Values, answer any) {
	p.t.Helper()
	res, err := p.http.PostForm(p.base+path, form)
	if err != nil {
		p.t.Errorf("asking oidc-provider: %v", err)
		return
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err == nil && answer != nil {
		err = json.Unmarshal(body, answer)
	}
	if err != nil || res.StatusCode != http.StatusOK {
		p.t.Errorf("asking oidc-provider for %s: status %d, %v: %s", path, res.StatusCode, err, body)
	}
}

// ClientCertificate issues a certificate that the server trusts.
func (p *OIDCProvider) ClientCertificate(subject pkix.Name) tls.Certificate {
	p.t.Helper()
	return p.issue(&x509.Certificate{Subject: subject, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
}

func (p *OIDCProvider) issue(template *x509.Certificate) tls.Certificate {
	p.t.Helper()
	return sign(p.t, template, p.caCert, p.caKey)
}
