package token_test

import (
	"testing"
	"time"

	"github.com/tenantgate/tenantgate/proxy/token"
)

func TestWhatIsAskedForNoMoreIsRetired(t *testing.T) {
	onDisk(t, map[string]func(*testing.T, *disk, *tokenServer){"retired": retired})
}

func retired(t *testing.T, d *disk, server *tokenServer) {
	n := d.start(t, server, func(e *token.Engine) { e.Jitter = -1 })
	of := func(n *node, parameters string) *token.Source {
		c := credential()
		c.Parameters = parameters
		return n.Source(c)
	}
	kept, old := of(n, "resource=new"), of(n, "resource=old")
	mustToken(t, kept)
	before := mustToken(t, old)
	n.stored(t)
	n.Retire(func(id, scope, parameters string) bool {
		return id == "c1" && scope == "" && parameters == "resource=new"
	})
	if all := n.States(); len(all) != 1 || all[0].Parameters != "resource=new" {
		t.Errorf("got %+v", all)
	}
	if servers := n.Servers(); len(servers) != 1 || servers[0].Credentials != 1 {
		t.Errorf("got %+v", servers)
	}
	if tok := mustToken(t, old); tok.ID != before.ID {
		t.Error("whoever holds it gets another token")
	}
	time.Sleep(40 * time.Minute)
	if server.count() != 3 {
		t.Errorf("%d token requests, want two and one refresh", server.count())
	}
	time.Sleep(30 * time.Minute)
	mustToken(t, old)
	n.stored(t)
	n.stop(t)
	server.set(status(500, "down"))
	n = d.start(t, server)
	defer n.stop(t)
	mustToken(t, of(n, "resource=new"))
	mustFail(t, of(n, "resource=old"))
}

// A client that nothing is asked for leaves its token server, whose failures are nobody's any more.
func TestATokenServerThatNobodyAsksIsForgotten(t *testing.T) {
	server, e := newTokenServer(t)
	server.set(status(500, "down"))
	mustFail(t, e.Source(credential()))
	if servers := e.Servers(); len(servers) != 1 || !servers[0].Failing {
		t.Fatalf("got %+v", servers)
	}
	e.Retire(func(string, string, string) bool { return false })
	if servers := e.Servers(); len(servers) != 0 {
		t.Errorf("got %+v", servers)
	}
	server.set(server.lifetime("3600"))
	mustToken(t, e.Source(credential()))
}
