package main

import (
	"context"
	"crypto/x509"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/proxy/admin"
)

// nodeName is what this process calls itself to the other nodes.
func nodeName() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unnamed"
	}
	return fmt.Sprintf("%s/%d", host, os.Getpid())
}

// caChanged puts in force what is trusted now. The certificates of our own listeners follow in followCA.
func (n *node) caChanged(ca *pki.CA) {
	n.takeTrust(ca)
	if err := n.writeRoots(ca); err != nil {
		n.log.Warn("writing the trusted roots beside the CA's files: commands that read them there know the old ones", "error", err)
	}
}

// takeTrust puts in force what the CA trusts. A reload and a change of the CA may do so at once: none may put back what the other has replaced.
func (n *node) takeTrust(ca *pki.CA) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.trust.Store(ca.Trust())
}

// writeRoots keeps root_ca.crt, which commands read, and which is what callers of the admin listener need, to what is trusted.
func (n *node) writeRoots(ca *pki.CA) error {
	n.mu.Lock()
	path := n.cfg.CA.rootFile()
	n.mu.Unlock()
	roots := []*x509.Certificate{ca.SigningRoot()}
	for _, root := range ca.Trust().Roots() {
		if !slices.ContainsFunc(roots, root.Equal) {
			roots = append(roots, root)
		}
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if there, err := pki.ParseCertificates(b); err == nil && sameCertificates(there, roots) {
		return nil
	}
	return replaceFile(path, pki.EncodeCertificates(roots...), 0o644)
}

func sameCertificates(a, b []*x509.Certificate) bool {
	within := func(a, b []*x509.Certificate) bool {
		return !slices.ContainsFunc(a, func(c *x509.Certificate) bool { return !slices.ContainsFunc(b, c.Equal) })
	}
	return within(a, b) && within(b, a)
}

// The intervals at which followCA looks whether another intermediate signs, tries again after a failure, and asks the other nodes what they trust.
const (
	ownCertsInterval = 100 * time.Millisecond
	ownCertsRetry    = 10 * time.Second
	agreeInterval    = 15 * time.Second
)

// followCA has the certificates of our own listeners signed by the intermediate that signs, until ctx is done. Connections that are open stay.
func (n *node) followCA(ctx context.Context) {
	ticker := time.NewTicker(ownCertsInterval)
	defer ticker.Stop()
	again, agree := time.Now(), time.Now().Add(agreeInterval)
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			if now.After(again) {
				if err := n.renewOwnCertificates(ctx); err != nil && ctx.Err() == nil {
					again = now.Add(ownCertsRetry)
					n.log.Error("having this server's certificates signed by the new intermediate: the old ones stay", "error", err)
				}
			}
			if now.After(agree) {
				agree = now.Add(agreeInterval)
				n.agree(ctx)
			}
		}
	}
}

// agree notes that every node trusts what is pending, should it not have been so when it was installed.
func (n *node) agree(ctx context.Context) {
	if !n.ca.Undecided() {
		return
	}
	if err := n.ca.Agree(ctx); err != nil && ctx.Err() == nil {
		n.log.Warn("not every node trusts the CA's new certificates yet", "error", err)
	}
}

func (n *node) renewOwnCertificates(ctx context.Context) error {
	select {
	case n.ownCerts <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-n.ownCerts }()
	now := n.ca.Intermediate()
	if now.Equal(n.certsOf) {
		return nil
	}
	n.mu.Lock()
	names := n.cfg.ServerNames
	n.mu.Unlock()
	certs, err := n.ca.ServerCertificates(ctx, names)
	if err != nil {
		return err
	}
	n.certs.Swap(certs).Close()
	n.certsOf = now
	n.log.Info("this server's certificates are signed by another intermediate", "intermediate", pki.PublicID(now))
	return nil
}

// caNotAfter is when the first of the CA's own certificates ends that is to be kept valid.
func (n *node) caNotAfter() (first time.Time) {
	for _, c := range n.ca.InUse() {
		if first.IsZero() || c.NotAfter.Before(first) {
			first = c.NotAfter
		}
	}
	return first
}

// signingCheck says whether this node can sign. One that cannot serves callers all the same.
func (n *node) signingCheck() admin.Check {
	c := admin.Check{Name: "ca_signing", OK: true, Detail: "intermediate " + pki.PublicID(n.ca.Intermediate())}
	if problem := n.ca.Problem(); problem != "" {
		c.Warning, c.Detail = true, strings.ReplaceAll(problem, "\n", "; ")
	}
	return c
}
