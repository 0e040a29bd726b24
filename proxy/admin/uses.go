package admin

import (
	"time"

	"github.com/tenantgate/tenantgate/identity"
)

// Uses is where an identity is used, and who must be told when that ends.
type Uses struct {
	// Identity is its name, and Owner the team to tell.
	Identity string `json:"identity"`
	Owner    string `json:"owner"`
	Disabled bool   `json:"disabled"`
	// LastCall is when it called last, to the minute; zero is never since CallsSince.
	LastCall time.Time `json:"last_call,omitzero"`
	// CallsSince is when calls were first noted.
	CallsSince time.Time `json:"calls_since,omitzero"`
	// Certificates are those that its callers can show: neither revoked nor expired, the newest first.
	Certificates []CertificateUse `json:"certificates"`
	// Authorities are the rules by which certificates of other CAs stand for it, those of any identity left out; OutsideCall is the last call with such a
	// certificate, to the minute.
	Authorities []AuthorityUse `json:"authorities"`
	OutsideCall time.Time      `json:"outside_call,omitzero"`
	// Logins are the legacy user names that stand for it, and are not closed.
	Logins []LoginUse `json:"logins"`
	// Credentials are what it calls tenants with.
	Credentials []Credential `json:"credentials"`
	// Routes are what its roles open to it.
	Routes []RouteUse `json:"routes"`
}

// CertificateUse is a certificate and when it was last used.
type CertificateUse struct {
	Serial   string    `json:"serial"`
	NotAfter time.Time `json:"not_after"`
	LastCall time.Time `json:"last_call,omitzero"`
}

// AuthorityUse is a rule by which certificates of another CA stand for an identity.
type AuthorityUse struct {
	Authority string `json:"authority"`
	Kind      string `json:"kind"`
	Value     string `json:"value"`
}

// LoginUse is a login that stands for an identity, and when it was last used.
type LoginUse struct {
	User  string         `json:"user"`
	Owner string         `json:"owner"`
	Stage identity.Stage `json:"stage"`
	// Closes is when it is refused from.
	Closes   time.Time `json:"closes"`
	LastCall time.Time `json:"last_call,omitzero"`
}

// RouteUse is a route that an identity may use.
type RouteUse struct {
	Name   string `json:"name"`
	Host   string `json:"host"`
	Path   string `json:"path"`
	Tenant string `json:"tenant"`
	Role   string `json:"role"`
	// Credential says that the identity has a credential for the tenant; without one nothing comes of its requests.
	Credential bool `json:"credential"`
}

// showUses answers where an identity is used.
func showUses(s *Server, c *call) (any, error) {
	snapshot := s.Registry.Snapshot()
	i, ok := snapshot.Identity(c.name)
	if !ok {
		return nil, absent(identity.ObjectIdentity, c.name)
	}
	calls := s.Registry.Calls()
	since, err := calls.Since(c.Context())
	if err != nil {
		return nil, err
	}
	certificates := snapshot.Certificates(c.name)
	last, err := calls.Last(c.Context(), certificates)
	if err != nil {
		return nil, err
	}
	logins, err := s.Registry.LoginUses(c.Context())
	if err != nil {
		return nil, err
	}
	outside, err := calls.Last(c.Context(), []*identity.Certificate{{Fingerprint: identity.CallsOfIdentity(i.Name)}})
	if err != nil {
		return nil, err
	}
	u := Uses{
		Identity: i.Name, Owner: i.Owner, Disabled: i.Disabled, CallsSince: since, Certificates: []CertificateUse{}, Routes: []RouteUse{},
		Authorities: authorityUses(snapshot, i.Name), OutsideCall: outside[0], LastCall: outside[0], Logins: []LoginUse{},
		Credentials: s.withUse(snapshot.IdentityCredentials(c.name)),
	}
	now := time.Now()
	for _, l := range snapshot.Logins() {
		if l.Identity != i.Name {
			continue
		}
		if logins[l.User].After(u.LastCall) {
			u.LastCall = logins[l.User]
		}
		if stage := l.StageAt(now); stage != identity.StageClosed {
			u.Logins = append(u.Logins, LoginUse{l.User, snapshot.LoginOwner(l), stage, l.Closes(), logins[l.User]})
		}
	}
	for n, one := range certificates {
		if last[n].After(u.LastCall) {
			u.LastCall = last[n]
		}
		if !one.Revoked() && !one.Expired(now) {
			u.Certificates = append(u.Certificates, CertificateUse{one.Serial, one.NotAfter, last[n]})
		}
	}
	for _, r := range snapshot.Routes() {
		if i.HasRole(r.Role) {
			u.Routes = append(u.Routes, RouteUse{r.Name, r.Host, r.Path, r.Tenant, r.Role, len(snapshot.Credentials(i.Name, r.Tenant)) > 0})
		}
	}
	return u, nil
}

func authorityUses(snapshot *identity.Snapshot, name string) []AuthorityUse {
	uses := []AuthorityUse{}
	for _, e := range snapshot.Authorities().All() {
		for _, m := range e.Mappings {
			if m.Identity == name {
				uses = append(uses, AuthorityUse{e.Authority.Name, m.Kind, m.Value})
			}
		}
	}
	return uses
}

// Inactive is an identity that has not called for long.
type Inactive struct {
	Identity string `json:"identity"`
	Owner    string `json:"owner"`
	Disabled bool   `json:"disabled"`
	// LastCall is when it called last; zero is never.
	LastCall time.Time `json:"last_call,omitzero"`
	// Since is since when nothing was heard of it: since its last call, since it was added or since calls are noted.
	Since time.Time `json:"since"`
	// Certificates counts those that are neither revoked nor expired.
	Certificates int `json:"certificates"`
}

// defaultInactiveFor is how long nothing was heard of an identity for it to be listed when the request does not say.
const defaultInactiveFor = 90 * 24 * time.Hour

// listInactive answers with the identities, by name, that have not called for so long. Of the time before calls were noted nothing is known, so that it
// does not count.
func listInactive(s *Server, c *call) (any, error) {
	silent, err := c.query.duration("for", defaultInactiveFor)
	if err != nil {
		return nil, err
	}
	calls := s.Registry.Calls()
	since, err := calls.Since(c.Context())
	if err != nil {
		return nil, err
	}
	seen, err := calls.After(c.Context(), time.Time{})
	if err != nil {
		return nil, err
	}
	logins, err := s.Registry.LoginUses(c.Context())
	if err != nil {
		return nil, err
	}
	now, snapshot := time.Now(), s.Registry.Snapshot()
	used := map[string]time.Time{} // by identity: with logins, and with certificates of other CAs
	for _, l := range snapshot.Logins() {
		if at := logins[l.User]; at.After(used[l.Identity]) {
			used[l.Identity] = at
		}
	}
	list := []Inactive{}
	for _, i := range snapshot.Identities() {
		one := Inactive{Identity: i.Name, Owner: i.Owner, Disabled: i.Disabled, Since: i.Created}
		if since.After(one.Since) {
			one.Since = since
		}
		one.LastCall = used[i.Name]
		if at := seen[identity.CallsOfIdentity(i.Name)]; at.After(one.LastCall) {
			one.LastCall = at
		}
		for _, cert := range snapshot.Certificates(i.Name) {
			if at := seen[cert.Fingerprint]; at.After(one.LastCall) {
				one.LastCall = at
			}
			if !cert.Revoked() && !cert.Expired(now) {
				one.Certificates++
			}
		}
		if !one.LastCall.IsZero() {
			one.Since = one.LastCall
		}
		if now.Sub(one.Since) >= silent {
			list = append(list, one)
		}
	}
	return page(c, list, func(i Inactive) string { return i.Identity })
}
