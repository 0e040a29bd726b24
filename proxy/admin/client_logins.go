package admin

import (
	"context"
	"net/url"
	"time"

	"github.com/tenantgate/tenantgate/identity"
)

// Logins lists logins, those of one identity or in one stage where these are not "".
func (c *Client) Logins(ctx context.Context, identityName string, stage identity.Stage) ([]Login, error) {
	q := url.Values{}
	if identityName != "" {
		q.Set("identity", identityName)
	}
	if stage != "" {
		q.Set("stage", string(stage))
	}
	return list(ctx, c, address("logins"), q, loginID)
}

// Login returns one login.
func (c *Client) Login(ctx context.Context, user string) (Login, error) {
	return do[Login](ctx, c, "GET", address("logins", LoginID(user)), nil)
}

// AddLogin adds a login and returns it as stored.
func (c *Client) AddLogin(ctx context.Context, r LoginRequest) (Login, error) {
	return do[Login](ctx, c, "POST", address("logins"), r)
}

// SetLogin changes a login as SetTenant does a tenant.
func (c *Client) SetLogin(ctx context.Context, user string, changes map[string]any) (Login, error) {
	return do[Login](ctx, c, "PATCH", address("logins", LoginID(user)), changes)
}

// CloseLogin has a login refused from now on.
func (c *Client) CloseLogin(ctx context.Context, user string) (Login, error) {
	return do[Login](ctx, c, "POST", address("logins", LoginID(user), "close"), nil)
}

// BackLogin takes the last stage of a login back. It begins again at until, or when somebody gives a date.
func (c *Client) BackLogin(ctx context.Context, user string, until time.Time) (Login, error) {
	return do[Login](ctx, c, "POST", address("logins", LoginID(user), "back"), LoginBack{until})
}

// ObserveLogin has the requests of a login go to the tenant as they come.
func (c *Client) ObserveLogin(ctx context.Context, user string) (Login, error) {
	return do[Login](ctx, c, "POST", address("logins", LoginID(user), "observe"), nil)
}

// RemoveLogin removes a login.
func (c *Client) RemoveLogin(ctx context.Context, user string) error {
	_, err := do[struct{}](ctx, c, "DELETE", address("logins", LoginID(user)), nil)
	return err
}

// LoginFindings returns what was found out about a login in stage observe.
func (c *Client) LoginFindings(ctx context.Context, user string) ([]identity.Finding, error) {
	return do[[]identity.Finding](ctx, c, "GET", address("logins", LoginID(user), "findings"), nil)
}

// ImportLogins adds logins, all or none.
func (c *Client) ImportLogins(ctx context.Context, r LoginImport) (LoginImported, error) {
	return do[LoginImported](ctx, c, "POST", address("login-imports"), r)
}

// LoginPolicy returns what holds for all logins.
func (c *Client) LoginPolicy(ctx context.Context) (identity.LoginPolicy, error) {
	return do[identity.LoginPolicy](ctx, c, "GET", address("login-policy"), nil)
}

// SetLoginPolicy changes what holds for all logins.
func (c *Client) SetLoginPolicy(ctx context.Context, changes map[string]any) (identity.LoginPolicy, error) {
	return do[identity.LoginPolicy](ctx, c, "PATCH", address("login-policy"), changes)
}
