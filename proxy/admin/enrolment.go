package admin

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/proxy/enrolment"
)

// The life of an enrolment token: it is to be used, not to be kept.
const (
	defaultTokenLife = time.Hour
	minTokenLife     = time.Minute
	maxTokenLife     = 7 * 24 * time.Hour
)

// objectToken is what change records call a token.
const objectToken = "enrolment_token"

// The states of an enrolment token.
const (
	TokenOpen      = "open"
	TokenUsed      = "used"
	TokenExpired   = "expired"
	TokenWithdrawn = "withdrawn"
)

// addEnrolmentToken makes a token. The answer is the only place where its text ever appears.
func addEnrolmentToken(s *Server, c *call) (any, error) {
	var q EnrolmentTokenRequest
	if err := c.decode(&q); err != nil {
		return nil, err
	}
	made, err := s.prepareToken(c.name, q)
	if err != nil {
		return nil, err
	}
	var stored EnrolmentToken
	err = s.change(c, objectToken, "add", func(tx *identity.Tx) (act, error) {
		stored, err = made.store(c.Context(), s.CA, tx)
		return act{stored.ID, stored}, err
	})
	c.header.Set("Location", "/v1/enrolment-tokens/"+stored.ID)
	return made.answer(stored), err
}

// freshToken is a token that is not stored yet.
type freshToken struct {
	rules   pki.EnrolmentToken
	token   *enrolment.Token
	address string
	root    [sha256.Size]byte
}

// prepareToken makes the text of a token for an identity.
func (s *Server) prepareToken(name string, q EnrolmentTokenRequest) (*freshToken, error) {
	rules, err := q.rules(name)
	if err != nil {
		return nil, err
	}
	address := ""
	if s.Enrolment != nil {
		address = s.Enrolment()
	}
	if address == "" {
		return nil, &problem{Status: http.StatusConflict, Code: "no_enrolment", Detail: "the server has no enrolment listener, at which a token could be used",
			Hint: "set enrolment.listen in the server's configuration and restart it"}
	}
	root := sha256.Sum256(s.CA.SigningRoot().Raw)
	return &freshToken{rules, enrolment.NewToken(address, root, name), address, root}, nil
}

// store keeps the token's rules and the hash of its text.
func (f *freshToken) store(ctx context.Context, ca *pki.CA, tx *identity.Tx) (EnrolmentToken, error) {
	holder, err := tx.Identity(f.rules.Name)
	if err != nil {
		return EnrolmentToken{}, err
	}
	if holder.Disabled {
		return EnrolmentToken{}, &problem{Status: http.StatusConflict, Code: "disabled",
			Detail: "identity \"" + holder.Name + "\" is disabled and gets no certificate", Hint: "enable the identity first"}
	}
	if err := tx.MayHaveCertificate(holder.Name, false); err != nil {
		return EnrolmentToken{}, err
	}
	kept, err := ca.AddEnrolmentToken(ctx, tx.SQL(), f.rules, f.token.Hash())
	return tokenView(&kept, time.Now()), err
}

// answer is where the token's text is told.
func (f *freshToken) answer(stored EnrolmentToken) NewEnrolmentToken {
	return NewEnrolmentToken{EnrolmentToken: stored, Token: f.token.Reveal(), URL: f.address, RootFingerprint: hex.EncodeToString(f.root[:])}
}

// rules are what the token will be good for.
func (q *EnrolmentTokenRequest) rules(name string) (pki.EnrolmentToken, error) {
	valid := time.Duration(q.Valid)
	if valid == 0 {
		valid = defaultTokenLife
	}
	if valid < minTokenLife || valid > maxTokenLife {
		return pki.EnrolmentToken{}, invalid("valid", "the token's life is out of bounds", "give 1m to 168h, or nothing for an hour")
	}
	if err := enrolment.CheckSource(q.For); err != nil {
		return pki.EnrolmentToken{}, invalid("for", err.Error(), "give a name such as erp.example.com, an address, or a network such as 10.1.0.0/16")
	}
	key := strings.ToLower(strings.ReplaceAll(q.KeyFingerprint, ":", ""))
	if b, err := hex.DecodeString(key); key != "" && (err != nil || len(b) != sha256.Size) {
		return pki.EnrolmentToken{}, invalid("key_fingerprint", "this is no SHA-256 in hexadecimal digits",
			"openssl pkey -in FILE -pubout -outform DER | openssl sha256")
	}
	return pki.EnrolmentToken{
		ID: strings.ToLower(rand.Text()), Name: name, Source: q.For, Key: key, Lifetime: time.Duration(q.Lifetime), Expires: time.Now().Add(valid),
	}, nil
}

func tokenView(t *pki.EnrolmentToken, now time.Time) EnrolmentToken {
	v := EnrolmentToken{
		ID: t.ID, Identity: t.Name, For: t.Source, KeyFingerprint: t.Key, Lifetime: identity.Duration(t.Lifetime),
		Created: t.Created, Expires: t.Expires, Used: t.Used, Serial: t.Serial, Withdrawn: t.Withdrawn, State: TokenOpen,
	}
	switch {
	case !t.Withdrawn.IsZero():
		v.State = TokenWithdrawn
	case t.Serial != "":
		v.State = TokenUsed
	case !now.Before(t.Expires):
		v.State = TokenExpired
	}
	return v
}

// listEnrolmentTokens lists the tokens by id; those that ended a month ago are forgotten.
func listEnrolmentTokens(s *Server, c *call) (any, error) {
	state, given := c.query["state"]
	if given && !slices.Contains([]string{TokenOpen, TokenUsed, TokenExpired, TokenWithdrawn}, state) {
		return nil, malformed("parameter \"state\" is %q: give open, used, expired or withdrawn", state)
	}
	tokens, err := s.CA.EnrolmentTokens(c.Context(), c.query["identity"])
	if err != nil {
		return nil, err
	}
	list, now := []EnrolmentToken{}, time.Now()
	for i := range tokens {
		if v := tokenView(&tokens[i], now); !given || v.State == state {
			list = append(list, v)
		}
	}
	slices.SortFunc(list, func(a, b EnrolmentToken) int { return compare(a.ID, b.ID) }) // not every database sorts by octets
	return page(c, list, func(t EnrolmentToken) string { return t.ID })
}

// absentToken is an error that says that there is no token, in the registry's words.
func absentToken(err error, id string) error {
	if errors.Is(err, pki.ErrNotFound) {
		return absent("enrolment token", id)
	}
	return err
}

func showEnrolmentToken(s *Server, c *call) (any, error) {
	t, err := s.CA.EnrolmentToken(c.Context(), c.name)
	return tokenView(&t, time.Now()), absentToken(err, c.name)
}

// withdrawEnrolmentToken takes a token back. What was issued for it stays: that is revoked like any certificate.
func withdrawEnrolmentToken(s *Server, c *call) (any, error) {
	if err := c.nothing(); err != nil {
		return nil, err
	}
	var stored EnrolmentToken
	err := s.change(c, objectToken, "withdraw", func(tx *identity.Tx) (act, error) {
		t, err := s.CA.WithdrawEnrolmentToken(c.Context(), tx.SQL(), c.name)
		stored = tokenView(&t, time.Now())
		return act{c.name, stored}, absentToken(err, c.name)
	})
	return stored, err
}
