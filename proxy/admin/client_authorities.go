package admin

import (
	"context"
	"net/url"

	"github.com/tenantgate/tenantgate/identity"
)

// Authorities lists all authorities by name.
func (c *Client) Authorities(ctx context.Context) ([]Authority, error) {
	return list(ctx, c, address("authorities"), url.Values{}, func(a *Authority) string { return a.Name })
}

// Authority returns one authority, and what the node that answers has seen of it.
func (c *Client) Authority(ctx context.Context, name string) (Authority, error) {
	return do[Authority](ctx, c, "GET", address("authorities", name), nil)
}

// AddAuthority adds an authority and returns it as stored.
func (c *Client) AddAuthority(ctx context.Context, a identity.Authority) (identity.Authority, error) {
	return do[identity.Authority](ctx, c, "POST", address("authorities"), a)
}

// SetAuthority changes an authority as SetTenant does a tenant.
func (c *Client) SetAuthority(ctx context.Context, name string, changes map[string]any) (identity.Authority, error) {
	return do[identity.Authority](ctx, c, "PATCH", address("authorities", name), changes)
}

// RemoveAuthority removes an authority. Without cascade it is refused while it has mappings.
func (c *Client) RemoveAuthority(ctx context.Context, name string, cascade bool) error {
	path := address("authorities", name)
	if cascade {
		path += "?cascade=true"
	}
	_, err := do[struct{}](ctx, c, "DELETE", path, nil)
	return err
}

// Map adds a rule to an authority and returns it as stored; Unmap removes one.
func (c *Client) Map(ctx context.Context, name string, m identity.Mapping) (identity.Mapping, error) {
	return do[identity.Mapping](ctx, c, "POST", address("authorities", name, "map"), m)
}

// Unmap removes a rule of an authority and returns it.
func (c *Client) Unmap(ctx context.Context, name string, m identity.Mapping) (identity.Mapping, error) {
	return do[identity.Mapping](ctx, c, "POST", address("authorities", name, "unmap"), m)
}

// Block has one certificate of an authority refused; Unblock undoes it.
func (c *Client) Block(ctx context.Context, name string, r BlockRequest) (identity.Block, error) {
	return do[identity.Block](ctx, c, "POST", address("authorities", name, "block"), r)
}

// Unblock undoes Block.
func (c *Client) Unblock(ctx context.Context, name string, r BlockRequest) (identity.Block, error) {
	return do[identity.Block](ctx, c, "POST", address("authorities", name, "unblock"), r)
}

// PutCRL uploads a revocation list, as PEM, and returns what was understood of it.
func (c *Client) PutCRL(ctx context.Context, name, crl string) (identity.RevocationList, error) {
	return do[identity.RevocationList](ctx, c, "POST", address("authorities", name, "crl"), ListRequest{CRL: crl})
}

// RemoveCRL forgets the list of a source.
func (c *Client) RemoveCRL(ctx context.Context, name, source string) error {
	_, err := do[struct{}](ctx, c, "POST", address("authorities", name, "crl", "remove"), ListRequest{Source: source})
	return err
}

// CheckAuthority fetches an authority's lists now and, when a chain is given as PEM, says what the listener makes of it.
func (c *Client) CheckAuthority(ctx context.Context, name, chain string) (AuthorityCheck, error) {
	return do[AuthorityCheck](ctx, c, "POST", address("authorities", name, "check"), ChainRequest{Chain: chain})
}

// Verify says what the callers' listener makes of a chain now.
func (c *Client) Verify(ctx context.Context, chain string) (CertificateVerdict, error) {
	return do[CertificateVerdict](ctx, c, "POST", address("verify"), ChainRequest{Chain: chain})
}
