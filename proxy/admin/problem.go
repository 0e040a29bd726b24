package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/proxy/enrolment"
	"github.com/tenantgate/tenantgate/proxy/token"
	"github.com/tenantgate/tenantgate/proxy/usage"
)

// problem is the document of RFC 9457 that answers a request which was not done, with four members of our own.
type problem struct {
	Type      string `json:"type"`
	Title     string `json:"title"`
	Status    int    `json:"status"`
	Detail    string `json:"detail"`
	Code      string `json:"code"`
	Field     string `json:"field,omitempty"`
	Hint      string `json:"hint,omitempty"`
	RequestID string `json:"request_id"`

	allow string // the Allow header of a 405
}

// Error returns the detail.
func (p *problem) Error() string { return p.Detail }

var (
	errNoAddress   = &problem{Status: http.StatusNotFound, Code: "no_address", Detail: "the API has no such address", Hint: "GET /v1/openapi.json lists them"}
	errCrossOrigin = &problem{Status: http.StatusForbidden, Code: "cross_origin", Detail: "requests that a web page makes are refused"}
	errNobody      = &problem{Status: http.StatusUnauthorized, Code: "unauthenticated", Detail: "the sender is no administrator",
		Hint: "use the admin socket as the server's own user, or show a certificate of the admin profile"}
)

func malformed(format string, args ...any) *problem {
	return &problem{Status: http.StatusBadRequest, Code: "malformed", Detail: fmt.Sprintf(format, args...)}
}

func invalid(field, detail, hint string) *problem {
	return &problem{Status: http.StatusUnprocessableEntity, Code: string(identity.ErrInvalid), Field: field, Detail: detail, Hint: hint}
}

// statuses are the statuses of the registry's refusals. ErrKey is not among them: it is our fault, not the sender's.
var statuses = map[identity.Code]int{
	identity.ErrInvalid:  http.StatusUnprocessableEntity,
	identity.ErrNotFound: http.StatusNotFound,
	identity.ErrExists:   http.StatusConflict,
	identity.ErrInUse:    http.StatusConflict,
	identity.ErrOverlap:  http.StatusConflict,
	identity.ErrRefused:  http.StatusConflict,
}

// problemOf says how an error is told. What is not the sender's fault is told with its cause: the sender is the administrator, who has
// to mend it, and the errors of our packages hold no secret.
func problemOf(err error) problem {
	if p, ok := errors.AsType[*problem](err); ok {
		return *p
	}
	if e, ok := errors.AsType[*identity.Error](err); ok && statuses[e.Code] != 0 {
		return problem{Status: statuses[e.Code], Code: string(e.Code), Field: e.Field, Detail: withoutHint(e), Hint: e.Hint}
	}
	if e, ok := errors.AsType[*usage.Error](err); ok {
		status := map[string]int{"invalid": http.StatusUnprocessableEntity, "not_found": http.StatusNotFound, "conflict": http.StatusConflict}[e.Code]
		return problem{Status: status, Code: e.Code, Field: e.Field, Detail: e.Message, Hint: e.Hint}
	}
	if e, ok := errors.AsType[*pki.RequestError](err); ok {
		return *invalid(e.Field, "certificate request: "+e.Field+": "+e.Problem, e.Hint)
	}
	if e, ok := errors.AsType[*token.KeyError](err); ok {
		return *invalid("service_key", "service key: "+(&token.KeyError{Shape: e.Shape, Field: e.Field, Problem: e.Problem}).Error(), e.Hint)
	}
	if e, ok := errors.AsType[*enrolment.Refusal](err); ok {
		return problem{Status: e.Status, Code: e.Code, Field: e.Field, Detail: e.Detail, Hint: e.Hint}
	}
	if e, ok := errors.AsType[*pki.AuthorityError](err); ok {
		return authorityProblem(e)
	}
	if e, ok := errors.AsType[*pki.FileError](err); ok { // of a KMS, or of what was sent: no file of the server's is named by a request
		bare := *e
		bare.Hint = ""
		return problem{Status: http.StatusUnprocessableEntity, Code: string(identity.ErrInvalid), Detail: bare.Error(), Hint: e.Hint}
	}
	if errors.Is(err, pki.ErrNotFound) {
		return problem{Status: http.StatusNotFound, Code: string(identity.ErrNotFound), Detail: "the CA has issued no certificate with this serial number",
			Hint: "list the certificates and look for a slip of the pen"}
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return problem{Status: http.StatusServiceUnavailable, Code: "timeout", Detail: err.Error(), Hint: "nothing was changed; try again"}
	}
	return problem{Status: http.StatusInternalServerError, Code: "internal", Detail: err.Error()}
}

func withoutHint(e *identity.Error) string {
	bare := *e
	bare.Hint = ""
	return bare.Error()
}

func authorityProblem(e *pki.AuthorityError) problem {
	p := problem{Status: http.StatusUnprocessableEntity, Code: string(identity.ErrInvalid), Detail: e.Problem, Hint: e.Hint}
	switch {
	case e.NotFound:
		p.Status, p.Code = http.StatusNotFound, string(identity.ErrNotFound)
	case e.Conflict:
		p.Status, p.Code = http.StatusConflict, "conflict"
	}
	return p
}
