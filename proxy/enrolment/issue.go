package enrolment

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/pki"
)

// CodeKeyType is the code of a [Refusal] of a key of a type that the identity does not take.
const CodeKeyType = "key_type"

// Issue has the CA sign, and binds the certificate to the identity of its name, in the registry's transaction. It is the one place where
// that happens, whoever asks: the identity must be there, be enabled, and take the type of key. Faults of the asker are *[Refusal],
// *[pki.RequestError] or *[identity.Error]; after any other error the transaction is to be given up.
func Issue(ctx context.Context, tx *identity.Tx, ca *pki.CA, o pki.IssueOptions) (*pki.Issued, identity.Certificate, error) {
	return issue(ctx, tx, ca, o, identity.Fingerprint{})
}

// Renew is [Issue] for a certificate in the place of old, which the asker has proved to have: the policy lets callers that run go on for longer than it
// lets new ones in.
func Renew(ctx context.Context, tx *identity.Tx, ca *pki.CA, o pki.IssueOptions, old identity.Fingerprint) (*pki.Issued, identity.Certificate, error) {
	return issue(ctx, tx, ca, o, old)
}

// issue issues and binds; a zero fingerprint stands for no certificate that is renewed.
func issue(ctx context.Context, tx *identity.Tx, ca *pki.CA, o pki.IssueOptions, old identity.Fingerprint) (*pki.Issued, identity.Certificate, error) {
	holder, err := tx.Identity(o.Name)
	if err != nil {
		return nil, identity.Certificate{}, err
	}
	if holder.Disabled {
		return nil, identity.Certificate{}, disabled.because("identity \"" + o.Name + "\" is disabled")
	}
	if err := tx.MayHaveCertificate(o.Name, !old.IsZero()); err != nil {
		return nil, identity.Certificate{}, err
	}
	key := o.PublicKey
	if o.Request != nil {
		key = o.Request.PublicKey()
	}
	if kind := pki.KeyType(key); !holder.AllowsKey(kind) {
		return nil, identity.Certificate{}, &Refusal{Status: http.StatusUnprocessableEntity, Code: CodeKeyType, Field: "key",
			Detail: fmt.Sprintf("identity %q takes no keys of type %s", o.Name, kind), Hint: "make a key of type " + strings.Join(holder.KeyTypes, " or ")}
	}
	issued, err := ca.Issue(ctx, tx.SQL(), o)
	if err != nil {
		return nil, identity.Certificate{}, err
	}
	bound := identity.Certificate{
		Fingerprint: issued.Fingerprint, Identity: o.Name, Serial: issued.Serial, Subject: issued.Leaf.Subject.String(),
		NotBefore: issued.Leaf.NotBefore, NotAfter: issued.Leaf.NotAfter,
	}
	if old.IsZero() {
		bound, err = tx.BindCertificate(ctx, bound)
	} else {
		bound, err = tx.BindRenewal(ctx, bound, old)
	}
	return issued, bound, err
}
