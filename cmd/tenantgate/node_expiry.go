package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"time"

	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/proxy/expiry"
	"github.com/tenantgate/tenantgate/proxy/record"
)

// endings is the list of all that ends on this node and in its database. Whatever else comes to end is a source more.
func (n *node) endings() *expiry.List {
	const newCA = "see docs/expiry.md, \"The CA\""
	return &expiry.List{Sources: []expiry.Source{
		expiry.Callers(n.registry),
		expiry.Reviews(n.registry),
		expiry.Credentials(n.registry),
		expiry.Administrators(n.ca),
		expiry.Tokens(n.ca),
		expiry.Certificates(expiry.KindServer, "tenantgate status", true, n.serverLeaves),
		n.callerCertificateEnds,
		expiry.Lineage(expiry.KindRoot, newCA, n.ca, func() []*x509.Certificate { return n.trust.Load().Roots() }),
		expiry.Lineage(expiry.KindIntermediate, newCA, n.ca, func() []*x509.Certificate { return n.trust.Load().Intermediates() }),
		expiry.OtherAuthorities(n.registry),
		expiry.Logins(n.registry),
		expiry.RevocationList(func() *pki.CRL {
			crl, published := n.publish.published()
			if !published {
				return nil
			}
			return crl
		}),
	}}
}

// serverLeaves are the certificates of our own listeners by the names that they are served for.
func (n *node) serverLeaves() map[string]*x509.Certificate {
	leaves := map[string]*x509.Certificate{}
	for _, name := range n.certs.Load().Names() {
		if c, err := n.certificate(&tls.ClientHelloInfo{ServerName: name}); err == nil && c.Leaf != nil {
			leaves[name] = c.Leaf
		}
	}
	return leaves
}

// callerCertificateEnds are the ends of the certificates that callers see, where they come from elsewhere than the CA. That there is none is told by the node's
// check.
func (n *node) callerCertificateEnds(_ context.Context, _ time.Time, yield func(expiry.Item) bool) error {
	source := n.source.Load()
	if source.certificateSource == nil {
		return nil
	}
	for _, s := range source.States() {
		if s.NotAfter.IsZero() {
			continue
		}
		i := expiry.Item{
			Kind: expiry.KindServer, ID: s.Serial, Name: s.Name, Expires: s.NotAfter, Warn: expiry.Warning(s.NotAfter.Sub(s.NotBefore)), Automatic: s.Source == sourceACME,
			Command: "tenantgate status",
		}
		if s.Source == sourceFiles {
			i.Command = "replace " + s.Name
		}
		if !yield(i) {
			return nil
		}
	}
	return nil
}

// endStates is what the metrics show of all that ends. What a database that is away keeps to itself is missing; that it is away others tell.
func (n *node) endStates(yield func(record.Ending) bool) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	err := n.ends.Each(ctx, time.Now(), func(i *expiry.Item) bool {
		return yield(record.Ending{
			Kind: i.Kind, ID: i.ID, Name: i.Name, Tenant: i.Tenant, Owner: i.Owner, State: string(i.State), Due: i.State.Due(), Expires: i.Expires,
		})
	})
	if err != nil {
		n.log.Warn("looking at what ends, for the metrics", "error", err)
	}
}

// callsInterval is how often last calls are written: what a crash may lose.
const callsInterval = 5 * time.Second

// noteCalls stores the last calls until ctx is done, and then once more.
func (n *node) noteCalls(ctx context.Context) {
	calls := n.registry.Calls()
	ticker := time.NewTicker(callsInterval)
	defer ticker.Stop()
	begun, failing := false, false
	for {
		err := error(nil)
		if !begun {
			err = calls.Begin(ctx, time.Now())
			begun = err == nil
		}
		if err == nil {
			err = calls.Flush(ctx, false)
		}
		if (err != nil) != failing && ctx.Err() == nil {
			failing = err != nil
			if failing {
				n.log.Warn("storing the last calls: they are kept in memory meanwhile", "error", err)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}
