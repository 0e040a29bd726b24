package proxy

import (
	"crypto/sha256"
	"crypto/x509"
	"runtime"
	"sync"
	"weak"
)

// interned keeps one copy of each certificate that open connections show, for as long as one of them is open. A parsed certificate takes 2 to 5 kB, and
// every connection of a caller, and every intermediate of ours, would have its own.
type interned struct {
	certs sync.Map // [sha256.Size]byte -> weak.Pointer[x509.Certificate]
}

// all replaces the certificates of chain by the copies that are kept. Its backing array is the one that crypto/tls holds on to; what stands in it
// afterwards is, octet for octet, the same.
func (i *interned) all(chain []*x509.Certificate) {
	for n, c := range chain {
		chain[n] = i.one(c)
	}
}

func (i *interned) one(c *x509.Certificate) *x509.Certificate {
	key := sha256.Sum256(c.Raw)
	mine := weak.Make(c)
	for {
		had, loaded := i.certs.LoadOrStore(key, mine)
		if !loaded {
			runtime.AddCleanup(c, func(key [sha256.Size]byte) { i.certs.CompareAndDelete(key, mine) }, key)
			return c
		}
		if kept := had.(weak.Pointer[x509.Certificate]).Value(); kept != nil {
			return kept
		}
		i.certs.CompareAndDelete(key, had)
	}
}
