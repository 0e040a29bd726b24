package servercert

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tenantgate/tenantgate/pki"
)

// judgement is what a certificate must be to be served.
type judgement struct {
	names []string            // of the listener, at least one of which it must cover
	roots []*x509.Certificate // what it must lead to; empty is not asked
	now   time.Time
}

// judge puts the certificates that came with a key in order, the leaf first and no root, and says whether they can be served. What is of no harm to all
// clients is a warning.
func (j *judgement) judge(certs []*x509.Certificate, key crypto.PublicKey) (chain []*x509.Certificate, warnings []string, err error) {
	at := slices.IndexFunc(certs, func(c *x509.Certificate) bool { return samePublicKey(c.PublicKey, key) })
	if at < 0 {
		return nil, nil, fmt.Errorf("the key belongs to none of the %d certificates (the first is for %s)", len(certs), describe(certs[0]))
	}
	leaf := certs[at]
	if err := j.judgeLeaf(leaf); err != nil {
		return nil, nil, err
	}
	chain, rooted := climb(leaf, certs)
	if foreign := len(certs) - len(chain) - rootsIn(certs, leaf); foreign > 0 {
		warnings = append(warnings, fmt.Sprintf("%d certificates in it do not belong to the chain and are not sent", foreign))
	}
	if !inOrder(chain, certs) {
		warnings = append(warnings, "the certificates are not in order; they are sent in order, the server's own first")
	}
	if err := j.judgePath(chain); err != nil {
		return nil, nil, err
	}
	for _, c := range chain[1:] {
		if err := timely(c, j.now); err != nil {
			warnings = append(warnings, fmt.Sprintf("of its issuer %s %v: clients will refuse", c.Subject, err))
		}
	}
	if len(j.roots) == 0 && !rooted && len(chain) == 1 && !selfSigned(leaf) && !inSystem(leaf, j.now) {
		warnings = append(warnings, fmt.Sprintf("no certificate of its issuer (%s) follows: clients that do not have it will refuse", leaf.Issuer))
	}
	return chain, warnings, nil
}

func (j *judgement) judgeLeaf(leaf *x509.Certificate) error {
	switch k := leaf.PublicKey.(type) {
	case *rsa.PublicKey:
		if k.N.BitLen() < 2048 {
			return fmt.Errorf("the RSA key has %d bits: 2048 are the least", k.N.BitLen())
		}
	}
	if leaf.IsCA && !selfSigned(leaf) {
		return fmt.Errorf("the certificate for the key is that of a CA (%s)", describe(leaf))
	}
	if usages := leaf.ExtKeyUsage; len(usages) > 0 && !slices.Contains(usages, x509.ExtKeyUsageServerAuth) && !slices.Contains(usages, x509.ExtKeyUsageAny) {
		return errors.New("the certificate is not for servers (extended key usage)")
	}
	if !slices.ContainsFunc(j.names, func(n string) bool { return covers(leaf, n) }) {
		return fmt.Errorf("the certificate is for %s, which is none of %s", describe(leaf), strings.Join(j.names, ", "))
	}
	if len(leaf.UnhandledCriticalExtensions) > 0 {
		return fmt.Errorf("the certificate has a critical extension that clients may not know (%s)", leaf.UnhandledCriticalExtensions[0])
	}
	return nil
}

// judgePath asks whether the chain leads to the roots that were given.
func (j *judgement) judgePath(chain []*x509.Certificate) error {
	if len(j.roots) == 0 {
		return nil
	}
	options := x509.VerifyOptions{Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), CurrentTime: j.now}
	if timely(chain[0], j.now) != nil { // that is said by itself
		options.CurrentTime = chain[0].NotBefore.Add(time.Second)
	}
	for _, c := range j.roots {
		options.Roots.AddCert(c)
	}
	for _, c := range chain[1:] {
		options.Intermediates.AddCert(c)
	}
	if _, err := chain[0].Verify(options); err != nil {
		return fmt.Errorf("the chain does not lead to a root in server_certificate.roots: %w", err)
	}
	return nil
}

// normal are the names as they are compared, each once.
func normal(names []string) (all []string) {
	for _, name := range names {
		if name = pki.NormalServerName(name); !slices.Contains(all, name) {
			all = append(all, name)
		}
	}
	return all
}

// timely says what is wrong with the time of a certificate.
func timely(leaf *x509.Certificate, now time.Time) error {
	switch {
	case now.After(leaf.NotAfter):
		return fmt.Errorf("the certificate expired on %s", leaf.NotAfter.UTC().Format(time.RFC3339))
	case now.Before(leaf.NotBefore):
		return fmt.Errorf("the certificate is not valid before %s: check this machine's clock", leaf.NotBefore.UTC().Format(time.RFC3339))
	}
	return nil
}

// climb follows the signatures from the leaf upwards. Roots are not sent: a client has them or does not believe them. rooted says that it found one.
func climb(leaf *x509.Certificate, all []*x509.Certificate) (chain []*x509.Certificate, rooted bool) {
	chain = []*x509.Certificate{leaf}
	for len(chain) <= len(all) {
		last := chain[len(chain)-1]
		at := slices.IndexFunc(all, func(c *x509.Certificate) bool {
			return !slices.ContainsFunc(chain, c.Equal) && bytes.Equal(c.RawSubject, last.RawIssuer) && last.CheckSignatureFrom(c) == nil
		})
		if at < 0 {
			return chain, false
		}
		if selfSigned(all[at]) {
			return chain, true
		}
		chain = append(chain, all[at])
	}
	return chain, false
}

// inOrder reports whether the file has the chain as it is sent.
func inOrder(chain, all []*x509.Certificate) bool {
	at := -1
	for _, c := range chain {
		next := slices.IndexFunc(all, c.Equal)
		if next < at {
			return false
		}
		at = next
	}
	return all[0].Equal(chain[0])
}

func rootsIn(all []*x509.Certificate, leaf *x509.Certificate) (n int) {
	for _, c := range all {
		if selfSigned(c) && !c.Equal(leaf) {
			n++
		}
	}
	return n
}

func selfSigned(c *x509.Certificate) bool { return bytes.Equal(c.RawSubject, c.RawIssuer) }

func inSystem(leaf *x509.Certificate, now time.Time) bool {
	_, err := leaf.Verify(x509.VerifyOptions{CurrentTime: now})
	return err == nil
}

func samePublicKey(a, b crypto.PublicKey) bool {
	k, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && k.Equal(b)
}

// describe names whom a certificate is for.
func describe(c *x509.Certificate) string {
	names := slices.Clone(c.DNSNames)
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	if len(names) == 0 {
		return c.Subject.String()
	}
	if len(names) > 5 {
		names = append(names[:5], "...")
	}
	return strings.Join(names, ", ")
}
