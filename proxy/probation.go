package proxy

import (
	"sync"
	"time"

	"github.com/tenantgate/tenantgate/identity"
)

// probation knows the certificates with which somebody has flooded a connection in the last minute: making a new connection buys no new budget.
type probation struct{ since sync.Map } // identity.Fingerprint -> time.Time

const probationTime = time.Minute

func (p *probation) begin(who identity.Fingerprint, now time.Time) { p.since.Store(who, now) }

func (p *probation) has(who identity.Fingerprint, now time.Time) bool {
	since, ok := p.since.Load(who)
	return ok && now.Sub(since.(time.Time)) < probationTime
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
