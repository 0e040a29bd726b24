// Package enrolment is where callers come for certificates, on a listener of its own: enrolled with a one-time token and their own key, or
// renewed with the certificate that they have. It is HTTPS, and a caller who is enrolled has no certificate yet, so whoever reaches the
// listener may speak to it: everything here is bounded, and nothing of the admin API can be reached.
//
//	GET  /v1/roots   the CA's roots, for a first contact that compares a fingerprint
//	POST /v1/enroll  a certificate request and a token make a certificate
//	POST /v1/renew   a certificate request and, in TLS, the old certificate make a new one
//
// What is issued is signed, recorded and bound to its identity in one transaction with the change record, and so is the use of the token:
// either all of it happened or nothing. Whoever did not get the answer comes again with the same key and gets the same certificate.
//
// The package also has the callers' side ([Client], [Token]), so that both read one protocol.
//
// It does not know how a request to a tenant is decided or forwarded, nor who may make tokens (proxy/admin), nor files and terminals.
package enrolment
