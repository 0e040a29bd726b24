package identity

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Login returns the login of this user name as the transaction sees it, or an [ErrNotFound] error.
func (tx *Tx) Login(user string) (Login, error) {
	if b, ok := tx.draft.logins.get(NormalUser(user)); ok {
		return b.Login.clone(), nil
	}
	return Login{}, notFound(ObjectLogin, user)
}

// IdentityLogins returns the user names of the logins that stand for the identity, as the transaction sees them, sorted.
func (tx *Tx) IdentityLogins(identity string) []string {
	var users []string
	if h, ok := tx.draft.holders.get(identity); ok {
		for _, l := range h.logins {
			users = append(users, l.User)
		}
	}
	return users
}

// AddLogin stores a new login and returns it as stored. Without a stage it is open.
func (tx *Tx) AddLogin(ctx context.Context, l Login) (Login, error) {
	if l.Stage == "" {
		l.Stage = StageOpen
	}
	if err := tx.checkLogin(&l, nil); err != nil {
		return Login{}, err
	}
	if _, ok := tx.draft.logins.get(NormalUser(l.User)); ok {
		return Login{}, exists(ObjectLogin, l.User)
	}
	l.Created = tx.now
	return tx.storeLogin(ctx, l, insertLogin)
}

// SetLogin replaces all fields of the login of that user name and returns it as stored. A zero Password or Stage leaves the one that it has.
func (tx *Tx) SetLogin(ctx context.Context, l Login) (Login, error) {
	old, err := tx.Login(l.User)
	if err != nil {
		return Login{}, err
	}
	if l.Password.IsZero() {
		l.Password = old.Password
	}
	if l.Stage == "" {
		l.Stage = old.Stage
	}
	if err := tx.checkLogin(&l, &old); err != nil {
		return Login{}, err
	}
	l.Created = old.Created
	return tx.storeLogin(ctx, l, updateLogin)
}

// checkLogin refuses what cannot be stored, or not here and now. old is nil for a new login.
func (tx *Tx) checkLogin(l, old *Login) error {
	if err := l.Validate(); err != nil {
		return err
	}
	fail := func(field, message, hint string) error {
		return &Error{Code: ErrInvalid, Object: ObjectLogin, Name: shortened(l.User), Field: field, Message: message, Hint: hint}
	}
	i, ok := tx.draft.identity(l.Identity)
	switch {
	case !ok:
		return fail("identity", "there is no identity "+quoted(l.Identity), "add the identity first")
	case i.Disabled && (old == nil || old.Identity != l.Identity):
		return fail("identity", "identity "+quoted(l.Identity)+" is disabled", "enable it first, or name another: the login would be refused")
	}
	for _, role := range l.Roles {
		if !slices.Contains(i.Roles, role) && (old == nil || !slices.Contains(old.Roles, role)) {
			return fail("roles", "identity "+quoted(l.Identity)+" does not hold role "+quoted(role), "a login has no role that its identity has not: grant it to the identity, or leave it out")
		}
	}
	for _, route := range l.Routes {
		if tx.draft.routes[route] == nil && (old == nil || !slices.Contains(old.Routes, route)) {
			return fail("routes", "there is no route "+quoted(route), "name the routes as route list shows them")
		}
	}
	return tx.checkSunset(l, old, fail)
}

// checkSunset holds dates that are set against the clock and the policy.
func (tx *Tx) checkSunset(l, old *Login, fail func(field, message, hint string) error) error {
	longest := time.Duration(tx.draft.loginPolicy.MaxSunset)
	switch {
	case old != nil && stored(l.Sunset).Equal(old.Sunset):
	case !l.Sunset.After(tx.now):
		return fail("sunset", l.Sunset.UTC().Format(time.RFC3339)+" is over", "give a time that is still to come, or close the login")
	case l.Sunset.After(tx.now.Add(longest)):
		return fail("sunset", l.Sunset.UTC().Format(time.RFC3339)+" is later than the policy allows",
			"give at the latest "+tx.now.Add(longest).Format(time.DateOnly)+", or change the policy of logins")
	}
	if at := l.StageAt(tx.now); old != nil && l.Stage != old.Stage && at != l.Stage {
		return fail("stage", "the schedule has reached "+string(at)+" already", "take it back first (login back), or give other dates")
	}
	return nil
}

// CloseLogin has the login refused from now on and returns it as stored. It may be closed already.
func (tx *Tx) CloseLogin(ctx context.Context, user string) (Login, error) {
	l, err := tx.Login(user)
	if err != nil || l.Stage == StageClosed {
		return l, err
	}
	l.Stage = StageClosed
	return tx.storeLogin(ctx, l, updateLogin)
}

// BackLogin takes the last stage back: closed becomes brownout, or warned when there are no windows, and so on down to open. The dates of the schedule that lie
// ahead of the new stage are dropped, so that it holds until somebody gives a date; the one given here is when the stage that was taken back begins
// again, zero is none. The sunset stays: once it has come, the login can only be given a later one.
func (tx *Tx) BackLogin(ctx context.Context, user string, until time.Time) (Login, error) {
	l, err := tx.Login(user)
	if err != nil {
		return Login{}, err
	}
	fail := func(field, message, hint string) (Login, error) {
		return Login{}, &Error{Code: ErrInvalid, Object: ObjectLogin, Name: l.User, Field: field, Message: message, Hint: hint}
	}
	was := l.StageAt(tx.now)
	stage, ok := l.back(was)
	switch {
	case !ok:
		return fail("stage", "is "+string(was)+": there is nothing to take back", "login show tells the stage and its dates")
	case !l.Sunset.After(tx.now):
		return fail("sunset", l.Sunset.UTC().Format(time.RFC3339)+" is over", "give a later sunset first (login set --sunset)")
	case !until.IsZero() && !until.After(tx.now):
		return fail("until", until.UTC().Format(time.RFC3339)+" is over", "give a time that is still to come, or none")
	case until.After(l.Sunset):
		return fail("until", "is later than the sunset "+l.Sunset.Format(time.RFC3339), "give an earlier time, or none")
	}
	l.Stage = stage
	for _, step := range []struct {
		stage Stage
		at    *time.Time
	}{{StageWarned, &l.WarnOn}, {StageBrownout, &l.BrownoutFrom}, {StageClosed, &l.CloseOn}} {
		if step.stage.After(stage) {
			*step.at = time.Time{}
		}
		if step.stage == was {
			*step.at = until
		}
	}
	if l.Password.IsZero() {
		return fail("password", "missing", "the login was in stage observe: give it a password first (login set), or have it observed again (login observe)")
	}
	return tx.storeLogin(ctx, l, updateLogin)
}

// RecordStage notes that the stage of a login is on record as of now and returns the stage before and the one of now. They are equal when there is nothing to
// record, and then nothing is changed: of several nodes that see a step, one records it. A stage that is behind the recorded one is recorded only when the clock
// is more than slack short of the date, so that nodes whose clocks differ a little do not record a step to and fro.
func (tx *Tx) RecordStage(ctx context.Context, user string, slack time.Duration) (before, now Stage, err error) {
	l, err := tx.Login(user)
	if err != nil {
		return "", "", err
	}
	before, now = l.StageRecorded, l.StageAt(tx.now)
	if now == before || !l.StageDue(tx.now, slack) {
		return before, before, nil
	}
	l.StageRecorded = now
	if err := tx.exec(ctx, "recording a stage", recordStage, l.User, string(now)); err != nil {
		return "", "", err
	}
	kept := l.clone()
	tx.draft.putLogin(&kept)
	return before, now, nil
}

// StageDue reports whether the stage of now is another than the one on record, with the slack of [Tx.RecordStage].
func (l *Login) StageDue(now time.Time, slack time.Duration) bool {
	stage := l.StageAt(now)
	return stage != l.StageRecorded && (stage.After(l.StageRecorded) || l.StageAt(now.Add(slack)) != l.StageRecorded)
}

// RehashLogin replaces the hash of a password that was just seen to fit by one of today's cost. The password is the same, and so is the version. When the login has another hash by now, nothing is changed and
// false returned.
func (tx *Tx) RehashLogin(ctx context.Context, user string, old, fresh PasswordHash) (bool, error) {
	l, err := tx.Login(user)
	if err != nil || !l.Password.Equal(old) || fresh.IsZero() {
		return false, err
	}
	l.Password = fresh
	if err := tx.exec(ctx, "storing a hash", rehashLogin, l.User, fresh.Reveal()); err != nil {
		return false, err
	}
	kept := l.clone()
	tx.draft.putLogin(&kept)
	return true, nil
}

// RemoveLogin removes a login and its password.
func (tx *Tx) RemoveLogin(ctx context.Context, user string) error {
	l, err := tx.Login(user)
	if err != nil {
		return err
	}
	if err := tx.removeMoves(ctx, l.User); err != nil {
		return err
	}
	if err := tx.exec(ctx, "removing a login", deleteLogin, l.User); err != nil {
		return err
	}
	if _, err := tx.sql.ExecContext(ctx, `DELETE FROM login_uses WHERE user_name = $1`, l.User); err != nil {
		return fmt.Errorf("removing a login's last use: %w", err)
	}
	if err := tx.ForgetLoginFindings(ctx, l.User); err != nil {
		return err
	}
	tx.draft.dropLogin(l.User)
	return nil
}

// storeLogin stores a login that was checked.
func (tx *Tx) storeLogin(ctx context.Context, l Login, statement string) (Login, error) {
	l = l.normal()
	l.Updated, l.Version = tx.now, tx.revision
	l.StageRecorded = l.StageAt(tx.now)
	if err := tx.exec(ctx, "storing a login", statement, loginArgs(&l)...); err != nil {
		return Login{}, err
	}
	stored := l.clone()
	tx.draft.putLogin(&stored)
	return l, nil
}

const (
	loginColumns = `user_name, identity, owner, description, roles, routes, networks, password, sunset, stage, warn_on, brownout_from, brownouts, close_on, ` +
		`stage_recorded, version, created, updated`
	insertLogin = `INSERT INTO logins (` + loginColumns + `) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)`
	updateLogin = `UPDATE logins SET identity = $2, owner = $3, description = $4, roles = $5, routes = $6, networks = $7, password = $8, sunset = $9, stage = $10, ` +
		`warn_on = $11, brownout_from = $12, brownouts = $13, close_on = $14, stage_recorded = $15, version = $16, created = $17, updated = $18 WHERE user_name = $1`
	rehashLogin = `UPDATE logins SET password = $2 WHERE user_name = $1`
	recordStage = `UPDATE logins SET stage_recorded = $2 WHERE user_name = $1`
	deleteLogin = `DELETE FROM logins WHERE user_name = $1`
)

func loginArgs(l *Login) []any {
	return []any{l.User, l.Identity, l.Owner, l.Description, strings.Join(l.Roles, " "), strings.Join(l.Routes, " "), strings.Join(l.Networks, " "),
		l.Password.Reveal(), micros(l.Sunset), string(l.Stage), micros(l.WarnOn), micros(l.BrownoutFrom), strings.Join(l.Brownouts, "\n"), micros(l.CloseOn),
		string(l.StageRecorded), l.Version, micros(l.Created), micros(l.Updated)}
}

func scanLogin(row scanner) (*Login, error) {
	l := &Login{}
	var roles, routes, networks, password, brownouts string
	var sunset, warn, brownout, end, created, updated int64
	err := row.Scan(&l.User, &l.Identity, &l.Owner, &l.Description, &roles, &routes, &networks, &password, &sunset, &l.Stage,
		&warn, &brownout, &brownouts, &end, &l.StageRecorded, &l.Version, &created, &updated)
	l.Roles, l.Routes, l.Networks = words(roles), words(routes), words(networks)
	l.Password = PasswordHash{NewSecret(password)}
	if brownouts != "" {
		l.Brownouts = strings.Split(brownouts, "\n")
	}
	l.Sunset, l.WarnOn, l.BrownoutFrom, l.CloseOn = fromMicros(sunset), fromMicros(warn), fromMicros(brownout), fromMicros(end)
	l.Created, l.Updated = fromMicros(created), fromMicros(updated)
	l.compile()
	return l, err
}

// logins reads the logins, all or those that the condition leaves.
func (l *loader) logins(ctx context.Context, q querier, touched string, args ...any) ([]*Login, error) {
	var list []*Login
	err := each(ctx, q, func(row scanner) error {
		login, err := scanLogin(row)
		list = append(list, login)
		return err
	}, `SELECT `+loginColumns+` FROM logins`+where("user_name", ObjectLogin, touched), args...)
	if err != nil {
		return nil, fmt.Errorf("reading logins: %w", err)
	}
	return list, nil
}

// policy reads what holds for all logins.
func (l *loader) loginPolicy(ctx context.Context, q querier) (*LoginPolicy, error) {
	p := &LoginPolicy{}
	err := each(ctx, q, func(row scanner) error { return row.Scan(&p.MaxSunset, &p.Contact, &p.Guide, &p.Realm) }, selectLoginPolicy)
	if err != nil {
		return nil, fmt.Errorf("reading the policy of logins: %w", err)
	}
	return p, nil
}
