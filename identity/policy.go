package identity

import (
	"context"
	"fmt"
	"time"
)

// Policy says, for all identities alike, which of them get no certificate. There is one in a registry.
type Policy struct {
	// RefuseWithoutOwner is about identities that no team answers for ([Identity.HasTeam]): [RefuseNone], [RefuseNew] or [RefuseAll].
	RefuseWithoutOwner string `json:"refuse_without_owner"`
	// RefusePastReview is about identities whose review date is over ([Identity.ReviewOverdue]): the same words.
	RefusePastReview string `json:"refuse_past_review"`
	// ReviewGrace is for how long after the review date renewals go on where RefusePastReview is [RefuseAll], so that a caller that runs does not stop on a day
	// that a team has missed. 0 is not at all.
	ReviewGrace Duration `json:"review_grace"`
	// ReviewInterval is how far ahead the next review date is set when an identity was reviewed and no date is given.
	ReviewInterval Duration `json:"review_interval"`
}

// Whom the policy refuses a certificate.
const (
	RefuseNone = "none" // nobody
	RefuseNew  = "new"  // whoever asks for a certificate in addition; callers that have one go on renewing it
	RefuseAll  = "all"  // whoever asks
)

// The bounds of a policy's times.
const (
	MaxReviewGrace    = 366 * day
	MinReviewInterval = day
	MaxReviewInterval = 5 * 366 * day
)

// DefaultPolicy is the policy of a new registry: nothing new for identities that nobody answers for or has reviewed, while what runs is not broken.
func DefaultPolicy() Policy {
	return Policy{RefuseWithoutOwner: RefuseNew, RefusePastReview: RefuseNew, ReviewGrace: Duration(30 * day), ReviewInterval: Duration(365 * day)}
}

// Validate returns an *[Error] with code [ErrInvalid] for the first field that cannot be stored, or nil.
func (p Policy) Validate() error {
	v := validation{object: ObjectPolicy}
	for _, f := range []struct{ field, value string }{{"refuse_without_owner", p.RefuseWithoutOwner}, {"refuse_past_review", p.RefusePastReview}} {
		switch f.value {
		case RefuseNone, RefuseNew, RefuseAll:
		default:
			v.fail(f.field, quoted(f.value)+" is not none, new or all", "none refuses nobody, new refuses certificates but renewals, all refuses those, too")
		}
	}
	if g := time.Duration(p.ReviewGrace); g < 0 || g > MaxReviewGrace {
		v.fail("review_grace", g.String()+" is out of bounds", "give 0 to 8784h")
	}
	if i := time.Duration(p.ReviewInterval); i < MinReviewInterval || i > MaxReviewInterval {
		v.fail("review_interval", i.String()+" is out of bounds", "give 24h to 43920h")
	}
	return v.err()
}

// Policy returns the policy in force.
func (s *Snapshot) Policy() Policy { return s.policy }

// Policy returns the policy as the transaction sees it. The error is always nil.
func (tx *Tx) Policy() (Policy, error) { return tx.draft.policy, nil }

const setPolicy = `UPDATE registry_policy SET refuse_without_owner = $1, refuse_past_review = $2, review_grace = $3, review_interval = $4 WHERE id = 1`

// SetPolicy replaces the policy and returns it as stored.
func (tx *Tx) SetPolicy(ctx context.Context, p Policy) (Policy, error) {
	if err := p.Validate(); err != nil {
		return Policy{}, err
	}
	err := tx.exec(ctx, "storing the policy", setPolicy,
		p.RefuseWithoutOwner, p.RefusePastReview, int64(p.ReviewGrace), int64(p.ReviewInterval))
	if err != nil {
		return Policy{}, err
	}
	tx.draft.policy, tx.draft.changed.Policy = p, true
	return p, nil
}

// MayHaveCertificate says whether the identity may get a certificate, as the transaction sees both it and the policy: nil, an [ErrNotFound] error, or one
// with code [ErrRefused]. A renewal is a certificate in the place of one that the asker has shown. [Tx.BindCertificate] and [Tx.BindRenewal] ask it, so
// that no way to a certificate leads past it; whoever signs first should ask before.
func (tx *Tx) MayHaveCertificate(name string, renewal bool) error {
	i, err := tx.Identity(name)
	if err != nil {
		return err
	}
	p := tx.draft.policy
	if !i.HasTeam() && refuses(p.RefuseWithoutOwner, renewal) {
		return &Error{Code: ErrRefused, Object: ObjectIdentity, Name: name, Field: "owner", Message: "no team answers for it, so that it gets no certificate",
			Hint: "name the team: tenantgate identity set " + name + " --owner TEAM"}
	}
	if !i.ReviewOverdue(tx.now) || !refuses(p.RefusePastReview, renewal) {
		return nil
	}
	if renewal && !i.ReviewOverdue(tx.now.Add(-time.Duration(p.ReviewGrace))) {
		return nil
	}
	return &Error{Code: ErrRefused, Object: ObjectIdentity, Name: name, Field: "review_date",
		Message: "its review was due on " + string(i.ReviewDate) + ", so that it gets no certificate",
		Hint:    "have its owner confirm that it is needed: tenantgate identity reviewed " + name}
}

// refuses applies one word of a policy. One that a later release may have written refuses.
func refuses(word string, renewal bool) bool {
	return word != RefuseNone && (word != RefuseNew || !renewal)
}

// readPolicy reads the policy into the draft.
func (d *draft) readPolicy(ctx context.Context, q querier) error {
	err := each(ctx, q, func(row scanner) error {
		p := &d.policy
		return row.Scan(&p.RefuseWithoutOwner, &p.RefusePastReview, &p.ReviewGrace, &p.ReviewInterval)
	}, `SELECT refuse_without_owner, refuse_past_review, review_grace, review_interval FROM registry_policy WHERE id = 1`)
	if err != nil {
		return fmt.Errorf("reading the policy: %w", err)
	}
	return nil
}

// RefusesCertificate reports whether the policy gives the identity no new certificate now. Renewals may go on.
func (s *Snapshot) RefusesCertificate(i *Identity, now time.Time) bool {
	return !i.HasTeam() && refuses(s.policy.RefuseWithoutOwner, false) || i.ReviewOverdue(now) && refuses(s.policy.RefusePastReview, false)
}
