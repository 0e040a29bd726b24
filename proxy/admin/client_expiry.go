package admin

import (
	"context"
	"net/url"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/proxy/expiry"
	"github.com/tenantgate/tenantgate/proxy/notify"
)

// Expiry lists what ends, the next end first. within narrows that: "soon" to what is near by its own measure or has ended, a duration such as "720h" to
// what ends within it or has ended; "" does not. kind is one of package expiry's, "" for all.
func (c *Client) Expiry(ctx context.Context, within, kind string) ([]expiry.Item, error) {
	q := url.Values{}
	if within != "" {
		q.Set("within", within)
	}
	if kind != "" {
		q.Set("kind", kind)
	}
	return list(ctx, c, address("expiry"), q, (*expiry.Item).Key)
}

// Policy returns the policy in force.
func (c *Client) Policy(ctx context.Context) (identity.Policy, error) {
	return do[identity.Policy](ctx, c, "GET", address("policy"), nil)
}

// SetPolicy changes the policy as SetTenant does a tenant.
func (c *Client) SetPolicy(ctx context.Context, changes map[string]any) (identity.Policy, error) {
	return do[identity.Policy](ctx, c, "PATCH", address("policy"), changes)
}

// Reviews lists the identities whose review is due within a time or over, and those that no team answers for, by name.
func (c *Client) Reviews(ctx context.Context, within time.Duration) ([]Review, error) {
	return list(ctx, c, address("reviews"), url.Values{"within": {within.String()}}, func(r *Review) string { return r.Identity })
}

// ReviewIdentity says that an identity was reviewed. next is the day of the next review, "" for as far ahead as the policy says.
func (c *Client) ReviewIdentity(ctx context.Context, name string, next identity.Date) (identity.Identity, error) {
	return do[identity.Identity](ctx, c, "POST", address("identities", name, "reviewed"), ReviewRequest{Next: next})
}

// Uses says where an identity is used and who must be told.
func (c *Client) Uses(ctx context.Context, name string) (Uses, error) {
	return do[Uses](ctx, c, "GET", address("identities", name, "uses"), nil)
}

// Inactive lists the identities that have not called for so long, by name.
func (c *Client) Inactive(ctx context.Context, silent time.Duration) ([]Inactive, error) {
	return list(ctx, c, address("inactive"), url.Values{"for": {silent.String()}}, func(i *Inactive) string { return i.Identity })
}

// Notify says whom notifications go to, and how that works on the node that answers.
func (c *Client) Notify(ctx context.Context) (Notify, error) {
	return do[Notify](ctx, c, "GET", address("notify"), nil)
}

// TestNotify has a notification sent that says nothing, and returns what came of it.
func (c *Client) TestNotify(ctx context.Context) (notify.Delivery, error) {
	return do[notify.Delivery](ctx, c, "POST", address("notify", "test"), nil)
}

// Notifications lists what waits for the receiver and what was finished in the last 30 days, by id; state narrows that to "pending", "delivered" or "given_up".
func (c *Client) Notifications(ctx context.Context, state string) ([]notify.Queued, error) {
	q := url.Values{}
	if state != "" {
		q.Set("state", state)
	}
	return list(ctx, c, address("notifications"), q, func(e *notify.Queued) string { return e.ID })
}
