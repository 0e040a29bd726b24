package admin

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/proxy/usage"
)

// moveCaller makes in one act all that a caller of a login needs to go over to a certificate: the identity, its roles, an enrolment token, and the move by which
// it is locked out behind itself.
func moveCaller(s *Server, c *call) (any, error) {
	var q MoveRequest
	if err := c.decode(&q); err != nil {
		return nil, err
	}
	id, err := c.callerID()
	if err != nil {
		return nil, err
	}
	form, err := usage.Matcher(c.Context(), s.DB, s.Sealer)
	if err != nil {
		return nil, err
	}
	m := &mover{server: s, call: c, q: q, form: form, done: MoveResult{
		Routes: []string{}, Roles: []string{}, Granted: []string{}, MissingCredentials: []string{}, CopiedCredentials: []string{}, Warnings: []string{}}}
	if !q.NoToken {
		if m.token, err = s.prepareToken(q.Identity, q.Token); err != nil {
			return nil, err
		}
	}
	s.flushUsage(c.Context())
	err = s.Registry.Change(c.Context(), func(tx *identity.Tx) error { return m.move(c.Context(), tx, id) })
	return m.done, err
}

// mover moves one caller.
type mover struct {
	server *Server
	call   *call
	q      MoveRequest
	form   func(string) string
	token  *freshToken // nil: none
	done   MoveResult

	caller usage.Caller
	login  identity.Login
	behind identity.Identity // whom the login stands for
}

func (m *mover) move(ctx context.Context, tx *identity.Tx, id usage.ID) (err error) {
	if m.caller, err = usage.Find(ctx, tx.SQL(), id); err != nil {
		return err
	}
	switch {
	case m.caller.Kind != usage.Login:
		return invalid("caller", "caller "+id.String()+" calls with a certificate already", "caller list --login shows who uses a password")
	case m.q.Login != "" && identity.NormalUser(m.q.Login) != m.caller.Subject:
		return invalid("login", fmt.Sprintf("caller %s uses login %q", id, m.caller.Subject), "name that login")
	}
	if m.login, err = tx.Login(m.caller.Subject); err != nil {
		return err
	}
	if m.behind, err = tx.Identity(m.login.Identity); err != nil {
		return err
	}
	looks, err := m.looks()
	if err != nil {
		return err
	}
	tenants, err := m.routes(tx)
	if err != nil {
		return err
	}
	if err := m.identity(ctx, tx); err != nil {
		return err
	}
	if err := m.credentials(ctx, tx, tenants); err != nil {
		return err
	}
	if err := m.store(ctx, tx, looks); err != nil {
		return err
	}
	return m.neighbours(ctx, tx)
}

// looks are what the caller looks like, with its address in the clear.
func (m *mover) looks() ([]identity.Look, error) {
	parts := append([]usage.Part{{Source: m.caller.Source, Fingerprint: m.caller.Fingerprint, Agent: m.caller.Agent}}, m.caller.Parts...)
	known := make(map[string]string)
	for _, a := range m.q.Addresses {
		addr, err := netip.ParseAddr(a)
		if err != nil {
			return nil, invalid("addresses", fmt.Sprintf("%q is not an address", a), "give the addresses that the caller connects from")
		}
		known[m.form(usage.SourceOf(addr))] = usage.SourceOf(addr)
	}
	var looks []identity.Look
	for _, p := range parts {
		source := p.Source
		if clear, ok := known[source]; ok {
			source = clear
		}
		switch {
		case p.Agent == usage.Other && p.Fingerprint == "":
			return nil, &problem{Status: http.StatusConflict, Code: "conflict", Detail: "this is no caller but all those that there was no room to keep apart",
				Hint: "find out who they are at their addresses, and have usage forgotten that is of no use: tenantgate usage forget"}
		case strings.HasPrefix(source, "anon-"):
			return nil, invalid("addresses", "the usage history has only a pseudonym of the caller's address ("+source+")",
				"give its address with --address; if it is refused, the key of that pseudonym is destroyed, and the caller must be seen again first")
		}
		looks = append(looks, identity.Look{Source: source, Fingerprint: p.Fingerprint, Agent: p.Agent})
	}
	return looks, nil
}

// routes finds what the caller used and the login may use, and the tenants that they lead to.
func (m *mover) routes(tx *identity.Tx) (tenants []string, err error) {
	may := identity.Binding{Login: &m.login, Identity: &m.behind}
	for _, u := range m.caller.Routes {
		if u.Route == "" {
			continue
		}
		r, err := tx.Route(u.Route)
		if err != nil {
			m.warn("it used route %q, which is no more", u.Route)
			continue
		}
		if !may.HasRole(r.Role) || !m.login.AllowsRoute(r.Name) {
			m.warn("it asked for route %q, which the login may not use: no role is given for that", u.Route)
			continue
		}
		m.done.Routes, m.done.Roles, tenants = append(m.done.Routes, r.Name), append(m.done.Roles, r.Role), append(tenants, r.Tenant)
	}
	slices.Sort(m.done.Roles)
	slices.Sort(tenants)
	m.done.Roles = slices.Compact(m.done.Roles)
	if len(m.done.Roles) == 0 {
		m.warn("it was seen using no route that the login may use: the identity is given no role")
	}
	return slices.Compact(tenants), nil
}

// identity adds the identity, or gives it the roles that it lacks.
func (m *mover) identity(ctx context.Context, tx *identity.Tx) error {
	old, err := tx.Identity(m.q.Identity)
	if err != nil {
		owner := m.q.Owner
		for _, o := range []string{m.login.Owner, m.behind.Owner} {
			if owner == "" {
				owner = o
			}
		}
		added, err := tx.AddIdentity(ctx, identity.Identity{Name: m.q.Identity, Owner: owner, Description: m.caller.Name, Roles: m.done.Roles})
		if err != nil {
			return err
		}
		m.done.IdentityAdded, m.done.Granted = true, m.done.Roles
		return m.call.record(tx, identity.ObjectIdentity, "add", act{added.Name, added})
	}
	if old.Disabled {
		return &problem{Status: http.StatusConflict, Code: "disabled", Field: "identity", Detail: "identity \"" + old.Name + "\" is disabled", Hint: "enable it first, or name another"}
	}
	if m.q.Owner != "" && m.q.Owner != old.Owner {
		return invalid("owner", fmt.Sprintf("identity %q is there already, and its owner is %q", old.Name, old.Owner), "leave the owner out, or change it with identity set")
	}
	next := old
	next.Roles = slices.Clone(old.Roles)
	for _, role := range m.done.Roles {
		if !slices.Contains(old.Roles, role) {
			next.Roles, m.done.Granted = append(next.Roles, role), append(m.done.Granted, role)
		}
	}
	for _, role := range old.Roles {
		if !slices.Contains(m.done.Roles, role) {
			m.warn("identity %q holds role %q besides, which this caller was not seen to need", old.Name, role)
		}
	}
	if len(m.done.Granted) == 0 {
		return nil
	}
	stored, err := tx.SetIdentity(ctx, next)
	if err != nil {
		return err
	}
	changed, err := differences(old, stored)
	if err != nil {
		return err
	}
	return m.call.record(tx, identity.ObjectIdentity, "set", act{stored.Name, changed})
}

// credentials looks whether the identity can call the tenants, and gives it the login's OAuth clients if that is asked for.
func (m *mover) credentials(ctx context.Context, tx *identity.Tx, tenants []string) error {
	find := func(of, tenant string) *identity.Credential {
		list := tx.IdentityCredentials(of)
		if i := slices.IndexFunc(list, func(c identity.Credential) bool { return c.Tenant == tenant }); i >= 0 {
			return &list[i]
		}
		return nil
	}
	for _, tenant := range tenants {
		if find(m.q.Identity, tenant) != nil {
			continue
		}
		from := find(m.behind.Name, tenant)
		if !m.q.CopyCredentials || from == nil || from.Keyless {
			m.done.MissingCredentials = append(m.done.MissingCredentials, tenant)
			continue
		}
		from.Identity = m.q.Identity
		stored, err := tx.AddCredential(ctx, *from)
		if err != nil {
			return err
		}
		m.done.CopiedCredentials = append(m.done.CopiedCredentials, tenant)
		if err := m.call.record(tx, identity.ObjectCredential, "add", act{stored.ID, stored}); err != nil {
			return err
		}
	}
	return nil
}

// store makes the token and the move.
func (m *mover) store(ctx context.Context, tx *identity.Tx, looks []identity.Look) error {
	if m.token != nil {
		stored, err := m.token.store(ctx, m.server.CA, tx)
		if err != nil {
			return err
		}
		if err := m.call.record(tx, objectToken, "add", act{stored.ID, stored}); err != nil {
			return err
		}
		answer := m.token.answer(stored)
		m.done.Token = &answer
	}
	grace := identity.Duration(defaultGrace)
	if m.q.Grace != nil {
		grace = *m.q.Grace
	}
	stored, err := tx.AddMove(ctx, identity.Move{Login: m.login.User, Caller: m.caller.ID.String(), Identity: m.q.Identity, Looks: looks, Grace: grace})
	m.done.Move = stored
	if err != nil {
		return err
	}
	return m.call.record(tx, identity.ObjectMove, "add", act{stored.Caller, moveRecord(&stored)})
}

// moveRecord is the change record's detail of a move. Addresses are not in it: records are kept for ever.
func moveRecord(m *identity.Move) any {
	return struct {
		Login    string            `json:"login"`
		Identity string            `json:"identity"`
		Grace    identity.Duration `json:"grace"`
	}{m.Login, m.Identity, m.Grace}
}

// neighbours warns of those who may be behind the same address.
func (m *mover) neighbours(ctx context.Context, tx *identity.Tx) error {
	all, err := usage.Callers(ctx, tx.SQL(), usage.Filter{Kind: usage.Login, Subject: m.login.User, Since: time.Now()})
	if err != nil {
		return err
	}
	for _, source := range m.caller.Sources() {
		n := 0
		for i := range all {
			if all[i].ID != m.caller.ID && slices.Contains(all[i].Sources(), source) {
				n++
			}
		}
		if n > 0 {
			m.warn("%d other callers come from %s and go on with the password; but several hosts behind that address (NAT) that run the same client count as this one "+
				"caller, and are locked out with it", n, source)
		}
	}
	return nil
}

func (m *mover) warn(format string, args ...any) {
	m.done.Warnings = append(m.done.Warnings, fmt.Sprintf(format, args...))
}

// undoMove takes a move back. The identity and its certificates stay.
func undoMove(s *Server, c *call) (any, error) {
	var q UndoRequest
	if err := c.decodeIfAny(&q); err != nil {
		return nil, err
	}
	id, err := c.callerID()
	if err != nil {
		return nil, err
	}
	var undone identity.Move
	err = s.change(c, identity.ObjectMove, "remove", func(tx *identity.Tx) (act, error) {
		moves := s.Registry.Snapshot().AllMoves()
		login := ""
		if i := slices.IndexFunc(moves, func(m *identity.Move) bool { return m.Caller == id.String() }); i >= 0 {
			login = moves[i].Login
		}
		if q.Login != "" && identity.NormalUser(q.Login) != login {
			login = q.Login // of which no such caller was moved: that is what the error says
		}
		undone, err = tx.RemoveMove(c.Context(), login, id.String())
		return act{id.String(), moveRecord(&undone)}, err
	})
	return undone, err
}
