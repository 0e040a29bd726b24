package admin

import (
	"time"

	"github.com/tenantgate/tenantgate/identity"
)

// defaultReviewWithin is how far ahead reviews are listed when the request does not say.
const defaultReviewWithin = 30 * 24 * time.Hour

// Why an identity is on the list of reviews.
const (
	ReviewDue     = "due"      // its review date is near
	ReviewOverdue = "overdue"  // its review date is over
	ReviewNoOwner = "no_owner" // no team answers for it
)

// Review is an identity that somebody has to look at.
type Review struct {
	// Identity is its name, and Owner who answers for it.
	Identity string `json:"identity"`
	Owner    string `json:"owner"`
	// ReviewDate is the day by which it must be reviewed; "" is none.
	ReviewDate identity.Date `json:"review_date,omitempty"`
	// Reasons are "due", "overdue" or "no_owner".
	Reasons []string `json:"reasons"`
	// Disabled says that none of its requests is served.
	Disabled bool `json:"disabled"`
	// Refused says that the policy gives it no certificate now, but perhaps a renewal.
	Refused bool `json:"refused"`
}

// ReviewRequest says that an identity was reviewed.
type ReviewRequest struct {
	// Next is the day by which it must be reviewed again; "" is as far ahead as the policy says.
	Next identity.Date `json:"next,omitempty"`
}

// listReviews answers with the identities, by name, whose review is due within a time, or is over, and those that no team answers for.
func listReviews(s *Server, c *call) (any, error) {
	within, err := c.query.duration("within", defaultReviewWithin)
	if err != nil {
		return nil, err
	}
	now, snapshot := time.Now(), s.Registry.Snapshot()
	list := []Review{}
	for _, i := range snapshot.Identities() {
		r := Review{Identity: i.Name, Owner: i.Owner, ReviewDate: i.ReviewDate, Disabled: i.Disabled, Refused: snapshot.RefusesCertificate(i, now)}
		switch end := i.ReviewEnd(); {
		case i.ReviewOverdue(now):
			r.Reasons = append(r.Reasons, ReviewOverdue)
		case !end.IsZero() && end.Sub(now) <= within:
			r.Reasons = append(r.Reasons, ReviewDue)
		}
		if !i.HasTeam() {
			r.Reasons = append(r.Reasons, ReviewNoOwner)
		}
		if len(r.Reasons) > 0 {
			list = append(list, r)
		}
	}
	return page(c, list, func(r Review) string { return r.Identity })
}

// reviewIdentity sets the next review date of an identity that its owner has confirmed.
func reviewIdentity(s *Server, c *call) (any, error) {
	var q ReviewRequest
	if err := c.decode(&q); err != nil {
		return nil, err
	}
	var stored identity.Identity
	err := s.change(c, identity.ObjectIdentity, "review", func(tx *identity.Tx) (act, error) {
		before, err := tx.Identity(c.name)
		if err != nil {
			return act{}, err
		}
		next := before
		if next.ReviewDate, err = nextReview(tx, q.Next, time.Now()); err != nil {
			return act{}, err
		}
		if stored, err = tx.SetIdentity(c.Context(), next); err != nil {
			return act{}, err
		}
		changed, err := differences(before, stored)
		return act{c.name, changed}, err
	})
	return stored, err
}

// nextReview is the date of the next review: the one that is asked for, which must lie ahead, or as far ahead as the policy says.
func nextReview(tx *identity.Tx, asked identity.Date, now time.Time) (identity.Date, error) {
	p, err := tx.Policy()
	if err != nil {
		return "", err
	}
	if asked == "" {
		return identity.Date(now.UTC().Add(time.Duration(p.ReviewInterval)).Format(time.DateOnly)), nil
	}
	at, err := asked.Time()
	switch {
	case err != nil:
		return "", invalid("next", "this is not a date", "write year-month-day, like 2027-03-31")
	case at.Before(now.UTC()):
		return "", invalid("next", "the next review would be overdue at once", "give a day that is to come, or none for "+p.ReviewInterval.String()+" from now")
	case at.Sub(now) > identity.MaxReviewInterval:
		return "", invalid("next", "the next review is too far ahead", "give a day within five years")
	}
	return asked, nil
}
