package admin

import "context"

// CAStatus returns the CA's own certificates, which nodes know them, and who may not have the newest root.
func (c *Client) CAStatus(ctx context.Context) (CAStatus, error) {
	return do[CAStatus](ctx, c, "GET", address("ca", "status"), nil)
}

// CACertificates lists the CA's own certificates, oldest first.
func (c *Client) CACertificates(ctx context.Context) ([]CACertificate, error) {
	return do[[]CACertificate](ctx, c, "GET", address("ca", "certificates"), nil)
}

// CACertificate returns one, by its ID or the first digits of that.
func (c *Client) CACertificate(ctx context.Context, id string) (CACertificate, error) {
	return do[CACertificate](ctx, c, "GET", address("ca", "certificates", id), nil)
}

// RequestCACertificate makes the key of another intermediate. Its answer has the request that a root has to sign.
func (c *Client) RequestCACertificate(ctx context.Context, r CARequest) (CACertificate, error) {
	return do[CACertificate](ctx, c, "POST", address("ca", "certificates"), r)
}

// InstallCACertificate brings what a root has signed. It is trusted from then on and signs nothing yet.
func (c *Client) InstallCACertificate(ctx context.Context, i CAInstallation) (CACertificate, error) {
	return do[CACertificate](ctx, c, "POST", address("ca", "install"), i)
}

// ActivateCACertificate has an intermediate sign.
func (c *Client) ActivateCACertificate(ctx context.Context, id string) (CACertificate, error) {
	return do[CACertificate](ctx, c, "POST", address("ca", "certificates", id, "activate"), struct{}{})
}

// RetireCACertificate ends the belief in a root or intermediate; its answer says which certificates were revoked with it.
func (c *Client) RetireCACertificate(ctx context.Context, id string, r CARetirement) (Revocations, error) {
	return do[Revocations](ctx, c, "POST", address("ca", "certificates", id, "retire"), r)
}
