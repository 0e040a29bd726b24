package admin

import (
	"context"
	"net/url"
)

// AddACMEKey makes an external account binding for an identity. Its secret is in the answer and nowhere else.
func (c *Client) AddACMEKey(ctx context.Context, name string, r ACMEKeyRequest) (NewACMEKey, error) {
	return do[NewACMEKey](ctx, c, "POST", address("identities", name, "acme-keys"), r)
}

// ACMEKeys lists keys by id: of an identity, or of all when it is "", and in a state, or in any when it is "".
func (c *Client) ACMEKeys(ctx context.Context, name, state string) ([]ACMEKey, error) {
	q := url.Values{}
	if name != "" {
		q.Set("identity", name)
	}
	if state != "" {
		q.Set("state", state)
	}
	return list(ctx, c, address("acme-keys"), q, func(k *ACMEKey) string { return k.ID })
}

// ACMEKey returns one key, without its secret.
func (c *Client) ACMEKey(ctx context.Context, id string) (ACMEKey, error) {
	return do[ACMEKey](ctx, c, "GET", address("acme-keys", id), nil)
}

// RemoveACMEKey takes a key back, and the account that has registered with it. Certificates stay.
func (c *Client) RemoveACMEKey(ctx context.Context, id string) error {
	_, err := do[struct{}](ctx, c, "DELETE", address("acme-keys", id), nil)
	return err
}
