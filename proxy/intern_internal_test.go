package proxy

import (
	"crypto/x509"
	"runtime"
	"testing"
	"time"

	"github.com/tenantgate/tenantgate/pki"
)

func TestACertificateIsKeptOnceAndNotLonger(t *testing.T) {
	authority, err := pki.NewAuthority(pki.InitOptions{TrustDomain: "test.internal"})
	if err != nil {
		t.Fatal(err)
	}
	parse := func() *x509.Certificate {
		c, err := x509.ParseCertificate(authority.Root.Raw)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	var i interned
	count := func() (n int) {
		i.certs.Range(func(any, any) bool { n++; return true })
		return n
	}
	first, second := []*x509.Certificate{parse()}, []*x509.Certificate{parse()}
	i.all(first)
	i.all(second)
	if first[0] != second[0] || count() != 1 {
		t.Errorf("two connections keep two copies, %d in all", count())
	}
	runtime.KeepAlive(first)
	runtime.KeepAlive(second)
	first, second = nil, nil
	for end := time.Now().Add(5 * time.Second); count() > 0; runtime.GC() {
		if time.Now().After(end) {
			t.Fatal("a certificate that nobody shows any more is kept")
		}
	}
	if again := []*x509.Certificate{parse()}; again[0] != i.one(again[0]) {
		t.Error("a certificate that was forgotten cannot come again")
	}
}
