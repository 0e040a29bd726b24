package proxy

import (
	"sync"
	"time"
)

// probation knows the certificates, or the sources of callers without one, with which somebody has flooded a connection in the last minute: making a new connection buys no new budget.
type probation struct{ since sync.Map } // identity.Fingerprint or netip.Prefix -> time.Time

const probationTime = time.Minute

func (p *probation) begin(who any, now time.Time) { p.since.Store(who, now) }

func (p *probation) has(who any, now time.Time) bool {
	since, ok := p.since.Load(who)
	return ok && now.Sub(since.(time.Time)) < probationTime
}

// caller is whom the connection's sins are remembered for.
func (c *conn) caller() any {
	if c.peer.anonymous() {
		return c.from
	}
	return c.peer.Fingerprint
}

// prune forgets those whose time has passed.
func (p *probation) prune(now time.Time) {
	p.since.Range(func(who, since any) bool {
		if now.Sub(since.(time.Time)) >= probationTime {
			p.since.CompareAndDelete(who, since)
		}
		return true
	})
}
