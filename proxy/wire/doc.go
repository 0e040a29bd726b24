// Package wire reads and writes HTTP/1.1 messages (RFC 9112) strictly: a message that two parsers could read differently is an error, never a guess.
// It is built for a proxy's hot path: a message is read in place, its strings point into the buffer that it arrived in, and buffers are given back while
// a connection idles.
//
// The package knows octets and grammar. It does not know TLS, identities, routes, timeouts or what an answer should be.
package wire
