package admin

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"slices"
	"time"

	"github.com/tenantgate/tenantgate/identity"
)

// LoginID returns what stands for a user name in addresses, which take letters and digits alone: base64url without padding.
func LoginID(user string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(identity.NormalUser(user)))
}

// loginUser is the user name that an address names. What is no ID is the name of no login.
func loginUser(id string) (string, error) {
	user, err := base64.RawURLEncoding.Strict().DecodeString(id)
	if err != nil || len(user) == 0 {
		return "", absent(identity.ObjectLogin, id)
	}
	return string(user), nil
}

// view shows logins. The last uses are left out when the database cannot say them: the rest is known without it.
func (s *Server) loginViews(ctx context.Context, list []*identity.Login) []*Login {
	uses, err := s.Registry.LoginUses(ctx)
	if err != nil {
		s.logger().Warn("showing when logins were used", "error", err)
	}
	snap, now := s.Registry.Snapshot(), time.Now()
	views := make([]*Login, 0, len(list))
	for _, l := range list {
		v := &Login{Login: *l, ID: LoginID(l.User), CurrentStage: l.StageAt(now), Closes: l.Closes(), Team: snap.LoginOwner(l),
			Hash: l.Password.Kind(), LastUsed: uses[l.User]}
		if next, ok := l.NextStep(now); ok {
			v.Next = &next
		}
		if begin, ok := l.NextBrownout(now); ok {
			v.NextBrownout = begin
		}
		views = append(views, v)
	}
	return views
}

func (s *Server) loginView(ctx context.Context, l identity.Login) *Login {
	return s.loginViews(ctx, []*identity.Login{&l})[0]
}

// listLogins answers with logins by id: that is their order in addresses.
func listLogins(s *Server, c *call) (any, error) {
	logins := s.Registry.Snapshot().Logins()
	if name := c.query["identity"]; name != "" {
		logins = slices.DeleteFunc(logins, func(l *identity.Login) bool { return l.Identity != name })
	}
	views := s.loginViews(c.Context(), logins)
	if stage := identity.Stage(c.query["stage"]); stage != "" {
		if !slices.Contains(identity.Stages(), stage) {
			return nil, invalid("stage", "stage is none of those that there are", "use observe, open, warned, brownout or closed")
		}
		views = slices.DeleteFunc(views, func(v *Login) bool { return v.CurrentStage != stage })
	}
	slices.SortFunc(views, func(a, b *Login) int { return compare(a.ID, b.ID) })
	return page(c, views, loginID)
}

func loginID(l *Login) string { return l.ID }

func showLogin(s *Server, c *call) (any, error) {
	user, err := loginUser(c.name)
	if err != nil {
		return nil, err
	}
	b, ok := s.Registry.Snapshot().Login(user)
	if !ok {
		return nil, absent(identity.ObjectLogin, user)
	}
	return s.loginView(c.Context(), *b.Login), c.tag(b.Login)
}

// hash makes or reads the hash of a request. Making one takes as long as a hash takes: it is done before a transaction begins.
func (r *LoginRequest) hash() (err error) {
	switch {
	case r.Password != "" && r.PasswordHash != "":
		return invalid("password_hash", "both password and password_hash are given", "give one of them")
	case r.Password != "":
		r.Login.Password, err = identity.HashPassword(r.Password)
	case r.PasswordHash != "":
		r.Login.Password, err = identity.ParsePasswordHash(r.PasswordHash)
	}
	r.Password, r.PasswordHash = "", ""
	return err
}

func addLogin(s *Server, c *call) (any, error) {
	var q LoginRequest
	if err := c.decode(&q); err != nil {
		return nil, err
	}
	if err := q.hash(); err != nil {
		return nil, err
	}
	stored := q.Login
	err := s.change(c, identity.ObjectLogin, "add", func(tx *identity.Tx) (_ act, err error) {
		stored, err = tx.AddLogin(c.Context(), q.Login)
		return act{stored.User, stored}, err
	})
	if err != nil {
		return nil, err
	}
	c.header.Set("Location", "/v1/logins/"+LoginID(stored.User))
	return s.loginView(c.Context(), stored), nil
}

// loginPatch is what PATCH may change.
type loginPatch struct {
	identity.Login
	Password     string `json:"password,omitempty"`
	PasswordHash string `json:"password_hash,omitempty"`
}

func setLogin(s *Server, c *call) (any, error) {
	user, err := loginUser(c.name)
	if err != nil {
		return nil, err
	}
	patch, err := c.read()
	if err != nil {
		return nil, err
	}
	hash, patch, err := takePassword(patch)
	if err != nil {
		return nil, err
	}
	var stored identity.Login
	err = s.change(c, identity.ObjectLogin, "set", func(tx *identity.Tx) (act, error) {
		before, err := tx.Login(user)
		if err != nil {
			return act{}, err
		}
		if err := c.matches(before); err != nil {
			return act{}, err
		}
		wanted, err := merge(before, patch)
		if err != nil {
			return act{}, err
		}
		wanted.Password = hash
		if stored, err = tx.SetLogin(c.Context(), wanted); err != nil {
			return act{}, err
		}
		changed, err := differences(before, stored)
		delete(changed, "version")
		if !hash.IsZero() {
			changed["password"] = difference{To: json.RawMessage(`"[redacted]"`)}
		}
		return act{stored.User, changed}, err
	})
	if err != nil {
		return nil, err
	}
	return s.loginView(c.Context(), stored), c.tag(stored)
}

// takePassword takes password and password_hash out of a patch and returns the hash, the zero value for none.
func takePassword(patch []byte) (hash identity.PasswordHash, rest []byte, err error) {
	if !bytes.Contains(patch, []byte("password")) {
		return hash, patch, nil
	}
	var r loginPatch
	if r, err = merge(r, patch); err != nil {
		return hash, nil, err
	}
	q := LoginRequest{Password: r.Password, PasswordHash: r.PasswordHash}
	if err := q.hash(); err != nil {
		return hash, nil, err
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(patch, &members); err != nil {
		return hash, nil, notJSON(err)
	}
	delete(members, "password")
	delete(members, "password_hash")
	rest, err = json.Marshal(members)
	return q.Login.Password, rest, err
}

// actOnLogin does one thing to the login that the path names.
func actOnLogin(verb string, do func(tx *identity.Tx, ctx context.Context, user string) (identity.Login, error)) func(*Server, *call) (any, error) {
	return func(s *Server, c *call) (any, error) {
		if err := c.nothing(); err != nil {
			return nil, err
		}
		return s.changeLogin(c, verb, do)
	}
}

func (s *Server) changeLogin(c *call, verb string, do func(tx *identity.Tx, ctx context.Context, user string) (identity.Login, error)) (any, error) {
	user, err := loginUser(c.name)
	if err != nil {
		return nil, err
	}
	var stored identity.Login
	err = s.change(c, identity.ObjectLogin, verb, func(tx *identity.Tx) (act, error) {
		before, err := tx.Login(user)
		if err != nil {
			return act{}, err
		}
		if stored, err = do(tx, c.Context(), user); err != nil {
			return act{}, err
		}
		changed, err := differences(before, stored)
		delete(changed, "version")
		return act{stored.User, changed}, err
	})
	if err != nil {
		return nil, err
	}
	return s.loginView(c.Context(), stored), nil
}

func backLogin(s *Server, c *call) (any, error) {
	var q LoginBack
	if err := c.decode(&q); err != nil {
		return nil, err
	}
	return s.changeLogin(c, "back", func(tx *identity.Tx, ctx context.Context, user string) (identity.Login, error) {
		return tx.BackLogin(ctx, user, q.Until)
	})
}

// observeLogin puts a login into stage observe, and begins its findings anew.
func observeLogin(tx *identity.Tx, ctx context.Context, user string) (identity.Login, error) {
	l, err := tx.Login(user)
	if err != nil {
		return l, err
	}
	if err := tx.ForgetLoginFindings(ctx, l.User); err != nil {
		return l, err
	}
	l.Stage = identity.StageObserve
	return tx.SetLogin(ctx, l)
}

func removeLogin(s *Server, c *call) (any, error) {
	user, err := loginUser(c.name)
	if err != nil {
		return nil, err
	}
	return nil, s.change(c, identity.ObjectLogin, "remove", func(tx *identity.Tx) (act, error) {
		return act{user, nil}, tx.RemoveLogin(c.Context(), user)
	})
}

func listFindings(s *Server, c *call) (any, error) {
	user, err := loginUser(c.name)
	if err != nil {
		return nil, err
	}
	if _, ok := s.Registry.Snapshot().Login(user); !ok {
		return nil, absent(identity.ObjectLogin, user)
	}
	return s.Registry.LoginFindings(c.Context(), user)
}

func showLoginPolicy(s *Server, c *call) (any, error) {
	p := s.Registry.Snapshot().LoginPolicy()
	return p, c.tag(p)
}

func setLoginPolicy(s *Server, c *call) (any, error) {
	patch, err := c.read()
	if err != nil {
		return nil, err
	}
	var stored identity.LoginPolicy
	err = s.change(c, identity.ObjectLoginPolicy, "set", func(tx *identity.Tx) (act, error) {
		before := tx.LoginPolicy()
		if err := c.matches(&before); err != nil {
			return act{}, err
		}
		wanted, err := merge(before, patch)
		if err != nil {
			return act{}, err
		}
		if stored, err = tx.SetLoginPolicy(c.Context(), wanted); err != nil {
			return act{}, err
		}
		changed, err := differences(before, stored)
		return act{"policy", changed}, err
	})
	if err != nil {
		return nil, err
	}
	return &stored, c.tag(&stored)
}
