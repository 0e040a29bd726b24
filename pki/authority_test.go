package pki_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"

	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/pki/pkitest"
)

// lineage is a CA on the files that pki.Init makes, with what a rotation needs.
type lineage struct {
	t   *testing.T
	db  *sql.DB
	dir string
	ca  *pki.CA

	sealer pkitest.Sealer
	keys   *pki.Authority // kept here, because a passphrase takes long; nil when they are in files
}

func newLineage(t *testing.T, db *sql.DB) *lineage {
	t.Helper()
	l := &lineage{t: t, db: db, dir: t.TempDir()}
	var err error
	if l.keys, err = pki.NewAuthority(pki.InitOptions{TrustDomain: pkitest.TrustDomain, Name: "Test"}); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]*x509.Certificate{"root_ca.crt": l.keys.Root, "intermediate_ca.crt": l.keys.Intermediate} {
		if err := os.WriteFile(filepath.Join(l.dir, name), pki.EncodeCertificates(c), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	l.ca = l.open("first")
	return l
}

// newLineageOfFiles has its keys in files, as an operator's has.
func newLineageOfFiles(t *testing.T) *lineage {
	t.Helper()
	l := &lineage{t: t, db: pkitest.Database(t), dir: t.TempDir()}
	if err := pki.Init(initOptions(l.dir)); err != nil {
		t.Fatal(err)
	}
	l.ca = l.open("first")
	return l
}

func (l *lineage) options(node string) pki.Options {
	o := pki.Options{Dir: l.dir, Passphrase: []byte(passphrase), TrustDomain: pkitest.TrustDomain, DB: l.db, Sealer: &l.sealer, Node: node}
	if l.keys != nil {
		o.Key = l.keys.IntermediateKey
	}
	return o
}

func (l *lineage) open(node string) *pki.CA {
	l.t.Helper()
	ca, err := pki.Open(l.t.Context(), l.options(node))
	if err != nil {
		l.t.Fatalf("opening the CA: %v", err)
	}
	return ca
}

func (l *lineage) root() *pki.RootSigner {
	l.t.Helper()
	if l.keys != nil {
		return &pki.RootSigner{Certificate: l.keys.Root, Key: l.keys.RootKey}
	}
	root, err := pki.OpenRoot(filepath.Join(l.dir, "root_ca.crt"), filepath.Join(l.dir, "root_ca.key"), []byte(passphrase), nil)
	if err != nil {
		l.t.Fatal(err)
	}
	return root
}

// do runs fn in a transaction and takes up what it did.
func (l *lineage) do(fn func(context.Context, *sql.Tx) error) error {
	l.t.Helper()
	tx, err := l.db.BeginTx(l.t.Context(), nil)
	if err != nil {
		l.t.Fatal(err)
	}
	defer tx.Rollback()
	if err := fn(l.t.Context(), tx); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	_, err = l.ca.Refresh(l.t.Context())
	return err
}

func (l *lineage) request() []byte {
	l.t.Helper()
	var a *pki.AuthorityRecord
	if err := l.do(func(ctx context.Context, tx *sql.Tx) (err error) {
		a, err = l.ca.RequestIntermediate(ctx, tx, pki.AuthorityRequest{})
		return err
	}); err != nil {
		l.t.Fatal(err)
	}
	return a.Request
}

func (l *lineage) install(anchor *x509.Certificate, certs ...*x509.Certificate) (*pki.AuthorityRecord, error) {
	var a *pki.AuthorityRecord
	err := l.do(func(ctx context.Context, tx *sql.Tx) (err error) {
		a, err = l.ca.InstallIntermediate(ctx, tx, certs, anchor)
		return err
	})
	return a, err
}

func (l *lineage) activate(id string) error {
	l.t.Helper()
	if err := l.ca.Agree(l.t.Context()); err != nil {
		return err
	}
	return l.do(func(ctx context.Context, tx *sql.Tx) error { _, err := l.ca.Activate(ctx, tx, id); return err })
}

func (l *lineage) retire(id, reason string, force bool) error {
	return l.do(func(ctx context.Context, tx *sql.Tx) error {
		ids, err := l.ca.Retire(ctx, tx, id, reason, force)
		if err == nil && len(ids) > 0 {
			_, err = l.ca.RevokeAll(ctx, tx, reason, time.Now(), 0, ids...)
		}
		return err
	})
}

// rotate has another intermediate sign.
func (l *lineage) rotate() *x509.Certificate {
	l.t.Helper()
	inter, err := l.root().SignIntermediate(l.request(), time.Now())
	if err != nil {
		l.t.Fatal(err)
	}
	a, err := l.install(nil, inter)
	if err != nil {
		l.t.Fatal(err)
	}
	if err := l.activate(a.ID); err != nil {
		l.t.Fatal(err)
	}
	return inter
}

func (l *lineage) issue(ca *pki.CA, profile pki.Profile, name string) (*pki.Issued, error) {
	key, err := pki.GenerateKey(pki.P256)
	if err != nil {
		l.t.Fatal(err)
	}
	var issued *pki.Issued
	err = l.do(func(ctx context.Context, tx *sql.Tx) (err error) {
		issued, err = ca.Issue(ctx, tx, pki.IssueOptions{Profile: profile, Name: name, PublicKey: key.Public()})
		return err
	})
	return issued, err
}

func (l *lineage) client(ca *pki.CA) *pki.Issued {
	l.t.Helper()
	issued, err := l.issue(ca, pki.ClientProfile(), "erp")
	if err != nil {
		l.t.Fatal(err)
	}
	return issued
}

func id(c *x509.Certificate) string { return pkitest.Fingerprint(c) }

func testAnotherIntermediateTakesOver(t *testing.T, db *sql.DB) {
	l := newLineage(t, db)
	other := l.open("second") // another node; it is asked to refresh as a node would
	done := make(chan struct{})
	defer close(done)
	go func() {
		for {
			select {
			case <-done:
				return
			case <-time.After(50 * time.Millisecond):
				_, _ = other.Refresh(context.Background())
			}
		}
	}()
	first, old := l.ca.Intermediate(), l.client(l.ca)
	second := l.rotate()
	if !l.ca.Intermediate().Equal(second) || second.Subject.String() != first.Subject.String() {
		t.Errorf("%s (%s) signs, want the new one under the same name", l.ca.Intermediate().Subject, id(l.ca.Intermediate()))
	}
	waitFor(t, func() bool { return other.Intermediate().Equal(second) })
	fresh := l.client(other)
	if err := fresh.Leaf.CheckSignatureFrom(second); err != nil {
		t.Errorf("the other node signs with the old one: %v", err)
	}
	for name, ca := range map[string]*pki.CA{"this node": l.ca, "the other node": other} {
		for what, c := range map[string]*pki.Issued{"old": old, "new": fresh} {
			if err := ca.Trust().VerifyClient([]*x509.Certificate{c.Leaf}, time.Now()); err != nil { // the leaf alone
				t.Errorf("%s, %s certificate: %v", name, what, err)
			}
		}
	}
	// The old one's list and answers come from its own key.
	if err := l.do(func(ctx context.Context, tx *sql.Tx) error {
		return l.ca.Revoke(ctx, tx, old.Serial, "superseded", time.Now())
	}); err != nil {
		t.Fatal(err)
	}
	if err := l.ca.KeepCRLs(t.Context()); err != nil {
		t.Fatal(err)
	}
	for issuer, want := range map[*x509.Certificate]int{first: 1, second: 0} {
		crl, ok := l.ca.PublishedCRL(pki.PublicID(issuer))
		if !ok || crl.Entries != want {
			t.Fatalf("list of %s: %+v, %v", pki.PublicID(issuer), crl, ok)
		}
		if list, err := x509.ParseRevocationList(crl.DER); err != nil || list.CheckSignatureFrom(issuer) != nil {
			t.Errorf("list of %s is not its own: %v", pki.PublicID(issuer), err)
		}
	}
	request, err := ocsp.CreateRequest(old.Leaf, first, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := l.ca.OCSP(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	if parsed, err := ocsp.ParseResponseForCert(answer.DER, old.Leaf, first); err != nil || parsed.Status != ocsp.Revoked {
		t.Errorf("answer about the old one's certificate: %s, %v", answer.Status, err)
	}
	// A restart, and one without the old key.
	if again := l.open(""); !again.Intermediate().Equal(second) || !again.Issues(pki.PublicID(first)) {
		t.Error("after a restart it is otherwise")
	}
	l.keys = nil
	if again := l.open(""); !again.Intermediate().Equal(second) || again.Problem() != "" {
		t.Errorf("without the old key: %q", again.Problem())
	}
}

func testANodeThatCannotFollowIsWaitedFor(t *testing.T, db *sql.DB) {
	l := newLineage(t, db)
	o := l.options("locked out")
	o.Sealer = new(pkitest.Sealer)
	locked, err := pki.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		for ctx.Err() == nil {
			_, _ = locked.Refresh(ctx)
			time.Sleep(50 * time.Millisecond)
		}
	}()
	inter, err := l.root().SignIntermediate(l.request(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	a, err := l.install(nil, inter)
	if err != nil {
		t.Fatal(err)
	}
	before := l.ca.Intermediate()
	var refused *pki.AuthorityError
	if err := l.activate(a.ID); !errors.As(err, &refused) || !refused.Conflict || !strings.Contains(refused.Problem, "locked out") {
		t.Errorf("activated although a node cannot sign: %v", err)
	}
	if !l.ca.Intermediate().Equal(before) || !strings.Contains(locked.Problem(), "master key") {
		t.Errorf("signs: %s; the node says %q", id(l.ca.Intermediate()), locked.Problem())
	}
	cancel()
	if err := locked.Leave(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := l.activate(a.ID); err != nil {
		t.Errorf("without that node: %v", err)
	}
}

func testARootFollowsAnother(t *testing.T, db *sql.DB) {
	l := newLineage(t, db)
	oldRoot, old := l.root(), l.client(l.ca)
	key, err := pki.GenerateKey(pki.P256)
	if err != nil {
		t.Fatal(err)
	}
	newRoot, err := pki.NewRoot("Test Root CA G2", key, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	inter, err := newRoot.SignIntermediate(l.request(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	crossed, err := oldRoot.Cross(newRoot.Certificate, inter, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	var refused *pki.AuthorityError
	if _, err := l.install(nil, inter, newRoot.Certificate, crossed); !errors.As(err, &refused) || !strings.Contains(refused.Problem, "not the anchor") {
		t.Errorf("a root that nobody named was taken: %v", err)
	}
	a, err := l.install(newRoot.Certificate, inter, newRoot.Certificate, crossed)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.ca.Agree(t.Context()); err != nil {
		t.Fatal(err)
	}
	if roots := l.ca.Trust().Roots(); len(roots) != 2 || !l.ca.SigningRoot().Equal(oldRoot.Certificate) {
		t.Errorf("%d roots, signing %s", len(roots), l.ca.SigningRoot().Subject)
	}
	without := func(want int) {
		t.Helper()
		if list, err := l.ca.WithoutRoot(t.Context(), id(newRoot.Certificate)); err != nil || len(list) != want {
			t.Errorf("%v, %v may not have the new root, want %d", list, err, want)
		}
	}
	without(1)
	between := l.client(l.ca)
	if err := between.Leaf.CheckSignatureFrom(l.ca.Intermediate()); err != nil || !l.ca.SigningRoot().Equal(oldRoot.Certificate) {
		t.Error("something comes from the new root before it was activated")
	}
	if err := l.activate(a.ID); err != nil {
		t.Fatal(err)
	}
	server, err := l.issue(l.ca, pki.ServerProfile(), "gate.example.com")
	if err != nil {
		t.Fatal(err)
	}
	chain, err := pki.ParseCertificates(server.ServerPEM())
	if err != nil {
		t.Fatal(err)
	}
	for name, root := range map[string]*x509.Certificate{"old": oldRoot.Certificate, "new": newRoot.Certificate} {
		roots, helpers := x509.NewCertPool(), x509.NewCertPool()
		roots.AddCert(root)
		for _, c := range chain[1:] {
			helpers.AddCert(c)
		}
		if _, err := chain[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: helpers, DNSName: "gate.example.com"}); err != nil {
			t.Errorf("a client with the %s root only: %v", name, err)
		}
	}
	if err := l.retire(id(oldRoot.Certificate), "superseded", false); !errors.As(err, &refused) || !strings.Contains(refused.Problem, "2 certificates") {
		t.Errorf("retired under its certificates: %v", err)
	}
	if err := l.retire(id(newRoot.Certificate), "superseded", false); !errors.As(err, &refused) || !strings.Contains(refused.Problem, "signs now") {
		t.Errorf("retired what signs: %v", err)
	}
	if err := l.retire(id(oldRoot.Certificate), "superseded", true); err != nil {
		t.Fatal(err)
	}
	for _, c := range []*pki.Issued{old, between} {
		var rejected *pki.RejectedError
		if err := l.ca.Trust().VerifyClient(c.Chain, time.Now()); !errors.As(err, &rejected) {
			t.Errorf("under the retired root: %v", err)
		}
		if r, err := l.ca.Certificate(t.Context(), c.Serial); err != nil || r.RevokedAt.IsZero() {
			t.Errorf("not revoked: %v", err)
		}
	}
	if again := l.open(""); len(again.Trust().Roots()) != 1 || !again.Intermediate().Equal(inter) {
		t.Error("after a restart it is otherwise")
	}
}

func testACompromisedIntermediateIsBelievedNoMore(t *testing.T, db *sql.DB) {
	l := newLineage(t, db)
	first, old := l.ca.Intermediate(), l.client(l.ca)
	other := l.open("")
	if err := other.Trust().VerifyClient(old.Chain, time.Now()); err != nil { // remembered from now on
		t.Fatal(err)
	}
	l.rotate()
	if err := l.retire(id(first), "keyCompromise", false); err != nil { // nobody is waited for
		t.Fatal(err)
	}
	if _, err := l.issue(other, pki.ClientProfile(), "erp"); err == nil { // it has not heard of it
		t.Error("a node that lags behind signs with the retired one")
	}
	if changed, err := other.Refresh(t.Context()); err != nil || !changed {
		t.Fatal(changed, err)
	}
	for _, ca := range []*pki.CA{l.ca, other, l.open("")} {
		var rejected *pki.RejectedError
		if err := ca.Trust().VerifyClient(old.Chain, time.Now()); !errors.As(err, &rejected) || rejected.Reason != pki.Revoked {
			t.Errorf("%v", err)
		}
	}
	if err := l.ca.KeepCRLs(t.Context()); err != nil {
		t.Fatal(err)
	}
	if crl, ok := l.ca.PublishedCRL(pki.PublicID(first)); !ok || crl.Entries != 1 {
		t.Errorf("its list: %+v", crl)
	}
	// Retiring what signs leaves a CA that opens and says why it signs nothing.
	if err := l.retire(id(l.ca.Intermediate()), "keyCompromise", true); err != nil {
		t.Fatal(err)
	}
	again := l.open("")
	if _, err := l.issue(again, pki.ClientProfile(), "erp"); err == nil || again.Problem() == "" {
		t.Errorf("signs although all are retired: %v, %q", err, again.Problem())
	}
	l.ca = again
	l.rotate()
	l.client(l.ca)
}

// What is broken off between two steps is gone on with, and never keeps the CA from opening.
func testARotationThatWasBrokenOffGoesOn(t *testing.T, db *sql.DB) {
	l := newLineage(t, db)
	signs := func(step string) {
		t.Helper()
		l.ca = l.open("")
		l.client(l.ca)
		if l.ca.Problem() != "" {
			t.Errorf("%s: %s", step, l.ca.Problem())
		}
	}
	first := l.request()
	signs("requested")
	if second := l.request(); string(second) != string(first) {
		t.Error("asked again, another key was made")
	}
	inter, err := l.root().SignIntermediate(first, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.ca.InstallIntermediate(t.Context(), tx, []*x509.Certificate{inter}, nil); err != nil {
		t.Fatal(err)
	}
	tx.Rollback()
	signs("installing")
	a, err := l.install(nil, inter)
	if err != nil {
		t.Fatal(err)
	}
	signs("installed")
	if err := l.activate(a.ID); err != nil {
		t.Fatal(err)
	}
	signs("activated")
	if !l.ca.Intermediate().Equal(inter) {
		t.Error("the new one does not sign")
	}
}

func TestInstallingSaysWhatIsWrong(t *testing.T) {
	l := newLineage(t, pkitest.Database(t))
	request, root := l.request(), l.root()
	csr, err := x509.ParseCertificateRequest(request)
	if err != nil {
		t.Fatal(err)
	}
	other, err := pki.NewAuthority(pki.InitOptions{TrustDomain: "other.internal"})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(*x509.Certificate)
		signer *pki.RootSigner
		want   string
	}{
		"a leaf":        {func(c *x509.Certificate) { c.IsCA = false }, root, "CA"},
		"no cRLSign":    {func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCertSign }, root, "revocation lists"},
		"expired":       {func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Hour) }, root, "ends on"},
		"ends tomorrow": {func(c *x509.Certificate) { c.NotAfter = time.Now().Add(time.Hour) }, root, "ends on"},
		"not yet valid": {func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) }, root, "not valid before"},
		"clients only":  {func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }, root, "extended key usage"},
		"another root":  {func(*x509.Certificate) {}, &pki.RootSigner{Certificate: other.Root, Key: other.RootKey}, "no trusted root"},
		"another key":   {func(c *x509.Certificate) { c.PublicKey = other.RootKey.Public() }, root, "for the key of the request"},
	} {
		t.Run(name, func(t *testing.T) {
			template := pkitest.Intermediate(csr.Subject, csr.PublicKey)
			c.change(template)
			signed := pkitest.Sign(t, template, c.signer.Certificate, c.signer.Key)
			var refused *pki.AuthorityError
			if _, err := l.install(nil, signed); !errors.As(err, &refused) || !strings.Contains(refused.Problem, c.want) || refused.Hint == "" {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
	list, err := l.ca.Authorities(t.Context())
	if err != nil || len(list) != 3 || list[2].State != pki.AuthorityRequested {
		t.Errorf("afterwards: %v, %v", list, err)
	}
}

// An intermediate that may not issue the names that are in use would leave the server without a certificate, and without a start.
func TestAnIntermediateMustPermitTheNamesInUse(t *testing.T) {
	l := newLineage(t, pkitest.Database(t))
	for _, name := range []string{"proxy.example.com", "192.0.2.7"} {
		if _, err := l.issue(l.ca, pki.ServerProfile(), name); err != nil {
			t.Fatal(err)
		}
	}
	csr, err := x509.ParseCertificateRequest(l.request())
	if err != nil {
		t.Fatal(err)
	}
	network := func(s string) []*net.IPNet { _, n, _ := net.ParseCIDR(s); return []*net.IPNet{n} }
	install := func(constrain func(*x509.Certificate)) error {
		template := pkitest.Intermediate(csr.Subject, csr.PublicKey)
		template.PermittedDNSDomainsCritical = true
		constrain(template)
		_, err := l.install(nil, pkitest.Sign(t, template, l.root().Certificate, l.root().Key))
		return err
	}
	for want, constrain := range map[string]func(*x509.Certificate){
		"permit proxy.example.com":                     func(c *x509.Certificate) { c.PermittedDNSDomains = []string{"other.example.com"} },
		"permit 192.0.2.7":                             func(c *x509.Certificate) { c.ExcludedIPRanges = network("192.0.2.0/24") },
		"permit spiffe://" + pkitest.TrustDomain + "/": func(c *x509.Certificate) { c.PermittedURIDomains = []string{"other.internal"} },
	} {
		var refused *pki.AuthorityError
		if err := install(constrain); !errors.As(err, &refused) || !strings.Contains(refused.Problem, want) || refused.Hint == "" {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	if err := install(func(c *x509.Certificate) {
		c.PermittedDNSDomains, c.PermittedIPRanges, c.PermittedURIDomains = []string{"example.com"}, network("192.0.2.0/24"), []string{pkitest.TrustDomain}
	}); err != nil {
		t.Errorf("constraints that permit all: %v", err)
	}
}

func TestThePassphraseIsChangedOnceOrNotAtAll(t *testing.T) {
	l := newLineageOfFiles(t)
	second := l.rotate()
	next := []byte("another passphrase")
	if _, err := pki.Rekey(l.dir, []byte("wrong"), next); !errors.Is(err, pki.ErrPassphrase) {
		t.Errorf("with a wrong passphrase: %v", err)
	}
	l.open("")
	if changed, err := pki.Rekey(l.dir, []byte(passphrase), next); err != nil || len(changed) != 2 {
		t.Fatal(changed, err)
	}
	// Half done: the files have the new one, the database has the old one.
	o := l.options("")
	o.NextPassphrase = next
	if ca, err := pki.Open(t.Context(), o); err != nil || ca.Problem() != "" || !ca.Intermediate().Equal(second) {
		t.Fatalf("half done: %v", err)
	}
	if err := l.do(func(ctx context.Context, tx *sql.Tx) error {
		n, err := pki.RekeyStored(ctx, tx, &l.sealer, []byte(passphrase), next)
		if err == nil && n != 1 {
			t.Errorf("%d keys in the database", n)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if changed, err := pki.Rekey(l.dir, []byte(passphrase), next); err != nil || len(changed) != 0 {
		t.Errorf("again: %v, %v", changed, err)
	}
	o.Passphrase, o.NextPassphrase = next, nil
	if ca, err := pki.Open(t.Context(), o); err != nil || ca.Problem() != "" {
		t.Errorf("with the new one: %v", err)
	}
	if _, err := pki.Open(t.Context(), l.options("")); err == nil || !strings.Contains(err.Error(), "passphrase") {
		t.Errorf("with the old one: %v", err)
	}
}

func TestServerCertificatesComeFromTheIntermediateThatSigns(t *testing.T) {
	l := newLineage(t, pkitest.Database(t))
	serving := func() *x509.Certificate {
		t.Helper()
		certs, err := l.ca.ServerCertificates(t.Context(), []string{"gate.example.com"})
		if err != nil {
			t.Fatal(err)
		}
		defer certs.Close()
		c, err := certs.GetCertificate(&tls.ClientHelloInfo{ServerName: "gate.example.com"})
		if err != nil {
			t.Fatal(err)
		}
		return c.Leaf
	}
	first := serving()
	second := l.rotate()
	if got := serving(); got.Equal(first) || got.CheckSignatureFrom(second) != nil {
		t.Error("it is the old one's")
	}
}

func TestACAForARootElsewhereWaitsForItsCertificate(t *testing.T) {
	company, err := pki.NewAuthority(pki.InitOptions{TrustDomain: "company.example"})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	o := initOptions(dir)
	o.Root = &pki.RootSigner{Certificate: company.Root}
	if err := pki.Init(o); err != nil {
		t.Fatal(err)
	}
	options := pki.Options{Dir: dir, Passphrase: o.Passphrase, TrustDomain: o.TrustDomain, DB: pkitest.Database(t)}
	var fe *pki.FileError
	if _, err := pki.Open(t.Context(), options); !errors.As(err, &fe) || !strings.Contains(fe.Problem, "not signed yet") || !strings.Contains(fe.Hint, "ca csr") {
		t.Errorf("opened: %v", err)
	}
	request, err := pki.FirstRequest(dir)
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := pki.NewAuthority(pki.InitOptions{TrustDomain: "stranger.example"})
	if err != nil {
		t.Fatal(err)
	}
	forged, err := (&pki.RootSigner{Certificate: stranger.Root, Key: stranger.RootKey}).SignIntermediate(request, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := pki.InstallFirst(dir, []*x509.Certificate{forged, stranger.Root}, time.Now()); err == nil || !strings.Contains(err.Error(), "not the anchor") {
		t.Errorf("of another root: %v", err)
	}
	signed, err := (&pki.RootSigner{Certificate: company.Root, Key: company.RootKey}).SignIntermediate(request, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := pki.InstallFirst(dir, []*x509.Certificate{company.Root, signed}, time.Now()); err != nil {
		t.Fatal(err)
	}
	if ca, err := pki.Open(t.Context(), options); err != nil || !ca.Intermediate().Equal(signed) {
		t.Errorf("afterwards: %v", err)
	}
}

func TestAKMSThatIsNotInTheBinaryNamesTheTag(t *testing.T) {
	for uri, want := range map[string]string{
		"awskms:key-id=1":                     "-tags awskms",
		"cloudkms:projects/p/k":               "-tags cloudkms",
		"azurekms:name=k;vault=v":             "-tags azurekms",
		"pkcs11:token=t;object=o?pin-value=1": "pin-value",
		"softkms:x":                           "not the URI",
	} {
		err := pki.CheckKMS(uri)
		if err == nil {
			t.Skipf("this binary has %s", uri)
		}
		if !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "=1)") {
			t.Errorf("%s: %v", uri, err)
		}
	}
}

func waitFor(t *testing.T, done func() bool) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it did not happen within 5 s")
		}
	}
}

// A key that cannot be opened any more does not keep another one from taking its place.
func TestALostKeyIsReplaced(t *testing.T) {
	l := newLineage(t, pkitest.Database(t))
	lost := l.rotate()
	if _, err := l.db.ExecContext(t.Context(), `UPDATE pki_authorities SET sealed = $1 WHERE id = $2`, []byte("damaged"), id(lost)); err != nil {
		t.Fatal(err)
	}
	l.ca = l.open("first")
	if l.ca.Problem() == "" || l.ca.Intermediate().Equal(lost) {
		t.Errorf("signs with a key that is lost: %q", l.ca.Problem())
	}
	next := l.rotate()
	if issued := l.client(l.ca); issued.Leaf.CheckSignatureFrom(next) != nil {
		t.Error("the new one does not sign")
	}
}

// What an earlier release has issued came with the root that is still there.
func TestAnEarlierReleasesCallersHaveTheRoot(t *testing.T) {
	l := newLineageOfFiles(t)
	l.client(l.ca)
	for _, table := range []string{"pki_authorities", "pki_nodes"} {
		if _, err := l.db.ExecContext(t.Context(), "DELETE FROM "+table); err != nil {
			t.Fatal(err)
		}
	}
	ca := l.open("after the update")
	if holders, err := ca.WithoutRoot(t.Context(), id(ca.SigningRoot())); err != nil || len(holders) != 0 {
		t.Errorf("they are said to have no root: %v, %v", holders, err)
	}
}
