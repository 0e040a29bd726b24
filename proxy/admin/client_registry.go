package admin

import (
	"context"
	"net/url"

	"github.com/tenantgate/tenantgate/identity"
)

// Tenants lists all tenants by name.
func (c *Client) Tenants(ctx context.Context) ([]identity.Tenant, error) {
	return list(ctx, c, address("tenants"), url.Values{}, tenantName)
}

// Tenant returns one tenant.
func (c *Client) Tenant(ctx context.Context, name string) (identity.Tenant, error) {
	return do[identity.Tenant](ctx, c, "GET", address("tenants", name), nil)
}

// AddTenant adds a tenant and returns it as stored.
func (c *Client) AddTenant(ctx context.Context, t identity.Tenant) (identity.Tenant, error) {
	return do[identity.Tenant](ctx, c, "POST", address("tenants"), t)
}

// SetTenant changes the members that changes names, by their JSON names; nil is the zero value. It returns the tenant as stored.
func (c *Client) SetTenant(ctx context.Context, name string, changes map[string]any) (identity.Tenant, error) {
	return do[identity.Tenant](ctx, c, "PATCH", address("tenants", name), changes)
}

// RemoveTenant removes a tenant that no route and no credential names.
func (c *Client) RemoveTenant(ctx context.Context, name string) error {
	_, err := do[struct{}](ctx, c, "DELETE", address("tenants", name), nil)
	return err
}

// CheckTenant tries the way to a tenant, with the credentials that q names.
func (c *Client) CheckTenant(ctx context.Context, name string, q CheckRequest) (CheckReport, error) {
	return do[CheckReport](ctx, c, "POST", address("tenants", name, "check"), q)
}

// Routes lists all routes by name.
func (c *Client) Routes(ctx context.Context) ([]identity.Route, error) {
	return list(ctx, c, address("routes"), url.Values{}, routeName)
}

// Route returns one route.
func (c *Client) Route(ctx context.Context, name string) (identity.Route, error) {
	return do[identity.Route](ctx, c, "GET", address("routes", name), nil)
}

// AddRoute adds a route and returns it as stored.
func (c *Client) AddRoute(ctx context.Context, r identity.Route) (identity.Route, error) {
	return do[identity.Route](ctx, c, "POST", address("routes"), r)
}

// SetRoute changes a route as SetTenant does a tenant.
func (c *Client) SetRoute(ctx context.Context, name string, changes map[string]any) (identity.Route, error) {
	return do[identity.Route](ctx, c, "PATCH", address("routes", name), changes)
}

// RemoveRoute removes a route.
func (c *Client) RemoveRoute(ctx context.Context, name string) error {
	_, err := do[struct{}](ctx, c, "DELETE", address("routes", name), nil)
	return err
}
