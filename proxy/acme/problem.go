package acme

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/smallstep/certificates/acme"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/proxy/enrolment"
	"github.com/tenantgate/tenantgate/proxy/record"
)

const typePrefix = "urn:ietf:params:acme:error:"

// A problem is what a client is told when it does not get what it asks for: a problem document (RFC 8555 section 6.7) with a hint and the request's ID.
type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
	Hint   string `json:"hint,omitempty"`
	// Algorithms are those that a JWS may be signed with (section 6.2), with badSignatureAlgorithm.
	Algorithms []string `json:"algorithms,omitempty"`
	RequestID  string   `json:"request_id,omitempty"`

	cause string // for the record alone; "" is Detail
	after string // the Retry-After header
}

// Error returns the detail.
func (p *problem) Error() string { return p.Detail }

// because notes the cause for the record.
func (p *problem) because(cause string) *problem {
	q := *p
	q.cause = cause
	return &q
}

// refuse makes a problem of a type of RFC 8555 section 6.7.
func refuse(kind, detail, hint string) *problem {
	status, ok := statuses[kind]
	if !ok {
		status = http.StatusBadRequest
	}
	return &problem{Type: typePrefix + kind, Title: http.StatusText(status), Status: status, Detail: detail, Hint: hint}
}

// statuses are those of the types that do not have 400.
var statuses = map[string]int{
	"externalAccountRequired": http.StatusForbidden,
	"unauthorized":            http.StatusForbidden,
	"orderNotReady":           http.StatusForbidden,
	"rejectedIdentifier":      http.StatusForbidden,
	"rateLimited":             http.StatusTooManyRequests,
	"serverInternal":          http.StatusInternalServerError,
}

// Problems that are made in more than one place.
var (
	notFound = withStatus(refuse("malformed", "there is no such address here", "begin with GET /acme/directory"), http.StatusNotFound)
	notNamed = withStatus(refuse("malformed", "the host is not a name of this server", "use the directory's address as tenantgate acme key add prints it"),
		http.StatusMisdirectedRequest)
	noObject = withStatus(refuse("malformed", "there is no such object, or it is another account's", "make a new order"), http.StatusNotFound)
	ourFault = refuse("serverInternal", "the server could not do it; its log says why, under the request id", "try again later")
	tooBusy  = &problem{Type: typePrefix + "serverInternal", Title: http.StatusText(http.StatusServiceUnavailable), Status: http.StatusServiceUnavailable,
		Detail: "too many requests are served at the same time; nothing was done", Hint: "try again later", after: "5"}
	isDisabled = refuse("unauthorized", "the identity is disabled and gets no certificate", "have the operator enable the identity first")
	isRemoved  = refuse("unauthorized", "the account may not do anything any more: its external account binding was removed, or it was deactivated",
		"ask the operator for another key (tenantgate acme key add) and register with a new account key")
)

func withStatus(p *problem, status int) *problem {
	p.Status, p.Title = status, http.StatusText(status)
	return p
}

// problemOf says how an error is told. What is not the client's fault is told without its cause.
func problemOf(err error) *problem {
	if p, ok := errors.AsType[*problem](err); ok {
		return p
	}
	if r, ok := errors.AsType[*enrolment.Refusal](err); ok {
		kind := map[string]string{enrolment.CodeKeyType: "badCSR", "too_many": "rateLimited", "disabled": "unauthorized"}[r.Code]
		if kind != "" {
			return refuse(kind, r.Detail, r.Hint).because(r.Detail)
		}
	}
	if e, ok := errors.AsType[*pki.RequestError](err); ok {
		return refuse("badCSR", "certificate request: "+e.Field+": "+e.Problem, e.Hint)
	}
	if e, ok := errors.AsType[*acme.Error](err); ok && e.Status < http.StatusInternalServerError {
		p := &problem{Type: e.Type, Status: e.Status, Detail: e.Error(), Hint: "make the request for exactly the names of the order"}
		return withStatus(p, http.StatusBadRequest)
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return tooBusy.because(err.Error())
	}
	if e, ok := errors.AsType[*identity.Error](err); ok && e.Code == identity.ErrRefused {
		return refuse("unauthorized", "the identity gets no certificate: "+e.Message, "ask the operator: "+e.Hint)
	}
	if errors.Is(err, identity.ErrNotFound) {
		return isRemoved.because(err.Error()) // the identity is gone
	}
	return ourFault.because(err.Error())
}

// outcome is how the record calls a problem.
func (p *problem) outcome() record.Outcome {
	switch {
	case p.Type == typePrefix+"accountDoesNotExist", p.Type == typePrefix+"externalAccountRequired", p.Type == typePrefix+"unauthorized":
		return record.Unidentified
	case p.Status == http.StatusNotFound:
		return record.NoRoute
	case p.Status == http.StatusMethodNotAllowed:
		return record.MethodNotAllowed
	case p.Status == http.StatusForbidden:
		return record.Denied
	case p.Status == http.StatusRequestEntityTooLarge:
		return record.BodyTooLarge
	case p.Status == http.StatusTooManyRequests:
		return record.Limited
	case p.Status == http.StatusServiceUnavailable:
		return record.Overloaded
	case p.Status >= http.StatusInternalServerError:
		return record.Internal
	}
	return record.Malformed
}

func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // strings, numbers and times always encode
	}
	return append(b, '\n')
}
