// Package acme is an ACME server (RFC 8555) for callers who have an ACME client. It is served on the enrolment listener, below [enrolment.ACMEPath]:
//
//	GET  directory, new-nonce
//	POST new-account, account/ID, account/ID/orders, key-change
//	POST new-order, order/ID, order/ID/finalize, authorization/ID, challenge/ID/TYPE
//	POST certificate/SERIAL, revoke-cert
//
// An account registers with an external account binding that an operator has made for an identity ([pki.ACMEKey]), and gets client certificates of that
// identity and of no other. It must prove, by http-01 or tls-alpn-01, that it has the host names that it asks for, and may ask for those only that the
// operator has named. What a request says beyond its key and those names is not believed: [pki.Profile] decides.
//
// The objects, their transitions, the validation of challenges and the comparison of requests with orders are those of smallstep/certificates (its package
// acme), on our tables ([pki.ACMEState]). Its HTTP handlers are not used: they take a concrete authority from their context, so that signing,
// recording, binding and the order's end could not be one transaction, and a second finalization could not be told from the first. Here [enrolment.Issue]
// signs, in the registry's transaction.
//
// It does not know what a certificate is used for, nor who may make bindings (proxy/admin).
package acme
