package acme

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/smallstep/certificates/acme"

	"github.com/tenantgate/tenantgate/pki"
)

// newOrder begins an order (RFC 8555 section 7.4) for names that the account's key allows, all of which are to be proved anew.
func (s *Server) newOrder(ctx context.Context, x *exchange) error {
	var q struct {
		Identifiers         []acme.Identifier
		NotBefore, NotAfter string
	}
	if err := x.message.decode(&q); err != nil {
		return err
	}
	if q.NotBefore != "" || q.NotAfter != "" {
		return refuse("malformed", "the validity of certificates is not the client's choice here",
			"leave notBefore and notAfter out; the operator sets the lifetime with the key")
	}
	hosts, err := allowedHosts(q.Identifiers, &x.key)
	if err != nil {
		return err
	}
	o := &acme.Order{AccountID: x.account.ID, ExpiresAt: s.CA.Now().Add(orderLife).UTC().Truncate(time.Second)}
	for _, host := range hosts {
		o.Identifiers = append(o.Identifiers, acme.Identifier{Type: acme.DNS, Value: host})
	}
	err = s.CA.ChangeACMEState(ctx, func(state *pki.ACMEState) error {
		if err := roomForOrder(ctx, state, x.account.ID, s.CA.Now()); err != nil {
			return err
		}
		return state.CreateOrder(ctx, o)
	})
	if err != nil {
		return err
	}
	x.showOrder(o, http.StatusCreated)
	return nil
}

// roomForOrder refuses an account that has too many orders under way, or begins too many: each is kept for a while.
func roomForOrder(ctx context.Context, state *pki.ACMEState, account string, now time.Time) error {
	open, err := state.Orders(ctx, account)
	if err != nil {
		return err
	}
	begun, err := state.OrdersSince(ctx, account, now.Add(-time.Hour))
	if err != nil {
		return err
	}
	if len(open) < maxOrders && begun < maxOrdersAnHour {
		return nil
	}
	p := refuse("rateLimited", fmt.Sprintf("the account has %d orders that are open, and has begun %d within an hour", len(open), begun),
		"finish those, or wait for an hour")
	p.after = "600"
	return p
}

// allowedHosts reads what is asked for: DNS names that the key names, and nothing else. Letters are the same in either case.
func allowedHosts(asked []acme.Identifier, key *pki.ACMEKey) ([]string, error) {
	if len(asked) == 0 || len(asked) > pki.MaxACMEHosts {
		return nil, refuse("malformed", fmt.Sprintf("the order has %d identifiers", len(asked)), fmt.Sprintf("ask for 1 to %d", pki.MaxACMEHosts))
	}
	var hosts []string
	for _, one := range asked {
		host := strings.ToLower(one.Value)
		switch {
		case one.Type != acme.DNS:
			return nil, refuse("unsupportedIdentifier", fmt.Sprintf("identifiers of type %.40q are not served", string(one.Type)),
				"ask for DNS names: type dns")
		case strings.Contains(host, "*"):
			return nil, refuse("rejectedIdentifier", fmt.Sprintf("%.255q is a wildcard, which no caller gets", host), "ask for single host names")
		case pki.CheckHosts([]string{host}) != nil:
			return nil, refuse("rejectedIdentifier", fmt.Sprintf("%.255q is not a host name", host), "ask for DNS names; addresses are not served")
		case !slices.Contains(key.Hosts, host):
			return nil, refuse("rejectedIdentifier", fmt.Sprintf("the account may not ask for %q", host),
				"ask for the names that its key was made for, or have the operator make a key for this one (tenantgate acme key add --host)").
				because(fmt.Sprintf("key %s is for %s, and %s was asked for", key.ID, strings.Join(key.Hosts, ", "), host))
		case slices.Contains(hosts, host):
			return nil, refuse("malformed", fmt.Sprintf("%q is asked for twice", host), "ask once")
		}
		hosts = append(hosts, host)
	}
	return hosts, nil
}

// showOrder answers with an order (section 7.1.3).
func (x *exchange) showOrder(o *acme.Order, status int) {
	v := map[string]any{
		"status": o.Status, "expires": o.ExpiresAt.Format(time.RFC3339), "identifiers": o.Identifiers, "finalize": x.link("order", o.ID, "finalize"),
	}
	links := []string{}
	for _, id := range o.AuthorizationIDs {
		links = append(links, x.link("authorization", id))
	}
	v["authorizations"] = links
	if o.Error != nil {
		v["error"] = o.Error
	}
	if o.Status == acme.StatusValid {
		v["certificate"] = x.link("certificate", o.CertificateID)
	}
	x.header.Set("Location", x.link("order", o.ID))
	x.answer(status, v)
}

// order finds the order of the path, if it is the account's.
func (x *exchange) order(ctx context.Context, state *pki.ACMEState) (*acme.Order, error) {
	o, err := state.GetOrder(ctx, x.id)
	if errors.Is(err, pki.ErrNotFound) {
		return nil, noObject
	}
	if err == nil && o.AccountID != x.account.ID {
		return nil, noObject.because("account " + x.account.ID + " asks for an order of account " + o.AccountID)
	}
	return o, err
}

func (s *Server) showOrder(ctx context.Context, x *exchange) error {
	if err := x.mustBeEmpty(); err != nil {
		return err
	}
	o, err := x.order(ctx, s.CA.ACMEState(nil))
	if err != nil {
		return err
	}
	x.showOrder(o, http.StatusOK)
	return nil
}

// mustBeEmpty refuses what is no POST-as-GET (section 6.3).
func (x *exchange) mustBeEmpty() error {
	if !x.message.empty() {
		return refuse("malformed", "the address is read with an empty payload", "send a POST-as-GET")
	}
	return nil
}

// certificate hands out a certificate of the account (section 7.4.2).
func (s *Server) certificate(ctx context.Context, x *exchange) error {
	if err := x.mustBeEmpty(); err != nil {
		return err
	}
	account, err := s.CA.ACMEState(nil).AccountOf(ctx, x.id)
	if errors.Is(err, pki.ErrNotFound) || err == nil && account != x.account.ID {
		return noObject
	}
	if err != nil {
		return err
	}
	issued, err := s.CA.IssuedBefore(ctx, nil, x.id)
	if err != nil {
		return err
	}
	x.Access.Serial = issued.Serial
	x.header.Set("Content-Type", "application/pem-certificate-chain")
	x.body = issued.PEM()
	return nil
}
