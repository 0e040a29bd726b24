package token_test

import (
	"crypto/x509"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tenantgate/tenantgate/internal/database/databasetest"
	"github.com/tenantgate/tenantgate/proxy/token"
)

func TestAStoredTokenIsOfNoUseTo(t *testing.T) {
	change := func(f func(*token.Credential)) func(*testing.T, *node) token.Credential {
		return func(*testing.T, *node) token.Credential {
			c := credential()
			f(&c)
			return c
		}
	}
	execute := func(statement string) func(*testing.T, *node) token.Credential {
		return func(t *testing.T, n *node) token.Credential {
			if _, err := n.db.Exec(statement); err != nil {
				t.Fatal(err)
			}
			return credential()
		}
	}
	for _, c := range []struct {
		name    string
		between func(t *testing.T, n *node) token.Credential // in the first life; what is asked for in the second
	}{
		{"another secret", change(func(c *token.Credential) { c.Secret = token.NewSecret("other") })},
		{"another client", change(func(c *token.Credential) { c.ClientID = "other" })},
		{"another token server", change(func(c *token.Credential) { c.TokenURL = "http://127.0.0.1/oauth/token" })},
		{"another style", change(func(c *token.Credential) { c.Style = token.Basic })},
		{"another way there", change(func(c *token.Credential) { c.Via = "proxy" })},
		{"an issuer beside the token server", change(func(c *token.Credential) { c.Issuer = "http://127.0.0.1" })},
		{"another audience of assertions", change(func(c *token.Credential) { c.AssertionAudience = "other" })},
		{"a key that signs assertions", change(func(c *token.Credential) { c.Assertion = assertionKey(t, keys(t)["ES256"], token.AssertionOptions{}) })},
		{"other parameters", change(func(c *token.Credential) { c.Parameters = "resource=b" })},
		{"another scope", change(func(c *token.Credential) { c.Scope = "b" })},
		{"another id", change(func(c *token.Credential) { c.ID = "c2" })},
		{"a row that was moved to another credential", func(t *testing.T, n *node) token.Credential {
			execute(`UPDATE tokens SET credential = 'c2'`)(t, n)
			c := credential()
			c.ID = "c2"
			return c
		}},
		{"a row that was moved to another scope", func(t *testing.T, n *node) token.Credential {
			execute(`UPDATE tokens SET scope = 'b'`)(t, n)
			c := credential()
			c.Scope = "b"
			return c
		}},
		{"a row that was moved to other parameters", func(t *testing.T, n *node) token.Credential {
			execute(`UPDATE tokens SET parameters = 'resource=b'`)(t, n)
			c := credential()
			c.Parameters = "resource=b"
			return c
		}},
		{"a row that was spoiled", execute(`UPDATE tokens SET sealed = CAST('nonsense' AS BLOB)`)},
		{"the tenant's refusal", func(t *testing.T, n *node) token.Credential {
			s := n.Source(credential())
			tok, _ := s.Held()
			if !s.Reject(tok) {
				t.Fatal("got no retry")
			}
			n.stored(t)
			return credential()
		}},
		{"a dropped credential", func(t *testing.T, n *node) token.Credential {
			n.Drop("c1")
			n.stored(t)
			return credential()
		}},
		{"a credential that is not retained", func(t *testing.T, n *node) token.Credential {
			n.Retain(func(string) bool { return false })
			n.stored(t)
			return credential()
		}},
		{"a credential that changed and changed back", func(t *testing.T, n *node) token.Credential {
			other := credential()
			other.Secret = token.NewSecret("other")
			n.Source(other)
			n.stored(t)
			return credential()
		}},
		{"an end that has come", func(*testing.T, *node) token.Credential {
			time.Sleep(time.Hour)
			return credential()
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDisk(t, databasetest.SQLite(t))
			synctest.Test(t, func(t *testing.T) {
				server, _ := newTokenServer(t)
				first := d.start(t, server, func(e *token.Engine) { e.KeepWarm = time.Nanosecond }) // no refresh meanwhile
				before := mustToken(t, first.Source(credential()))
				first.stored(t)
				cred := c.between(t, first)
				first.kill(t)
				second := d.start(t, server)
				defer second.stop(t)
				if after := mustToken(t, second.Source(cred)); after.Header() == before.Header() {
					t.Error("the stored token was put to use")
				}
			})
		})
	}
}

// A change of another kind would bring an old token back, or fail to: each field of Credential is either told apart above or has a reason not to be.
func TestEveryFieldOfACredentialIsJudgedWhenATokenIsRestored(t *testing.T) {
	known := map[string]string{
		"ID": "bound", "Scope": "bound", "TokenURL": "told apart", "Style": "told apart", "ClientID": "told apart", "Secret": "told apart",
		"Certificate": "told apart", "Via": "told apart", "Issuer": "told apart", "Assertion": "told apart", "AssertionAudience": "told apart",
		"Parameters": "bound",
		"RootCAs":    "says nothing about a token that is there", "Dial": "told apart by Via",
	}
	for i := range reflect.TypeFor[token.Credential]().NumField() {
		if name := reflect.TypeFor[token.Credential]().Field(i).Name; known[name] == "" {
			t.Errorf("does another %s fetch another token? If so, Credential.fingerprint and TestAStoredTokenIsOfNoUseTo must know it", name)
		}
	}
}

func TestACertificateTellsStoredTokensApart(t *testing.T) {
	d := newDisk(t, databasetest.SQLite(t))
	synctest.Test(t, func(t *testing.T) {
		server, _ := newTokenServer(t)
		cred := credential()
		cred.Style, cred.Secret, cred.Certificate, cred.RootCAs = token.MTLS, token.Secret{}, selfSigned(t, "a"), x509.NewCertPool()
		first := d.start(t, server)
		before := mustToken(t, first.Source(cred))
		first.stop(t)
		second := d.start(t, server)
		same := mustToken(t, second.Source(cred))
		second.stop(t)
		cred.Certificate = selfSigned(t, "b")
		third := d.start(t, server)
		other := mustToken(t, third.Source(cred))
		third.stop(t)
		if same.Header() != before.Header() || other.Header() == before.Header() {
			t.Errorf("same certificate: old token %v; other certificate: old token %v", same.Header() == before.Header(), other.Header() == before.Header())
		}
	})
}

func TestAClockThatWasSetMakesNoDeadTokenLive(t *testing.T) {
	for _, c := range []struct {
		name           string
		saved, started time.Duration // since the bubbles' clocks began, at the same time
		want           bool
	}{
		{"not at all", time.Hour, time.Hour + 10*time.Minute, true},
		{"back, but within a minute", time.Hour, time.Hour - 30*time.Second, true},
		{"back by an hour", 10 * time.Hour, 9 * time.Hour, false},
		{"forward by ten years", time.Hour, 10 * 365 * 24 * time.Hour, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDisk(t, databasetest.SQLite(t))
			synctest.Test(t, func(t *testing.T) {
				server, _ := newTokenServer(t)
				time.Sleep(c.saved)
				n := d.start(t, server)
				mustToken(t, n.Source(credential()))
				n.stop(t)
			})
			synctest.Test(t, func(t *testing.T) {
				server, _ := newTokenServer(t)
				time.Sleep(c.started)
				n := d.start(t, server)
				defer n.stop(t)
				if mustToken(t, n.Source(credential())); (server.count() == 0) != c.want {
					t.Errorf("got the stored token: %v, want %v", server.count() == 0, c.want)
				}
				n.stored(t)
				// What came of it is stored, whatever time the old row names.
				var obtained int64
				if err := n.db.QueryRow(`SELECT obtained FROM tokens`).Scan(&obtained); err != nil || time.UnixMicro(obtained).After(time.Now().Add(time.Minute)) {
					t.Errorf("the row says %v at %v (%v)", time.UnixMicro(obtained), time.Now(), err)
				}
			})
		})
	}
}
