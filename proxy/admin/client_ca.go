package admin

import "context"

// CAStatus returns the CA's own certificates, which nodes know them, and who may not have the newest root.
func (c *Client) CAStatus(ctx context.Context) (CAStatus, error) {
	return do[CAStatus](ctx, c, "GET", address("ca", "status"), nil)
}

// Authorities lists the CA's own certificates, oldest first.
func (c *Client) Authorities(ctx context.Context) ([]Authority, error) {
	return do[[]Authority](ctx, c, "GET", address("ca", "authorities"), nil)
}

// Authority returns one, by its ID or the first digits of that.
func (c *Client) Authority(ctx context.Context, id string) (Authority, error) {
	return do[Authority](ctx, c, "GET", address("ca", "authorities", id), nil)
}

// RequestAuthority makes the key of another intermediate. Its answer has the request that a root has to sign.
func (c *Client) RequestAuthority(ctx context.Context, r AuthorityRequest) (Authority, error) {
	return do[Authority](ctx, c, "POST", address("ca", "authorities"), r)
}

// InstallAuthority brings what a root has signed. It is trusted from then on and signs nothing yet.
func (c *Client) InstallAuthority(ctx context.Context, i AuthorityInstallation) (Authority, error) {
	return do[Authority](ctx, c, "POST", address("ca", "install"), i)
}

// ActivateAuthority has an intermediate sign.
func (c *Client) ActivateAuthority(ctx context.Context, id string) (Authority, error) {
	return do[Authority](ctx, c, "POST", address("ca", "authorities", id, "activate"), struct{}{})
}

// RetireAuthority ends the belief in a root or intermediate; its answer says which certificates were revoked with it.
func (c *Client) RetireAuthority(ctx context.Context, id string, r AuthorityRetirement) (Revocations, error) {
	return do[Revocations](ctx, c, "POST", address("ca", "authorities", id, "retire"), r)
}
