package token_test

import (
	"crypto/x509"
	"strings"
	"testing"

	"github.com/tenantgate/tenantgate/proxy/tenantsim"
	"github.com/tenantgate/tenantgate/proxy/token"
)

// The token servers of one vendor, with the oddities that were seen.

const simSecret = "0b1c$x+y/%zz=="

// simulated starts a token server in a vendor's manner with one client that may prove itself in every way.
func simulated(t *testing.T, v tenantsim.Vendor) (*tenantsim.Sim, token.Credential) {
	t.Helper()
	sim, err := tenantsim.New(tenantsim.Options{Switches: tenantsim.Switches{Vendor: v}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sim.Close() })
	key := keys(t)["RS256"]
	certificate := selfSigned(t, "sb-1!b2|it!b3")
	const id = "sb-1!b2|it!b3"
	sim.AddClient(tenantsim.Client{ID: id, Secret: simSecret, Certificate: certificate, Key: key.Public()})
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(sim.CAPEM())
	return sim, token.Credential{ID: "c", TokenURL: sim.TokenURL(), ClientID: id, RootCAs: roots, Secret: token.NewSecret(simSecret),
		Certificate: certificate, Assertion: assertionKey(t, key, token.AssertionOptions{})}
}

func TestEachVendorTakesTheStylesThatItTakes(t *testing.T) {
	for _, c := range []struct {
		vendor tenantsim.Vendor
		style  token.Style
		good   bool
	}{
		{tenantsim.XSUAA, token.Body, true}, {tenantsim.XSUAA, token.Basic, true}, {tenantsim.XSUAA, token.BasicRaw, true},
		{tenantsim.XSUAA, token.PrivateKeyJWT, true}, {tenantsim.XSUAA, token.MTLS, true},
		{tenantsim.IAS, token.Body, true}, {tenantsim.IAS, token.Basic, true}, {tenantsim.IAS, token.BasicRaw, false},
		{tenantsim.IAS, token.PrivateKeyJWT, true}, {tenantsim.IAS, token.MTLS, true},
		{tenantsim.Neo, token.Body, false}, {tenantsim.Neo, token.Basic, false}, {tenantsim.Neo, token.BasicRaw, true},
		{tenantsim.Neo, token.PrivateKeyJWT, false},
	} {
		t.Run(string(c.vendor)+" "+string(c.style), func(t *testing.T) {
			sim, cred := simulated(t, c.vendor)
			cred.Style = c.style
			if c.style == token.MTLS {
				cred.TokenURL = sim.MTLSTokenURL()
			}
			e := &token.Engine{}
			defer e.Close()
			s := e.Source(cred)
			if c.good {
				mustToken(t, s)
				return
			}
			if err := mustFail(t, s); err.Step != token.StepRefused {
				t.Errorf("got %v, want refused", err)
			}
		})
	}
}

func TestEachVendorIsDiscovered(t *testing.T) {
	for _, v := range []tenantsim.Vendor{tenantsim.XSUAA, tenantsim.IAS} {
		t.Run(string(v), func(t *testing.T) {
			sim, cred := simulated(t, v)
			cred.TokenURL, cred.Issuer, cred.AssertionAudience = "", sim.IssuerURL(), token.IssuerAudience
			e := &token.Engine{}
			defer e.Close()
			for _, style := range []token.Style{token.Body, token.MTLS, token.PrivateKeyJWT} {
				cred.ID, cred.Style = string(style), style
				s := e.Source(cred)
				mustToken(t, s)
				if got := e.Endpoint(cred.ID); (style == token.MTLS) != (got == sim.MTLSTokenURL()) {
					t.Errorf("%s: the endpoint is %s", style, got)
				}
			}
		})
	}
	t.Run("neo is not", func(t *testing.T) {
		sim, cred := simulated(t, tenantsim.Neo)
		cred.TokenURL, cred.Issuer, cred.Style = "", sim.IssuerURL(), token.BasicRaw
		e := &token.Engine{}
		defer e.Close()
		if err := mustFail(t, e.Source(cred)); err.Step != token.StepDiscover || err.Status != 404 {
			t.Errorf("got %v, want discover: 404", err)
		}
	})
}

// The host for certificates asks for one first, and none is shown to whoever tells the way.
func TestTheHostForCertificatesIsNoIssuer(t *testing.T) {
	sim, cred := simulated(t, tenantsim.XSUAA)
	cred.TokenURL, cred.Issuer, cred.Style = "", strings.TrimSuffix(sim.MTLSTokenURL(), "/oauth/token"), token.Body
	e := &token.Engine{}
	defer e.Close()
	if err := mustFail(t, e.Source(cred)); err.Step != token.StepDiscover {
		t.Errorf("got %v, want discover", err)
	}
}

func TestAnAssertionIsForOneServerAndOneUse(t *testing.T) {
	_, cred := simulated(t, tenantsim.IAS)
	cred.Style = token.PrivateKeyJWT
	e := &token.Engine{RefusedTries: 10}
	defer e.Close()
	for range 3 { // each with an assertion of its own
		mustToken(t, e.Source(cred))
		e.Drop(cred.ID)
	}
	elsewhere := cred
	elsewhere.AssertionAudience = "https://login.example.com"
	if err := mustFail(t, e.Source(elsewhere)); err.Step != token.StepRefused {
		t.Errorf("another audience: got %v, want refused", err)
	}
	stranger := cred
	stranger.ID, stranger.Assertion = "stranger", assertionKey(t, keys(t)["RS256"], token.AssertionOptions{})
	if err := mustFail(t, e.Source(stranger)); err.Step != token.StepRefused {
		t.Errorf("another key: got %v, want refused", err)
	}
}
