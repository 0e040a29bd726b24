package enrolment

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"
)

func TestPaces(t *testing.T) {
	p := newPaces(5, 3)
	now := time.Now()
	a, b := netip.MustParsePrefix("192.0.2.1/32"), netip.MustParsePrefix("192.0.2.2/32")
	count := func(from netip.Prefix) (n int) {
		for p.allow(from, now) {
			n++
		}
		return n
	}
	if got := count(a); got != 3 {
		t.Errorf("%d at once, want 3", got)
	}
	if got := count(b); got != 3 {
		t.Errorf("%d of another address, want 3", got)
	}
	now = now.Add(400 * time.Millisecond)
	if got := count(a); got != 2 {
		t.Errorf("%d after 400ms, want 2", got)
	}
}

func TestPacesForgetAndStayBounded(t *testing.T) {
	p := newPaces(5, 3)
	now := time.Now()
	come := func(i int) bool {
		var ip [4]byte
		binary.BigEndian.PutUint32(ip[:], uint32(i))
		return p.allow(netip.PrefixFrom(netip.AddrFrom4(ip), 32), now)
	}
	for i := range maxPaces {
		if !come(i) {
			t.Fatalf("address %d is refused", i)
		}
	}
	if come(maxPaces) || len(p.full) != maxPaces {
		t.Errorf("%d addresses are known", len(p.full))
	}
	now = now.Add(time.Minute)
	if !come(maxPaces) || len(p.full) != 1 {
		t.Errorf("a minute later %d addresses are known", len(p.full))
	}
}

func TestNetworks(t *testing.T) {
	for address, want := range map[string]string{"192.0.2.7:1": "192.0.2.7/32", "[2001:db8:1:2:3::4]:1": "2001:db8:1:2::/64", "[::ffff:192.0.2.7]:1": "192.0.2.7/32"} {
		if got := networkOf(addressOf(address)).String(); got != want {
			t.Errorf("%s counts for %s, want %s", address, got, want)
		}
	}
}
