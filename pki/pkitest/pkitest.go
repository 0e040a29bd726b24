// Package pkitest makes certificate authorities and certificates for tests: good ones through [pki.CA], and every kind of
// bad one that a listener must refuse. All are made when the test runs; none is stored. It is public so that the tests of
// any package, and of anything built on tenantgate, can use it. It knows nothing of identities, routes or listeners.
package pkitest

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"encoding/pem"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/tenantgate/tenantgate/internal/database"
	"github.com/tenantgate/tenantgate/pki"
)

// TrustDomain is the trust domain of all authorities made here.
const TrustDomain = "test.internal"

// Env is an authority with a database of its own.
type Env struct {
	CA   *pki.CA
	DB   *sql.DB
	Dir  string         // the CA's certificates, root_ca.crt and intermediate_ca.crt
	Root *x509.CertPool // what clients of our servers must trust
	key  crypto.Signer  // the intermediate's, for certificates that the CA would never sign
	t    testing.TB
	now  func() time.Time
}

// Options changes what [With] makes; the zero value is what [New] makes.
type Options struct {
	// DB is a migrated database; nil makes a SQLite file in the test's directory.
	DB *sql.DB
	// KeyType of the CA; "" means P-256.
	KeyType string
	// Now is the CA's clock; nil means time.Now.
	Now func() time.Time
	// Change, if set, edits the options the CA is opened with.
	Change func(*pki.Options)
}

// New returns a CA with P-256 keys on a SQLite database in the test's directory.
func New(t testing.TB) *Env { return With(t, Options{}) }

// With returns a CA as o says.
func With(t testing.TB, o Options) *Env {
	t.Helper()
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.DB == nil {
		o.DB = Database(t)
	}
	a, err := pki.NewAuthority(pki.InitOptions{TrustDomain: TrustDomain, Name: "Test", KeyType: o.KeyType, Now: o.Now})
	if err != nil {
		t.Fatalf("making the CA: %v", err)
	}
	// Without the encrypted keys that pki.Init writes: deriving a key from a passphrase takes longer than most tests.
	e := &Env{DB: o.DB, Dir: t.TempDir(), key: a.IntermediateKey, t: t, now: o.Now}
	for name, c := range map[string]*x509.Certificate{"root_ca.crt": a.Root, "intermediate_ca.crt": a.Intermediate} {
		if err := os.WriteFile(filepath.Join(e.Dir, name), pki.EncodeCertificates(c), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	options := pki.Options{Dir: e.Dir, Key: a.IntermediateKey, TrustDomain: TrustDomain, DB: o.DB, Sealer: new(Sealer), Now: o.Now}
	if o.Change != nil {
		o.Change(&options)
	}
	if e.CA, err = pki.Open(context.Background(), options); err != nil {
		t.Fatalf("opening the CA: %v", err)
	}
	e.Root = x509.NewCertPool()
	for _, c := range e.CA.Trust().Roots() {
		e.Root.AddCert(c)
	}
	return e
}

// Database returns a new SQLite database with the tables of package pki.
func Database(t testing.TB) *sql.DB {
	t.Helper()
	return OpenDatabase(t, filepath.Join(t.TempDir(), "pki.db"))
}

// OpenDatabase opens the database that url names, brings the tables of package pki up to date, and closes it when the test
// ends.
func OpenDatabase(t testing.TB, url string) *sql.DB {
	t.Helper()
	db, err := database.Open(context.Background(), url)
	if err != nil {
		t.Fatalf("opening the database: %v", err)
	}
	t.Cleanup(func() { db.Close() })
	if err := database.Migrate(context.Background(), db, "pki", pki.Migrations()); err != nil {
		t.Fatalf("migrating: %v", err)
	}
	return db.DB
}

// Client issues a client certificate for an identity, recorded and committed, ready for a TLS client.
func (e *Env) Client(name string) tls.Certificate { return e.Issue(pki.ClientProfile(), name, 0) }

// Admin issues an admin certificate.
func (e *Env) Admin(name string) tls.Certificate { return e.Issue(pki.AdminProfile(), name, 0) }

// Server issues a server certificate for a host name or IP address.
func (e *Env) Server(name string) tls.Certificate { return e.Issue(pki.ServerProfile(), name, 0) }

// Issue issues a certificate through the CA, with a new P-256 key, and commits; lifetime 0 is the profile's.
func (e *Env) Issue(p pki.Profile, name string, lifetime time.Duration) tls.Certificate {
	e.t.Helper()
	key := e.Key(pki.P256)
	tx, err := e.DB.BeginTx(context.Background(), nil)
	if err != nil {
		e.t.Fatalf("beginning: %v", err)
	}
	defer tx.Rollback()
	issued, err := e.CA.Issue(context.Background(), tx, pki.IssueOptions{Profile: p, Name: name, PublicKey: key.Public(), Lifetime: lifetime})
	if err != nil {
		e.t.Fatalf("issuing: %v", err)
	}
	if err := tx.Commit(); err != nil {
		e.t.Fatalf("committing: %v", err)
	}
	return tls.Certificate{Certificate: [][]byte{issued.Chain[0].Raw, issued.Chain[1].Raw}, PrivateKey: key, Leaf: issued.Leaf}
}

// Revoke revokes a certificate at the CA, and commits.
func (e *Env) Revoke(c tls.Certificate, reason string) {
	e.t.Helper()
	tx, err := e.DB.BeginTx(context.Background(), nil)
	if err != nil {
		e.t.Fatalf("beginning: %v", err)
	}
	defer tx.Rollback()
	if err := e.CA.Revoke(context.Background(), tx, pki.FormatSerial(c.Leaf.SerialNumber), reason, e.now()); err != nil {
		e.t.Fatalf("revoking: %v", err)
	}
	if err := tx.Commit(); err != nil {
		e.t.Fatalf("committing: %v", err)
	}
}

// Key makes a private key of a type that [pki.GenerateKey] knows.
func (e *Env) Key(keyType string) crypto.Signer {
	e.t.Helper()
	key, err := pki.GenerateKey(keyType)
	if err != nil {
		e.t.Fatalf("making a key: %v", err)
	}
	return key
}

// PEM returns a chain as PEM.
func PEM(c tls.Certificate) []byte {
	var b []byte
	for _, der := range c.Certificate {
		b = append(b, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return b
}

// Chain returns the parsed certificates of c.
func Chain(t testing.TB, c tls.Certificate) []*x509.Certificate {
	t.Helper()
	var chain []*x509.Certificate
	for _, der := range c.Certificate {
		parsed, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatalf("parsing a certificate: %v", err)
		}
		chain = append(chain, parsed)
	}
	return chain
}
