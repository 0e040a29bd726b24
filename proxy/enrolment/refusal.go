package enrolment

import (
	"context"
	"errors"
	"net/http"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/proxy/record"
)

// A Refusal is why no certificate is issued, as the caller is told. On the wire it is a problem document (RFC 9457) with four members of
// ours.
type Refusal struct {
	// Type is "urn:tenantgate:enrolment:" and Code; Title is the text of Status, the HTTP status. They are set when it is sent.
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	// Detail says what is wrong, Hint what to do about it.
	Detail string `json:"detail"`
	Hint   string `json:"hint,omitempty"`
	// Code is the kind of refusal in one word, such as "used_token".
	Code string `json:"code"`
	// Field is the part of the certificate request that is at fault; "" when it is none.
	Field string `json:"field,omitempty"`
	// RequestID is what the access record calls the request.
	RequestID string `json:"request_id,omitempty"`

	cause string // for the record alone; "" is Detail
	allow string // the Allow header of a 405
	after string // the Retry-After header
}

// Error returns the detail.
func (r *Refusal) Error() string { return r.Detail }

// CodePolicy is the code of a [Refusal] of a certificate for an identity that nobody answers for, or whose review is overdue.
const CodePolicy = "policy"

// Final reports whether the same request would be refused again: an answer that the server's trouble or a limit has caused is not final.
func (r *Refusal) Final() bool {
	return r.Status >= 400 && r.Status < 500 && r.Status != http.StatusTooManyRequests && r.Status != http.StatusRequestTimeout
}

// because notes the cause for the record.
func (r Refusal) because(cause string) *Refusal {
	r.cause = cause
	return &r
}

// The refusals, by who can do something about them.
var (
	noAddress   = Refusal{Status: http.StatusNotFound, Code: "no_address", Detail: "there is no such address here", Hint: "GET /v1/roots, POST /v1/enroll, POST /v1/renew"}
	badMethod   = Refusal{Status: http.StatusMethodNotAllowed, Code: "method_not_allowed", Detail: "the address does not take this method"}
	fromPage    = Refusal{Status: http.StatusForbidden, Code: "cross_origin", Detail: "requests that a web page makes are refused"}
	notARequest = Refusal{Status: http.StatusUnsupportedMediaType, Code: "not_a_request", Detail: "the body is not declared as a certificate request",
		Hint: "send the request (PEM or DER) with Content-Type: application/pkcs10"}
	tooLarge  = Refusal{Status: http.StatusRequestEntityTooLarge, Code: "too_large", Detail: "the body is larger than a certificate request can be", Hint: "send one request alone, at most 64 KiB"}
	brokenOff = Refusal{Status: http.StatusBadRequest, Code: "malformed", Detail: "the body was broken off, or came too slowly"}
	tooOften  = Refusal{Status: http.StatusTooManyRequests, Code: "limited", Detail: "too many requests from this address", Hint: "try again later", after: "10"}
	tooBusy   = Refusal{Status: http.StatusServiceUnavailable, Code: "busy", Detail: "too many certificates are asked for at the same time; nothing was issued", Hint: "try again later", after: "5"}
	ourFault  = Refusal{Status: http.StatusInternalServerError, Code: "internal", Detail: "the server could not do it; its log says why, under the request id",
		Hint: "try again later with the same key: if a certificate was issued, you get it then"}

	noToken      = Refusal{Status: http.StatusUnauthorized, Code: "no_token", Detail: "no enrolment token was sent", Hint: "send Authorization: Bearer TOKEN"}
	unknownToken = Refusal{Status: http.StatusUnauthorized, Code: "unknown_token", Detail: "the enrolment token is not one of this server, or it was altered",
		Hint: "copy it whole, or ask the operator for another one (tenantgate cert token)"}
	expiredToken = Refusal{Status: http.StatusUnauthorized, Code: "expired_token", Detail: "the enrolment token has expired", Hint: "ask the operator for another one (tenantgate cert token)"}
	withdrawn    = Refusal{Status: http.StatusUnauthorized, Code: "withdrawn_token", Detail: "the enrolment token was withdrawn", Hint: "ask the operator for another one (tenantgate cert token)"}
	usedToken    = Refusal{Status: http.StatusConflict, Code: "used_token", Detail: "the enrolment token was used already, with another key",
		Hint: "if that was not you, have the operator revoke that certificate (tenantgate cert tokens shows it); ask for another token"}
	otherHost = Refusal{Status: http.StatusForbidden, Code: "other_host", Detail: "the enrolment token may not be used from this address", Hint: "use it on the host that it was made for, or ask for another one"}
	otherKey  = Refusal{Status: http.StatusForbidden, Code: "other_key", Detail: "the enrolment token is for another key", Hint: "make the request with the key whose fingerprint the operator was given"}

	noCertificate = Refusal{Status: http.StatusUnauthorized, Code: "no_certificate", Detail: "no client certificate was shown", Hint: "show the certificate that is to be renewed (curl --cert, --key)"}
	notAcceptable = Refusal{Status: http.StatusUnauthorized, Code: "not_acceptable", Detail: "the certificate that was shown is not acceptable here",
		Hint: "show the whole chain of a certificate that this CA has issued and that is valid now; otherwise enrol anew with a token"}
	expired = Refusal{Status: http.StatusUnauthorized, Code: "expired", Detail: "the certificate that was shown has expired, and its identity may not renew it any more",
		Hint: "enrol anew with a token, or have the operator allow it (tenantgate identity set NAME --renew-grace 72h)"}
	revoked  = Refusal{Status: http.StatusForbidden, Code: "revoked", Detail: "the certificate is revoked", Hint: "enrol anew with a token"}
	disabled = Refusal{Status: http.StatusConflict, Code: "disabled", Detail: "the identity is disabled and gets no certificate", Hint: "enable the identity first"}
	gone     = Refusal{Status: http.StatusConflict, Code: "spent", Detail: "this key has got its certificate before, and that is revoked or has expired", Hint: "make a new key"}
	tooMany  = Refusal{Status: http.StatusConflict, Code: "too_many", Detail: "the identity has as many valid certificates as callers may get by themselves",
		Hint: "use those, wait until some have expired, or have the operator revoke what is not used"}
)

// refusalOf says how an error is told. Whoever is told may be anybody: what is not the caller's fault is told without its cause.
func refusalOf(err error) *Refusal {
	if r, ok := errors.AsType[*Refusal](err); ok {
		return r
	}
	if e, ok := errors.AsType[*pki.RequestError](err); ok {
		return &Refusal{Status: http.StatusUnprocessableEntity, Code: "invalid", Field: e.Field, Detail: "certificate request: " + e.Field + ": " + e.Problem, Hint: e.Hint}
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return tooBusy.because(err.Error())
	}
	if e, ok := errors.AsType[*identity.Error](err); ok && e.Code == identity.ErrNotFound {
		return unknownToken.because(err.Error()) // its identity is gone
	}
	if e, ok := errors.AsType[*identity.Error](err); ok && e.Code == identity.ErrRefused {
		return &Refusal{Status: http.StatusConflict, Code: CodePolicy, Detail: "the identity gets no certificate: " + e.Message, Hint: "ask the operator: " + e.Hint}
	}
	return ourFault.because(err.Error())
}

// outcome is how the record calls a refusal.
func (r *Refusal) outcome() record.Outcome {
	switch {
	case r.Code == noAddress.Code:
		return record.NoRoute
	case r.Code == badMethod.Code:
		return record.MethodNotAllowed
	case r.Status == http.StatusUnauthorized:
		return record.Unidentified
	case r.Status == http.StatusForbidden, r.Status == http.StatusConflict:
		return record.Denied
	case r.Status == http.StatusRequestEntityTooLarge:
		return record.BodyTooLarge
	case r.Status == http.StatusTooManyRequests:
		return record.Limited
	case r.Status == http.StatusServiceUnavailable:
		return record.Overloaded
	case r.Status >= http.StatusInternalServerError:
		return record.Internal
	}
	return record.Malformed
}
