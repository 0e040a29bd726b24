package admin

import (
	"errors"

	"github.com/tenantgate/tenantgate/identity"
)

// maxImport bounds the logins of one import.
const maxImport = 2000

var errNotImported = errors.New("not imported")

// importLogins adds many logins, or none. Each that cannot be added is named.
func importLogins(s *Server, c *call) (any, error) {
	var q LoginImport
	if err := c.decode(&q); err != nil {
		return nil, err
	}
	if n := len(q.Logins); n == 0 || n > maxImport {
		return nil, invalid("logins", "not 1 to 2000 logins", "split the import")
	}
	result := LoginImported{DryRun: q.DryRun, Added: []string{}, Problems: []LoginProblem{}}
	hashes := make([]error, len(q.Logins))
	lines := make(map[string]int)
	for i := range q.Logins {
		l := &q.Logins[i]
		if l.Password != "" {
			hashes[i] = invalid("password", "a password in plain text", "give password_hash: an import has too many to hash them here")
			l.Password = ""
			continue
		}
		hashes[i] = l.hash()
		user := identity.NormalUser(l.User)
		if _, twice := lines[user]; twice && hashes[i] == nil {
			hashes[i] = invalid("user", "the user name is there twice", "leave one of them out")
		}
		lines[user] = l.Line
	}
	err := s.changeAll(c, identity.ObjectLogin, "add", func(tx *identity.Tx) ([]act, error) {
		var acts []act
		for i := range q.Logins {
			l, err := &q.Logins[i], hashes[i]
			if err == nil {
				var stored identity.Login
				if stored, err = tx.AddLogin(c.Context(), l.Login); err == nil {
					acts = append(acts, act{stored.User, stored})
					result.Added = append(result.Added, stored.User)
					continue
				}
			}
			p := problemOf(err)
			if p.Status >= 500 {
				return nil, err
			}
			detail := p.Detail
			if e, ok := errors.AsType[*identity.Error](err); ok {
				detail = e.Message
			}
			result.Problems = append(result.Problems, LoginProblem{Line: l.Line, User: l.User, Field: p.Field, Detail: detail, Hint: p.Hint})
		}
		if q.DryRun || len(result.Problems) > 0 {
			return nil, errNotImported
		}
		return acts, nil
	})
	if errors.Is(err, errNotImported) {
		err = nil
		if !q.DryRun || len(result.Problems) > 0 {
			result.Added = []string{}
		}
	}
	return &result, err
}
