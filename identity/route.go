package identity

import (
	"strings"
	"time"
)

// What a route may say about letters' case in [Route.Case].
const (
	CaseTenant      = ""            // the tenant's rule decides
	CaseSensitive   = "sensitive"   // /A and /a are two paths
	CaseInsensitive = "insensitive" // /A and /a are one path; ASCII letters only
)

// AnyHost in [Route.Host] matches every host.
const AnyHost = "*"

const (
	// DefaultMaxBody bounds a request's body when the route names no bound: 100 MiB.
	DefaultMaxBody int64 = 100 << 20
	// DefaultIdleTimeout bounds the time without a byte in either direction while bodies are streamed, when the route names no bound.
	DefaultIdleTimeout = 60 * time.Second
)

const (
	maxPathLen   = 1024 // bytes of Route.Path
	maxPathDepth = 63   // slashes in Route.Path; routeTable keeps depths as bits of one word
)

// Route leads a host, path pattern and set of methods to a tenant's path, for identities that hold a role. No two routes of a
// registry match the same request: a route that overlaps another is refused.
type Route struct {
	// Name is the route's key, written like an identity's name. Metrics carry it as a label.
	Name string `json:"name"`
	// Host is the lower-case host name that the request names, without a port; AnyHost or "" matches all.
	Host string `json:"host"`
	// Path is the decoded path: exact ("/http/orders") or a prefix ("/http/orders/*"). A prefix matches every path that begins with
	// what stands before the '*', so "/http/orders/" and "/http/orders/7/items" but not "/http/orders".
	Path string `json:"path"`
	// Methods are the methods that match, upper case; nil means all but CONNECT and TRACE, which no route can name. A list that names none is
	// refused: it is what a script sends that has lost its methods, and must not open everything.
	Methods []string `json:"methods,omitempty"`
	// Tenant is the name of the tenant that requests go to.
	Tenant string `json:"tenant"`
	// TenantPath is the path at the tenant, below its base URL; "" means the request's own. For a prefix route it ends in "/*" and
	// what stands before the '*' replaces the matched prefix.
	TenantPath string `json:"tenant_path,omitempty"`
	// Role is the role that an identity must hold. It is required: nothing is allowed without one.
	Role string `json:"role"`
	// Case is CaseTenant, CaseSensitive or CaseInsensitive.
	Case string `json:"case,omitempty"`
	// MaxBody bounds the request's body in bytes; 0 means DefaultMaxBody, -1 no bound.
	MaxBody int64 `json:"max_body,omitempty"`
	// ResponseTimeout bounds the time from the request's start to the response's header; 0 means the tenant's.
	ResponseTimeout Duration `json:"response_timeout,omitempty"`
	// IdleTimeout bounds the time without a byte in either direction; 0 means DefaultIdleTimeout.
	IdleTimeout Duration `json:"idle_timeout,omitempty"`
	// Scope is the OAuth scope to ask for on this route: tokens with one space between; "" means the credential's.
	Scope string `json:"scope,omitempty"`
	// TokenParameters are further fields of token requests for this route, such as resource; they go before the credential's, by name.
	TokenParameters TokenParameters `json:"token_parameters,omitempty"`
	// Upgrade names the protocols that a connection may be turned over to (RFC 9110, 7.8), lower case, such as "websocket"; empty means
	// none. Once it is, what goes over it is not looked at any more.
	Upgrade []string `json:"upgrade,omitempty"`
	// CSRF is CSRFOff, CSRFAuto or CSRFOn: what is done before a change (any method but GET, HEAD and OPTIONS).
	CSRF string `json:"csrf,omitempty"`
	// CSRFPath is the path at the tenant, below its base URL, at which a CSRF token is fetched (GET, X-CSRF-Token: Fetch); "" means the
	// root of the OData API ("/api/v1/") for requests below it, and the request's own path for all others.
	CSRFPath string `json:"csrf_path,omitempty"`
	// CallerHeader is the header that tells the tenant the name of the calling identity, such as "SAP_Sender"; "" means none. What a
	// caller sends under a name that may be read as this one ends here, in headers, trailers and the query.
	CallerHeader string `json:"caller_header,omitempty"`
	// Created is when the route was added. The registry sets it.
	Created time.Time `json:"created,omitzero"`
	// Updated is when the route was last changed. The registry sets it.
	Updated time.Time `json:"updated,omitzero"`
}

// Validate returns an *[Error] with code [ErrInvalid] for the first field that cannot be stored, or nil. Whether the route overlaps
// another one only the registry can say.
func (r Route) Validate() error {
	v := validation{object: ObjectRoute, name: r.Name}
	v.key("name", r.Name)
	if r.Host != "" && r.Host != AnyHost {
		v.host("host", r.Host)
	}
	v.pattern("path", r.Path)
	if r.Methods != nil && len(r.Methods) == 0 {
		v.fail("methods", "a list that names none", "name some, or leave it out (null) for all")
	}
	for _, m := range r.Methods {
		v.method("methods", m)
	}
	v.key("tenant", r.Tenant)
	if r.TenantPath != "" {
		v.tenantPath(r)
	}
	v.role("role", r.Role)
	switch r.Case {
	case CaseTenant, CaseSensitive, CaseInsensitive:
	default:
		v.fail("case", quoted(r.Case)+" is not a case rule", "give sensitive, insensitive, or nothing for the tenant's rule")
	}
	if r.MaxBody < -1 {
		v.fail("max_body", "negative", "give bytes, 0 for the default of 100 MiB, or -1 for no bound")
	}
	v.timeout("response_timeout", r.ResponseTimeout)
	v.timeout("idle_timeout", r.IdleTimeout)
	v.scope("scope", r.Scope)
	v.parameters("token_parameters", r.TokenParameters)
	for _, protocol := range r.Upgrade {
		v.upgrade("upgrade", protocol)
	}
	v.csrf(r)
	v.callerHeader(r.CallerHeader)
	return v.err()
}

// normal returns the route as it is stored: methods sorted, each once, and one spelling for "any host" and for "off".
func (r Route) normal() Route {
	if r.Host == "" {
		r.Host = AnyHost
	}
	if r.CSRF == "off" {
		r.CSRF = CSRFOff
	}
	r.Upgrade = sortedSet(r.Upgrade)
	if r.Methods != nil { // nil is another thing than none
		r.Methods = sortedSet(r.Methods)
	}
	return r
}

// Prefix returns what a prefix route's path begins with, its last slash included, and whether the route is a prefix route.
func (r *Route) Prefix() (string, bool) { return strings.CutSuffix(r.Path, "*") }

// pattern checks a path that is matched against decoded paths. What could be read in two ways is refused: see law 8 of the design.
func (v *validation) pattern(field, path string) {
	rest, _ := strings.CutSuffix(path, "/*")
	switch {
	case !strings.HasPrefix(path, "/"):
		v.fail(field, "does not begin with a slash", "write it like /http/orders or, for all below it, /http/orders/*")
	case len(path) > maxPathLen:
		v.fail(field, "too long", "use at most 1024 bytes")
	case strings.Count(path, "/") > maxPathDepth:
		v.fail(field, "too deep", "use at most 63 slashes")
	case strings.Contains(path, "%"):
		v.fail(field, "holds a '%'", "write the decoded form: paths are matched after they were decoded")
	case strings.Contains(rest, "*"):
		v.fail(field, "holds a '*' elsewhere than as the last segment", "a prefix ends in /*; there is no other wildcard")
	case strings.ContainsAny(path, `;\?#`):
		v.fail(field, `holds ';', '\', '?' or '#'`, "servers disagree on what these mean in a path, so no route has them")
	case !printable(path):
		v.fail(field, "holds a control character or is no UTF-8", "remove it")
	case path != "/" && path != "/*" && badSegment(rest):
		v.fail(field, "has an empty, '.' or '..' segment", "write the path without //, /./, /../ and without a slash at the end")
	}
}

func badSegment(path string) bool {
	for segment := range strings.SplitSeq(path[1:], "/") {
		if segment == "" || segment == "." || segment == ".." {
			return true
		}
	}
	return false
}

// tenantPath checks the path that is sent in place of the matched one. It goes on the wire as it stands, so it holds only
// characters that need no encoding there (RFC 3986, 3.3).
func (v *validation) tenantPath(r Route) {
	const field = "tenant_path"
	v.pattern(field, r.TenantPath)
	if v.failed != nil {
		return
	}
	rest, prefix := strings.CutSuffix(r.TenantPath, "/*")
	if _, want := r.Prefix(); prefix != want {
		v.fail(field, "does not fit path", "end both in /* or neither")
		return
	}
	for i := range len(rest) {
		if !pathChar(rest[i]) {
			v.fail(field, "holds "+quoted(rest[i:i+1])+", which needs encoding in a URL", "use letters, digits and -._~!$&'()+,=:@/ only")
			return
		}
	}
}

func pathChar(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._~!$&'()+,=:@/", c) >= 0
}

// fits reports, by an error on the route, whether its tenant can be asked for what it allows.
func (r *Route) fits(t *Tenant) error {
	v := validation{object: ObjectRoute, name: r.Name}
	if len(r.Upgrade) > 0 && t.Protocol == ProtocolHTTP2 {
		v.fail("upgrade", "tenant "+quoted(t.Name)+" is called by HTTP/2, which has no upgrades",
			"allow none, or set the tenant's protocol to http1, or add the same remote system as a second tenant")
	}
	return v.err()
}

// upgrade checks the name of a protocol. One that carries requests of its own would carry them past every rule of the routes.
func (v *validation) upgrade(field, protocol string) {
	const allowed = "abcdefghijklmnopqrstuvwxyz0123456789-._"
	name, _, _ := strings.Cut(protocol, "/")
	switch {
	case protocol == "" || len(protocol) > 64 || strings.Trim(protocol, allowed+"/") != "" || strings.Count(protocol, "/") > 1:
		v.fail(field, quoted(protocol)+" is not the name of a protocol", "write it in small letters, like websocket")
	case name == "h2c" || name == "h2" || name == "http" || name == "tls" || strings.HasPrefix(name, "connect-"):
		v.fail(field, quoted(protocol)+" would carry requests past the routes", "name protocols that carry none, like websocket")
	}
}

func (v *validation) method(field, m string) {
	switch {
	case m == "CONNECT" || m == "TRACE":
		v.fail(field, m+" is never forwarded", "remove it")
	case m == "" || len(m) > 32 || strings.Trim(m, "ABCDEFGHIJKLMNOPQRSTUVWXYZ-_") != "":
		v.fail(field, quoted(m)+" is not a method", "write methods in capitals, like GET or POST")
	}
}
