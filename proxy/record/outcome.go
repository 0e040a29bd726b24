package record

import "fmt"

// Outcome says how a request ended. It is what the access record, the metrics and the caller's problem document name.
//
// The zero value is [Internal]: a request whose outcome nobody has set was not served.
type Outcome uint8

// The outcomes. The table below says what each tells the caller.
const (
	Internal          Outcome = iota // a defect of ours, or a stage that forgot to say
	Served                           // the tenant's answer was passed on to its end, whatever its status
	Unidentified                     // no certificate, or none that is bound to an enabled identity
	Denied                           // the identity does not hold the route's role
	NoRoute                          // no route has this host and path
	MethodNotAllowed                 // the path has a route, the method has none
	Malformed                        // the request is ambiguous or breaks HTTP: it was not interpreted
	Misdirected                      // the host asked for is not the one the connection was made for
	HeadersTooLarge                  // the header section is over the bound
	BodyTooLarge                     // the body is over the route's bound
	SlowCaller                       // the caller did not send its request in time
	Limited                          // a limit of the identity was reached, or one of the caller's address
	Overloaded                       // this node has no room for the request, whoever sent it
	NoToken                          // no token could be had for the identity's credential
	NoCSRFToken                      // the tenant gave no CSRF token for a change
	Unreachable                      // no connection to the tenant
	TenantUnavailable                // the tenant is not called now: connections to it fail, or it has all requests that it may have
	Timeout                          // the tenant did not answer in time
	TenantBroken                     // the tenant broke off its answer or answered something that is not HTTP
	RevokedInFlight                  // the certificate was revoked or the identity disabled while the request ran
	CallerGone                       // the caller hung up before the end
	Unrecorded                       // the request could not have been recorded, so it was not served
	LoginRefused                     // the user name and password are not those of a login, or not acceptable in their form
	LoginThrottled                   // passwords of this source are not compared at present
	LoginClosed                      // the password fits a login that has ended
	LoginBrownout                    // the password fits a login that refuses for a while, as announced
	LoginConflict                    // a login was sent together with the certificate of another identity
	TenantRefused                    // the tenant does not take the gateway's token in place of a login
	outcomes                         // how many there are
)

// row is what one outcome tells: name for records, metrics and the problem type; the rest for the caller.
// A detail may say what the caller can do. It says nothing about certificates, identities, addresses or causes: those are in the record.
type row struct {
	name   string
	status int
	title  string
	detail string
}

var table = [outcomes]row{
	Internal:          {"internal", 500, "Internal error", "The gateway could not handle the request. Give the request id to its operator."},
	Served:            {"served", 200, "Served", "The tenant answered."},
	Unidentified:      {"unidentified", 401, "Not identified", "Call with a client certificate that was issued for this gateway and is still valid."},
	Denied:            {"denied", 403, "Denied", "This identity may not use this route. Ask the gateway's operator for the role."},
	NoRoute:           {"no_route", 404, "No such route", "No route has this host and path."},
	MethodNotAllowed:  {"method_not_allowed", 405, "Method not allowed", "The route does not take this method."},
	Malformed:         {"malformed", 400, "Malformed request", "The request is ambiguous or is not valid HTTP. It was not forwarded."},
	Misdirected:       {"misdirected", 421, "Misdirected request", "The host does not belong to this connection. Open a connection for that host."},
	HeadersTooLarge:   {"headers_too_large", 431, "Header section too large", "Send fewer or shorter header fields."},
	BodyTooLarge:      {"body_too_large", 413, "Body too large", "The body is larger than the route allows."},
	SlowCaller:        {"slow_caller", 408, "Request timeout", "The request did not arrive in time."},
	Limited:           {"limited", 429, "Limit reached", "Too many requests. Try again later."},
	Overloaded:        {"overloaded", 503, "Overloaded", "The gateway has no room for the request at present. Nothing was sent to the tenant. Try again later."},
	NoToken:           {"no_token", 502, "No token", "The gateway could not get a token for this identity. Nothing was sent to the tenant."},
	NoCSRFToken:       {"no_csrf_token", 502, "No CSRF token", "The tenant did not give the CSRF token that it asks for. It has not executed the request."},
	Unreachable:       {"unreachable", 502, "Tenant unreachable", "The tenant could not be reached. Nothing was sent to it."},
	TenantUnavailable: {"tenant_unavailable", 503, "Tenant unavailable", "The tenant is not called at present. Nothing was sent to it. Try again later."},
	Timeout:           {"timeout", 504, "Tenant timeout", "The tenant did not answer in time. It may have executed the request."},
	TenantBroken:      {"tenant_broken", 502, "Bad answer from the tenant", "The tenant's answer was broken off or invalid. It may have executed the request."},
	RevokedInFlight:   {"revoked_in_flight", 403, "Access ended", "Access ended while the request was running. The tenant may have executed it."},
	CallerGone:        {"caller_gone", 499, "Caller gone", "The caller closed the connection before the end."},
	LoginRefused:      {"login_refused", 401, "Login refused", "User name and password are not accepted here."},
	LoginThrottled:    {"login_throttled", 429, "Too many passwords", "Too many passwords were sent. This one was not looked at. Try again later."},
	LoginClosed:       {"login_closed", 401, "Login closed", "This login has ended. Call with a client certificate that was issued for this gateway."},
	LoginBrownout:     {"login_brownout", 503, "Login paused", "This login ends soon and is refused for a short while, as announced. Nothing was sent to the tenant."},
	LoginConflict:     {"login_conflict", 403, "Two callers at once", "The request has a client certificate and the login of another identity. Send one of them. It was not forwarded."},
	TenantRefused:     {"tenant_refused", 502, "The tenant refused the gateway", "The tenant does not take the gateway's own credentials. The caller's password is not in question."},
	Unrecorded:        {"unrecorded", 503, "Not recorded", "The gateway can not record requests at present and therefore serves none. Try again later."},
}

func (o Outcome) row() *row {
	if o >= outcomes {
		o = Internal
	}
	return &table[o]
}

// String is the outcome's name in records and metrics, for example "no_token".
func (o Outcome) String() string { return o.row().name }

// Status is the HTTP status for a caller to whom no status was sent yet. [Served] has 200, but its true status is the tenant's.
func (o Outcome) Status() int { return o.row().status }

// Title is the short text of the problem document; it does not change from request to request (RFC 9457 §3.1.3).
func (o Outcome) Title() string { return o.row().title }

// Type is the problem type of RFC 9457 §3.1.1, for example "urn:tenantgate:problem:no_token". It is a name, not an address.
func (o Outcome) Type() string { return typePrefix + o.row().name }

// Detail is the sentence for the caller: what to do, and whether the tenant may have executed the request. Never a cause.
func (o Outcome) Detail() string { return o.row().detail }

// MarshalText is the name.
func (o Outcome) MarshalText() ([]byte, error) { return []byte(o.String()), nil }

// UnmarshalText reads a name and refuses one that is not in the table.
func (o *Outcome) UnmarshalText(b []byte) error {
	for i := range table {
		if table[i].name == string(b) {
			*o = Outcome(i)
			return nil
		}
	}
	return fmt.Errorf("reading outcome: %q is not one", b)
}

// Outcomes lists all outcomes in the table's order, for documents and tests.
func Outcomes() []Outcome {
	all := make([]Outcome, outcomes)
	for i := range all {
		all[i] = Outcome(i)
	}
	return all
}
