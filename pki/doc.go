// Package pki is tenantgate's certificate authority and its judgement of certificates.
//
// It holds five things:
//
//   - [CA], the embedded authority (smallstep/certificates as a library). Profiles are the only way to a certificate:
//     what a request asks for beyond its [Profile] is refused or dropped with a message, never granted.
//   - [Trust], the roots and intermediates that are believed, and [Trust.VerifyClient], the one function that says
//     whether a client certificate is acceptable. The TLS listener and `tenantgate cert verify` both call it.
//   - [ServerCerts], the certificates of our own listeners, kept and renewed by certmagic out of the same CA.
//   - what is said of certificates to others: revocation lists ([CA.CRL]) and answers about single ones ([CA.OCSP]), each signed
//     by the very issuer of the certificate.
//   - the encodings around them: certificate requests, PEM, and the [Format]s that callers take.
//
// # Signing, recording and binding are one act
//
// [CA.Issue] takes the caller's *sql.Tx. The authority signs and, before it hands the certificate back, stores the CA
// record through [CA]'s implementation of smallstep's AuthDB, in that very transaction; the caller then writes the
// binding to an identity with the same transaction and commits. AuthDB's methods carry neither a context nor a
// transaction, so the transaction waits in a table of pending issues under the serial number that we choose ourselves
// before signing; storing a certificate whose serial is not pending is refused, so nothing can be signed past Issue.
// When the database fails anywhere before the commit, the record, the binding and the returned certificate die together:
// the certificate must not be handed out until the commit has succeeded, and its private key is not here. smallstep's
// provisioners, one-time tokens and RenewContext (which signs whatever it is shown) are not used and cannot be reached.
//
// # What it does not know
//
// It does not know identities, roles, tenants, routes, HTTP or configuration files: a name is a string that fits a
// profile, and who may ask for a certificate is decided by the caller. It opens no database and no listener and never
// contacts another machine. Revocation as the data plane sees it (an identity's binding) belongs to package identity;
// the records here are the CA's own memory of what it signed.
package pki
