package proxy

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/proxy/record"
	"github.com/tenantgate/tenantgate/proxy/wire"
)

// Core decides requests. It takes plain values and knows no HTTP library; every wire engine asks the same Core. Its methods are safe for concurrent
// use, take no lock and allocate nothing for a request that is allowed as it came.
type Core struct {
	// Registry says who is bound to a certificate and what a route requires, now.
	Registry *identity.Registry
	// Trust is the bundle that client certificates must chain to, now.
	Trust func() *pki.Trust
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// Request is what a wire engine knows of a request: plain values, as the caller sent them.
type Request struct {
	Peer   *Peer      // nil: nobody
	Source netip.Addr // where the caller is; invalid when that is not known
	Host   string     // Host or :authority
	Method string
	Target string // request target in origin form, byte for byte
	Length int64  // octets of the body, -1 when it is chunked
	Fields wire.Fields
	Claim  *Claim    // nil: no login stands for the caller
	Now    time.Time // when the request came; zero: the core looks at its clock
}

// maxMethod bounds a method, in octets.
const maxMethod = 32

// Decision is what Decide found, as far as it came. It is meant to be reused: its buffers are kept.
type Decision struct {
	Outcome record.Outcome // record.Served: go on
	Cause   string         // for the record, never for the caller

	Named     string            // whom the certificate is bound to, also when it is not accepted; for the record
	Binding   *identity.Binding // nil unless the certificate or login is accepted
	Login     *identity.Login   // nil unless a login stands for the caller, accepted or not
	Stage     identity.Stage    // of Login, when it was decided
	Until     time.Time         // for login_brownout: when the window ends
	LockedOut bool              // for login_closed: the login is open, but not to this caller, who has a certificate
	Changed   bool              // the login is not what the claim was made of: look at it again

	// Of a login in stage observe: what would have become of the request with its identity, as far as the core knows. Served: nothing stands against it.
	Would      record.Outcome
	WouldCause string

	Route *identity.RouteEntry
	Allow []string // for method_not_allowed: the methods that the path has

	Path   string // the raw path, for the record; "" when there is none
	Target string // what to send to the tenant: path and query, byte-exact but for what the route replaces

	path rawPath
}

// deny ends a decision.
func (d *Decision) deny(o record.Outcome, cause string) { d.Outcome, d.Cause = o, cause }

// Decide is the one place where access is decided (law 1): a request goes on only when its peer's certificate, or a live login whose password was verified, is
// bound to an enabled identity that holds the role of the one route which the request matches. Everything that could be read in two ways was refused before.
// A login in stage observe is the exception: the tenant will say whether its password is right, and what the role would have said is only noted.
func (c *Core) Decide(r *Request, d *Decision) {
	*d = Decision{path: d.path}
	snap := c.Registry.Snapshot()
	c.identify(snap, r, d)
	if d.Outcome != record.Served {
		if d.Outcome == record.LoginClosed || d.Outcome == record.LoginBrownout {
			c.nameRoute(snap, r, d)
		}
		return
	}
	query := c.parse(r, d)
	if d.Outcome != record.Served {
		return
	}
	c.authorize(snap, r, d)
	if d.Outcome != record.Served {
		return
	}
	if checkBody(r, d); d.Outcome != record.Served {
		return
	}
	if header := d.Route.Route.CallerHeader; header != "" && query != "" {
		query = cutParameter(query, header)
	}
	d.Target = forwardTarget(d, r.Target, query)
}

// identify: who calls? Only TLS says (law 2).
func (c *Core) identify(snap *identity.Snapshot, r *Request, d *Decision) {
	d.Outcome = record.Served
	if r.Claim != nil {
		c.identifyLogin(snap, r, d)
		return
	}
	if r.Peer == nil {
		d.deny(record.Unidentified, "no client certificate was presented")
		return
	}
	now := r.Now
	if now.IsZero() {
		now = c.now()
	}
	b, err := identify(snap, c.Trust(), r.Peer, now)
	if err != nil {
		d.deny(record.Unidentified, err.Error())
		d.Named = nameOf(snap, r.Peer)
		return
	}
	d.Named = b.Identity.Name
	d.Binding = b
	r.Peer.note(now)
	if b.Identity.Disabled {
		d.deny(record.Denied, "identity is disabled")
		return
	}
	checkPolicy(b.Identity, r.Source, now, d)
}

// checkPolicy: may the identity call from there, and now?
func checkPolicy(i *identity.Identity, from netip.Addr, now time.Time, d *Decision) {
	p := i.CallPolicy()
	if p == nil {
		return
	}
	switch {
	case !p.AllowsFrom(from):
		d.object(record.NetworkDenied, "identity may not call from this address")
	case !p.OpenAt(now):
		d.object(record.OutsideWindow, "identity may not call at this time")
	}
}

// object denies what the identity may not do. A login in stage observe does not call as the identity yet: what it would have been told is only noted.
func (d *Decision) object(o record.Outcome, cause string) {
	switch {
	case d.Stage != identity.StageObserve:
		d.deny(o, cause)
	case d.Would == record.Served:
		d.Would, d.WouldCause = o, cause
	}
}

// bodyLimit is how many octets a body may have, by the route and by the identity; -1 is any number.
func (d *Decision) bodyLimit() int64 {
	limit := d.Route.MaxBody
	if own := d.Binding.Identity.MaxBody; own > 0 && d.Stage != identity.StageObserve && (limit < 0 || own < limit) {
		limit = own
	}
	return limit
}

// checkBody: is the body, if its length is known, one that may come?
func checkBody(r *Request, d *Decision) {
	limit := d.bodyLimit()
	if limit < 0 || r.Length <= limit {
		d.foreseeBody(r.Length)
		return
	}
	whose := "route"
	if limit != d.Route.MaxBody {
		whose = "identity"
	}
	d.deny(record.BodyTooLarge, fmt.Sprintf("body of %d octets is over the %s's limit of %d", r.Length, whose, limit))
}

// foreseeBody notes of a login in stage observe that a body is over what the identity may send.
func (d *Decision) foreseeBody(octets int64) {
	if own := d.Binding.Identity.MaxBody; d.Stage == identity.StageObserve && own > 0 && octets > own {
		d.object(record.BodyTooLarge, "body is over the identity's limit of "+strconv.FormatInt(own, 10)+" octets")
	}
}

// parse: what is asked for, in the one way that everybody reads it?
func (c *Core) parse(r *Request, d *Decision) (query string) {
	d.Path, query, _ = splitTarget(r.Target)
	switch {
	case !wire.IsToken(r.Method) || len(r.Method) > maxMethod:
		d.deny(record.Malformed, "method is malformed")
	case r.Method == "CONNECT" || r.Method == "TRACE":
		d.deny(record.MethodNotAllowed, r.Method+" is not served")
	case !wire.ValidAuthority(r.Host):
		d.deny(record.Malformed, "host is malformed")
	case r.Peer.ServerName != "" && !sameHost(r.Host, r.Peer.ServerName):
		d.deny(record.Misdirected, "host is not the server name of the TLS handshake")
	}
	if d.Outcome != record.Served {
		return query
	}
	if cause := d.path.parse(d.Path); cause != "" {
		d.deny(record.Malformed, cause)
		return query
	}
	query, cause := cleanQuery(query)
	if cause != "" {
		d.deny(record.Malformed, cause)
	}
	return query
}

// authorize: is there a route, and does the identity hold its role?
func (c *Core) authorize(snap *identity.Snapshot, r *Request, d *Decision) {
	host := normalHost(hostOnly(r.Host))
	entry, result := snap.MatchPath(host, d.path.decoded, d.path.folded, r.Method)
	switch result {
	case identity.NoRoute:
		d.deny(record.NoRoute, "no route matches host and path")
		return
	case identity.NoMethod:
		d.deny(record.MethodNotAllowed, "no route of this path has the method")
		d.Allow = snap.Methods(host, d.path.decoded, d.path.folded)
		return
	}
	d.Route = entry
	if d.Login != nil && !d.Login.AllowsRoute(entry.Route.Name) {
		d.deny(record.Denied, "login may not use the route")
		return
	}
	if !d.Binding.HasRole(entry.Route.Role) {
		if d.object(record.Denied, "identity does not hold the role of the route"); d.Outcome != record.Served {
			return
		}
	}
	for i := range r.Fields {
		if f := &r.Fields[i]; overridesMethod(f.Name) && callerHeaderPasses(f.Name) && !allowsMethod(entry.Route, f.Value) {
			d.deny(record.Denied, "a header asks for a method that the route does not have")
			return
		}
	}
}

func allowsMethod(r *identity.Route, method string) bool {
	if len(r.Methods) == 0 {
		return !strings.EqualFold(method, "CONNECT") && !strings.EqualFold(method, "TRACE")
	}
	for _, m := range r.Methods {
		if m == method {
			return true
		}
	}
	return false
}

// forwardTarget makes the request target for the tenant. Without rewriting and reserved parameters it is the caller's own string.
func forwardTarget(d *Decision, target, query string) string {
	_, asked, hasQuery := splitTarget(target)
	base, prefix, cut := d.Route.Base.EscapedPath(), d.Route.TenantPath, 0
	if prefix != "" {
		cut = len(d.Path) // exact route: the whole path is replaced
		if d.Route.Prefix != "" {
			cut = rawOffset(d.Path, len(d.Route.Prefix))
		}
	}
	if base == "" && prefix == "" && query == asked {
		return target
	}
	out := base + prefix + d.Path[cut:]
	if query != "" || hasQuery && asked == "" {
		out += "?" + query
	}
	return out
}

func (c *Core) now() time.Time {
	if c.Now != nil {
		return c.Now()
	}
	return time.Now()
}

// hostOnly removes the port from a valid authority.
func hostOnly(authority string) string {
	if strings.HasPrefix(authority, "[") {
		return authority[:strings.IndexByte(authority, ']')+1]
	}
	if i := strings.IndexByte(authority, ':'); i >= 0 {
		return authority[:i]
	}
	return authority
}

// normalHost is host in lower case and without the dot of the root. It allocates only when that changes something.
func normalHost(host string) string {
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

// sameHost compares the host of an authority with a server name (SNI) in normal form.
func sameHost(authority, serverName string) bool {
	return strings.EqualFold(strings.TrimSuffix(hostOnly(authority), "."), serverName)
}
