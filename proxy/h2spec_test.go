package proxy_test

import (
	"net"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/summerwind/h2spec/config"
	"github.com/summerwind/h2spec/generic"
	"github.com/summerwind/h2spec/hpack"
	"github.com/summerwind/h2spec/http2"
	"github.com/summerwind/h2spec/spec"

	"github.com/tenantgate/tenantgate/proxy"
)

// h2spec in its strict mode, with a client certificate: HTTP/2 by a suite that nobody here wrote.
func TestHTTP2ConformsToH2spec(t *testing.T) {
	g := newGate(t, proxy.Limits{})
	cert, key, _ := g.issue("orders").files(t)
	host, port, err := net.SplitHostPort(g.addr)
	must(t, err)
	number, err := strconv.Atoi(port)
	must(t, err)
	conf := &config.Config{
		Host: host, Port: number, Path: "/http/orders/1", Timeout: 2 * time.Second, MaxHeaderLen: 4000, Strict: true,
		TLS: true, Insecure: true, CertFile: cert, CertKeyFile: key,
	}
	stdout := os.Stdout // h2spec tells it what it does
	os.Stdout, err = os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	must(t, err)
	groups := []*spec.TestGroup{generic.Spec(), http2.Spec(), hpack.Spec()}
	for _, group := range groups {
		group.Test(conf)
	}
	os.Stdout = stdout
	deviations := deviationsIn(t, "testdata/h2spec-deviations.txt")
	passed, failed, skipped := 0, 0, 0
	var judge func(g *spec.TestGroup)
	judge = func(g *spec.TestGroup) {
		for i, c := range g.Tests {
			name := g.ID() + "/" + strconv.Itoa(i+1)
			switch {
			case c.Result == nil || c.Result.Skipped:
				skipped++
			case c.Result.Failed:
				failed++
				if deviations[name] == "" {
					t.Errorf("%s %s: %s: %v", name, g.Title(), c.Desc, c.Result.Error)
				}
			default:
				passed++
				if deviations[name] != "" {
					t.Errorf("%s is listed as a deviation, and passes", name)
				}
			}
		}
		for _, sub := range g.Groups {
			judge(sub)
		}
	}
	for _, group := range groups {
		judge(group)
	}
	t.Logf("%d passed, %d failed as listed, %d skipped", passed, failed, skipped)
	if passed < 100 {
		t.Errorf("only %d cases passed", passed)
	}
}
