package proxy

import "github.com/tenantgate/tenantgate/identity"

// StoreDaily stores what was used now, and not in two seconds.
func (s *Server) StoreDaily() { s.storeDaily() }

// DailyUse is what an identity has used today, as far as this node knows.
func (s *Server) DailyUse(name string) (requests, octets int64) {
	u := s.quotas.named(name).on(identity.Day(s.cfg.Now()))
	return u.requests.Load(), u.octets.Load()
}
