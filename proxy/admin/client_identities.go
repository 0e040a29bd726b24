package admin

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/tenantgate/tenantgate/identity"
)

// Identities lists all identities by name.
func (c *Client) Identities(ctx context.Context) ([]identity.Identity, error) {
	return list(ctx, c, address("identities"), url.Values{}, identityName)
}

// Identity returns one identity.
func (c *Client) Identity(ctx context.Context, name string) (identity.Identity, error) {
	return do[identity.Identity](ctx, c, "GET", address("identities", name), nil)
}

// AddIdentity adds an identity and returns it as stored.
func (c *Client) AddIdentity(ctx context.Context, i identity.Identity) (identity.Identity, error) {
	return do[identity.Identity](ctx, c, "POST", address("identities"), i)
}

// SetIdentity changes an identity as SetTenant does a tenant.
func (c *Client) SetIdentity(ctx context.Context, name string, changes map[string]any) (identity.Identity, error) {
	return do[identity.Identity](ctx, c, "PATCH", address("identities", name), changes)
}

// changeAttempts bounds how often ChangeIdentity loses against others: each time one of them has won.
const changeAttempts = 1000

// ChangeIdentity changes an identity by what compute makes of its present state. When somebody else changes it in between, compute is
// asked again, so that neither change undoes the other.
func (c *Client) ChangeIdentity(ctx context.Context, name string, compute func(identity.Identity) map[string]any) (identity.Identity, error) {
	path := address("identities", name)
	for attempt := 1; ; attempt++ {
		current, tag, err := doIf[identity.Identity](ctx, c, "GET", path, nil, "")
		if err != nil {
			return current, err
		}
		stored, _, err := doIf[identity.Identity](ctx, c, "PATCH", path, compute(current), tag)
		if e, ok := errors.AsType[*APIError](err); ok && e.Status == http.StatusPreconditionFailed && attempt < changeAttempts {
			continue
		}
		return stored, err
	}
}

// DisableIdentity has every request of an identity refused from now on.
func (c *Client) DisableIdentity(ctx context.Context, name string) (identity.Identity, error) {
	return do[identity.Identity](ctx, c, "POST", address("identities", name, "disable"), nil)
}

// EnableIdentity undoes DisableIdentity.
func (c *Client) EnableIdentity(ctx context.Context, name string) (identity.Identity, error) {
	return do[identity.Identity](ctx, c, "POST", address("identities", name, "enable"), nil)
}

// RemoveIdentity removes an identity. Without cascade it is refused while the identity has valid certificates or credentials; with it
// they are revoked and removed in the same act.
func (c *Client) RemoveIdentity(ctx context.Context, name string, cascade bool) error {
	path := address("identities", name)
	if cascade {
		path += "?cascade=true"
	}
	_, err := do[struct{}](ctx, c, "DELETE", path, nil)
	return err
}

// Credentials lists the credentials of an identity, by tenant, the newest first, and how they stand on the node that answers.
func (c *Client) Credentials(ctx context.Context, name string) ([]Credential, error) {
	return do[[]Credential](ctx, c, "GET", address("identities", name, "credentials"), nil)
}

// AllCredentials lists the credentials of all identities by id. expiring narrows that: "soon" to those that warnings are given for, a duration such as "720h" to
// those that end within it or have ended; "" does not.
func (c *Client) AllCredentials(ctx context.Context, expiring string) ([]Credential, error) {
	q := url.Values{}
	if expiring != "" {
		q.Set("expiring", expiring)
	}
	return list(ctx, c, address("credentials"), q, func(c *Credential) string { return c.ID })
}

// Credential returns one credential, without its secret, and how it stands on the node that answers.
func (c *Client) Credential(ctx context.Context, id string) (Credential, error) {
	return do[Credential](ctx, c, "GET", address("credentials", id), nil)
}

// Registration returns what to register at the vendor for a credential, and where its tokens come from.
func (c *Client) Registration(ctx context.Context, id string) (Registration, error) {
	return do[Registration](ctx, c, "GET", address("credentials", id, "registration"), nil)
}

// AddCredential gives an identity a credential and returns it as stored, without its secret.
func (c *Client) AddCredential(ctx context.Context, name string, r CredentialRequest) (Credential, error) {
	return do[Credential](ctx, c, "POST", address("identities", name, "credentials"), r)
}

// SetCredentialEnd notes when a secret ends; zero is not known.
func (c *Client) SetCredentialEnd(ctx context.Context, id string, end time.Time) (Credential, error) {
	changes := map[string]any{"not_after": nil}
	if !end.IsZero() {
		changes["not_after"] = end
	}
	return do[Credential](ctx, c, "PATCH", address("credentials", id), changes)
}

// RemoveCredential removes a credential and its secret.
func (c *Client) RemoveCredential(ctx context.Context, id string) error {
	_, err := do[struct{}](ctx, c, "DELETE", address("credentials", id), nil)
	return err
}

// Certificates lists the certificates of identities by serial number, as far as the filter lets them through.
func (c *Client) Certificates(ctx context.Context, f CertificateFilter) ([]identity.Certificate, error) {
	q := url.Values{}
	if f.Identity != "" {
		q.Set("identity", f.Identity)
	}
	if f.State != "" {
		q.Set("state", f.State)
	}
	return list(ctx, c, address("certificates"), q, func(c *identity.Certificate) string { return c.Serial })
}

// Certificate returns one certificate by its serial number in lower-case hex. One of an administrator has no identity.
func (c *Client) Certificate(ctx context.Context, serial string) (identity.Certificate, error) {
	return do[identity.Certificate](ctx, c, "GET", address("certificates", serial), nil)
}

// IssueCertificate has a certificate issued for an identity and bound to it.
func (c *Client) IssueCertificate(ctx context.Context, name string, r CertificateRequest) (IssuedCertificate, error) {
	return do[IssuedCertificate](ctx, c, "POST", address("identities", name, "certificates"), r)
}

// IssueToAdministrator has a certificate of the admin profile issued.
func (c *Client) IssueToAdministrator(ctx context.Context, name string, r CertificateRequest) (IssuedCertificate, error) {
	return do[IssuedCertificate](ctx, c, "POST", address("administrators", name, "certificates"), r)
}

// Administrators returns the certificates of administrators that have not expired, newest first.
func (c *Client) Administrators(ctx context.Context) ([]AdministratorCertificate, error) {
	return do[[]AdministratorCertificate](ctx, c, "GET", address("administrators"), nil)
}

// RevokeCertificate revokes a certificate for good; see RevocationRequest for the reasons.
func (c *Client) RevokeCertificate(ctx context.Context, serial, reason string) (identity.Certificate, error) {
	return do[identity.Certificate](ctx, c, "POST", address("certificates", serial, "revoke"), RevocationRequest{Reason: reason})
}

// RevokeIdentity revokes all certificates of an identity that could still be used, or renewed after their end.
func (c *Client) RevokeIdentity(ctx context.Context, name, reason string) (Revocations, error) {
	return do[Revocations](ctx, c, "POST", address("identities", name, "revoke"), RevocationRequest{Reason: reason})
}

// RevokeAll revokes all certificates of identities and administrators that could still be used, or renewed after their end.
func (c *Client) RevokeAll(ctx context.Context, reason string) (Revocations, error) {
	return c.RevokeIssuedBy(ctx, "", reason)
}

// RevokeIssuedBy is RevokeAll for what one intermediate of the CA has signed, or those of one root; "" is all.
func (c *Client) RevokeIssuedBy(ctx context.Context, authority, reason string) (Revocations, error) {
	return do[Revocations](ctx, c, "POST", address("ca", "revoke"), CARevocationRequest{Reason: reason, Authority: authority})
}

// CRL returns the CA's current revocation list.
func (c *Client) CRL(ctx context.Context) (RevocationList, error) {
	return do[RevocationList](ctx, c, "GET", address("ca", "crl"), nil)
}
