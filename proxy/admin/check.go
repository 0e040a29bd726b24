package admin

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/proxy/check"
)

const (
	checkTime   = 50 * time.Second      // for one check of everything, below the listener's bound on an answer
	checkAtOnce = 4                     // credentials tried at the same time
	checkMost   = 500                   // credentials in one check
	checkPace   = 50 * time.Millisecond // between two of them: a third of what a token server takes from everybody together (TENANTS.md 2.4)
)

// checkTenant tries the way to a tenant with the credentials that the request names. That uses their secrets, so it is recorded, before it is done.
func checkTenant(s *Server, c *call) (any, error) {
	var q CheckRequest
	if err := c.decode(&q); err != nil {
		return nil, err
	}
	p, err := s.planCheck(c.name, &q)
	if err != nil {
		return nil, err
	}
	err = s.change(c, identity.ObjectTenant, "check", func(*identity.Tx) (act, error) {
		ids := make([]string, 0, len(p.credentials))
		for _, credential := range p.credentials {
			ids = append(ids, credential.ID)
		}
		return act{c.name, struct {
			CheckRequest
			Credentials []string `json:"credentials"`
		}{q, ids}}, nil
	})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(c.Context(), checkTime)
	defer cancel()
	return p.run(ctx, s)
}

// checkPlan is what a check is going to try.
type checkPlan struct {
	tenant      *identity.Tenant
	route       *identity.Route // nil: no certain one
	credentials []*identity.Credential
	probe       *check.Probe
	snapshot    *identity.Snapshot
}

func (s *Server) planCheck(name string, q *CheckRequest) (*checkPlan, error) {
	snapshot := s.Registry.Snapshot()
	tenant, ok := snapshot.Tenant(name)
	if !ok {
		return nil, absent(identity.ObjectTenant, name)
	}
	p := &checkPlan{tenant: tenant, snapshot: snapshot}
	if q.Route != "" {
		entry, ok := snapshot.Route(q.Route)
		if !ok {
			return nil, absent(identity.ObjectRoute, q.Route)
		}
		if p.route = entry.Route; p.route.Tenant != name {
			return nil, invalid("route", "route \""+q.Route+"\" leads to tenant \""+p.route.Tenant+"\"", "name a route of this tenant")
		}
	}
	var err error
	if p.probe, err = readProbe(tenant, q); err != nil {
		return nil, err
	}
	return p, p.choose(q)
}

// choose collects the credentials that are asked for.
func (p *checkPlan) choose(q *CheckRequest) error {
	if q.Credential != "" {
		c, ok := p.snapshot.Credential(q.Credential)
		switch {
		case !ok:
			return absent(identity.ObjectCredential, q.Credential)
		case c.Tenant != p.tenant.Name:
			return invalid("credential", "the credential is for tenant \""+c.Tenant+"\"", "name one of this tenant")
		case q.Identity != "" && q.Identity != c.Identity:
			return invalid("credential", "the credential is identity \""+c.Identity+"\"'s", "leave out one of the two")
		}
		p.credentials = []*identity.Credential{c}
		return nil
	}
	if q.Identity != "" {
		if _, ok := p.snapshot.Identity(q.Identity); !ok {
			return absent(identity.ObjectIdentity, q.Identity)
		}
		p.credentials = p.snapshot.Credentials(q.Identity, p.tenant.Name)
		return nil
	}
	for c := range p.snapshot.AllCredentials() {
		if c.Tenant == p.tenant.Name {
			p.credentials = append(p.credentials, c)
		}
	}
	if len(p.credentials) > checkMost {
		return invalid("identity", "the tenant has more than 500 credentials, too many for one check", "name an identity or a credential")
	}
	slices.SortFunc(p.credentials, func(a, b *identity.Credential) int {
		if a.Identity != b.Identity {
			return strings.Compare(a.Identity, b.Identity)
		}
		return b.Created.Compare(a.Created)
	})
	return nil
}

// readProbe takes a path that reads the same to everybody, as those of routes do, with or without a query.
func readProbe(t *identity.Tenant, q *CheckRequest) (*check.Probe, error) {
	if q.ProbePath == "" {
		if q.ProbeMethod != "" {
			return nil, invalid("probe_method", "a method is given without a path", "give probe_path, or leave it out")
		}
		return nil, nil
	}
	method := q.ProbeMethod
	if method == "" {
		method = http.MethodHead
	}
	if method != http.MethodHead && method != http.MethodGet {
		return nil, invalid("probe_method", "a probe is HEAD or GET", "a check changes nothing at the tenant")
	}
	u, err := url.ParseRequestURI(q.ProbePath)
	if err != nil || u.Host != "" || u.Scheme != "" || !strings.HasPrefix(q.ProbePath, "/") || strings.ContainsAny(q.ProbePath, "#\\;") ||
		strings.Contains(u.Path, "//") || slices.ContainsFunc(strings.Split(u.Path, "/"), func(s string) bool { return s == "." || s == ".." }) {
		return nil, invalid("probe_path", "not a path", "write it like /http/ping or /api/v1/?$format=json")
	}
	return &check.Probe{Method: method, URL: t.BaseURL + q.ProbePath}, nil
}

// run tries all of it.
func (p *checkPlan) run(ctx context.Context, s *Server) (*CheckReport, error) {
	report := &CheckReport{Tenant: p.tenant.Name, BaseURL: p.tenant.BaseURL, Steps: []check.Step{}, Credentials: make([]CredentialCheck, len(p.credentials))}
	var all sync.WaitGroup
	if p.tenant.ClientCertificate != identity.ShowCredential {
		way, err := s.Way(p.tenant, nil, nil)
		if err != nil {
			return nil, err
		}
		all.Go(func() { report.Steps = way.Reach(ctx) })
	}
	slots := make(chan struct{}, checkAtOnce)
	pace := time.NewTicker(checkPace)
	defer pace.Stop()
	for i, c := range p.credentials {
		all.Go(func() {
			select {
			case slots <- struct{}{}:
				defer func() { <-slots }()
			case <-ctx.Done():
			}
			report.Credentials[i] = p.try(ctx, s, c)
		})
		if i+1 < len(p.credentials) {
			select {
			case <-pace.C:
			case <-ctx.Done():
			}
		}
	}
	all.Wait()
	if len(p.credentials) == 0 {
		report.Steps = append(report.Steps, check.Step{Name: check.StepCredential, State: check.Fail, Detail: "there is no credential to try",
			Hint: "add one: credential add IDENTITY " + p.tenant.Name + " --service-key FILE"})
	}
	report.State = check.Worst(report.Steps)
	for _, c := range report.Credentials {
		report.State = check.Worst([]check.Step{{State: report.State}, {State: c.State}})
	}
	return report, nil
}

// try checks one credential.
func (p *checkPlan) try(ctx context.Context, s *Server, c *identity.Credential) CredentialCheck {
	done := CredentialCheck{ID: c.ID, Identity: c.Identity, ClientID: c.ClientID}
	refuse := func(state check.State, detail, hint string) CredentialCheck {
		done.State, done.Steps = state, []check.Step{{Name: check.StepCredential, State: state, Detail: detail, Hint: hint}}
		return done
	}
	holder, ok := p.snapshot.Identity(c.Identity)
	switch {
	case ctx.Err() != nil:
		return refuse(check.Skipped, "not tried: there was no time left", "check fewer at once: --identity NAME")
	case !ok || holder.Disabled:
		return refuse(check.Warn, "not tried: its identity is disabled", "enable it first: identity enable "+c.Identity)
	case p.route != nil && !slices.Contains(holder.Roles, p.route.Role):
		return refuse(check.Fail, "the identity does not hold role "+p.route.Role+", which route "+p.route.Name+" requires",
			"identity set "+c.Identity+" --add-role "+p.route.Role)
	}
	way, err := s.Way(p.tenant, c, p.route)
	if err != nil {
		return refuse(check.Fail, err.Error(), "add the credential anew: credential add "+c.Identity+" "+p.tenant.Name)
	}
	shown := p.tenant.ClientCertificate == identity.ShowCredential
	client := check.Client{Way: way, NotAfter: c.NotAfter, WarnFrom: c.WarnFrom(), BaseURL: p.tenant.BaseURL, Shown: shown, Routes: p.routes(holder), Probe: p.probe}
	done.Steps, done.Claims = client.Try(ctx, s.Tokens)
	if shown {
		done.Steps = append(done.Steps, way.Reach(ctx)...)
	}
	done.State = check.Worst(done.Steps)
	return done
}

// routes are those that lead to the tenant and that the identity may use.
func (p *checkPlan) routes(holder *identity.Identity) []check.Route {
	var list []check.Route
	for _, r := range p.snapshot.Routes() {
		if r.Tenant != p.tenant.Name || !slices.Contains(holder.Roles, r.Role) || p.route != nil && p.route.Name != r.Name {
			continue
		}
		path := r.TenantPath
		if path == "" {
			path = r.Path
		}
		list = append(list, check.Route{Name: r.Name, Path: path, Scope: r.Scope})
	}
	return list
}
