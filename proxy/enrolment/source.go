package enrolment

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tenantgate/tenantgate/pki"
)

// CheckSource says whether a token can be bound to source: a host name, an address, a network, or "" for anywhere.
func CheckSource(source string) error {
	if source == "" {
		return nil
	}
	if network, err := netip.ParsePrefix(source); err == nil {
		if network.Addr().Is4In6() { // callers' addresses are never of this form
			return fmt.Errorf("%q is a network of IPv4 in the form of IPv6: write it as one of IPv4", source)
		}
		return nil
	}
	if _, err := netip.ParseAddr(source); err == nil {
		return nil
	}
	if len(source) <= 253 && !strings.ContainsFunc(source, func(r rune) bool {
		return r != '-' && r != '.' && r != '_' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	}) {
		return nil
	}
	return fmt.Errorf("%q is not a host name, an address or a network", source)
}

// comesFrom refuses a token that is bound to another host than the caller's. The address is the one that the connection comes from: no header
// says otherwise.
func (s *Server) comesFrom(ctx context.Context, from netip.Addr, token pki.EnrolmentToken) error {
	if token.Source == "" {
		return nil
	}
	if network, err := netip.ParsePrefix(token.Source); err == nil {
		if network.Contains(from) {
			return nil
		}
	} else if address, err := netip.ParseAddr(token.Source); err == nil {
		if address.Unmap() == from {
			return nil
		}
	} else if slices.Contains(s.addressesOf(ctx, token.Source), from) {
		return nil
	}
	return otherHost.because(fmt.Sprintf("token %s is for %s, and was used from %s", token.ID, token.Source, from))
}

// addressesOf resolves a host; one that cannot be resolved has none.
func (s *Server) addressesOf(ctx context.Context, host string) []netip.Addr {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	resolve := s.Resolve
	if resolve == nil {
		resolve = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
	list, err := resolve(ctx, host)
	if err != nil {
		s.logger().Warn("resolving the host of an enrolment token", "host", host, "error", err)
		return nil
	}
	for i, a := range list {
		list[i] = a.Unmap().WithZone("")
	}
	return list
}

// addressOf is the address of a host:port, the zero address when it is none.
func addressOf(hostPort string) netip.Addr {
	ap, err := netip.ParseAddrPort(hostPort)
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap().WithZone("")
}

// networkOf is whom an address counts for: itself, or the /64 that one subscriber of IPv6 has.
func networkOf(a netip.Addr) netip.Prefix {
	bits := 64
	if a.Is4() {
		bits = 32
	}
	p, _ := a.Prefix(bits) // the zero address gives the zero prefix
	return p
}

// paces lets each network come so often, and so many times at once (GCRA). Safe for concurrent use.
type paces struct {
	every time.Duration
	burst time.Duration

	mu   sync.Mutex // guards full
	full map[netip.Prefix]time.Time
}

// maxPaces bounds the networks whose pace is known. When there are more, those that are not known are refused until some can be forgotten.
const maxPaces = 1 << 16

func newPaces(rate, burst int) paces {
	every := time.Second / time.Duration(rate)
	return paces{every: every, burst: every * time.Duration(burst), full: make(map[netip.Prefix]time.Time)}
}

// allow counts one coming in, or says that it is too soon.
func (p *paces) allow(from netip.Prefix, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	full, known := p.full[from]
	if !known && len(p.full) >= maxPaces && !p.forget(now) {
		return false
	}
	if full.Before(now) {
		full = now
	}
	if full.Add(p.every).Sub(now) > p.burst {
		return false
	}
	p.full[from] = full.Add(p.every)
	return true
}

// forget lets go of those who have not come for a while, and says whether there were any.
func (p *paces) forget(now time.Time) bool {
	before := len(p.full)
	for from, full := range p.full {
		if !full.After(now) {
			delete(p.full, from)
		}
	}
	return len(p.full) < before
}
