package acme

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/proxy/record"
)

// objectAccount is what change records call an account.
const objectAccount = "acme_account"

// registration is the change record's detail of what happens to an account.
type registration struct {
	Identity   string `json:"identity"`
	Key        string `json:"key"`        // the binding's ID
	Thumbprint string `json:"thumbprint"` // of the account's key
	Source     string `json:"source"`
	Request    string `json:"request_id"`
}

// recordAccount puts an act of an account on record.
func recordAccount(ctx context.Context, tx *identity.Tx, x *exchange, verb, id string, key *pki.ACMEKey, thumbprint string) error {
	return appendChange(ctx, tx, key, objectAccount+"."+verb, objectAccount, id,
		registration{Identity: key.Name, Key: key.ID, Thumbprint: thumbprint, Source: x.RemoteAddr, Request: x.ID})
}

// appendChange writes a change record: who acts is an account, which is named by the binding that an operator knows.
func appendChange(ctx context.Context, tx *identity.Tx, key *pki.ACMEKey, action, object, name string, detail any) error {
	b, err := json.Marshal(detail)
	if err != nil {
		return err
	}
	_, err = record.AppendChange(ctx, tx.SQL(), record.Change{Actor: "acme:" + key.ID, Action: action, Object: object, Name: name, Detail: b})
	return err
}

// newAccount registers an account with an external account binding, or finds the one that the key has (RFC 8555 section 7.3). Contacts are not kept:
// they name people.
func (s *Server) newAccount(ctx context.Context, x *exchange) error {
	var q struct {
		OnlyReturnExisting     bool     `json:"onlyReturnExisting"`
		ExternalAccountBinding *binding `json:"externalAccountBinding"`
	}
	if err := x.message.decode(&q); err != nil {
		return err
	}
	known, err := s.CA.ACMEAccountOf(ctx, nil, x.message.thumbprint)
	switch {
	case err == nil:
		return s.existing(ctx, x, known)
	case !errors.Is(err, pki.ErrNotFound):
		return err
	case q.OnlyReturnExisting:
		return refuse("accountDoesNotExist", "no account has this key", "register with an external account binding")
	case q.ExternalAccountBinding == nil:
		return refuse("externalAccountRequired", "an account is registered with an external account binding only",
			"have the operator make one (tenantgate acme key add) and give the client its key id and HMAC key")
	}
	key, err := s.bound(ctx, x, q.ExternalAccountBinding)
	if err != nil {
		return err
	}
	jwk, err := x.message.jwk.MarshalJSON()
	if err != nil {
		return err
	}
	err = s.Registry.Change(ctx, func(tx *identity.Tx) error {
		if err := s.mayStill(ctx, tx, key.ID, &key); err != nil {
			return err
		}
		if err := s.registrable(&key); err != nil {
			return err
		}
		x.account, err = s.CA.AddACMEAccount(ctx, tx.SQL(), pki.ACMEAccount{Binding: key.ID, Thumbprint: x.message.thumbprint, JWK: string(jwk)})
		if err != nil {
			return err
		}
		return recordAccount(ctx, tx, x, "register", x.account.ID, &key, x.message.thumbprint)
	})
	if errors.Is(err, pki.ErrTaken) {
		return refuse("unauthorized", "another account was registered with this external account binding, or with this key, in the same moment", "try again")
	}
	if err != nil {
		return err
	}
	x.showAccount(http.StatusCreated)
	return nil
}

// existing answers whoever has registered before, such as a client that has lost the answer.
func (s *Server) existing(ctx context.Context, x *exchange, known pki.ACMEAccount) (err error) {
	x.account = known
	if x.key, err = s.CA.ACMEKey(ctx, nil, known.Binding); err != nil {
		return err
	}
	if err := s.entitled(ctx, x, route{}); err != nil {
		return err
	}
	x.showAccount(http.StatusOK)
	return nil
}

func (x *exchange) showAccount(status int) {
	x.header.Set("Location", x.link("account", x.account.ID))
	x.answer(status, map[string]any{"status": x.account.Status, "orders": x.link("account", x.account.ID, "orders")})
}

// mayStill reads a key as the transaction has it, and says whether its identity may have certificates.
func (s *Server) mayStill(ctx context.Context, tx *identity.Tx, id string, key *pki.ACMEKey) (err error) {
	if *key, err = s.CA.ACMEKey(ctx, tx.SQL(), id); err != nil {
		return err
	}
	holder, err := tx.Identity(key.Name)
	switch {
	case err != nil:
		return err
	case holder.Disabled:
		return isDisabled.because("identity \"" + key.Name + "\" is disabled")
	case !key.Removed.IsZero(), key.AccountStatus == pki.ACMEDeactivated:
		return isRemoved.because("key " + key.ID + " was removed, or its account deactivated")
	}
	return nil
}

// ownAccount refuses an account that names another one in the path.
func (x *exchange) ownAccount() error {
	if x.id != x.account.ID {
		return noObject.because("account " + x.account.ID + " asks for account " + x.id)
	}
	return nil
}

// updateAccount shows the account, and deactivates it where that is asked for (sections 7.3.2 and 7.3.6).
func (s *Server) updateAccount(ctx context.Context, x *exchange) error {
	if err := x.ownAccount(); err != nil {
		return err
	}
	var q struct{ Status string }
	if !x.message.empty() {
		if err := x.message.decode(&q); err != nil {
			return err
		}
	}
	switch q.Status {
	case "", pki.ACMEValid:
	case pki.ACMEDeactivated:
		err := s.Registry.Change(ctx, func(tx *identity.Tx) error {
			if err := s.CA.DeactivateACMEAccount(ctx, tx.SQL(), x.account.ID); err != nil {
				return err
			}
			return recordAccount(ctx, tx, x, "deactivate", x.account.ID, &x.key, x.message.thumbprint)
		})
		if err != nil {
			return err
		}
		x.account.Status = pki.ACMEDeactivated
	default:
		return refuse("malformed", "an account can become \"deactivated\" and nothing else", "leave status out")
	}
	x.showAccount(http.StatusOK)
	return nil
}

// listOrders lists what the account has under way (section 7.1.2.1).
func (s *Server) listOrders(ctx context.Context, x *exchange) error {
	if err := x.ownAccount(); err != nil {
		return err
	}
	ids, err := s.CA.ACMEState(nil).Orders(ctx, x.account.ID)
	if err != nil {
		return err
	}
	for i, id := range ids {
		ids[i] = x.link("order", id)
	}
	x.answer(http.StatusOK, map[string]any{"orders": ids})
	return nil
}

// changeKey gives the account another key (section 7.3.5): the old one signs that it goes, the new one that it comes.
func (s *Server) changeKey(ctx context.Context, x *exchange) error {
	inner, header, address, err := parse(x.message.payload)
	if err != nil {
		return err
	}
	if header.JSONWebKey == nil || header.Nonce != "" || address != x.link("key-change") {
		return refuse("malformed", "the inner JWS must have the new key as jwk, the same url, and no nonce", "see RFC 8555 section 7.3.5")
	}
	next, err := verify(inner, header, header.JSONWebKey)
	if err != nil {
		return err
	}
	var q struct {
		Account string          `json:"account"`
		OldKey  json.RawMessage `json:"oldKey"`
	}
	if err := next.decode(&q); err != nil {
		return err
	}
	wrong := refuse("malformed", "the inner JWS names another account, or another old key", "name the account's own address and present key")
	old, err := readJWK(q.OldKey)
	if err != nil {
		return wrong
	}
	thumbprint, err := thumbprintOf(old)
	if err != nil || thumbprint != x.account.Thumbprint || q.Account != x.link("account", x.account.ID) {
		return wrong
	}
	if other, err := s.CA.ACMEAccountOf(ctx, nil, next.thumbprint); err == nil {
		x.header.Set("Location", x.link("account", other.ID)) // as the section wants it
		return withStatus(refuse("malformed", "an account has this key already", "make a new key"), http.StatusConflict)
	} else if !errors.Is(err, pki.ErrNotFound) {
		return err
	}
	jwk, err := next.jwk.MarshalJSON()
	if err != nil {
		return err
	}
	err = s.Registry.Change(ctx, func(tx *identity.Tx) error {
		if err := s.mayStill(ctx, tx, x.key.ID, &x.key); err != nil {
			return err
		}
		if err := s.CA.ReplaceACMEAccountKey(ctx, tx.SQL(), x.account.ID, x.account.Thumbprint, next.thumbprint, string(jwk)); err != nil {
			return err
		}
		return recordAccount(ctx, tx, x, "rekey", x.account.ID, &x.key, next.thumbprint)
	})
	if errors.Is(err, pki.ErrTaken) {
		return withStatus(refuse("malformed", "the account's key was changed in the same moment", "look which one it has now"), http.StatusConflict)
	}
	if err != nil {
		return err
	}
	x.showAccount(http.StatusOK)
	return nil
}
