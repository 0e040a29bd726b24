package proxy_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/proxy"
	"github.com/tenantgate/tenantgate/proxy/tenantsim"
	"github.com/tenantgate/tenantgate/proxy/token"
)

// rotation is a gate whose identity orders calls a simulated tenant, by /sim/*, and what was told of switches between its credentials.
type rotation struct {
	*gate
	sim    *tenantsim.Sim
	caller *client
	tried  atomic.Int64 // requests that refuse has refused
	ahead  atomic.Int64 // of the gate's clock, in nanoseconds

	mu       sync.Mutex
	switches []proxy.CredentialSwitch
}

const simClient = "sb-6b1c!b12|it-rt-acme!b55"

func newRotation(t *testing.T, engine *token.Engine, sw tenantsim.Switches) *rotation {
	t.Helper()
	sim, err := tenantsim.New(tenantsim.Options{Switches: sw})
	must(t, err)
	t.Cleanup(func() { sim.Close() })
	r := &rotation{sim: sim}
	t.Cleanup(engine.Close)
	r.gate = newGate(t, proxy.Limits{}, func(c *proxy.Config) {
		c.Tokens = engine
		c.Now = func() time.Time { return time.Now().Add(time.Duration(r.ahead.Load())) }
		c.Switched = func(s proxy.CredentialSwitch) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.switches = append(r.switches, s)
		}
		c.Keep(0, 0, 0)
	})
	sim.AddClient(tenantsim.Client{ID: simClient, Secret: "first"})
	r.change(func(tx *identity.Tx) error {
		_, err := tx.AddTenant(t.Context(), identity.Tenant{
			Name: "sim", BaseURL: sim.BaseURL(), TokenURL: sim.TokenURL(), AuthStyle: "body", CABundle: string(sim.CAPEM()),
		})
		return err
	})
	r.addRoute(identity.Route{Name: "sim", Path: "/sim/*", TenantPath: "/http/*", Tenant: "sim", Role: "orders.send"})
	r.caller = r.issue("orders")
	return r
}

// add gives the identity a credential for the tenant.
func (r *rotation) add(c identity.Credential, secret string) string {
	r.tb.Helper()
	c.Identity, c.Kind, c.Secret = "orders", identity.KindSecret, identity.NewSecret(secret)
	r.change(func(tx *identity.Tx) (err error) {
		c, err = tx.AddCredential(r.tb.Context(), c)
		return err
	})
	return c.ID
}

func (r *rotation) addSecret(secret string) string {
	r.tb.Helper()
	return r.add(identity.Credential{Tenant: "sim", ClientID: simClient}, secret)
}

func (r *rotation) remove(id string) {
	r.tb.Helper()
	r.change(func(tx *identity.Tx) error { return tx.RemoveCredential(r.tb.Context(), id) })
}

func (r *rotation) told() []proxy.CredentialSwitch {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]proxy.CredentialSwitch(nil), r.switches...)
}

// wantSwitch waits for the n-th switch (from 1) and checks it; there must be no further one.
func (r *rotation) wantSwitch(n int, to, from string, fallback bool, cause string) {
	r.tb.Helper()
	eventually(r.tb, fmt.Sprintf("switch %d", n), func() bool { return len(r.told()) >= n })
	all := r.told()
	s := all[n-1]
	if len(all) != n || s.To != to || s.From != from || s.Fallback != fallback || !strings.Contains(s.Cause, cause) {
		r.tb.Fatalf("got switches %+v, want %d, the last one to %s from %s, fallback %v, because of %q", all, n, to, from, fallback, cause)
	}
}

// refusedLogons is how often the token server has refused a client.
func (r *rotation) refusedLogons() (n int) {
	for _, q := range r.sim.TokenRequests() {
		if q.Status == http.StatusUnauthorized {
			n++
		}
	}
	return n
}

// load has callers call without a pause until the returned function is called, which fails the test for every answer that is none of the tenant's own successes.
func (r *rotation) load(path string) (stop func()) {
	var wg sync.WaitGroup
	var done atomic.Bool
	var served atomic.Int64
	failed := make(chan string, 1)
	long := strings.Repeat("x", 100<<10) // not kept: it cannot be sent again
	for i := range 6 {
		c := r.issue("orders")
		wg.Go(func() {
			for !done.Load() {
				var a answer
				switch i % 3 {
				case 0:
					a = c.get(path)
				case 1:
					a = c.do("POST", path, strings.NewReader("order"))
				default:
					a = c.do("POST", path, strings.NewReader(long))
				}
				if a.err != nil || a.status != 200 {
					select {
					case failed <- fmt.Sprintf("%+v", a):
					default:
					}
				}
				served.Add(1)
			}
		})
	}
	return func() {
		r.tb.Helper()
		done.Store(true)
		wg.Wait()
		select {
		case a := <-failed:
			r.tb.Errorf("of %d calls at least one failed: %s", served.Load(), a)
		default:
			r.tb.Logf("%d calls", served.Load())
		}
	}
}

func TestARotationLeavesNoGap(t *testing.T) {
	r := newRotation(t, &token.Engine{}, tenantsim.Switches{TokenLifetime: 4 * time.Second})
	first := r.addSecret("first")
	stop := r.load("/sim/orders")
	r.sim.AddSecret(simClient, "second") // the vendor's side
	eventually(t, "calls", func() bool { return len(r.sim.Executed()) > 50 })
	second := r.addSecret("second")
	r.wantSwitch(1, second, first, false, "worked")
	n := len(r.sim.Executed())
	eventually(t, "calls with the second one", func() bool { return len(r.sim.Executed()) > n+50 })
	r.sim.RemoveSecret(simClient, "first")
	r.remove(first)
	time.Sleep(5 * time.Second) // longer than any token of the first one lives
	stop()
	if n := r.refusedLogons(); n != 0 {
		t.Errorf("%d log-ons were refused", n)
	}
	r.wantSwitch(1, second, first, false, "worked")
}

// The vendor deletes the old secret before it is removed here, and the new one's tokens are short: nobody notices.
func TestADeletedSecretFallsBackAndComesBack(t *testing.T) {
	r := newRotation(t, &token.Engine{RefusedHold: 200 * time.Millisecond}, tenantsim.Switches{TokenLifetime: 3 * time.Second})
	first := r.addSecret("first")
	r.sim.AddSecret(simClient, "second")
	second := r.addSecret("second")
	r.wantSwitch(1, second, first, false, "worked")
	stop := r.load("/sim/orders")
	r.sim.RemoveSecret(simClient, "second")
	r.wantSwitch(2, first, second, true, "refused: status 401: unauthorized")
	r.sim.AddSecret(simClient, "second")
	time.Sleep(1500 * time.Millisecond)
	r.wantSwitch(2, first, second, true, "") // it must rest for a while
	r.ahead.Add(int64(time.Minute))
	r.wantSwitch(3, second, first, false, "worked")
	stop()
}

// A refresh that is refused for good is reason enough, while the token at hand still lives.
func TestARefusedRefreshFallsBackBeforeTheTokenEnds(t *testing.T) {
	engine := &token.Engine{RefreshAt: 0.02, Jitter: -1, BackoffMin: 50 * time.Millisecond}
	r := newRotation(t, engine, tenantsim.Switches{TokenLifetime: 30 * time.Second})
	first := r.addSecret("first")
	r.sim.AddSecret(simClient, "second")
	second := r.addSecret("second")
	r.wantSwitch(1, second, first, false, "worked")
	begin := time.Now()
	r.sim.RemoveSecret(simClient, "second")
	r.wantSwitch(2, first, second, true, "refused")
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("that took %v", took)
	}
	if a := r.caller.get("/sim/orders"); a.status != 200 || r.refusedLogons() != 2 {
		t.Errorf("got %+v, %d refused log-ons", a, r.refusedLogons())
	}
}

// IAS locks a client after five refused log-ons, and with it the secret that is right.
func TestAWrongNewSecretIsTriedTwice(t *testing.T) {
	engine := &token.Engine{RefusedHold: 2 * time.Second, BackoffMin: 50 * time.Millisecond}
	r := newRotation(t, engine, tenantsim.Switches{Vendor: tenantsim.IAS})
	first := r.addSecret("first")
	stop := r.load("/sim/orders")
	eventually(t, "calls", func() bool { return len(r.sim.Executed()) > 20 })
	second := r.addSecret("mistyped")
	eventually(t, "two refused log-ons", func() bool { return r.refusedLogons() == 2 })
	held := time.Now()
	n := len(r.sim.Executed())
	eventually(t, "calls with the first one", func() bool { return len(r.sim.Executed()) > n+50 })
	time.Sleep(time.Second)
	if n := r.refusedLogons(); n != 2 && time.Since(held) < engine.RefusedHold {
		t.Errorf("%d log-ons were refused, want 2", n)
	}
	if all := r.told(); len(all) != 0 {
		t.Errorf("switches: %+v", all)
	}
	r.sim.AddSecret(simClient, "mistyped") // it was the vendor who was late
	r.ahead.Add(int64(2 * time.Second))
	r.wantSwitch(1, second, first, false, "worked")
	stop()
}

// slowTokens delays the answers of the token server.
func (r *rotation) slowTokens(d time.Duration) {
	r.sim.Switch(func(sw *tenantsim.Switches) { sw.TokenFault = &tenantsim.TokenFault{Delay: d} })
}

func TestNobodyWaitsForANewCredential(t *testing.T) {
	r := newRotation(t, &token.Engine{}, tenantsim.Switches{})
	first := r.addSecret("first")
	if a := r.caller.get("/sim/orders"); a.status != 200 {
		t.Fatalf("got %+v", a)
	}
	r.sim.AddSecret(simClient, "second")
	r.slowTokens(4 * time.Second)
	second := r.addSecret("second")
	for range 20 {
		if a := r.caller.get("/sim/orders"); a.status != 200 {
			t.Fatalf("got %+v", a)
		}
	}
	if len(r.told()) != 0 {
		t.Errorf("20 calls lasted as long as the fetch")
	}
	r.wantSwitch(1, second, first, false, "worked")
}

// Who waits for a token of a credential that is removed meanwhile gets one of the other.
func TestARemovedCredentialFailsNobodyWhoWaitsForIt(t *testing.T) {
	r := newRotation(t, &token.Engine{}, tenantsim.Switches{})
	first := r.addSecret("first")
	r.sim.AddSecret(simClient, "second")
	r.slowTokens(300 * time.Millisecond)
	r.addSecret("second")
	got := make(chan answer)
	c := r.issue("orders")
	go func() { got <- c.get("/sim/orders") }()
	eventually(t, "both fetches", func() bool { return len(r.sim.TokenRequests()) == 2 })
	r.remove(first)
	if a := <-got; a.status != 200 {
		t.Errorf("got %+v", a)
	}
}

// With nothing but a refused old one, the new one is waited for.
func TestTheNewCredentialIsWaitedForWhenTheOldOneIsRefused(t *testing.T) {
	r := newRotation(t, &token.Engine{}, tenantsim.Switches{})
	r.sim.RemoveSecret(simClient, "first")
	r.sim.AddSecret(simClient, "second")
	first := r.addSecret("first")
	r.slowTokens(200 * time.Millisecond)
	second := r.addSecret("second")
	if a := r.caller.get("/sim/orders"); a.status != 200 {
		t.Errorf("got %+v", a)
	}
	r.wantSwitch(1, second, first, false, "")
}

func TestAnOutageOfTheTokenServerIsNoReasonToSwitch(t *testing.T) {
	engine := &token.Engine{BackoffMin: 50 * time.Millisecond, BackoffMax: 100 * time.Millisecond}
	r := newRotation(t, engine, tenantsim.Switches{TokenLifetime: time.Second})
	first := r.addSecret("first")
	r.sim.AddSecret(simClient, "second")
	second := r.addSecret("second")
	r.wantSwitch(1, second, first, false, "worked")
	r.sim.Switch(func(sw *tenantsim.Switches) { sw.TokenFault = &tenantsim.TokenFault{Status: 503} })
	eventually(t, "the end of the tokens", func() bool { return r.caller.get("/sim/orders").status == 502 })
	time.Sleep(700 * time.Millisecond)
	r.wantSwitch(1, second, first, false, "worked")
	r.sim.Switch(func(sw *tenantsim.Switches) { sw.TokenFault = nil })
	eventually(t, "the end of the outage", func() bool { return r.caller.get("/sim/orders").status == 200 })
	r.wantSwitch(1, second, first, false, "worked")
}

// The other credential has a token server of its own: its tokens bridge the outage, and the preference stays.
func TestAnOutageIsBridgedByTheOtherTokenServer(t *testing.T) {
	engine := &token.Engine{BackoffMin: 50 * time.Millisecond, BackoffMax: 100 * time.Millisecond}
	r := newRotation(t, engine, tenantsim.Switches{TokenLifetime: 3 * time.Second})
	var down atomic.Bool
	target, err := url.Parse(r.sim.TokenURL())
	must(t, err)
	pass := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: target.Scheme, Host: target.Host})
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(r.sim.CAPEM())
	pass.Transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if down.Load() {
			w.WriteHeader(503)
			return
		}
		pass.ServeHTTP(w, q)
	}))
	t.Cleanup(other.Close)
	first := r.addSecret("first")
	r.sim.AddSecret(simClient, "second")
	second := r.add(identity.Credential{Tenant: "sim", ClientID: simClient, TokenURL: other.URL + "/oauth/token"}, "second")
	r.wantSwitch(1, second, first, false, "worked")
	stop := r.load("/sim/orders")
	down.Store(true)
	time.Sleep(4 * time.Second) // longer than a token lives
	down.Store(false)
	stop()
	r.wantSwitch(1, second, first, false, "worked")
}

func TestACredentialThatEndsIsGivenUp(t *testing.T) {
	r := newRotation(t, &token.Engine{}, tenantsim.Switches{})
	first := r.addSecret("first")
	r.sim.AddSecret(simClient, "second")
	second := r.add(identity.Credential{Tenant: "sim", ClientID: simClient, NotAfter: time.Now().Add(time.Hour)}, "second")
	r.wantSwitch(1, second, first, false, "worked")
	r.ahead.Add(int64(time.Hour))
	r.wantSwitch(2, first, second, true, "it ended at ")
	if a := r.caller.get("/sim/orders"); a.status != 200 {
		t.Errorf("got %+v", a)
	}
}

// A note about a credential, and a change of another one, leave the choice as it is.
func TestANoteAboutACredentialSwitchesNothing(t *testing.T) {
	r := newRotation(t, &token.Engine{}, tenantsim.Switches{})
	first := r.addSecret("first")
	r.sim.AddSecret(simClient, "second")
	second := r.addSecret("second")
	r.wantSwitch(1, second, first, false, "worked")
	fetches := len(r.sim.TokenRequests())
	for _, id := range []string{first, second} {
		r.change(func(tx *identity.Tx) error {
			_, err := tx.SetCredentialEnd(t.Context(), id, time.Now().Add(time.Hour))
			return err
		})
	}
	states := r.server.CredentialStates(r.registry.Snapshot().Credentials("orders", "sim"))
	if states[0].State != "preferred" || !states[0].InUse || states[1].State != "standby" || states[1].InUse {
		t.Errorf("states %+v", states)
	}
	if a := r.caller.get("/sim/orders"); a.status != 200 {
		t.Errorf("got %+v", a)
	}
	if n := len(r.sim.TokenRequests()) - fetches; n != 0 {
		t.Errorf("%d token requests", n)
	}
	r.wantSwitch(1, second, first, false, "worked")
	// The older one's end is known now, and comes: it is no fallback any more, but what there is.
	r.change(func(tx *identity.Tx) error {
		_, err := tx.SetCredentialEnd(t.Context(), second, time.Time{})
		return err
	})
	r.ahead.Add(int64(2 * time.Hour))
	states = r.server.CredentialStates(r.registry.Snapshot().Credentials("orders", "sim"))
	if states[0].State != "preferred" || states[1].State != "expired" {
		t.Errorf("states %+v", states)
	}
}

// refuse makes the tenant acme answer the tokens of a client with a status.
func (r *rotation) refuse(client string, status int) {
	r.tenant.answer(func(w http.ResponseWriter, q *http.Request) {
		if w.Header().Get("X-Client") == client {
			r.tried.Add(1)
			w.WriteHeader(status)
		}
	})
}

func TestATenantThatDoesNotTakeTheNewTokensGetsTheOldOnes(t *testing.T) {
	for _, status := range []int{401, 403} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			r := newRotation(t, &token.Engine{}, tenantsim.Switches{})
			first := r.registry.Snapshot().Credentials("orders", "acme")[0].ID
			if a := r.caller.get("/http/orders/1"); a.status != 200 {
				t.Fatalf("got %+v", a)
			}
			r.refuse("sb-new", status)
			second := r.add(identity.Credential{Tenant: "acme", ClientID: "sb-new"}, "secret-of-new")
			r.wantSwitch(1, second, first, false, "worked")
			// What cannot be sent again is not sent with it.
			if a := r.caller.do("POST", "/http/orders/1", strings.NewReader(strings.Repeat("x", 100<<10))); a.status != 200 {
				t.Errorf("got %+v", a)
			}
			if len(r.told()) != 1 {
				t.Errorf("switches %+v", r.told())
			}
			method, body := "POST", "small"
			if status == 403 {
				method, body = "GET", "" // after a 403, only what is idempotent is sent again
			}
			if a := r.caller.do(method, "/http/orders/1", strings.NewReader(body)); a.status != 200 {
				t.Errorf("got %+v", a)
			}
			r.wantSwitch(2, first, second, true, fmt.Sprint(status))
			fetches, requests := r.tenant.tokenFetches(), len(r.tenant.requests())
			for range 20 {
				if a := r.caller.get("/http/orders/1"); a.status != 200 {
					t.Errorf("got %+v", a)
				}
			}
			if got := len(r.tenant.requests()) - requests; got != 20 || r.tenant.tokenFetches() != fetches {
				t.Errorf("20 calls became %d, and %d token requests", got, r.tenant.tokenFetches()-fetches)
			}

			// After a pause one request tries it again: in vain, and then not.
			r.ahead.Add(int64(15 * time.Minute))
			before := r.tried.Load()
			eventually(t, "a probe", func() bool {
				if a := r.caller.get("/http/orders/1"); a.status != 200 {
					t.Errorf("got %+v", a)
				}
				return r.tried.Load() == before+1
			})
			for range 20 {
				if a := r.caller.get("/http/orders/1"); a.status != 200 || r.tried.Load() != before+1 {
					t.Errorf("got %+v, %d probes", a, r.tried.Load()-before)
				}
			}
			r.wantSwitch(2, first, second, true, fmt.Sprint(status))
			r.tenant.answer(nil)
			r.ahead.Add(int64(30 * time.Minute))
			eventually(t, "another probe", func() bool { r.caller.get("/http/orders/1"); return len(r.told()) == 3 })
			r.wantSwitch(3, second, first, false, "worked")
		})
	}
}

// When the tenant forgets all tokens, those of both credentials are replaced.
func TestTokensOfBothThatAreRevokedAreReplaced(t *testing.T) {
	r := newRotation(t, &token.Engine{RejectCooldown: time.Millisecond}, tenantsim.Switches{})
	first := r.registry.Snapshot().Credentials("orders", "acme")[0].ID
	r.caller.get("/http/orders/1")
	second := r.add(identity.Credential{Tenant: "acme", ClientID: "sb-new"}, "secret-of-new")
	r.wantSwitch(1, second, first, false, "worked")
	r.tenant.revokeTokens() // before the tenant has taken the newer one: one call finds out
	r.caller.get("/http/orders/1")
	for range 3 {
		if a := r.caller.get("/http/orders/1"); a.status != 200 || a.header.Get("X-Client") != "sb-new" {
			t.Errorf("got %+v", a)
		}
	}
	time.Sleep(10 * time.Millisecond)
	r.tenant.revokeTokens()
	for range 3 {
		if a := r.caller.do("POST", "/http/orders/1", strings.NewReader("x")); a.status != 200 || a.header.Get("X-Client") != "sb-new" {
			t.Errorf("got %+v", a)
		}
	}
	r.wantSwitch(1, second, first, false, "worked")
}

// A POST that gets a 403 may have been executed: it is not sent again, and its caller is told. The others do not get there.
func TestAForbiddenPostIsNotSentAgain(t *testing.T) {
	r := newRotation(t, &token.Engine{}, tenantsim.Switches{})
	first := r.registry.Snapshot().Credentials("orders", "acme")[0].ID
	r.caller.get("/http/orders/1")
	r.refuse("sb-new", 403)
	second := r.add(identity.Credential{Tenant: "acme", ClientID: "sb-new"}, "secret-of-new")
	r.wantSwitch(1, second, first, false, "worked")
	requests := len(r.tenant.requests())
	if a := r.caller.do("POST", "/http/orders/1", strings.NewReader("x")); a.status != 403 {
		t.Errorf("got %+v", a)
	}
	if n := len(r.tenant.requests()) - requests; n != 1 {
		t.Errorf("it was sent %d times", n)
	}
	r.wantSwitch(2, first, second, true, "403")
	if a := r.caller.do("POST", "/http/orders/1", strings.NewReader("x")); a.status != 200 {
		t.Errorf("got %+v", a)
	}
}

// A request waits for a token of the old credential, rather than go with one of the new that the tenant does not take.
func TestARejectedCredentialIsNoWayOutWhileTheOtherFetches(t *testing.T) {
	engine := &token.Engine{}
	r := newRotation(t, engine, tenantsim.Switches{})
	r.remove(r.registry.Snapshot().Credentials("orders", "acme")[0].ID)
	var delay atomic.Int64
	slow := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		time.Sleep(time.Duration(delay.Load()))
		r.tenant.token(w, q)
	}))
	t.Cleanup(slow.Close)
	first := r.add(identity.Credential{Tenant: "acme", ClientID: "sb-orders", TokenURL: slow.URL + "/oauth/token"}, "secret-of-orders")
	r.caller.get("/http/orders/1")
	r.refuse("sb-new", 403)
	second := r.add(identity.Credential{Tenant: "acme", ClientID: "sb-new"}, "secret-of-new")
	r.wantSwitch(1, second, first, false, "worked")
	r.caller.get("/http/orders/1")
	r.wantSwitch(2, first, second, true, "403")

	delay.Store(int64(time.Second))
	r.tenant.mu.Lock()
	for tok, who := range r.tenant.valid {
		if who == "sb-orders" {
			delete(r.tenant.valid, tok)
		}
	}
	r.tenant.mu.Unlock()
	evicted := make(chan answer, 1)
	go func() { evicted <- r.caller.get("/http/orders/1") }()
	eventually(t, "a fetch", func() bool {
		for _, st := range engine.States() {
			if st.CredentialID == first {
				return !st.Valid
			}
		}
		return false
	})
	if a := r.caller.get("/http/orders/1"); a.status != 200 || a.header.Get("X-Client") != "sb-orders" {
		t.Errorf("got %+v", a)
	}
	if a := <-evicted; a.status != 200 {
		t.Errorf("got %+v", a)
	}
}

// A certificate that renews itself takes the place of the one in use while the tenant does not take the other credential: that one does not come into use, not
// even until the renewed one has its first token.
func TestARejectedCredentialDoesNotComeIntoUseByARenewal(t *testing.T) {
	r := newRotation(t, &token.Engine{}, tenantsim.Switches{})
	first := r.registry.Snapshot().Credentials("orders", "acme")[0].ID
	slow := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		time.Sleep(500 * time.Millisecond)
		r.tenant.token(w, q)
	}))
	t.Cleanup(slow.Close)
	r.caller.get("/http/orders/1")
	r.refuse("sb-new", 403)
	second := r.add(identity.Credential{Tenant: "acme", ClientID: "sb-new"}, "secret-of-new")
	r.wantSwitch(1, second, first, false, "worked")
	r.caller.get("/http/orders/1")
	r.wantSwitch(2, first, second, true, "403")
	r.change(func(tx *identity.Tx) error {
		if err := tx.RemoveCredential(t.Context(), first); err != nil {
			return err
		}
		_, err := tx.AddCredential(t.Context(), identity.Credential{Identity: "orders", Tenant: "acme", ClientID: "sb-orders", TokenURL: slow.URL + "/oauth/token",
			Kind: identity.KindSecret, Secret: identity.NewSecret("secret-of-orders")})
		return err
	})
	for range 3 {
		if a := r.caller.post("/http/orders/1", "x"); a.status != 200 || a.header.Get("X-Client") != "sb-orders" {
			t.Errorf("got %+v", a)
		}
	}
}

// A fetch of a CSRF token is no change: when it is forbidden to the new credential, the change itself goes with the old one, once.
func TestAForbiddenCSRFFetchGivesWayToTheOldCredential(t *testing.T) {
	r := newRotation(t, &token.Engine{}, tenantsim.Switches{})
	r.addRoute(identity.Route{Name: "guarded", Path: "/http/guarded/*", Tenant: "acme", Role: "orders.send", CSRF: identity.CSRFOn})
	first := r.registry.Snapshot().Credentials("orders", "acme")[0].ID
	r.caller.get("/http/orders/1")
	var changes atomic.Int64
	r.tenant.answer(func(w http.ResponseWriter, q *http.Request) {
		who := w.Header().Get("X-Client")
		switch {
		case who == "sb-new":
			w.WriteHeader(http.StatusForbidden)
		case q.Method == http.MethodGet:
			w.Header().Set("X-CSRF-Token", "csrf-of-"+who)
		case q.Header.Get("X-CSRF-Token") == "csrf-of-"+who:
			changes.Add(1)
		}
	})
	second := r.add(identity.Credential{Tenant: "acme", ClientID: "sb-new"}, "secret-of-new")
	r.wantSwitch(1, second, first, false, "worked")
	for n := range int64(3) {
		if a := r.caller.post("/http/guarded/1", "x"); a.status != 200 || a.header.Get("X-Client") != "sb-orders" || changes.Load() != n+1 {
			t.Errorf("got %+v, executed %d times", a, changes.Load())
		}
	}
	r.wantSwitch(2, first, second, true, "403")
}

// A flow that says 401 of its own says nothing about a credential.
func TestAFlowsOwnRefusalSwitchesNothing(t *testing.T) {
	r := newRotation(t, &token.Engine{}, tenantsim.Switches{})
	first := r.registry.Snapshot().Credentials("orders", "acme")[0].ID
	r.caller.get("/http/orders/1")
	second := r.add(identity.Credential{Tenant: "acme", ClientID: "sb-new"}, "secret-of-new")
	r.wantSwitch(1, second, first, false, "worked")
	r.tenant.answer(func(w http.ResponseWriter, q *http.Request) { w.WriteHeader(401) })
	fetches := r.tenant.tokenFetches()
	for range 10 {
		if a := r.caller.do("POST", "/http/orders/1", strings.NewReader("x")); a.status != 401 {
			t.Errorf("got %+v", a)
		}
	}
	r.tenant.answer(nil)
	if a := r.caller.get("/http/orders/1"); a.status != 200 || a.header.Get("X-Client") != "sb-new" {
		t.Errorf("got %+v", a)
	}
	r.wantSwitch(1, second, first, false, "worked")
	if n := r.tenant.tokenFetches() - fetches; n > 2 {
		t.Errorf("%d token requests, want one for each credential at most", n)
	}
}
