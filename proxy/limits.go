package proxy

import "time"

// Limits bounds what a caller may cost this process. A zero field has the value of [DefaultLimits].
type Limits struct {
	HandshakeTimeout time.Duration // for the whole TLS handshake
	HeaderTimeout    time.Duration // from the first octet of a request head to its last
	IdleTimeout      time.Duration // between requests on one connection
	BodyIdleTimeout  time.Duration // between two reads of a request body; SAP Cloud Integration gives up after 20 s
	WriteTimeout     time.Duration // for a caller to take one write of the answer
	HeaderBytes      int           // octets of a request head
	HeaderFields     int           // fields of a request head
	MaxConnections   int           // open connections
	// MaxSourceHandshakes is how many TLS handshakes with one address may be under way: the next one is closed before it costs anything.
	MaxSourceHandshakes int
	// SourceRate is how many connections one address may make in a second, 0 for any number.
	SourceRate int
	// Handshakes is how many TLS handshakes may compute at the same time, 0 for one less than there are processors. One that is not served within a quarter of
	// HandshakeTimeout is closed.
	Handshakes  int
	MaxRequests int   // requests in flight
	MaxMemory   int64 // octets that the process is meant to take: short of it, nobody is let in. 0: what GOMEMLIMIT says, or no limit
	MaxStreams  int   // HTTP/2 streams on one connection
	ReplayBytes int64 // a body up to this size is kept until the tenant's answer, so that a 401 can be retried
}

// DefaultLimits are the limits of a configuration that says nothing.
func DefaultLimits() Limits {
	return Limits{
		HandshakeTimeout:    10 * time.Second,
		HeaderTimeout:       10 * time.Second,
		IdleTimeout:         2 * time.Minute,
		BodyIdleTimeout:     15 * time.Second,
		WriteTimeout:        30 * time.Second,
		HeaderBytes:         32 << 10,
		HeaderFields:        200,
		MaxConnections:      20000,
		MaxSourceHandshakes: 2000,
		MaxRequests:         10000,
		MaxStreams:          100,
		ReplayBytes:         64 << 10,
	}
}

// tenantShare is how many of all requests in flight may be one tenant's: what is left is for the others, whatever that one does.
func (l *Limits) tenantShare() int64 { return max(1, int64(l.MaxRequests)*3/4) }

func (l Limits) withDefaults() Limits {
	d := DefaultLimits()
	zero := func(v *time.Duration, def time.Duration) {
		if *v == 0 {
			*v = def
		}
	}
	zero(&l.HandshakeTimeout, d.HandshakeTimeout)
	zero(&l.HeaderTimeout, d.HeaderTimeout)
	zero(&l.IdleTimeout, d.IdleTimeout)
	zero(&l.BodyIdleTimeout, d.BodyIdleTimeout)
	zero(&l.WriteTimeout, d.WriteTimeout)
	count := func(v *int, def int) {
		if *v == 0 {
			*v = def
		}
	}
	count(&l.HeaderBytes, d.HeaderBytes)
	count(&l.HeaderFields, d.HeaderFields)
	count(&l.MaxConnections, d.MaxConnections)
	count(&l.MaxSourceHandshakes, d.MaxSourceHandshakes)
	count(&l.MaxRequests, d.MaxRequests)
	count(&l.MaxStreams, d.MaxStreams)
	if l.ReplayBytes == 0 {
		l.ReplayBytes = d.ReplayBytes
	}
	return l
}
