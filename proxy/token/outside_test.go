package token_test

import (
	"context"
	"crypto/tls"
	"crypto/x509/pkix"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tenantgate/tenantgate/internal/outside"
	"github.com/tenantgate/tenantgate/proxy/token"
)

// A token server that nobody here wrote: what both sides of a test of ours misread, it does not.

var holder = pkix.Name{Country: []string{"DE"}, Organization: []string{"Acme"}, OrganizationalUnit: []string{"Clients"}, CommonName: "sb-mtls"}

var outsideClients = []outside.OAuthClient{
	{ID: "sb-1c2d!b123|it-rt-acme!b55:215", Secret: "0b1c$a+b/c%41:&d~e=", Method: "client_secret_basic", Scope: "orders.send orders.read"},
	{ID: "sb-2c3d!b123|it!b55215", Secret: "1c2d$e+f/g%2B:&h==", Method: "client_secret_post"},
	{ID: "sb-3d4e!b123|it!b55215", Method: "tls_client_auth", Subject: holder.String()},
	{ID: "sb-plus", Secret: "a+b", Method: "client_secret_basic"},
	{ID: "sb-plain", Secret: "a.b", Method: "client_secret_basic"},
	{ID: "sb-short", Secret: "short", Method: "client_secret_post", Lifetime: 20},
}

// outsideCredential is the credential of the n-th of outsideClients.
func outsideCredential(p *outside.OIDCProvider, style token.Style, n int) token.Credential {
	c := outsideClients[n]
	return token.Credential{ID: c.ID, TokenURL: p.TokenURL, RootCAs: p.Roots, Style: style, ClientID: c.ID, Secret: token.NewSecret(c.Secret)}
}

func TestOIDCProviderAcceptsEveryStyle(t *testing.T) {
	p := outside.StartOIDCProvider(t, outsideClients...)
	certificate := p.ClientCertificate(holder)
	for _, c := range []struct {
		style  token.Style
		client int
		proof  string
	}{
		{token.Basic, 0, "basic"}, {token.Body, 1, "body"}, {token.MTLS, 2, "certificate"},
		{token.Basic, 3, "basic"}, {token.BasicRaw, 4, "basic"}, {token.Body, 3, "body"},
	} {
		t.Run(string(c.style)+" "+outsideClients[c.client].ID, func(t *testing.T) {
			before := len(p.Requests())
			e := &token.Engine{}
			defer e.Close()
			cred := outsideCredential(p, c.style, c.client)
			if c.style == token.MTLS {
				cred.Secret, cred.Certificate = token.Secret{}, &certificate
			}
			s := e.Source(cred)
			tok := mustToken(t, s)
			if got, want := p.Introspect(tok.Value.Reveal()), (outside.Introspection{Active: true, ClientID: cred.ClientID}); got != want {
				t.Errorf("the server knows the token as %+v, want %+v", got, want)
			}
			requests := p.Requests()[before:]
			want := outside.TokenRequest{ClientID: cred.ClientID, Proof: c.proof, Status: 200}
			if len(requests) != 1 || requests[0] != want {
				t.Errorf("got requests %+v, want one: %+v", requests, want)
			}
			if st := s.State(); st.Expires.Sub(st.Obtained) != 600*time.Second {
				t.Errorf("got a lifetime of %v, want 10m", st.Expires.Sub(st.Obtained))
			}
		})
	}
}

func TestOIDCProviderRefuses(t *testing.T) {
	p := outside.StartOIDCProvider(t, outsideClients...)
	other := outside.StartOIDCProvider(t)
	fromAnotherCA := other.ClientCertificate(holder)
	ofAnother := holder
	ofAnother.CommonName = "sb-other"
	anotherSubject := p.ClientCertificate(ofAnother)
	trusted := p.ClientCertificate(holder)
	with := func(style token.Style, n int, secret string, certificate *tls.Certificate) token.Credential {
		c := outsideCredential(p, style, n)
		c.Secret, c.Certificate = token.NewSecret(secret), certificate
		return c
	}
	for _, c := range []struct {
		name string
		cred token.Credential
	}{
		{"wrong secret in basic", with(token.Basic, 0, "0b1c$wrong+", nil)},
		{"wrong secret in the body", with(token.Body, 1, "1c2d$wrong+", nil)},
		{"raw plus in basic_raw", with(token.BasicRaw, 3, outsideClients[3].Secret, nil)}, // it is read as a space
		{"certificate of another CA", with(token.MTLS, 2, "", &fromAnotherCA)},
		{"certificate of another subject", with(token.MTLS, 2, "", &anotherSubject)},
		{"certificate where a secret is due", with(token.MTLS, 1, "", &trusted)},
		{"secret where a certificate is due", with(token.Body, 2, "anything", nil)},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := &token.Engine{}
			defer e.Close()
			err := mustFail(t, e.Source(c.cred))
			if err.Step != token.StepRefused || err.Status != 401 || err.Code != "invalid_client" {
				t.Errorf("got %v, want refused, 401, invalid_client", err)
			}
			if secret := c.cred.Secret.Reveal(); secret != "" && strings.Contains(err.Error(), secret) {
				t.Errorf("the error shows the secret: %v", err)
			}
		})
	}
}

// The server counts failed log-ons by its own clock, so ours is the real one too.
func TestAWrongSecretDoesNotHammerOIDCProvider(t *testing.T) {
	t.Parallel()
	p := outside.StartOIDCProvider(t, outsideClients...)
	e := &token.Engine{BackoffMin: 2 * time.Second} // else with the pauses that users get
	defer e.Close()
	cred := outsideCredential(p, token.Basic, 0)
	cred.Secret = token.NewSecret("wrong")
	s := e.Source(cred)
	ask := func() *token.Error { // 50 callers at once
		errs := make([]*token.Error, 50)
		var wg sync.WaitGroup
		for i := range errs {
			wg.Go(func() {
				_, err := s.Token(t.Context())
				errors.As(err, &errs[i])
			})
		}
		wg.Wait()
		for i := range errs {
			if errs[i] == nil || errs[i] != errs[0] {
				t.Fatalf("caller %d got %v, caller 0 got %v, want the same", i, errs[i], errs[0])
			}
		}
		return errs[0]
	}
	first := ask()
	if again := ask(); again != first {
		t.Errorf("within the pause got %v, want the remembered %v", again, first)
	}
	if got := len(p.Requests()); got != 1 {
		t.Errorf("the server counts %d requests, want 1", got)
	}
	var second *token.Error
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if second = mustFail(t, s); second != first {
			break
		}
	}
	if held := time.Until(second.Until); held < 14*time.Minute {
		t.Errorf("after the second refusal the client is held for %v, want a quarter of an hour", held)
	}
	if again := ask(); again != second {
		t.Errorf("while the client is held got %v, want the remembered %v", again, second)
	}
	if got := len(p.Requests()); got != 2 {
		t.Errorf("the server counts %d requests, want 2", got)
	}
}

func TestAScopeThatOIDCProviderDropsIsNoticed(t *testing.T) {
	p := outside.StartOIDCProvider(t, outsideClients...)
	for _, c := range []struct {
		asked, granted, lacks string
	}{
		{"orders.send", "orders.send", ""},
		{"orders.send orders.read", "orders.send orders.read", ""},
		{"orders.send orders.delete", "", "orders.delete"},
		// The answer then names no scope at all, which says that all were granted (RFC 6749 section 5.1): the tenant finds out.
		{"orders.delete", "", ""},
	} {
		t.Run(c.asked, func(t *testing.T) {
			e := &token.Engine{}
			defer e.Close()
			cred := outsideCredential(p, token.Basic, 0)
			cred.Scope = c.asked
			s := e.Source(cred)
			if c.lacks != "" {
				if err := mustFail(t, s); err.Step != token.StepScope || !strings.Contains(err.Description, "lacks "+c.lacks) {
					t.Errorf("got %v, want scope: lacks %s", err, c.lacks)
				}
				return
			}
			if got := p.Introspect(mustToken(t, s).Value.Reveal()).Scope; got != c.granted {
				t.Errorf("the server knows the token with scope %q, want %q", got, c.granted)
			}
		})
	}
}

func TestOIDCProviderIsAskedAgainBeforeTheTokenEnds(t *testing.T) {
	t.Parallel()
	p := outside.StartOIDCProvider(t, outsideClients...)
	e := &token.Engine{RefreshAt: 0.05, Timeout: time.Minute} // after a second; half-life is tested without waiting for it
	defer e.Close()
	s := e.Source(outsideCredential(p, token.Body, 5))
	first := mustToken(t, s)
	expires := s.State().Expires

	release := p.Hold()
	for len(p.Requests()) < 2 {
		if time.Now().After(expires) {
			t.Fatal("the token ended and the server was not asked for another")
		}
		time.Sleep(5 * time.Millisecond)
	}
	for range 100 { // a call that waited for the answer would end with the context
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		tok, err := s.Token(ctx)
		cancel()
		if err != nil || tok.ID != first.ID {
			t.Fatalf("while the server does not answer got %v, %v, want the first token", tok, err)
		}
	}
	if got := p.Introspect(first.Value.Reveal()); !got.Active {
		t.Error("the token that is served is not active any more")
	}
	release()

	second := first
	for second.ID == first.ID {
		if time.Now().After(expires) {
			t.Fatal("the token ended and no other was served")
		}
		time.Sleep(5 * time.Millisecond)
		second = mustToken(t, s)
	}
	if second.Value.Equal(first.Value) || !p.Introspect(second.Value.Reveal()).Active {
		t.Error("the second token is not a new and active one")
	}
	if got := len(p.Requests()); got != 2 {
		t.Errorf("the server counts %d requests, want 2", got)
	}
}
