package pki

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// AuthorityRequest says what intermediate is wanted.
type AuthorityRequest struct {
	// Name is the common name; "" is the subject of the intermediate that signs, so that whoever has registered issuer and subject of a certificate (a
	// vendor, for a keyless credential) need not be told.
	Name string
	// KeyType is P-256, P-384, RSA-2048, RSA-3072 or RSA-4096; "" is the type of the intermediate that signs.
	KeyType string
	// KeyURI is where in a KMS the key is, or is made if nothing is there; "" makes it here and keeps it encrypted in the database, unless the one that signs has
	// its key in a KMS; LocationDatabase does so all the same.
	KeyURI string
}

// RequestIntermediate makes the key of another intermediate and the request that a root has to sign. There is one request at a time: asking for the same again
// returns it.
func (ca *CA) RequestIntermediate(ctx context.Context, tx *sql.Tx, o AuthorityRequest) (*AuthorityRecord, error) {
	if _, err := touchAuthorities(ctx, tx); err != nil {
		return nil, err
	}
	records, err := readAuthorityRows(ctx, tx)
	if err != nil {
		return nil, err
	}
	location, here := LocationDatabase, o.KeyURI == LocationDatabase
	if here {
		o.KeyURI = ""
	}
	if o.KeyURI != "" {
		location = o.KeyURI
	}
	for _, a := range records {
		switch {
		case a.State == AuthorityRequested && a.Location == location && (o.Name == "" || a.Subject() == "CN="+o.Name) && (o.KeyType == "" || o.KeyType == requestKeyType(a)):
			return a, nil
		case a.State == AuthorityRequested:
			return nil, &AuthorityError{Conflict: true, Problem: "another intermediate was requested: " + a.ID[:16], Hint: "go on with it (tenantgate ca csr, ca install), or withdraw it: tenantgate ca retire " + a.ID[:16]}
		case a.State == AuthorityPending && a.Kind == KindIntermediate:
			return nil, &AuthorityError{Conflict: true, Problem: "an intermediate is there that does not sign yet: " + a.ID[:16],
				Hint: "have it sign (tenantgate ca activate " + a.ID[:16] + "), or withdraw it: tenantgate ca retire " + a.ID[:16]}
		case o.KeyURI != "" && a.Location == o.KeyURI:
			return nil, &AuthorityError{Conflict: true, Problem: "the key there belongs to " + a.ID[:16] + " already", Hint: "each intermediate needs a key of its own: name another object"}
		}
	}
	if o.KeyURI == "" && !here && IsKMS(ca.signingRecord(records).Location) {
		return nil, &AuthorityError{Problem: "the intermediate's key is in a KMS, and the new one's would not be", Hint: "name where it is to be made: --key URI; --key database takes it out of the KMS"}
	}
	key, sealed, err := ca.newAuthorityKey(o)
	if err != nil {
		return nil, err
	}
	subject := ca.Intermediate().RawSubject
	template := &x509.CertificateRequest{RawSubject: subject}
	if o.Name != "" {
		template = &x509.CertificateRequest{Subject: pkix.Name{CommonName: o.Name}}
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	if err != nil {
		return nil, fmt.Errorf("signing the request of an intermediate: %w", err)
	}
	id, err := keyID(key.Public())
	if err != nil {
		return nil, err
	}
	a := &AuthorityRecord{ID: id, Kind: KindIntermediate, State: AuthorityRequested, Request: der, Location: location, Installed: true, Created: ca.options.Now(), sealed: sealed}
	return a, insertAuthority(ctx, tx, a)
}

func (ca *CA) signingRecord(records []*AuthorityRecord) *AuthorityRecord {
	for _, a := range records {
		if a.ID == ca.signing().id {
			return a
		}
	}
	return &AuthorityRecord{}
}

func requestKeyType(a *AuthorityRecord) string {
	if request, err := x509.ParseCertificateRequest(a.Request); err == nil {
		return KeyType(request.PublicKey)
	}
	return ""
}

// newAuthorityKey makes a key where it is to stay. One at a URI that nothing else uses is taken as it is: an attempt before may have been broken off.
func (ca *CA) newAuthorityKey(o AuthorityRequest) (key crypto.Signer, sealed []byte, err error) {
	if o.KeyType == "" {
		o.KeyType = KeyType(ca.Intermediate().PublicKey)
	}
	switch o.KeyType {
	case P256, P384, RSA2048, RSA3072, RSA4096:
	default:
		return nil, nil, &AuthorityError{Problem: fmt.Sprintf("key type %q is none for an intermediate", o.KeyType), Hint: "use P-256, P-384, RSA-2048, RSA-3072 or RSA-4096"}
	}
	if o.KeyURI != "" {
		if err := ca.mayLoad(o.KeyURI); err != nil {
			return nil, nil, err
		}
		key, err = CreateKMSKey(o.KeyURI, ca.options.PIN, o.KeyType)
		if errors.Is(err, ErrExists) {
			key, err = OpenKMSKey(o.KeyURI, ca.options.PIN)
		}
		if err == nil {
			err = checkKey(key.Public())
		}
		return key, nil, err
	}
	if key, err = GenerateKey(o.KeyType); err != nil {
		return nil, nil, err
	}
	sealed, err = ca.sealAuthorityKey(key)
	return key, sealed, err
}

// InstallIntermediate takes the certificate that a root has signed for the request. certs are what came back, in any order: the certificate, perhaps the root,
// perhaps what the root before has signed of either. The root must be one that is trusted already; another one is taken only as anchor, which is to be named
// on purpose. It is trusted from the commit on and signs nothing yet: [CA.Agree], [CA.Activate].
func (ca *CA) InstallIntermediate(ctx context.Context, tx *sql.Tx, certs []*x509.Certificate, anchor *x509.Certificate) (*AuthorityRecord, error) {
	if _, err := touchAuthorities(ctx, tx); err != nil {
		return nil, err
	}
	records, err := readAuthorityRows(ctx, tx)
	if err != nil {
		return nil, err
	}
	requested, inter, err := findRequested(records, certs)
	if err != nil {
		return nil, err
	}
	trusted := ca.Trust().Roots()
	root := signerOf(inter, trusted)
	switch {
	case anchor != nil && root == nil && signerOf(inter, []*x509.Certificate{anchor}) != nil:
		root = anchor
	case anchor != nil && (root == nil || !root.Equal(anchor)):
		return nil, &AuthorityError{Problem: "the root that was named has not signed the intermediate", Hint: "give the intermediate's certificate and the root that has signed it"}
	case root == nil:
		return nil, notByOurRoot(inter, certs)
	}
	now := ca.options.Now()
	if err := checkIntermediate(inter, root, now); err != nil {
		return nil, err
	}
	if err := ca.checkConstraints(ctx, tx, inter, root); err != nil {
		return nil, err
	}
	a := &AuthorityRecord{
		ID: fingerprintOf(inter), Kind: KindIntermediate, State: AuthorityPending, Parent: fingerprintOf(root), Certificate: inter,
		Location: requested.Location, Installed: true, Created: now, sealed: requested.sealed,
	}
	a.Crossed = crossOf(inter, certs, trusted)
	if err := installRoot(ctx, tx, records, root, crossOf(root, certs, trusted), now); err != nil {
		return nil, err
	}
	if _, err := tx.ExecContext(ctx, `DELETE FROM pki_authorities WHERE id = $1`, requested.ID); err != nil {
		return nil, err
	}
	return a, insertAuthority(ctx, tx, a)
}

// installRoot makes root believed on every node, also one that came with a node's files until now.
func installRoot(ctx context.Context, tx *sql.Tx, records []*AuthorityRecord, root, crossed *x509.Certificate, now time.Time) error {
	for _, a := range records {
		if a.ID != fingerprintOf(root) {
			continue
		}
		if a.State == AuthorityRetired {
			return &AuthorityError{Conflict: true, Problem: "the root " + a.ID[:16] + " is retired", Hint: "a retirement is final: make another root"}
		}
		_, err := tx.ExecContext(ctx, `UPDATE pki_authorities SET installed = 1 WHERE id = $1`, a.ID)
		return err
	}
	return insertAuthority(ctx, tx, &AuthorityRecord{
		ID: fingerprintOf(root), Kind: KindRoot, State: AuthorityPending, Certificate: root, Crossed: crossed, Location: LocationOffline, Installed: true, Created: now,
	})
}

// findRequested finds the request, and the certificate for its key.
func findRequested(records []*AuthorityRecord, certs []*x509.Certificate) (*AuthorityRecord, *x509.Certificate, error) {
	i := slices.IndexFunc(records, func(a *AuthorityRecord) bool { return a.State == AuthorityRequested })
	if i < 0 {
		return nil, nil, &AuthorityError{Conflict: true, Problem: "no intermediate was requested", Hint: "tenantgate ca rotate intermediate makes the request"}
	}
	pub, err := records[i].publicKey()
	if err != nil {
		return nil, nil, err
	}
	inter, err := certificateFor(pub, certs)
	return records[i], inter, err
}

// certificateFor returns the certificate of a key. Of several the first that no other key of certs has not signed itself: what the root before signed comes after.
func certificateFor(pub crypto.PublicKey, certs []*x509.Certificate) (*x509.Certificate, error) {
	var names []string
	for _, c := range certs {
		if publicKeyEqual(c.PublicKey, pub) {
			return c, nil
		}
		names = append(names, subjectOf(c))
	}
	return nil, &AuthorityError{Problem: fmt.Sprintf("no certificate in it is for the key of the request; there are %s", strings.Join(names, ", ")),
		Hint: "have the request of tenantgate ca csr signed as it is"}
}

// notByOurRoot says which root is missing.
func notByOurRoot(inter *x509.Certificate, certs []*x509.Certificate) error {
	e := &AuthorityError{Problem: "no trusted root has signed it; its issuer is " + inter.Issuer.String(), Hint: "have a root of tenantgate ca list sign it; or change to its root: tenantgate ca rotate root --new-root-cert FILE"}
	if root := signerOf(inter, certs); root != nil {
		e.Problem = "the root in it is not the anchor: " + subjectOf(root) + " (" + PublicID(root) + ") is not trusted here"
	}
	return e
}

// crossOf returns the certificate in certs with c's name and key that one of trusted, other than c, has signed; nil when there is none.
func crossOf(c *x509.Certificate, certs, trusted []*x509.Certificate) *x509.Certificate {
	for _, other := range certs {
		if !other.Equal(c) && sameName(other, c) && publicKeyEqual(other.PublicKey, c.PublicKey) && signerOf(other, trusted) != nil && checkCA(other) == nil {
			return other
		}
	}
	return nil
}

// checkIntermediate says whether an intermediate signed outside is one that this CA can work with (RFC 5280 sections 4.2.1.3, 4.2.1.9, 4.2.1.12).
func checkIntermediate(c, root *x509.Certificate, now time.Time) error {
	bad := func(problem, hint string) error {
		return &AuthorityError{Problem: subjectOf(c) + ": " + problem, Hint: hint}
	}
	for _, one := range []*x509.Certificate{c, root} {
		if err := checkCA(one); err != nil {
			return &AuthorityError{Problem: subjectOf(one) + ": " + err.Error(), Hint: "sign it with basicConstraints=critical,CA:TRUE,pathlen:0, keyUsage=critical,keyCertSign,cRLSign,digitalSignature and a subjectKeyIdentifier"}
		}
	}
	switch {
	case bytes.Equal(c.RawSubject, c.RawIssuer):
		return bad("it is self-signed", "it has to be signed by a root")
	case c.KeyUsage&x509.KeyUsageCertSign == 0 || c.KeyUsage&x509.KeyUsageCRLSign == 0:
		return bad("its key usage does not allow to sign certificates and revocation lists", "sign it with keyUsage=critical,keyCertSign,cRLSign,digitalSignature")
	case c.AuthorityKeyId == nil:
		return bad("it has no authority key identifier", "sign it with authorityKeyIdentifier=keyid (RFC 5280 section 4.2.1.1)")
	case root.BasicConstraintsValid && root.MaxPathLen == 0 && root.MaxPathLenZero:
		return bad("the root's path length is 0: it may sign no intermediate", "use another root")
	case now.Before(c.NotBefore):
		return bad("it is not valid before "+c.NotBefore.UTC().Format(time.RFC3339), "check both clocks")
	case now.Add(24 * time.Hour).After(c.NotAfter):
		return bad("it ends on "+c.NotAfter.UTC().Format(time.RFC3339), "sign it for years: no certificate lives longer than its intermediate")
	case now.After(root.NotAfter):
		return bad("its root ended on "+root.NotAfter.UTC().Format(time.RFC3339), "use another root")
	case len(c.ExtKeyUsage)+len(c.UnknownExtKeyUsage) > 0 && !slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageAny) &&
		!(slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageClientAuth) && slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageServerAuth)):
		return bad("its extended key usage does not allow clients and servers", "leave extendedKeyUsage out, or give clientAuth and serverAuth")
	case len(c.UnhandledCriticalExtensions) > 0:
		return bad(fmt.Sprintf("its critical extension %v is not understood", c.UnhandledCriticalExtensions[0]), "leave it out")
	}
	pool := x509.NewCertPool()
	pool.AddCert(root)
	if _, err := c.Verify(x509.VerifyOptions{Roots: pool, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err != nil {
		return &AuthorityError{Problem: subjectOf(c) + ": " + trimX509(err)}
	}
	return nil
}

// crossed returns what a server sends beside the chain of an intermediate for clients that have only the root before; first says that it takes the
// intermediate's place in the chain, which then has to follow.
func (l *lineage) crossed(id string, now time.Time) (crossed []*x509.Certificate, first bool) {
	usable := func(c *x509.Certificate) bool {
		return c != nil && now.Before(c.NotAfter) && signerOf(c, l.trust.roots) != nil
	}
	a := l.record(id)
	if a == nil {
		return nil, false
	}
	if root := l.record(a.Parent); root != nil && usable(root.Crossed) {
		return []*x509.Certificate{root.Crossed}, false
	}
	if usable(a.Crossed) {
		return []*x509.Certificate{a.Crossed}, true
	}
	return nil, false
}
