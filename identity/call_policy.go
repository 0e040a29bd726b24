package identity

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The bounds of policies.
const (
	maxWindows  = 16
	maxNetworks = 64
	maxQuota    = 1 << 50
)

// CallPolicy is when and from where an identity may call, ready to be asked on the way of a request. It is immutable.
type CallPolicy struct {
	windows  []Window
	networks []netip.Prefix
}

// CallPolicy returns what restricts when and from where the identity may call; nil when nothing does. It is made when the identity is stored or read.
func (i *Identity) CallPolicy() *CallPolicy { return i.callPolicy }

// OpenAt reports whether the identity may call at t.
func (p *CallPolicy) OpenAt(t time.Time) bool {
	if len(p.windows) == 0 {
		return true
	}
	for i := range p.windows {
		if p.windows[i].Contains(t) {
			return true
		}
	}
	return false
}

// AllowsFrom reports whether the identity may call from an address. An invalid one is allowed nowhere but where every address is.
func (p *CallPolicy) AllowsFrom(a netip.Addr) bool {
	if len(p.networks) == 0 {
		return true
	}
	a = a.Unmap().WithZone("")
	for _, n := range p.networks {
		if n.Contains(a) {
			return true
		}
	}
	return false
}

// NextOpening returns when a window opens next after t, to the minute, within eight days; the zero time when none does.
func (p *CallPolicy) NextOpening(t time.Time) time.Time {
	for at := t.Truncate(time.Minute).Add(time.Minute); at.Before(t.Add(8 * 24 * time.Hour)); at = at.Add(time.Minute) {
		if p.OpenAt(at) {
			return at
		}
	}
	return time.Time{}
}

// HasDailyQuota reports whether a quota of the day bounds the identity.
func (i *Identity) HasDailyQuota() bool { return i.DailyRequests|i.DailyOctets != 0 }

// withPolicy makes the identity's policy out of its fields, which are valid.
func (i *Identity) withPolicy() {
	i.callPolicy = nil
	if len(i.CallingWindows)+len(i.Networks) == 0 {
		return
	}
	p := &CallPolicy{}
	for _, s := range i.CallingWindows {
		// What cannot be read is a window that is never open: an identity whose row was damaged is refused, not let in.
		w, _ := ParseWindow(s)
		p.windows = append(p.windows, w)
	}
	for _, s := range i.Networks {
		n, _ := parseNetwork(s)
		p.networks = append(p.networks, n)
	}
	i.callPolicy = p
}

// parseNetwork reads a network or an address in its one form. It returns an invalid prefix, which holds no address, and a fault for anything else.
func parseNetwork(s string) (n netip.Prefix, fault string) {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" && !a.Is4In6() {
		return netip.PrefixFrom(a, a.BitLen()), ""
	}
	n, err := netip.ParsePrefix(s)
	switch {
	case err != nil, n.Addr().Is4In6():
		return netip.Prefix{}, quoted(s) + " is not a network"
	case n != n.Masked():
		return netip.Prefix{}, s + " has bits behind its length: " + n.Masked().String() + " is the network"
	}
	return n, ""
}

// policies checks when, from where and how much an identity may call.
func (v *validation) policies(i *Identity) {
	if len(i.CallingWindows) > maxWindows {
		v.fail("calling_windows", "more than "+strconv.Itoa(maxWindows), "join some")
	}
	for _, s := range i.CallingWindows {
		if _, err := ParseWindow(s); err != nil {
			v.fail("calling_windows", quoted(s)+": "+err.Error(), windowForm)
		}
	}
	if i.CallingWindows != nil && len(i.CallingWindows) == 0 {
		v.fail("calling_windows", "an empty list", "null is always: an empty list could be meant as never")
	}
	if i.Networks != nil && len(i.Networks) == 0 {
		v.fail("networks", "an empty list", "null is everywhere: an empty list could be meant as nowhere")
	}
	if len(i.Networks) > maxNetworks {
		v.fail("networks", "more than "+strconv.Itoa(maxNetworks), "join some")
	}
	for _, s := range i.Networks {
		if _, fault := parseNetwork(s); fault != "" {
			v.fail("networks", fault, "write it like 10.1.0.0/16, 2001:db8::/32 or 10.1.2.3")
		}
	}
	for _, n := range []struct {
		field string
		value int64
	}{{"max_body", i.MaxBody}, {"daily_requests", i.DailyRequests}, {"daily_octets", i.DailyOctets}} {
		if n.value < 0 || n.value > maxQuota {
			v.fail(n.field, strconv.FormatInt(n.value, 10)+" is out of bounds", "give a number up to 2^50, or 0 for no limit")
		}
	}
}

// normalPolicies returns windows and networks in their one form, sorted, each once; nil for none.
func normalPolicies(windows, networks []string) (w, n []string) {
	for _, s := range windows {
		parsed, err := ParseWindow(s)
		if err != nil {
			continue // validated before
		}
		w = append(w, parsed.String())
	}
	for _, s := range networks {
		parsed, _ := parseNetwork(s)
		n = append(n, parsed.String())
	}
	slices.Sort(w)
	slices.SortFunc(n, strings.Compare)
	return slices.Compact(w), slices.Compact(n)
}
