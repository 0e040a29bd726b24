package identity

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Move is one caller of a login on its way to the certificate of an identity. Once it was seen with that, and the grace is over, the login is refused to whoever
// looks like it: it is locked out behind itself. Others go on using the login.
type Move struct {
	// Login is the user name and Caller the id under which the usage history knows the caller; the two are the key.
	Login  string `json:"login"`
	Caller string `json:"caller"`
	// Identity is whose certificate the caller gets.
	Identity string `json:"identity"`
	// Looks are what the caller looks like, 1 to 64 of them: each of them is the caller, nothing else is.
	Looks []Look `json:"looks"`
	// Grace is for how long the login goes on working for the caller once it was seen with the certificate; 0 is not at all, at most 90 days.
	Grace Duration `json:"grace"`
	// Moved is when the move was made. The registry sets it.
	Moved time.Time `json:"moved,omitzero"`
}

// Look is what tells one caller from others: source, fingerprint and agent must fit.
type Look struct {
	// Source is an address, or the /64 of one.
	Source string `json:"source"`
	// Fingerprint is that of its TLS implementation, Agent its User-Agent without versions, as the usage history has them.
	Fingerprint string `json:"fingerprint"`
	Agent       string `json:"agent"`
	// Seen is when a certificate of the identity was first seen from this source after the move; zero while it was not.
	Seen time.Time `json:"seen,omitzero"`
}

// The bounds of a move.
const (
	maxLooks = 64
	maxGrace = 90 * day
)

// LockedFrom is when the login is refused to whoever has this look, or false while it is not known or has not been seen with its certificate.
func (m *Move) LockedFrom(source, fingerprint, agent string) (time.Time, bool) {
	for i := range m.Looks {
		if l := &m.Looks[i]; l.Source == source && l.Fingerprint == fingerprint && l.Agent == agent && !l.Seen.IsZero() {
			return l.Seen.Add(time.Duration(m.Grace)), true
		}
	}
	return time.Time{}, false
}

// Seen is when the first of the caller's looks was seen with its certificate; zero while none was.
func (m *Move) Seen() time.Time {
	var first time.Time
	for i := range m.Looks {
		if at := m.Looks[i].Seen; !at.IsZero() && (first.IsZero() || at.Before(first)) {
			first = at
		}
	}
	return first
}

// LockedOut reports whether one of the moves refuses the login at an instant to whoever has this look.
func LockedOut(moves []*Move, now time.Time, source, fingerprint, agent string) bool {
	for _, m := range moves {
		if from, ok := m.LockedFrom(source, fingerprint, agent); ok && !now.Before(from) {
			return true
		}
	}
	return false
}

// Validate returns an *[Error] with code [ErrInvalid] for the first field that cannot be stored, or nil.
func (m Move) Validate() error {
	v := validation{object: ObjectMove, name: m.Caller}
	v.user("login", m.Login)
	v.key("caller", m.Caller)
	v.key("identity", m.Identity)
	if len(m.Looks) == 0 || len(m.Looks) > maxLooks {
		v.fail("looks", fmt.Sprintf("%d of them", len(m.Looks)), "a caller has 1 to 64: split what was merged from more")
	}
	for _, l := range m.Looks {
		addr, err := netip.ParseAddr(l.Source)
		prefix, prefixErr := netip.ParsePrefix(l.Source)
		if (err != nil || addr.String() != l.Source) && (prefixErr != nil || prefix.String() != l.Source) {
			v.fail("looks", quoted(l.Source)+" is not an address", "only a caller whose address is known can be locked out")
		}
		if !printable(l.Fingerprint) || !printable(l.Agent) || len(l.Fingerprint) > 128 || len(l.Agent) > 256 || l.Agent == "" {
			v.fail("looks", "a client is described by what is no text", "take the caller as the usage history has it")
		}
	}
	if g := time.Duration(m.Grace); g < 0 || g > maxGrace {
		v.fail("grace", g.String()+" is out of bounds", "give at most 2160h (90 days), or 0 to lock the caller out with its first request with the certificate")
	}
	return v.err()
}

// key names a move in the change log: a user name holds no ':'.
func (m *Move) key() string { return m.Caller + ":" + m.Login }

// Moves returns the moves of a login, by caller; none, mostly. It takes no lock and allocates nothing. The slice must not be changed.
func (s *Snapshot) Moves(login string) []*Move { return s.moves[login] }

// AnyMoves reports whether there is a move at all.
func (s *Snapshot) AnyMoves() bool { return len(s.moves) > 0 }

// AllMoves returns all moves, by login and caller.
func (s *Snapshot) AllMoves() []*Move {
	var list []*Move
	for _, moves := range s.moves {
		list = append(list, moves...)
	}
	slices.SortFunc(list, func(a, b *Move) int { return cmp.Or(cmp.Compare(a.Login, b.Login), cmp.Compare(a.Caller, b.Caller)) })
	return list
}

// Move returns the move of a login's caller as the transaction sees it, or an [ErrNotFound] error.
func (tx *Tx) Move(login, caller string) (Move, error) {
	for _, m := range tx.draft.moves[login] {
		if m.Caller == caller {
			c := *m
			c.Looks = slices.Clone(m.Looks)
			return c, nil
		}
	}
	return Move{}, &Error{Code: ErrNotFound, Object: ObjectMove, Name: shortened(caller), Message: "this caller of login " + quoted(login) + " was not moved",
		Hint: "migration status shows which callers were"}
}

// MovesTo returns the moves to an identity as the transaction sees them, by login and caller.
func (tx *Tx) MovesTo(identity string) []Move {
	var list []Move
	for _, moves := range tx.draft.moves {
		for _, m := range moves {
			if m.Identity == identity {
				list = append(list, *m)
			}
		}
	}
	slices.SortFunc(list, func(a, b Move) int { return cmp.Or(cmp.Compare(a.Login, b.Login), cmp.Compare(a.Caller, b.Caller)) })
	return list
}

// AddMove stores a move and returns it as stored. The login and the identity must be there; a caller is moved once, and again only after RemoveMove.
func (tx *Tx) AddMove(ctx context.Context, m Move) (Move, error) {
	if err := m.Validate(); err != nil {
		return Move{}, err
	}
	if _, err := tx.Login(m.Login); err != nil {
		return Move{}, err
	}
	if _, err := tx.Identity(m.Identity); err != nil {
		return Move{}, err
	}
	if old, err := tx.Move(m.Login, m.Caller); err == nil {
		return Move{}, &Error{Code: ErrExists, Object: ObjectMove, Name: m.Caller, Message: "was moved to identity " + quoted(old.Identity) + " already",
			Hint: "migration undo takes that back; another token is made by cert token " + old.Identity}
	}
	m.Moved, m.Looks = tx.now, slices.Clone(m.Looks)
	for i := range m.Looks {
		m.Looks[i].Seen = time.Time{}
	}
	looks, err := json.Marshal(m.Looks)
	if err != nil {
		return Move{}, fmt.Errorf("storing a move: %w", err)
	}
	err = tx.exec(ctx, "storing a move", `INSERT INTO login_moves (`+moveColumns+`) VALUES ($1, $2, $3, $4, $5, $6)`,
		m.Login, m.Caller, m.Identity, string(looks), int64(m.Grace), micros(m.Moved))
	if err != nil {
		return Move{}, err
	}
	kept := m
	tx.draft.putMove(&kept)
	return m, nil
}

// SeeMove notes that a moved caller was seen with its certificate from a source, and returns the move and whether that is new: the first time stays.
func (tx *Tx) SeeMove(ctx context.Context, login, caller, source string, at time.Time) (Move, bool, error) {
	m, err := tx.Move(login, caller)
	if err != nil {
		return m, false, err
	}
	first := false
	for i := range m.Looks {
		if l := &m.Looks[i]; l.Source == source && l.Seen.IsZero() {
			l.Seen, first = stored(at), true
		}
	}
	if !first {
		return m, false, nil
	}
	looks, err := json.Marshal(m.Looks)
	if err != nil {
		return Move{}, false, fmt.Errorf("storing when a moved caller was seen: %w", err)
	}
	err = tx.exec(ctx, "storing when a moved caller was seen", `UPDATE login_moves SET looks = $3 WHERE login = $1 AND caller = $2`, login, caller, string(looks))
	if err != nil {
		return Move{}, false, err
	}
	kept := m
	tx.draft.putMove(&kept)
	return m, true, nil
}

// RemoveMove takes a move back: the login is refused to the caller no longer. It returns the move as it was.
func (tx *Tx) RemoveMove(ctx context.Context, login, caller string) (Move, error) {
	m, err := tx.Move(login, caller)
	if err != nil {
		return Move{}, err
	}
	if err := tx.exec(ctx, "removing a move", `DELETE FROM login_moves WHERE login = $1 AND caller = $2`, login, caller); err != nil {
		return Move{}, err
	}
	tx.draft.dropMove(m.key())
	return m, nil
}

// removeMoves takes back all moves of a login that is removed.
func (tx *Tx) removeMoves(ctx context.Context, login string) error {
	for _, m := range slices.Clone(tx.draft.moves[login]) {
		if _, err := tx.RemoveMove(ctx, login, m.Caller); err != nil {
			return err
		}
	}
	return nil
}

// putMove stores a move.
func (d *draft) putMove(m *Move) {
	d.dropMove(m.key())
	list := append(slices.Clone(d.moves[m.Login]), m)
	slices.SortFunc(list, func(a, b *Move) int { return cmp.Compare(a.Caller, b.Caller) })
	d.moves[m.Login] = list
}

// dropMove removes a move, if it is there, from maps of the draft's own.
func (d *draft) dropMove(key string) {
	d.changed.Moves = append(d.changed.Moves, key)
	d.moves = maps.Clone(d.moves)
	caller, login, _ := strings.Cut(key, ":")
	list := slices.DeleteFunc(slices.Clone(d.moves[login]), func(m *Move) bool { return m.Caller == caller })
	if d.moves[login] = list; len(list) == 0 {
		delete(d.moves, login)
	}
}

const moveColumns = `login, caller, identity, looks, grace, moved`

// moves reads moves, all or those that the condition leaves.
func (l *loader) moves(ctx context.Context, q querier, touched string, args ...any) ([]*Move, error) {
	var list []*Move
	err := each(ctx, q, func(row scanner) error {
		m := &Move{}
		var looks []byte
		var moved int64
		if err := row.Scan(&m.Login, &m.Caller, &m.Identity, &looks, &m.Grace, &moved); err != nil {
			return err
		}
		m.Moved = fromMicros(moved)
		list = append(list, m)
		return json.Unmarshal(looks, &m.Looks)
	}, `SELECT `+moveColumns+` FROM login_moves`+where(`caller || ':' || login`, ObjectMove, touched), args...)
	if err != nil {
		return nil, fmt.Errorf("reading moves: %w", err)
	}
	return list, nil
}
