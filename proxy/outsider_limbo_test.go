package proxy_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/pki/external"
	"github.com/tenantgate/tenantgate/proxy"
)

// limboCase is a case of C2SP/x509-limbo, in its client edition.
type limboCase struct {
	ID             string    `json:"id"`
	Trusted        []string  `json:"trusted_certs"`
	Intermediates  []string  `json:"untrusted_intermediates"`
	Peer           string    `json:"peer_certificate"`
	Key            string    `json:"peer_certificate_key"`
	ValidationTime time.Time `json:"validation_time"`
	Expected       string    `json:"expected_result"`
	CRLs           []string  `json:"crls"`
}

func limboCases(t *testing.T) []limboCase {
	t.Helper()
	dir := os.Getenv("TENANTGATE_SUITES")
	if dir == "" {
		t.Skip("SKIPPED, NOTHING WAS CHECKED: set TENANTGATE_SUITES to the directory with limbo-client.json")
	}
	b, err := os.ReadFile(filepath.Join(dir, "limbo-client.json"))
	must(t, err)
	var file struct {
		Testcases []limboCase `json:"testcases"`
	}
	must(t, json.Unmarshal(b, &file))
	return file.Testcases
}

// limboDeviations are the cases in which pki and the suite disagree. Other CAs are judged alike.
func limboDeviations(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	f, err := os.Open("../pki/testdata/limbo-deviations.txt")
	must(t, err)
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if fields := strings.Fields(s.Text()); len(fields) > 3 && fields[0] != "#" {
			all[fields[0]] = fields[1]
		}
	}
	return all
}

// withAuthorities is a gate that judges certificates of other CAs by a clock that can be set.
func withAuthorities(tb testing.TB, clock *atomic.Pointer[time.Time]) *gate {
	return newGate(tb, proxy.Limits{}, func(c *proxy.Config) {
		c.External = external.NewVerifier(c.Trust, "test.internal")
		if clock != nil {
			c.Now = func() time.Time {
				if at := clock.Load(); at != nil {
					return *at
				}
				return time.Now()
			}
		}
	})
}

// prepare makes the case's anchors an authority that maps the case's leaf to orders; an error says why it cannot be.
func (c *limboCase) prepare(g *gate, now time.Time) error {
	a := identity.Authority{Name: "limbo", CA: strings.Join(c.Trusted, "\n"), IntermediateAnchor: true}
	leaf, err := pki.ParseCertificates([]byte(c.Peer))
	if err != nil {
		return err
	}
	if err := a.Validate(); err != nil {
		return err
	}
	if err := external.Check(&a, g.trust.Load()); err != nil {
		return err
	}
	ctx := context.Background()
	return g.registry.Change(ctx, func(tx *identity.Tx) error {
		if _, err := tx.AddAuthority(ctx, a); err != nil {
			return err
		}
		for _, crl := range c.CRLs {
			list, err := external.ReadCRL(&a, "", []byte(crl), now)
			if err != nil {
				return err
			}
			a.CRLRequired = true
			if _, err := tx.SetAuthority(ctx, a); err != nil {
				return err
			}
			if _, err := tx.PutRevocationList(ctx, a.Name, list); err != nil {
				return err
			}
		}
		_, err := tx.AddMapping(ctx, a.Name, identity.Mapping{Kind: identity.MapFingerprint, Value: identity.FingerprintOf(leaf[0].Raw).String(), Identity: "orders"})
		return err
	})
}

// call makes a handshake of one version of TLS and a request; nil is that it was served.
func (c *limboCase) call(g *gate, version uint16) error {
	chain, err := pki.ParseCertificates([]byte(strings.Join(append([]string{c.Peer}, c.Intermediates...), "\n")))
	if err != nil {
		return err
	}
	cert, err := tls.X509KeyPair([]byte(c.Peer), []byte(c.Key))
	if err != nil {
		return err
	}
	cert.Certificate = nil
	for _, one := range chain {
		cert.Certificate = append(cert.Certificate, one.Raw)
	}
	caller := g.caller(cert)
	defer caller.transport.CloseIdleConnections()
	caller.transport.TLSClientConfig.MinVersion, caller.transport.TLSClientConfig.MaxVersion = version, version
	a := caller.get("/http/orders/1")
	if a.err != nil {
		return a.err
	}
	if a.status != 200 {
		return errors.New(a.body)
	}
	return nil
}

// Certificates of other CAs are judged in real handshakes as strictly as our own: every case of the suite that comes with a key, in TLS 1.2 and 1.3.
func TestAuthoritiesAgainstLimbo(t *testing.T) {
	known, cases := limboDeviations(t), limboCases(t)
	var clock atomic.Pointer[time.Time]
	g := withAuthorities(t, &clock)
	handshakes, refusedEarly, deviating := 0, 0, 0
	ctx := t.Context()
	for _, c := range cases {
		if c.Key == "" {
			continue
		}
		now := c.ValidationTime
		if now.IsZero() {
			now = time.Now()
		}
		clock.Store(&now)
		results := map[string]error{}
		if err := c.prepare(g, now); err != nil {
			results["added"] = err
			refusedEarly++
		} else {
			for name, version := range map[string]uint16{"TLS 1.2": tls.VersionTLS12, "TLS 1.3": tls.VersionTLS13} {
				results[name] = c.call(g, version)
				handshakes++
			}
			must(t, g.registry.Change(ctx, func(tx *identity.Tx) error { return tx.RemoveAuthority(ctx, "limbo", true) }))
		}
		counted := false
		for how, err := range results {
			result := "accepted"
			if err != nil {
				result = "refused"
			}
			conforms := (err == nil) == (c.Expected == "SUCCESS")
			var broken *net.OpError
			if errors.As(err, &broken) && broken.Op == "dial" {
				t.Fatalf("%s: %v", c.ID, err)
			}
			if !conforms && !counted {
				deviating, counted = deviating+1, true
			}
			if want, listed := known[c.ID]; !conforms && (!listed || want != result) {
				t.Errorf("%s (%s): %s against the suite's %s and not listed: %v", c.ID, how, result, c.Expected, err)
			} else if conforms && listed {
				t.Errorf("%s (%s): listed as %s, but conforms", c.ID, how, want)
			}
		}
	}
	t.Logf("%d handshakes, %d cases refused when the authority is added, %d cases deviate for a reason that is listed", handshakes, refusedEarly, deviating)
}
