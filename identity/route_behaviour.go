package identity

import "strings"

// What a route does about a tenant that protects its changes against cross-site request forgery: [Route.CSRF].
const (
	CSRFOff  = ""     // nothing; "off" is another spelling of it
	CSRFAuto = "auto" // nothing until the tenant asks an identity for a token (403, X-CSRF-Token: required), then as CSRFOn
	CSRFOn   = "on"   // a token and its session are fetched before the first change
)

// maxCallerHeader bounds the name of a header, in bytes.
const maxCallerHeader = 64

// csrf checks csrf and csrf_path. The path goes on the wire as it stands, like the tenant path; it may end in a slash, because that of
// an OData service does.
func (v *validation) csrf(r Route) {
	switch r.CSRF {
	case CSRFOff, "off", CSRFAuto, CSRFOn:
	default:
		v.fail("csrf", quoted(r.CSRF)+" is no way to deal with CSRF protection", "give off, auto or on")
	}
	if r.CSRFPath == "" {
		return
	}
	if r.CSRF == CSRFOff || r.CSRF == "off" {
		v.fail("csrf_path", "given without csrf", "give csrf as auto or on, or leave the path out")
	}
	path := r.CSRFPath
	if len(path) > 1 {
		path = strings.TrimSuffix(path, "/")
	}
	v.pattern("csrf_path", path)
	for i := range len(path) {
		if !pathChar(path[i]) || path[i] == '*' {
			v.fail("csrf_path", "holds "+quoted(path[i:i+1]), "use letters, digits and -._~!$&'()+,=:@/ only")
			return
		}
	}
}

// callerHeader checks the name of the header that names the caller (RFC 9110, section 5.1). What frames a message, authenticates, or is
// written by tenantgate for another purpose would not be that header any more.
func (v *validation) callerHeader(name string) {
	const field, hint = "caller_header", "give a name that means nothing else, like SAP_Sender"
	if name == "" {
		return
	}
	if len(name) > maxCallerHeader || strings.Trim(name, "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz") != "" {
		v.fail(field, quoted(name)+" is not the name of a header", hint)
		return
	}
	folded := strings.ReplaceAll(strings.ToLower(name), "_", "-")
	for _, prefix := range [...]string{"proxy-", "content-", "access-control-", "if-", "sec-"} {
		if strings.HasPrefix(folded, prefix) {
			v.fail(field, quoted(name)+" means something else", hint)
			return
		}
	}
	switch folded {
	case "host", "connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "http2-settings", "expect",
		"authorization", "authentication", "authentication-info", "www-authenticate", "cookie", "cookie2", "set-cookie", "set-cookie2",
		"x-csrf-token", "x-request-id", "x-correlationid", "x-correlation-id", "traceparent", "tracestate", "x-cf-encoded-credentials", "mysapsso2",
		"x-http-method", "x-http-method-override", "x-method-override", "accept", "accept-encoding", "date", "range", "via":
		v.fail(field, quoted(name)+" means something else", hint)
	}
}
