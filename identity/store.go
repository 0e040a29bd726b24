package identity

import (
	"context"
	"database/sql"
	"strings"
	"time"
)

// querier is what *sql.DB and *sql.Tx have in common for reading.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// scanner is one row.
type scanner interface{ Scan(dest ...any) error }

// each runs a query and calls fn for each row.
func each(ctx context.Context, q querier, fn func(scanner) error, query string, args ...any) error {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		if err := fn(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// The columns of each table, in the order in which the scan functions and statements below have them.
const (
	tenantColumns = `name, description, base_url, token_url, auth_style, scope, ca_bundle, case_sensitive, timeout, created, updated, http_proxy, client_certificate, ` +
		`concurrency, breaker_failures, breaker_cooldown, issuer, token_parameters, protocol`
	routeColumns = `name, host, path, methods, tenant, tenant_path, role, case_rule, max_body, response_timeout, idle_timeout, scope, created, updated, upgrade, ` +
		`token_parameters, csrf, csrf_path, caller_header`
	identityColumns = `name, owner, description, roles, disabled, review_date, created, updated, rate, burst, concurrency, bandwidth, renew_grace, key_types, ` +
		`calling_windows, networks, certificates_only, max_body, daily_requests, daily_octets`
	credentialColumns = `id, identity, tenant, client_id, auth_style, token_url, scope, kind, certificate, not_after, created, secret, ` +
		`issuer, token_parameters, key_id, assertion_algorithm, assertion_audience, keyless, lifetime`
	certificateColumns = `fingerprint, identity, serial, subject, not_before, not_after, created, revoked_at, revocation_reason`
)

const (
	insertTenant = `INSERT INTO tenants (` + tenantColumns + `) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)`
	updateTenant = `UPDATE tenants SET description = $2, base_url = $3, token_url = $4, auth_style = $5, scope = $6, ca_bundle = $7, ` +
		`case_sensitive = $8, timeout = $9, created = $10, updated = $11, http_proxy = $12, client_certificate = $13, ` +
		`concurrency = $14, breaker_failures = $15, breaker_cooldown = $16, issuer = $17, token_parameters = $18, protocol = $19 WHERE name = $1`
	deleteTenant = `DELETE FROM tenants WHERE name = $1`

	insertRoute = `INSERT INTO routes (` + routeColumns + `) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)`
	updateRoute = `UPDATE routes SET host = $2, path = $3, methods = $4, tenant = $5, tenant_path = $6, role = $7, case_rule = $8, ` +
		`max_body = $9, response_timeout = $10, idle_timeout = $11, scope = $12, created = $13, updated = $14, upgrade = $15, ` +
		`token_parameters = $16, csrf = $17, csrf_path = $18, caller_header = $19 WHERE name = $1`
	deleteRoute = `DELETE FROM routes WHERE name = $1`

	insertIdentity = `INSERT INTO identities (` + identityColumns + `) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, ` +
		`$15, $16, $17, $18, $19, $20)`
	updateIdentity = `UPDATE identities SET owner = $2, description = $3, roles = $4, disabled = $5, review_date = $6, ` +
		`created = $7, updated = $8, rate = $9, burst = $10, concurrency = $11, bandwidth = $12, renew_grace = $13, key_types = $14, ` +
		`calling_windows = $15, networks = $16, certificates_only = $17, max_body = $18, daily_requests = $19, daily_octets = $20 WHERE name = $1`
	deleteIdentity = `DELETE FROM identities WHERE name = $1`

	insertCredential = `INSERT INTO credentials (` + credentialColumns + `) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)`
	setCredentialEnd = `UPDATE credentials SET not_after = $2 WHERE id = $1`
	deleteCredential = `DELETE FROM credentials WHERE id = $1`

	insertCertificate = `INSERT INTO certificates (` + certificateColumns + `) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`
	revokeCertificate = `UPDATE certificates SET revoked_at = $2, revocation_reason = $3 WHERE fingerprint = $1`
)

func tenantArgs(t *Tenant) []any {
	return []any{t.Name, t.Description, t.BaseURL, t.TokenURL, t.AuthStyle, t.Scope, t.CABundle, flag(t.CaseSensitive),
		int64(t.Timeout), micros(t.Created), micros(t.Updated), t.HTTPProxy, t.ClientCertificate,
		int64(t.Concurrency), int64(t.BreakerFailures), int64(t.BreakerCooldown), t.Issuer, string(t.TokenParameters), t.Protocol}
}

func scanTenant(row scanner) (*Tenant, error) {
	t := &Tenant{}
	var sensitive, created, updated int64
	err := row.Scan(&t.Name, &t.Description, &t.BaseURL, &t.TokenURL, &t.AuthStyle, &t.Scope, &t.CABundle, &sensitive,
		&t.Timeout, &created, &updated, &t.HTTPProxy, &t.ClientCertificate,
		&t.Concurrency, &t.BreakerFailures, &t.BreakerCooldown, &t.Issuer, &t.TokenParameters, &t.Protocol)
	t.CaseSensitive, t.Created, t.Updated = sensitive != 0, fromMicros(created), fromMicros(updated)
	return t, err
}

func routeArgs(r *Route) []any {
	return []any{r.Name, r.Host, r.Path, strings.Join(r.Methods, " "), r.Tenant, r.TenantPath, r.Role, r.Case, r.MaxBody,
		int64(r.ResponseTimeout), int64(r.IdleTimeout), r.Scope, micros(r.Created), micros(r.Updated), strings.Join(r.Upgrade, " "), string(r.TokenParameters),
		r.CSRF, r.CSRFPath, r.CallerHeader}
}

func scanRoute(row scanner) (*Route, error) {
	r := &Route{}
	var methods, upgrade string
	var created, updated int64
	err := row.Scan(&r.Name, &r.Host, &r.Path, &methods, &r.Tenant, &r.TenantPath, &r.Role, &r.Case, &r.MaxBody,
		&r.ResponseTimeout, &r.IdleTimeout, &r.Scope, &created, &updated, &upgrade, &r.TokenParameters, &r.CSRF, &r.CSRFPath, &r.CallerHeader)
	r.Upgrade = words(upgrade)
	if methods != "" { // nil, and not an empty list, means all
		r.Methods = words(methods)
	}
	r.Created, r.Updated = fromMicros(created), fromMicros(updated)
	return r, err
}

func identityArgs(i *Identity) []any {
	return []any{i.Name, i.Owner, i.Description, strings.Join(i.Roles, " "), flag(i.Disabled), string(i.ReviewDate),
		micros(i.Created), micros(i.Updated), i.Rate, int64(i.Burst), int64(i.Concurrency), i.Bandwidth,
		int64(i.RenewGrace), strings.Join(i.KeyTypes, " "),
		strings.Join(i.CallingWindows, "\n"), strings.Join(i.Networks, " "), flag(i.CertificatesOnly), i.MaxBody, i.DailyRequests, i.DailyOctets}
}

func credentialArgs(c *Credential, sealed []byte) []any {
	return []any{c.ID, c.Identity, c.Tenant, c.ClientID, c.AuthStyle, c.TokenURL, c.Scope, c.Kind, c.Certificate,
		micros(c.NotAfter), micros(c.Created), sealed, c.Issuer, string(c.TokenParameters), c.KeyID, c.AssertionAlgorithm, c.AssertionAudience, flag(c.Keyless), int64(c.Lifetime)}
}

// scanCredential returns the credential without its secret, and the secret sealed.
func scanCredential(row scanner) (*Credential, []byte, error) {
	c := &Credential{}
	var sealed []byte
	var notAfter, created, keyless int64
	err := row.Scan(&c.ID, &c.Identity, &c.Tenant, &c.ClientID, &c.AuthStyle, &c.TokenURL, &c.Scope, &c.Kind, &c.Certificate,
		&notAfter, &created, &sealed, &c.Issuer, &c.TokenParameters, &c.KeyID, &c.AssertionAlgorithm, &c.AssertionAudience, &keyless, &c.Lifetime)
	c.Keyless = keyless != 0
	c.NotAfter, c.Created = fromMicros(notAfter), fromMicros(created)
	return c, sealed, err
}

func certificateArgs(c *Certificate) []any {
	return []any{c.Fingerprint.String(), c.Identity, c.Serial, c.Subject, micros(c.NotBefore), micros(c.NotAfter),
		micros(c.Created), micros(c.RevokedAt), c.RevocationReason}
}

func flag(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// micros returns microseconds since 1970, 0 for the zero time.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func fromMicros(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}

// words undoes strings.Join(list, " ").
func words(s string) []string {
	if s == "" {
		return []string{}
	}
	return strings.Split(s, " ")
}
