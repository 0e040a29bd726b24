package proxy

import (
	"strings"
	"unsafe"

	"github.com/tenantgate/tenantgate/proxy/token"
	"github.com/tenantgate/tenantgate/proxy/wire"
)

// What finds a request again elsewhere goes into its record: the trace, the correlation id, and the id of the message processing log.

const maxCorrelation = 128

// isCorrelation reports whether a field is the correlation id of SAP Cloud Integration, or goes by the name that others have given it.
func isCorrelation(name string) bool {
	switch len(name) {
	case len("x-correlationid"):
		return strings.EqualFold(name, "x-correlationid")
	case len("x-correlation-id"):
		return strings.EqualFold(name, "x-correlation-id")
	}
	return false
}

// place finds out where the request belongs, before anything is decided: a refusal has its place, too.
func (x *exchange) place() {
	x.trace.begin(x.req.Fields)
	x.access.TraceID, x.access.SpanID = x.trace.id(), x.trace.span()
	for i := range x.req.Fields {
		if f := &x.req.Fields[i]; isCorrelation(f.Name) {
			x.correlate(f.Value)
		}
	}
}

// correlate notes a correlation id, if it is visible ASCII and not too long. It keeps a copy.
func (x *exchange) correlate(id string) {
	if id == "" || len(id) > maxCorrelation {
		return
	}
	for i := range len(id) {
		if id[i] <= ' ' || id[i] > '~' {
			return
		}
	}
	x.access.CorrelationID = unsafe.String(&x.correlation[0], copy(x.correlation[:], id))
}

// find looks for ids in a field of the tenant's answer that may go to the caller.
func (x *exchange) find(f *wire.Field) {
	switch {
	case len(f.Name) == len(mplField) && strings.EqualFold(f.Name, mplField):
		if isMPLID(f.Value) {
			x.access.MPLID = strings.Clone(f.Value)
		}
	case isCorrelation(f.Name):
		x.correlate(f.Value)
	}
}

// passes reports whether a header or trailer field of the caller's goes to the tenant: all but those that may not, and those in whose place we put our own.
func (x *exchange) passes(name string) bool {
	return callerHeaderPasses(name) && !x.replaces(name)
}

// replaces reports whether the tenant gets a field of ours that could be taken for the caller's of this name. A caller's own X-CSRF-Token would be that of
// a session which it does not have.
func (x *exchange) replaces(name string) bool {
	route := x.decision.Route
	return x.trace.replaces(name) ||
		route.Route.CallerHeader != "" && sameHeader(name, route.Route.CallerHeader) ||
		x.guard != nil && sameHeader(name, csrfField)
}

// addOurs adds the fields that are ours alone.
func (x *exchange) addOurs(tok token.Token, add func(name, value string)) {
	if x.basic.observed != nil {
		add("Authorization", x.basic.observed.value)
	} else {
		add("Authorization", tok.Header())
	}
	add("X-Request-Id", x.access.RequestID)
	add("traceparent", x.trace.value())
	if name := x.decision.Route.Route.CallerHeader; name != "" && x.basic.observed == nil { // nobody was authenticated here
		add(name, x.access.Identity)
	}
	if x.session != nil {
		x.addSession(add)
	}
}
