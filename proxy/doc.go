// Package proxy is the data plane: the way of a request from a caller's TLS connection to a tenant and back.
//
//	listen ▶ identify ▶ authorize ▶ limit ▶ credential ▶ forward ▶ record
//
// Each stage has a file of its own. The decision core (core.go, path.go, query.go, hygiene.go) takes plain values and knows no HTTP library, so
// that several wire engines can stand in front of it without a rule being written twice; [Core.Decide] is the one place where access is decided.
// listen.go accepts connections and verifies who is on them, guard.go reads HTTP/1.1 strictly before net/http sees a byte of it, engine.go turns
// what net/http parsed into an exchange, and exchange.go is the one straight method that an exchange goes through.
//
// The package knows identities, tokens and records by the packages that own them. It does not know where its configuration comes from, who changes
// the registry, or how certificates are issued.
package proxy
