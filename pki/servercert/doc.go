// Package servercert has certificates for the callers' listener from elsewhere than the CA in this process:
//
//   - [ACME], from an ACME CA (RFC 8555), kept and renewed by certmagic in the database, so that all nodes share accounts, certificates and challenges;
//   - [Files], from files that others keep, such as cert-manager or an operator, and that are read again when they change.
//
// Both answer from memory only. Both return no certificate rather than one that is not valid now: whoever serves then falls back to the CA's own, so that
// a CA that cannot be reached, or a file that nobody has replaced, degrades the service and does not end it. Nothing is ever put in the place of a
// certificate that works but one that was looked at first: the key is its own, it covers the names, it is valid now, its chain leads somewhere.
//
// # What it does not know
//
// It does not know the listener, configuration files or callers. What certmagic's own ACME issuer does by package-wide state (Let's Encrypt as the default,
// listeners that it opens by itself, challenges and accounts found in globals, redirects and answers of any size) is not used: the issuer here speaks
// ACME by acmez, below certmagic, with a client of its own.
package servercert
