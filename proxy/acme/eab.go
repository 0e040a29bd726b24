package acme

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"errors"
	"hash"
	"time"

	"github.com/tenantgate/tenantgate/pki"
)

// binding is an external account binding as it is sent (RFC 8555 section 7.3.4): a JWS by the MAC key over the account's public key.
type binding struct {
	Protected string          `json:"protected"`
	Payload   string          `json:"payload"`
	Signature string          `json:"signature"`
	Header    json.RawMessage `json:"header"`
}

// macs are the algorithms of a binding.
var macs = map[string]func() hash.Hash{"HS256": sha256.New, "HS384": sha512.New384, "HS512": sha512.New}

// bound finds the key that a binding was made with, and says whether an account may register with it now.
func (s *Server) bound(ctx context.Context, x *exchange, b *binding) (pki.ACMEKey, error) {
	hint := "give the client the key id and the HMAC key as tenantgate acme key add has printed them"
	malformed := refuse("malformed", "the external account binding cannot be read", hint)
	unknown := refuse("unauthorized", "the external account binding is not one of this server, was removed, or was altered", hint)
	protected, err1 := base64.RawURLEncoding.Strict().DecodeString(b.Protected)
	payload, err2 := base64.RawURLEncoding.Strict().DecodeString(b.Payload)
	signature, err3 := base64.RawURLEncoding.Strict().DecodeString(b.Signature)
	var header struct {
		Alg, Kid, URL string
		Nonce         *string
		JWK, Crit     json.RawMessage
	}
	err := errors.Join(err1, err2, err3)
	if err != nil || b.Header != nil || json.Unmarshal(protected, &header) != nil || header.JWK != nil || header.Crit != nil {
		return pki.ACMEKey{}, malformed
	}
	mac, ok := macs[header.Alg]
	switch {
	case !ok:
		return pki.ACMEKey{}, malformed.because("the binding's alg is none of HS256, HS384, HS512")
	case !isID(header.Kid):
		return pki.ACMEKey{}, unknown.because("the binding's kid has not the form of one")
	case header.Nonce != nil, header.URL != x.link("new-account"):
		return pki.ACMEKey{}, malformed.because("the binding has a nonce, or is for another address")
	}
	key, err := s.CA.ACMEKey(ctx, nil, header.Kid)
	if errors.Is(err, pki.ErrNotFound) {
		return pki.ACMEKey{}, unknown.because("there is no key with the binding's kid")
	}
	if err != nil {
		return pki.ACMEKey{}, err
	}
	x.Access.Identity = key.Name
	if err := s.registrable(&key); err != nil { // whose secret is erased
		return pki.ACMEKey{}, err
	}
	secret, err := s.CA.ACMEKeySecret(ctx, nil, &key)
	if err != nil {
		return pki.ACMEKey{}, err
	}
	own := hmac.New(mac, secret)
	own.Write([]byte(b.Protected + "." + b.Payload))
	if len(secret) == 0 || !hmac.Equal(own.Sum(nil), signature) {
		return pki.ACMEKey{}, unknown.because("the MAC of the binding with key " + key.ID + " is wrong")
	}
	jwk, err := readJWK(payload)
	if err != nil {
		return pki.ACMEKey{}, malformed.because("the binding's payload is no JWK")
	}
	if thumbprint, err := thumbprintOf(jwk); err != nil || thumbprint != x.message.thumbprint {
		return pki.ACMEKey{}, refuse("unauthorized", "the external account binding is for another account key", "bind the key that signs the request").
			because("the binding with key " + key.ID + " is for another account key")
	}
	return key, nil
}

// registrable says whether a key is open.
func (s *Server) registrable(key *pki.ACMEKey) error {
	hint := "ask the operator for another key (tenantgate acme key add)"
	switch {
	case !key.Removed.IsZero():
		return refuse("unauthorized", "the external account binding was removed", hint).because("key " + key.ID + " was removed")
	case !key.Bound.IsZero():
		return refuse("unauthorized", "another account has registered with this external account binding: each is good for one", hint).
			because("key " + key.ID + " was used already, by account " + key.Account)
	case !s.CA.Now().Before(key.Expires):
		return refuse("unauthorized", "the external account binding has expired", hint).
			because("key " + key.ID + " expired at " + key.Expires.Format(time.RFC3339))
	}
	return nil
}
