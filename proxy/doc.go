// Package proxy is the data plane: the way of a request from a caller's TLS connection to a tenant and back.
//
//	listen ▶ identify ▶ authorize ▶ limit ▶ credential ▶ forward ▶ record
//
// Each stage has a file of its own. The decision core (core.go, path.go, query.go, hygiene.go) takes plain values and knows no HTTP library, so
// that several wire engines can stand in front of it without a rule being written twice; [Core.Decide] is the one place where access is decided.
// listen.go accepts connections and handshake.go verifies who is on them. engine.go hands them to the engine of their protocol: h1.go is our own, on the
// strict reader of package wire; h2.go is net/http's, with frames.go watching what it is sent. Both end in exchange.go, the one straight method that every
// request goes through; forward.go, upload.go and answer.go carry it to the tenant and back, over link.go, a connection out of the pools of upstream.go.
//
// The package knows identities, tokens and records by the packages that own them. It does not know where its configuration comes from, who changes
// the registry, or how certificates are issued.
package proxy
