package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/proxy/record"
)

// Client calls the admin API of a running server. Safe for concurrent use.
type Client struct {
	// HTTP makes the requests; nil is http.DefaultClient.
	HTTP *http.Client
	// Base is the scheme and host, without a slash at the end.
	Base string
}

// APIError is an answer that is not 2xx.
type APIError struct {
	Status    int    `json:"status"`
	Code      string `json:"code"`
	Detail    string `json:"detail"`
	Hint      string `json:"hint"`
	RequestID string `json:"request_id"`
}

// Error returns the detail.
func (e *APIError) Error() string { return e.Detail }

func do[T any](ctx context.Context, c *Client, method, path string, body any) (T, error) {
	var out T
	var r io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return out, err
		}
		r = bytes.NewReader(b)
	}
	q, err := http.NewRequestWithContext(ctx, method, c.Base+path, r)
	if err != nil {
		return out, err
	}
	q.Header.Set("Content-Type", "application/json")
	resp, err := c.HTTP.Do(q)
	if err != nil {
		return out, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return out, err
	}
	if resp.StatusCode >= 300 {
		e := &APIError{Status: resp.StatusCode}
		_ = json.Unmarshal(b, e)
		return out, e
	}
	if err := json.Unmarshal(b, &out); err != nil {
		return out, fmt.Errorf("reading the server's answer: %w", err)
	}
	return out, nil
}
func p(parts ...string) string {
	s := "/v1"
	for _, x := range parts {
		s += "/" + url.PathEscape(x)
	}
	return s
}

type none struct{}

func (c *Client) AddTenant(ctx context.Context, t identity.Tenant) (identity.Tenant, error) {
	return do[identity.Tenant](ctx, c, "POST", "/v1/tenants", t)
}
func (c *Client) Tenants(ctx context.Context) ([]identity.Tenant, error) {
	return do[[]identity.Tenant](ctx, c, "GET", "/v1/tenants", nil)
}
func (c *Client) Tenant(ctx context.Context, n string) (identity.Tenant, error) {
	return do[identity.Tenant](ctx, c, "GET", p("tenants", n), nil)
}
func (c *Client) SetTenant(ctx context.Context, n string, ch map[string]any) (identity.Tenant, error) {
	return do[identity.Tenant](ctx, c, "PATCH", p("tenants", n), ch)
}
func (c *Client) RemoveTenant(ctx context.Context, n string) error {
	_, err := do[none](ctx, c, "DELETE", p("tenants", n), nil)
	return err
}
func (c *Client) AddRoute(ctx context.Context, t identity.Route) (identity.Route, error) {
	return do[identity.Route](ctx, c, "POST", "/v1/routes", t)
}
func (c *Client) Routes(ctx context.Context) ([]identity.Route, error) {
	return do[[]identity.Route](ctx, c, "GET", "/v1/routes", nil)
}
func (c *Client) Route(ctx context.Context, n string) (identity.Route, error) {
	return do[identity.Route](ctx, c, "GET", p("routes", n), nil)
}
func (c *Client) SetRoute(ctx context.Context, n string, ch map[string]any) (identity.Route, error) {
	return do[identity.Route](ctx, c, "PATCH", p("routes", n), ch)
}
func (c *Client) RemoveRoute(ctx context.Context, n string) error {
	_, err := do[none](ctx, c, "DELETE", p("routes", n), nil)
	return err
}
func (c *Client) AddIdentity(ctx context.Context, t identity.Identity) (identity.Identity, error) {
	return do[identity.Identity](ctx, c, "POST", "/v1/identities", t)
}
func (c *Client) Identities(ctx context.Context) ([]identity.Identity, error) {
	return do[[]identity.Identity](ctx, c, "GET", "/v1/identities", nil)
}
func (c *Client) Identity(ctx context.Context, n string) (identity.Identity, error) {
	return do[identity.Identity](ctx, c, "GET", p("identities", n), nil)
}
func (c *Client) SetIdentity(ctx context.Context, n string, ch map[string]any) (identity.Identity, error) {
	return do[identity.Identity](ctx, c, "PATCH", p("identities", n), ch)
}
func (c *Client) DisableIdentity(ctx context.Context, n string) (identity.Identity, error) {
	return do[identity.Identity](ctx, c, "POST", p("identities", n, "disable"), nil)
}
func (c *Client) EnableIdentity(ctx context.Context, n string) (identity.Identity, error) {
	return do[identity.Identity](ctx, c, "POST", p("identities", n, "enable"), nil)
}
func (c *Client) RemoveIdentity(ctx context.Context, n string, cascade bool) error {
	_, err := do[none](ctx, c, "DELETE", p("identities", n)+"?cascade="+strconv.FormatBool(cascade), nil)
	return err
}
func (c *Client) Credentials(ctx context.Context, n string) ([]identity.Credential, error) {
	return do[[]identity.Credential](ctx, c, "GET", p("identities", n, "credentials"), nil)
}
func (c *Client) Credential(ctx context.Context, n string) (identity.Credential, error) {
	return do[identity.Credential](ctx, c, "GET", p("credentials", n), nil)
}
func (c *Client) AddCredential(ctx context.Context, n string, r CredentialRequest) (identity.Credential, error) {
	return do[identity.Credential](ctx, c, "POST", p("identities", n, "credentials"), r)
}
func (c *Client) RemoveCredential(ctx context.Context, n string) error {
	_, err := do[none](ctx, c, "DELETE", p("credentials", n), nil)
	return err
}
func (c *Client) Certificates(ctx context.Context, f CertificateFilter) ([]identity.Certificate, error) {
	return do[[]identity.Certificate](ctx, c, "GET", "/v1/certificates?identity="+url.QueryEscape(f.Identity), nil)
}
func (c *Client) Certificate(ctx context.Context, n string) (identity.Certificate, error) {
	return do[identity.Certificate](ctx, c, "GET", p("certificates", n), nil)
}
func (c *Client) IssueCertificate(ctx context.Context, n string, r CertificateRequest) (IssuedCertificate, error) {
	return do[IssuedCertificate](ctx, c, "POST", p("identities", n, "certificates"), r)
}
func (c *Client) RevokeCertificate(ctx context.Context, n, reason string) (identity.Certificate, error) {
	return do[identity.Certificate](ctx, c, "POST", p("certificates", n, "revoke"), map[string]string{"reason": reason})
}
func (c *Client) Changes(ctx context.Context, after int64, limit int) ([]record.Change, error) {
	return do[[]record.Change](ctx, c, "GET", fmt.Sprintf("/v1/changes?after=%d&limit=%d", after, limit), nil)
}
func (c *Client) VerifyChanges(ctx context.Context) (record.Report, error) {
	return do[record.Report](ctx, c, "GET", "/v1/changes/verify", nil)
}
func (c *Client) Status(ctx context.Context) (Status, error) {
	return do[Status](ctx, c, "GET", "/v1/status", nil)
}
