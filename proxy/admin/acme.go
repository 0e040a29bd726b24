package admin

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/pki"
)

// How long an ACME account may register with a key.
const (
	defaultKeyLife = 24 * time.Hour
	minKeyLife     = time.Minute
	maxKeyLife     = 30 * 24 * time.Hour
)

// objectACMEKey is what change records call an external account binding.
const objectACMEKey = "acme_key"

// The states of an ACME key.
const (
	ACMEKeyOpen    = "open"    // an account may register
	ACMEKeyBound   = "bound"   // one did
	ACMEKeyEnded   = "ended"   // one did, and has deactivated itself
	ACMEKeyExpired = "expired" // none did in time
	ACMEKeyRemoved = "removed"
)

var acmeKeyStates = []string{ACMEKeyOpen, ACMEKeyBound, ACMEKeyEnded, ACMEKeyExpired, ACMEKeyRemoved}

// addACMEKey makes a key. The answer is the only place where its secret ever appears.
func addACMEKey(s *Server, c *call) (any, error) {
	var q ACMEKeyRequest
	if err := c.decode(&q); err != nil {
		return nil, err
	}
	valid := time.Duration(q.Valid)
	if valid == 0 {
		valid = defaultKeyLife
	}
	if valid < minKeyLife || valid > maxKeyLife {
		return nil, invalid("valid", "the time to register is out of bounds", "give 1m to 720h, or nothing for a day")
	}
	hosts := make([]string, 0, len(q.Hosts))
	for _, host := range q.Hosts {
		hosts = append(hosts, strings.ToLower(host))
	}
	if err := pki.CheckHosts(hosts); err != nil {
		e, _ := errors.AsType[*pki.RequestError](err)
		return nil, invalid("hosts", e.Problem, e.Hint)
	}
	directory := ""
	if s.ACME != nil {
		directory = s.ACME()
	}
	if directory == "" {
		return nil, &problem{Status: http.StatusConflict, Code: "no_acme", Detail: "the server serves no ACME, at which a key could be used",
			Hint: "set enrolment.listen and enrolment.acme.allow in the server's configuration and restart it"}
	}
	answer := NewACMEKey{Directory: directory}
	err := s.change(c, objectACMEKey, "add", func(tx *identity.Tx) (act, error) {
		holder, err := tx.Identity(c.name)
		if err != nil {
			return act{}, err
		}
		if holder.Disabled {
			return act{}, &problem{Status: http.StatusConflict, Code: "disabled",
				Detail: "identity \"" + c.name + "\" is disabled and gets no certificate", Hint: "enable the identity first"}
		}
		kept, secret, err := s.CA.AddACMEKey(c.Context(), tx.SQL(), pki.ACMEKey{
			ID: strings.ToLower(rand.Text()), Name: c.name, Hosts: hosts, Lifetime: time.Duration(q.Lifetime), Expires: time.Now().Add(valid),
		})
		answer.ACMEKey, answer.HMACKey = acmeKeyView(&kept, time.Now()), base64.RawURLEncoding.EncodeToString(secret)
		return act{kept.ID, answer.ACMEKey}, err
	})
	c.header.Set("Location", "/v1/acme-keys/"+answer.ID)
	return answer, err
}

func acmeKeyView(k *pki.ACMEKey, now time.Time) ACMEKey {
	v := ACMEKey{
		ID: k.ID, Identity: k.Name, Hosts: k.Hosts, Lifetime: identity.Duration(k.Lifetime), Created: k.Created, Expires: k.Expires,
		Bound: k.Bound, Account: k.Account, Removed: k.Removed, State: ACMEKeyOpen,
	}
	switch {
	case !k.Removed.IsZero():
		v.State = ACMEKeyRemoved
	case k.AccountStatus == pki.ACMEDeactivated:
		v.State = ACMEKeyEnded
	case !k.Bound.IsZero():
		v.State = ACMEKeyBound
	case !now.Before(k.Expires):
		v.State = ACMEKeyExpired
	}
	return v
}

// listACMEKeys lists the keys by id; those that ended a month ago are forgotten.
func listACMEKeys(s *Server, c *call) (any, error) {
	state, given := c.query["state"]
	if given && !slices.Contains(acmeKeyStates, state) {
		return nil, malformed("parameter \"state\" is %q: give %s", state, strings.Join(acmeKeyStates, ", "))
	}
	keys, err := s.CA.ACMEKeys(c.Context(), c.query["identity"])
	if err != nil {
		return nil, err
	}
	list, now := []ACMEKey{}, time.Now()
	for i := range keys {
		if v := acmeKeyView(&keys[i], now); !given || v.State == state {
			list = append(list, v)
		}
	}
	slices.SortFunc(list, func(a, b ACMEKey) int { return compare(a.ID, b.ID) }) // not every database sorts by octets
	return page(c, list, func(k ACMEKey) string { return k.ID })
}

// absentACMEKey is an error that says that there is no key, in the registry's words.
func absentACMEKey(err error, id string) error {
	if errors.Is(err, pki.ErrNotFound) {
		return absent("ACME key", id)
	}
	return err
}

func showACMEKey(s *Server, c *call) (any, error) {
	k, err := s.CA.ACMEKey(c.Context(), nil, c.name)
	return acmeKeyView(&k, time.Now()), absentACMEKey(err, c.name)
}

// removeACMEKey takes a key back, and its account with it. What was issued stays: that is revoked like any certificate.
func removeACMEKey(s *Server, c *call) (any, error) {
	return nil, s.change(c, objectACMEKey, "remove", func(tx *identity.Tx) (act, error) {
		k, err := s.CA.RemoveACMEKey(c.Context(), tx.SQL(), c.name)
		return act{c.name, acmeKeyView(&k, time.Now())}, absentACMEKey(err, c.name)
	})
}
