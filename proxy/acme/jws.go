package acme

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"

	"github.com/smallstep/certificates/acme"
	"go.step.sm/crypto/jose"

	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/proxy/enrolment"
)

// message is a JWS (RFC 8555 section 6.2) whose signature was verified.
type message struct {
	jwk        *jose.JSONWebKey // the key that signed it
	thumbprint string           // of jwk
	payload    []byte
	signed     *jose.JSONWebSignature
}

// empty reports whether the message is a POST-as-GET (section 6.3).
func (m *message) empty() bool { return len(m.payload) == 0 }

// decode reads the payload. Members that are not known are ignored, as the RFC has it.
func (m *message) decode(into any) error {
	if err := json.Unmarshal(m.payload, into); err != nil {
		return refuse("malformed", "the payload is not the JSON object that the address takes", "see RFC 8555 section 7").because("payload: " + err.Error())
	}
	return nil
}

// algorithms are what a JWS may be signed with: one for each kind of key.
var algorithms = []string{jose.ES256, jose.ES384, jose.EdDSA, jose.RS256}

// algorithmOf is the one for a key, "" for a key that no account may have.
func algorithmOf(key crypto.PublicKey) string {
	if pki.CheckPublicKey(key) != nil {
		return ""
	}
	switch k := key.(type) {
	case *ecdsa.PublicKey:
		if k.Curve == elliptic.P256() {
			return jose.ES256
		}
		return jose.ES384
	case ed25519.PublicKey:
		return jose.EdDSA
	case *rsa.PublicKey:
		return jose.RS256
	}
	return ""
}

func readBody(x *exchange) ([]byte, error) {
	if kind, _, err := mime.ParseMediaType(x.Header.Get("Content-Type")); err != nil || kind != "application/jose+json" {
		return nil, withStatus(refuse("malformed", "the body is not declared as a JWS", "send Content-Type: application/jose+json"),
			http.StatusUnsupportedMediaType)
	}
	body, err := io.ReadAll(io.LimitReader(x.Body, maxBody+1))
	x.Access.BytesIn = int64(len(body))
	switch {
	case err != nil:
		return nil, refuse("malformed", "the body was broken off, or came too slowly", "send it again").because(err.Error())
	case len(body) > maxBody:
		x.header.Set("Connection", "close")
		return nil, withStatus(refuse("malformed", "the body is larger than an ACME request can be", "send at most 64 KiB"), http.StatusRequestEntityTooLarge)
	}
	return body, nil
}

// parse reads a JWS in the flattened serialization, with one signature and without an unprotected header, and what its header must say.
func parse(body []byte) (*jose.JSONWebSignature, *jose.Header, string, error) {
	bad := func(detail string) error {
		return refuse("malformed", detail, "send a JWS in flattened JSON serialization (RFC 8555 section 6.2)")
	}
	var outer struct{ Header, Signatures json.RawMessage }
	if err := json.Unmarshal(body, &outer); err != nil {
		return nil, nil, "", bad("the body is no JSON object")
	}
	if outer.Header != nil || outer.Signatures != nil {
		return nil, nil, "", bad("the JWS has an unprotected header, or a list of signatures")
	}
	signed, err := jose.ParseJWS(string(body))
	if err != nil {
		return nil, nil, "", bad("the body is no JWS").(*problem).because("reading a JWS: " + err.Error())
	}
	if len(signed.Signatures) != 1 {
		return nil, nil, "", bad("the JWS has not one signature")
	}
	header := &signed.Signatures[0].Protected
	address, _ := header.ExtraHeaders["url"].(string)
	if (header.JSONWebKey == nil) == (header.KeyID == "") {
		return nil, nil, "", bad("the protected header must have either jwk or kid")
	}
	return signed, header, address, nil
}

// authenticate finds out who sends the request: the signature is verified before the nonce is used up and anything is written.
func (s *Server) authenticate(ctx context.Context, x *exchange, body []byte, r route) error {
	signed, header, address, err := parse(body)
	if err != nil {
		return err
	}
	if own := "https://" + x.Host + x.URL.Path; address != own {
		return refuse("unauthorized", "the url in the protected header is not that of the request", "sign the address that the request is sent to").
			because("url is " + address + ", the request was for " + own)
	}
	switch {
	case header.KeyID != "" && r.signer == byKey:
		return refuse("malformed", "the protected header must have jwk here, and not kid", "sign with the new key itself")
	case header.JSONWebKey != nil && r.signer == byAccount:
		return refuse("malformed", "the protected header must have kid here, and not jwk", "name the account's address")
	}
	jwk := header.JSONWebKey
	if header.KeyID != "" {
		if jwk, err = s.accountKey(ctx, x, header.KeyID); err != nil {
			return err
		}
	}
	if x.message, err = verify(signed, header, jwk); err != nil {
		return err
	}
	nonce, err := base64.RawURLEncoding.Strict().DecodeString(header.Nonce)
	if err == nil {
		err = s.CA.UseACMENonce(ctx, nonce)
	} else {
		err = pki.ErrTaken
	}
	if errors.Is(err, pki.ErrTaken) {
		return refuse("badNonce", "the nonce was used before, is too old, or is not one of this server", "send the request again with the nonce of this answer")
	}
	if err != nil || x.account.ID == "" {
		return err
	}
	return s.entitled(ctx, x, r)
}

// accountKey finds the account that a kid names. Whose host the kid names does not matter: the url has been compared, and a server may have several names.
func (s *Server) accountKey(ctx context.Context, x *exchange, kid string) (*jose.JSONWebKey, error) {
	unknown := refuse("accountDoesNotExist", "there is no such account", "register with an external account binding (tenantgate acme key add)")
	u, err := url.Parse(kid)
	if err != nil || u.Scheme != "https" || u.RawQuery != "" {
		return nil, unknown
	}
	id, ok := strings.CutPrefix(u.Path, enrolment.ACMEPath+"account/")
	if !ok || !isID(id) {
		return nil, unknown
	}
	x.account, err = s.CA.ACMEAccount(ctx, nil, id)
	if errors.Is(err, pki.ErrNotFound) {
		return nil, unknown
	}
	if err != nil {
		return nil, err
	}
	if x.key, err = s.CA.ACMEKey(ctx, nil, x.account.Binding); err != nil {
		return nil, err
	}
	return readJWK([]byte(x.account.JWK))
}

func readJWK(b []byte) (*jose.JSONWebKey, error) {
	jwk := new(jose.JSONWebKey)
	if err := jwk.UnmarshalJSON(b); err != nil {
		return nil, refuse("malformed", "the JWK cannot be read", "send a public key (RFC 7517)").because("reading a JWK: " + err.Error())
	}
	return jwk, nil
}

// verify verifies the signature, by a key that is of an acceptable kind, with the algorithm for that kind.
func verify(signed *jose.JSONWebSignature, header *jose.Header, jwk *jose.JSONWebKey) (*message, error) {
	if !jwk.Valid() || !jwk.IsPublic() {
		return nil, refuse("badPublicKey", "the JWK is no public key", "send the public key alone")
	}
	algorithm := algorithmOf(jwk.Key)
	if algorithm == "" {
		return nil, refuse("badPublicKey", "keys of this kind or size are not accepted", "use P-256, P-384, Ed25519 or RSA with 2048 to 8192 bits")
	}
	if header.Algorithm != algorithm || jwk.Algorithm != "" && jwk.Algorithm != algorithm {
		p := refuse("badSignatureAlgorithm", "the JWS is not signed with the algorithm for its key", "sign with "+algorithm)
		p.Algorithms = algorithms
		return nil, p
	}
	payload, err := signed.Verify(jwk)
	if err != nil {
		return nil, refuse("unauthorized", "the signature of the JWS is wrong", "sign it with the key that it names").because("verifying a JWS: " + err.Error())
	}
	// What the key is called must not become part of it: the thumbprint is its name.
	own := &jose.JSONWebKey{Key: jwk.Key}
	thumbprint, err := thumbprintOf(own)
	if err != nil {
		return nil, err
	}
	return &message{jwk: own, thumbprint: thumbprint, payload: payload, signed: signed}, nil
}

// entitled says whether the account may do anything, as the registry's snapshot has it. What is issued is judged again in the transaction.
func (s *Server) entitled(ctx context.Context, x *exchange, r route) error {
	x.Access.Identity = x.key.Name
	if x.account.Status != pki.ACMEValid || !x.key.Removed.IsZero() {
		return isRemoved.because("account " + x.account.ID + " is deactivated, or its key " + x.key.ID + " was removed")
	}
	if r.endures {
		return nil
	}
	holder, ok := s.Registry.Snapshot().Identity(x.key.Name)
	if !ok { // another node may have added it a moment ago
		if err := s.Registry.Refresh(ctx); err != nil {
			return err
		}
		holder, ok = s.Registry.Snapshot().Identity(x.key.Name)
	}
	switch {
	case !ok:
		return isRemoved.because("identity \"" + x.key.Name + "\" is not there")
	case holder.Disabled:
		return isDisabled.because("identity \"" + x.key.Name + "\" is disabled")
	}
	return nil
}

// thumbprintOf names a key (RFC 7638).
func thumbprintOf(jwk *jose.JSONWebKey) (string, error) { return acme.KeyToID(jwk) }
