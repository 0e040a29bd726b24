package proxy

import "strings"

// Header hygiene (laws 2 and 5). Names are compared folded: ASCII lower case and '_' as '-', because servers behind us (CGI, WSGI, the load balancer of
// SAP BTP) read X_Forwarded_User as X-Forwarded-User. Whatever says, or could be read to say, who the caller is never passes.

// maxReservedName bounds the folded copy of a name; longer names are judged by their first octets.
const maxReservedName = 64

// foldName folds one octet of a header name.
func foldName(c byte) byte {
	switch {
	case 'A' <= c && c <= 'Z':
		return c + 'a' - 'A'
	case c == '_':
		return '-'
	}
	return c
}

// appendFolded appends the folded form of name to dst, cut at maxReservedName octets.
func appendFolded(dst []byte, name string) []byte {
	for i := 0; i < len(name) && i < maxReservedName; i++ {
		dst = append(dst, foldName(name[i]))
	}
	return dst
}

// sameHeader reports whether two names may be read as one.
func sameHeader(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if foldName(a[i]) != foldName(b[i]) {
			return false
		}
	}
	return true
}

// reservedNames are the folded names that a caller may not send to a tenant, in a header, a trailer or a query: they say who calls.
var reservedNames = map[string]bool{
	"authorization": true, "authentication": true, "authentication-info": true, "cookie": true, "cookie2": true, "set-cookie": true, "set-cookie2": true,
	"forwarded": true, "via": true, "client-cert": true, "client-cert-chain": true, // RFC 7239, RFC 9110, RFC 9440
	"x-real-ip": true, "x-request-id": true, "x-remote-user": true, "remote-user": true, "remote-addr": true, "x-cluster-client-ip": true,
	"true-client-ip": true, "cf-connecting-ip": true, "x-original-url": true, "x-rewrite-url": true, "x-original-host": true, "x-host": true,
	"front-end-https": true, "x-envoy-external-address": true, "x-webauth-user": true,
	"sap-sender": true, "sapauthenticatedusername": true, "x-cf-encoded-credentials": true, "mysapsso2": true,
}

// framingNames belong to the wire engine, which writes its own: a caller's header of such a name, and whatever looks like one, ends here. As names of
// query parameters they are harmless ("?host=a17").
var framingNames = map[string]bool{
	"host": true, "connection": true, "keep-alive": true, "te": true, "trailer": true, "transfer-encoding": true, "upgrade": true, "http2-settings": true,
	"content-length": true, "expect": true,
}

// overridesMethod reports whether a header of this name asks for the request to be taken for another method: what was judged must be what is done, so the
// core judges what it asks for. A look-alike never passes.
func overridesMethod(name string) bool {
	switch len(name) {
	case len("x-http-method"), len("x-method-override"), len("x-http-method-override"):
	default:
		return false
	}
	var buf [maxReservedName]byte
	switch string(appendFolded(buf[:0], name)) {
	case "x-http-method", "x-method-override", "x-http-method-override":
		return true
	}
	return false
}

// reservedPrefixes are families of names of the same kind.
var reservedPrefixes = [...]string{
	"proxy-", "x-forwarded-", "ssl-client-", "x-ssl-", "x-client-", "x-auth-request-", "x-authenticated-", "x-tenantgate-", "x-amzn-oidc-",
	"x-goog-authenticated-", "x-ms-client-principal", "x-remote-user-", "x-vcap-request-",
}

// reservedName reports whether a folded name is reserved.
func reservedName(folded []byte) bool {
	return reservedNames[string(folded)] || hasReservedPrefix(folded)
}

func hasReservedPrefix(folded []byte) bool {
	for _, p := range reservedPrefixes {
		if len(folded) >= len(p) && string(folded[:len(p)]) == p {
			return true
		}
	}
	return false
}

// callerHeaderPasses reports whether a header or trailer of this name may go from the caller to the tenant. Framing headers never pass: the engine
// writes its own.
func callerHeaderPasses(name string) bool {
	var buf [maxReservedName]byte
	folded := appendFolded(buf[:0], name)
	if strings.IndexByte(name, '_') >= 0 && overridesMethod(name) {
		return false
	}
	return !framingNames[string(folded)] && !reservedName(folded)
}

// tenantHeaderPasses reports whether a header or trailer of this name may go from the tenant to the caller: no cookie (law 5), no credential, nothing
// that speaks about the connection to the tenant, nothing that invites the caller to go around us.
func tenantHeaderPasses(name string) bool {
	var buf [maxReservedName]byte
	folded := appendFolded(buf[:0], name)
	switch string(folded) {
	case "set-cookie", "set-cookie2", "cookie", "authorization", "authentication-info", "alt-svc", "connection", "keep-alive", "te", "trailer",
		"transfer-encoding", "upgrade", "content-length", "x-request-id":
		return false
	}
	const proxy = "proxy-"
	return len(folded) < len(proxy) || string(folded[:len(proxy)]) != proxy
}
