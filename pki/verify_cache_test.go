package pki_test

import (
	"errors"
	"testing"
	"time"

	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/pki/pkitest"
)

func TestAKnownChainIsStillJudgedByTheClock(t *testing.T) {
	env := pkitest.New(t)
	cert := env.Client("erp")
	chain := pkitest.Chain(t, cert)
	trust, err := pki.NewTrust(env.CA.Trust().Roots(), nil)
	if err != nil {
		t.Fatal(err)
	}
	good := chain[0].NotBefore.Add(time.Minute)
	for range 2 {
		if err := trust.VerifyClient(chain, good); err != nil {
			t.Fatalf("inside its validity: %v", err)
		}
	}
	for at, want := range map[time.Time]pki.Reason{
		chain[0].NotAfter.Add(time.Second): pki.Expired,
		chain[0].NotBefore.Add(-time.Hour): pki.NotYetValid,
	} {
		var rejected *pki.RejectedError
		if err := trust.VerifyClient(chain, at); !errors.As(err, &rejected) || rejected.Reason != want {
			t.Errorf("at %v: got %v, want %s", at, err, want)
		}
	}
	other, err := pki.NewTrust(pkitest.New(t).CA.Trust().Roots(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := other.VerifyClient(chain, good); err == nil {
		t.Error("a chain that one bundle knows is accepted by another")
	}
}
