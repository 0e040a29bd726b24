package identity

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"
)

// Login returns the login of a user name as [NormalUser] gives it, with whom it stands for, or false. It is found also when it is closed or its identity is
// disabled. Of the binding, Certificate is nil. It takes no lock and allocates nothing.
func (s *Snapshot) Login(user string) (*Binding, bool) { return s.logins.get(user) }

// LoginCount is how many logins there are, closed ones included.
func (s *Snapshot) LoginCount() int { return s.logins.count }

// Logins returns all logins by user name.
func (s *Snapshot) Logins() []*Login {
	list := make([]*Login, 0, s.logins.count)
	s.logins.all(func(_ string, b *Binding) bool {
		list = append(list, b.Login)
		return true
	})
	slices.SortFunc(list, func(a, b *Login) int { return cmp.Compare(a.User, b.User) })
	return list
}

// IdentityLogins returns the logins that stand for the identity, by user name.
func (s *Snapshot) IdentityLogins(identity string) []*Login {
	if h, ok := s.holders.get(identity); ok {
		return slices.Clone(h.logins)
	}
	return nil
}

// LoginOwner returns the team that moves the callers of a login: its owner, or else that of its identity.
func (s *Snapshot) LoginOwner(l *Login) string {
	if i, ok := s.Identity(l.Identity); ok && l.Owner == "" {
		return i.Owner
	}
	return l.Owner
}

// LoginUses returns when each login was last accepted, by user name, as far as the nodes have written it down: they do so every few seconds.
func (r *Registry) LoginUses(ctx context.Context) (map[string]time.Time, error) {
	uses := map[string]time.Time{}
	err := each(ctx, r.db, func(row scanner) error {
		var user string
		var at int64
		err := row.Scan(&user, &at)
		uses[user] = fromMicros(at)
		return err
	}, `SELECT user_name, last_used FROM login_uses`)
	if err != nil {
		return nil, fmt.Errorf("reading when logins were used: %w", err)
	}
	return uses, nil
}

// NoteLoginUses writes down when logins were last accepted. It is no change: it takes no revision and no turn, and what is older than what is known is passed
// over, as are logins that are no more.
func (r *Registry) NoteLoginUses(ctx context.Context, uses map[string]time.Time) error {
	const upsert = `INSERT INTO login_uses (user_name, last_used) SELECT user_name, $2 FROM logins WHERE user_name = $1 ` +
		`ON CONFLICT (user_name) DO UPDATE SET last_used = excluded.last_used WHERE login_uses.last_used < excluded.last_used`
	users := make([]string, 0, len(uses))
	for user := range uses {
		users = append(users, user)
	}
	slices.Sort(users) // nodes that write at once take the rows in one order
	tx, err := r.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("noting when logins were used: %w", err)
	}
	defer func() { _ = tx.Rollback() }()
	for _, user := range users {
		if _, err := tx.ExecContext(ctx, upsert, user, micros(uses[user])); err != nil {
			return fmt.Errorf("noting when logins were used: %w", err)
		}
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("noting when logins were used: %w", err)
	}
	return nil
}

// putLogin stores a login.
func (d *draft) putLogin(l *Login) {
	if old, ok := d.logins.get(l.User); ok && old.Login.Identity != l.Identity {
		d.unholdLogin(old.Login)
	}
	h := d.holder(l.Identity)
	h.logins = append(withoutLogin(h.logins, l.User), l)
	slices.SortFunc(h.logins, func(a, b *Login) int { return cmp.Compare(a.User, b.User) })
	d.holders.put(l.Identity, h)
	d.logins.put(l.User, &Binding{Login: l, Identity: h.bound(l.Identity)})
	d.changed.Logins = append(d.changed.Logins, l.User)
}

func (d *draft) dropLogin(user string) {
	d.changed.Logins = append(d.changed.Logins, user)
	if b, ok := d.logins.get(user); ok {
		d.logins.drop(user)
		d.unholdLogin(b.Login)
	}
}

func (d *draft) unholdLogin(l *Login) {
	h := d.holder(l.Identity)
	h.logins = withoutLogin(h.logins, l.User)
	d.putHolder(l.Identity, h)
}

func (d *draft) putLoginPolicy(p *LoginPolicy) {
	d.loginPolicy = p
	d.changed.LoginPolicy = true
}

func withoutLogin(list []*Login, user string) []*Login {
	return slices.DeleteFunc(slices.Clone(list), func(l *Login) bool { return l.User == user })
}
