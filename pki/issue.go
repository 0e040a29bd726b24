package pki

import (
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/smallstep/certificates/authority/provisioner"
)

// IssueOptions says what to sign.
type IssueOptions struct {
	// Profile decides all extensions. Required.
	Profile Profile
	// Name is the identity, administrator or host the certificate is for. Required.
	Name string
	// Request is the caller's request, or nil.
	Request *Request
	// PublicKey is the key to certify when there is no Request: for keys made in this process.
	PublicKey crypto.PublicKey
	// Lifetime from now on; 0 means the profile's default. It is cut to what is left of the intermediate's.
	Lifetime time.Duration
}

// Issued is a certificate that has been signed and recorded. It must not be handed out before the transaction it was
// recorded in has been committed.
type Issued struct {
	Leaf        *x509.Certificate
	Chain       []*x509.Certificate // leaf, intermediate
	crossed     []*x509.Certificate // leads on to the root before, for clients that have no other
	crossFirst  bool                // it takes the intermediate's place
	Serial      string              // lower-case hex, see FormatSerial
	Fingerprint [32]byte            // SHA-256 of the leaf's DER
	Dropped     []string            // what was asked for and not granted, one sentence each
}

// PEM returns the chain, leaf first.
func (i *Issued) PEM() []byte { return EncodeCertificates(i.Chain...) }

// ServerPEM returns the chain as a server of ours sends it: while the root before is still believed, it leads to that one too.
func (i *Issued) ServerPEM() []byte {
	if i.crossFirst {
		return EncodeCertificates(slices.Concat(i.Chain[:1], i.crossed, i.Chain[1:])...)
	}
	return EncodeCertificates(slices.Concat(i.Chain, i.crossed)...)
}

// Issue signs a certificate and writes the CA's record of it with tx, as one act: without the record there is no
// certificate. The caller binds it to its identity with the same tx, commits, and only then hands it out. Errors that are
// the asker's fault are *[RequestError]; after any other error roll tx back.
func (ca *CA) Issue(ctx context.Context, tx *sql.Tx, o IssueOptions) (*Issued, error) {
	if tx == nil {
		return nil, errors.New("issuing a certificate: no transaction given")
	}
	l := ca.lineage.Load()
	by := l.signing()
	if err := notRetired(ctx, tx, by); err != nil {
		return nil, err
	}
	key, dropped, err := ca.judge(o)
	if err != nil {
		return nil, err
	}
	template := o.Profile.template(ca.options.TrustDomain, o.Name, key)
	by.publish(template, ca.options.PublicURL)
	if err := ca.setValidity(template, by.cert, o, &dropped); err != nil {
		return nil, err
	}
	if template.SerialNumber, err = newSerial(); err != nil {
		return nil, err
	}
	pending := by.store.expect(ctx, tx, template.SerialNumber, o.Profile.kind, o.Name, ca.options.Now())
	defer by.store.forget(template.SerialNumber)
	chain, err := by.authority.SignWithContext(ctx, ca.carrier, provisioner.SignOptions{},
		provisioner.CertificateModifierFunc(func(c *x509.Certificate, _ provisioner.SignOptions) error {
			*c = *template
			return nil
		}))
	if pending.err != nil {
		return nil, fmt.Errorf("recording the certificate: %w", pending.err)
	}
	if err != nil {
		return nil, fmt.Errorf("signing the certificate: %w", err)
	}
	if !pending.stored {
		return nil, errors.New("signing the certificate: the authority did not record it")
	}
	issued := &Issued{Leaf: chain[0], Chain: chain[:2:2], Serial: FormatSerial(chain[0].SerialNumber), Fingerprint: sha256.Sum256(chain[0].Raw), Dropped: dropped}
	issued.crossed, issued.crossFirst = l.crossed(by.id, ca.options.Now())
	return issued, nil
}

// notRetired refuses to sign with an intermediate that is retired, whatever this node knows: changes of the registry wait for each other, and a retirement
// is one of them.
func notRetired(ctx context.Context, tx *sql.Tx, by *issuer) error {
	var state string
	if err := tx.QueryRowContext(ctx, `SELECT state FROM pki_authorities WHERE id = $1`, by.id).Scan(&state); err != nil {
		return fmt.Errorf("issuing a certificate: reading the state of the intermediate: %w", err)
	}
	if AuthorityState(state) == AuthorityRetired {
		return &AuthorityError{Conflict: true, Problem: "issuing a certificate: the intermediate that signs is retired",
			Hint: "make another one: tenantgate ca rotate intermediate; if that was done, try again in a second"}
	}
	return nil
}

// judge decides whether what is asked for fits the profile, and returns the key to certify.
func (ca *CA) judge(o IssueOptions) (key crypto.PublicKey, dropped []string, err error) {
	if err := o.Profile.CheckName(o.Name); err != nil {
		return nil, nil, err
	}
	if o.Request != nil {
		if o.PublicKey != nil {
			return nil, nil, errors.New("issuing a certificate: both a request and a key given")
		}
		if err := ca.allows(o.Profile, o.Request.PublicKey()); err != nil {
			return nil, nil, err
		}
		dropped, err = o.Request.fit(o.Profile, ca.options.TrustDomain, o.Name)
		return o.Request.PublicKey(), dropped, err
	}
	if err := checkKey(o.PublicKey); err != nil {
		return nil, nil, &RequestError{Field: "key", Problem: err.Error(), Hint: "use RSA with 2048 bits or more, P-256, P-384 or Ed25519"}
	}
	if publicKeyEqual(o.PublicKey, ca.Intermediate().PublicKey) {
		return nil, nil, &RequestError{Field: "key", Problem: "this is the CA's own key"}
	}
	return o.PublicKey, nil, ca.allows(o.Profile, o.PublicKey)
}

// allows says whether the policy lets a key of that type have a certificate. Keys of our own listeners are chosen here and not asked for.
func (ca *CA) allows(p Profile, key crypto.PublicKey) error {
	if p.kind == "server" || allowedKey(key, ca.options.KeyTypes) {
		return nil
	}
	return &RequestError{Field: "key", Problem: "keys of this type get no certificate here",
		Hint: "make a new key: " + strings.Join(ca.options.KeyTypes, ", ") + " (RSA: so many bits or more)"}
}

// setValidity backdates by a minute and cuts the end to the intermediate's, which smallstep does not do.
func (ca *CA) setValidity(t, issuer *x509.Certificate, o IssueOptions, dropped *[]string) error {
	lifetime, err := o.Profile.lifetime(o.Lifetime)
	if err != nil {
		return err
	}
	now := ca.options.Now().UTC().Truncate(time.Second)
	t.NotBefore, t.NotAfter = now.Add(-backdate), now.Add(lifetime)
	if t.NotBefore.Before(issuer.NotBefore) {
		t.NotBefore = issuer.NotBefore
	}
	if t.NotAfter.After(issuer.NotAfter) {
		t.NotAfter = issuer.NotAfter
		if t.NotAfter.Sub(now) < o.Profile.least {
			return fmt.Errorf("signing the certificate: the intermediate expires on %s, too soon to issue from; make another: tenantgate ca rotate intermediate", t.NotAfter.Format(time.RFC3339))
		}
		*dropped = append(*dropped, fmt.Sprintf("lifetime %v: cut to %s, when the intermediate expires", lifetime, t.NotAfter.Format(time.RFC3339)))
	}
	return nil
}
