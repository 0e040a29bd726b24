package acme

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/smallstep/certificates/acme"

	"github.com/tenantgate/tenantgate/pki"
)

// owned finds the authorization of the path, if it is the account's.
func (x *exchange) owned(ctx context.Context, state *pki.ACMEState) (*acme.Authorization, error) {
	az, err := state.GetAuthorization(ctx, x.id)
	if errors.Is(err, pki.ErrNotFound) {
		return nil, noObject
	}
	if err == nil && az.AccountID != x.account.ID {
		return nil, noObject.because("account " + x.account.ID + " asks for an authorization of account " + az.AccountID)
	}
	return az, err
}

// authorization shows what is to be proved and how (RFC 8555 section 7.5), or gives it up (section 7.5.2).
func (s *Server) authorization(ctx context.Context, x *exchange) error {
	az, err := x.owned(ctx, s.CA.ACMEState(nil))
	if err != nil {
		return err
	}
	if !x.message.empty() {
		var q struct{ Status string }
		if err := x.message.decode(&q); err != nil {
			return err
		}
		if q.Status != string(acme.StatusDeactivated) {
			return refuse("malformed", "an authorization can become \"deactivated\" and nothing else", "send a POST-as-GET to read it")
		}
		err := s.CA.ChangeACMEState(ctx, func(state *pki.ACMEState) error { return state.GiveUp(ctx, az.ID) })
		if err != nil {
			return err
		}
		az.Status = acme.StatusDeactivated
	}
	list := []any{}
	for _, ch := range az.Challenges {
		list = append(list, x.challengeView(ch))
	}
	x.answer(http.StatusOK, map[string]any{
		"identifier": az.Identifier, "status": az.Status, "expires": az.ExpiresAt.Format(time.RFC3339), "challenges": list,
	})
	return nil
}

func (x *exchange) challengeView(ch *acme.Challenge) map[string]any {
	v := map[string]any{"type": ch.Type, "url": x.link("challenge", ch.AuthorizationID, string(ch.Type)), "status": ch.Status, "token": ch.Token}
	if ch.ValidatedAt != "" {
		v["validated"] = ch.ValidatedAt
	}
	if ch.Error != nil {
		v["error"] = ch.Error
	}
	return v
}

// challenge shows a challenge or, when the client says that it is ready, looks at the answer to it (section 7.5.1). The look is finished when the client
// is answered, so that nothing is lost with the process: whoever has got no answer says again that it is ready.
func (s *Server) challenge(ctx context.Context, x *exchange) error {
	az, err := x.owned(ctx, s.CA.ACMEState(nil))
	if err != nil {
		return err
	}
	kind := x.URL.Path[strings.LastIndexByte(x.URL.Path, '/')+1:]
	ch := chosen(az, kind)
	if ch == nil {
		return noObject
	}
	if !x.message.empty() && az.Status == acme.StatusPending && ch.Status == acme.StatusPending {
		if ch, err = s.validate(ctx, x, az, ch); err != nil {
			return err
		}
	}
	x.header.Add("Link", "<"+x.link("authorization", az.ID)+`>;rel="up"`)
	x.answer(http.StatusOK, x.challengeView(ch))
	return nil
}

func chosen(az *acme.Authorization, kind string) *acme.Challenge {
	for _, ch := range az.Challenges {
		if string(ch.Type) == kind {
			return ch
		}
	}
	return nil
}

// validate looks at the answer and stores what came of it: with the challenge stand and fall its authorization and, in the end, the order.
func (s *Server) validate(ctx context.Context, x *exchange, az *acme.Authorization, ch *acme.Challenge) (*acme.Challenge, error) {
	leave, ok := s.validations.enter(x.account.ID, x.Network)
	if !ok {
		p := refuse("rateLimited", "too many challenges are looked at at the same time; this one was not", "answer one after the other")
		p.after = "5"
		return nil, p
	}
	defer leave()
	x.actDone() // a host that does not answer holds up no others
	s.look(ctx, x, ch)
	// The look may have taken all the time that the request had.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), actTimeout)
	defer cancel()
	err := s.CA.ChangeACMEState(ctx, func(state *pki.ACMEState) error { return settle(ctx, state, ch) })
	if !errors.Is(err, pki.ErrTaken) {
		return ch, err
	}
	// Another request, or the other challenge, was faster. What is stored counts.
	if az, err = s.CA.ACMEState(nil).GetAuthorization(ctx, az.ID); err != nil {
		return nil, err
	}
	return chosen(az, string(ch.Type)), nil
}

// settle stores the outcome of a challenge, of its authorization and of its order.
func settle(ctx context.Context, state *pki.ACMEState, ch *acme.Challenge) error {
	id, err := state.OrderOf(ctx, ch.AuthorizationID)
	if err != nil {
		return err
	}
	if err := state.LockOrder(ctx, id); err != nil { // so that of the last two, one sees the other
		return err
	}
	if err := state.UpdateChallenge(ctx, ch); err != nil {
		return err
	}
	az, err := state.GetAuthorization(ctx, ch.AuthorizationID)
	if err != nil {
		return err
	}
	if ch.Status == acme.StatusInvalid {
		az.Status = acme.StatusInvalid // there is no second try of the other challenge: its answer would be as old
		if err := state.UpdateAuthorization(ctx, az); err != nil {
			return err
		}
	}
	o, err := state.GetOrder(ctx, id)
	if err != nil {
		return err
	}
	if az.Status == acme.StatusInvalid && o.Status == acme.StatusPending {
		o.Status = acme.StatusInvalid
		o.Error = &acme.Error{Type: typePrefix + "unauthorized", Detail: fmt.Sprintf("%s was not proved: %s", ch.Value, ch.Error.Detail)}
		return state.UpdateOrder(ctx, o)
	}
	return o.UpdateStatus(ctx, state)
}

// unsaved is a database for smallstep's validation: what it finds out is stored by settle, in one transaction.
type unsaved struct{ acme.DB }

// UpdateChallenge stores nothing.
func (unsaved) UpdateChallenge(context.Context, *acme.Challenge) error { return nil }

// look validates a challenge, twice when nobody was there at first, and leaves it valid or invalid. The client is told what is wrong in our words: never
// what was read, which may come from where only the server can look.
func (s *Server) look(ctx context.Context, x *exchange, ch *acme.Challenge) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookTimeout)
	defer cancel()
	var err error
	var refused error
	for try := range 2 {
		if try > 0 {
			select {
			case <-ctx.Done():
			case <-time.After(time.Second):
			}
		}
		l := &look{ctx: ctx, targets: &s.Targets}
		ch.Error = nil
		err = ch.Validate(acme.NewClientContext(ctx, l), unsaved{}, x.message.jwk, nil)
		if refused = l.refused; err != nil || refused != nil || ch.Status != acme.StatusPending || ctx.Err() != nil {
			break
		}
	}
	if ch.Status == acme.StatusValid {
		return
	}
	found := ch.Error
	ch.Status, ch.Error = acme.StatusInvalid, &acme.Error{Type: typePrefix + "connection"}
	switch {
	case refused != nil:
		ch.Error.Detail = "the name leads to no address that this server may call: the operator allows networks (enrolment.acme.allow)"
	case err == nil && found != nil && found.Type == typePrefix+acme.ErrorRejectedIdentifierType.String():
		ch.Error.Type, ch.Error.Detail = typePrefix+"incorrectResponse", "the answer that was found is not the one to this challenge"
	case ch.Type == acme.HTTP01:
		ch.Error.Detail = "no answer was found at http://" + ch.Value + "/.well-known/acme-challenge/" + ch.Token +
			": is a server there, does it answer 200, and can it be reached from the enrolment listener?"
	default:
		ch.Error.Detail = "nobody has shaken hands as acme-tls/1 at " + ch.Value + ": is the client there, and can it be reached from the enrolment listener?"
	}
	cause := ch.Error.Detail
	switch {
	case refused != nil:
		cause = refused.Error()
	case found != nil && found.Type == typePrefix+acme.ErrorConnectionType.String():
		cause = found.Error()
	}
	x.Access.Cause = "challenge " + string(ch.Type) + " of " + ch.Value + ": " + cause
}
