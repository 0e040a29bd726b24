package identity

import (
	"math"
	"strconv"
	"time"
)

// What a tenant's breaker does when the tenant does not say.
const (
	DefaultBreakerFailures = 5
	DefaultBreakerCooldown = time.Second
)

// NoBreaker in [Tenant.BreakerFailures] is that the tenant is never left alone.
const NoBreaker = -1

// The bounds of limits that are set. A bandwidth below the least one would be taken for a connection that hangs.
const (
	minRate      = 0.001
	maxRate      = 1e6
	maxCount     = 1_000_000
	minBandwidth = 1 << 10
	maxBandwidth = 1 << 40
	maxFailures  = 1000
	minCooldown  = 100 * time.Millisecond
	maxCooldown  = time.Hour
)

// EffectiveBurst is Burst with its default applied: what one second brings, at least one request. It is 0 without a rate.
func (i *Identity) EffectiveBurst() int {
	if i.Burst > 0 || i.Rate == 0 {
		return i.Burst
	}
	return int(math.Ceil(i.Rate))
}

// Breaker is how many connections in a row must fail before the tenant is left alone, 0 when it never is, and for how long it is at first.
func (t *Tenant) Breaker() (failures int, cooldown time.Duration) {
	failures, cooldown = t.BreakerFailures, time.Duration(t.BreakerCooldown)
	switch {
	case failures == 0:
		failures = DefaultBreakerFailures
	case failures < 0:
		failures = 0
	}
	if cooldown == 0 {
		cooldown = DefaultBreakerCooldown
	}
	return failures, cooldown
}

// identityLimits checks what an identity may cost.
func (v *validation) identityLimits(i *Identity) {
	if r := i.Rate; r != 0 && !(r >= minRate && r <= maxRate) { // NaN is neither
		v.fail("rate", strconv.FormatFloat(r, 'g', -1, 64)+" is out of bounds", "give requests a second between 0.001 and 1000000, or 0 for no limit")
	}
	v.count("burst", i.Burst, maxCount)
	if i.Burst != 0 && i.Rate == 0 {
		v.fail("burst", "given without a rate", "set rate too: burst is how many requests may come at once within it")
	}
	v.count("concurrency", i.Concurrency, maxCount)
	if b := i.Bandwidth; b != 0 && (b < minBandwidth || b > maxBandwidth) {
		v.fail("bandwidth", strconv.FormatInt(b, 10)+" is out of bounds", "give octets a second, at least 1024, or 0 for no limit")
	}
}

// tenantLimits checks what a tenant is given, and when it is left alone.
func (v *validation) tenantLimits(t *Tenant) {
	v.count("concurrency", t.Concurrency, maxCount)
	if f := t.BreakerFailures; f < NoBreaker || f > maxFailures {
		v.fail("breaker_failures", strconv.Itoa(f)+" is out of bounds", "give a number up to 1000, 0 for the default of 5, or -1 for no breaker")
	}
	if c := time.Duration(t.BreakerCooldown); c != 0 && (c < minCooldown || c > maxCooldown) {
		v.fail("breaker_cooldown", c.String()+" is out of bounds", "give 100ms to 1h, or 0 for the default of 1s")
	}
}

// count checks a number of things of which 0 is no limit.
func (v *validation) count(field string, n, most int) {
	if n < 0 || n > most {
		v.fail(field, strconv.Itoa(n)+" is out of bounds", "give a number up to "+strconv.Itoa(most)+", or 0 for no limit")
	}
}
