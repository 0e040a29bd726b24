package token

import (
	"context"
	"log/slog"
	"math"
	"time"
)

// Restore reads what the Store holds from before a restart, begins to store from now on, and returns how many tokens were read. It is called once, before the
// first [Engine.Source] and only with a Store. A token is put to use, and judged, when its source is asked for: whether its credential is still the same, and
// whether it makes sense under the clock as it is now. On an error nothing was read, and tokens are stored all the same.
func (e *Engine) Restore(ctx context.Context) (tokens int, err error) {
	s := e.Store
	s.begin(e.touch)
	e.mu.Lock()
	e.initLocked()
	e.store = s
	e.mu.Unlock()
	rows, refusals, err := s.load(ctx)
	s.told(err)
	if err != nil {
		return 0, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.refusals = refusals
	for key, r := range rows {
		e.restored[key] = r
		if len(r.sealed) > 0 {
			tokens++
		}
	}
	e.pruneLocked(time.Now())
	return tokens, nil
}

// pruneLocked forgets stored tokens that nobody has asked for, that have ended and that are not worth warming up. e.mu is held.
func (e *Engine) pruneLocked(wall time.Time) {
	for key, r := range e.restored {
		ended := len(r.sealed) == 0 || !wall.Before(r.expires) || r.obtained.After(wall.Add(skew))
		if ended && wall.Sub(r.lastUse) > e.keepWarm() {
			delete(e.restored, key)
			e.store.row(key, rowChange{kind: removeRow, until: r.obtained})
		}
	}
}

// touchEvery is how often last uses are stored, and so how coarse they are after a crash.
const touchEvery = 15 * time.Minute

// touch stores when tokens were last used, where that has changed.
func (e *Engine) touch() {
	e.mu.Lock()
	e.pruneLocked(time.Now())
	e.mu.Unlock()
	e.mu.RLock()
	defer e.mu.RUnlock()
	for key, s := range e.sources {
		if used := s.lastUse.Load(); used > s.storedUse.Load() {
			s.storedUse.Store(used)
			e.store.row(key, rowChange{kind: touchRow, lastUse: s.wall(instant(used))})
		}
	}
}

// recalled is what was stored of a credential and scope, and fits the credential as it is now.
type recalled struct {
	token   *savedToken // nil: none
	refusal *savedRefusal
	lastUse time.Time // zero: not known
}

// recall opens what was stored. A token of a credential that has changed since is forgotten.
func (e *Engine) recall(key sourceKey, c Credential) (r recalled) {
	if e.store == nil {
		return r
	}
	e.mu.RLock()
	stored, known := e.restored[key]
	refusal := e.refusals[key.id]
	e.mu.RUnlock()
	fingerprint := c.fingerprint()
	if known {
		r.lastUse = stored.lastUse
		if t, err := openToken(e.store.Sealer, key, stored.sealed); err == nil && t.fingerprint == fingerprint {
			r.token = t
		} else if len(stored.sealed) > 0 {
			e.store.row(key, rowChange{kind: clearRow, until: stored.obtained, lastUse: stored.lastUse})
		}
	}
	if refusal != nil {
		if t, err := openRefusal(e.store.Sealer, key.id, refusal); err == nil && t.fingerprint == fingerprint {
			r.refusal = t
		}
	}
	return r
}

// adopt puts to use what was stored of a source that is new.
func (s *Source) adopt(r recalled) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, wall := s.now(), time.Now()
	if !r.lastUse.IsZero() {
		used := int64(now - max(wall.Sub(r.lastUse), 0))
		s.lastUse.Store(used)
		s.storedUse.Store(used)
	}
	if r.token == nil {
		return
	}
	h := s.e.held(r.token, wall)
	if h == nil {
		return
	}
	s.current.Store(h)
	s.nextTry.Store(int64(h.refreshAt))
	s.arm(now)
	s.e.store.count(&s.e.store.state.Restored)
}

// save has the token at hand stored. s.mu is held, so that saving and forgetting come in the order in which they happen.
func (s *Source) save(h *held) {
	if s.e.store == nil || s.retired.Load() {
		return
	}
	used := s.lastUse.Load()
	s.storedUse.Store(used)
	s.e.store.row(s.key(), rowChange{kind: saveRow, lastUse: s.wall(instant(used)), token: &savedToken{
		fingerprint: s.cred.fingerprint(), obtained: s.wall(h.obtained), expires: s.wall(h.expires), value: h.token.Value,
	}})
}

// unsave has the stored token forgotten: the tenant refused it, or it has ended. s.mu is held.
func (s *Source) unsave(h *held, now instant) {
	if s.e.store == nil || s.retired.Load() { // then that row is another source's, if it is there
		return
	}
	kind := removeRow
	if s.warm(now) {
		kind = clearRow // the credential is worth warming up
	}
	s.e.store.row(s.key(), rowChange{kind: kind, until: s.wall(h.obtained), lastUse: s.wall(instant(s.lastUse.Load()))})
}

func (s *Source) key() sourceKey { return sourceKey{s.cred.ID, s.cred.Scope, s.cred.Parameters} }

// wall is an instant by the wall clock as it is now: a clock that was set since does not count.
func (s *Source) wall(i instant) time.Time { return time.Now().Add(i - s.now()) }

// restore takes over refusals that were stored, unless more is known already. A hold that lies too far ahead, because the clock was set back, is cut to the
// longest that there is.
func (c *client) restore(e *Engine, host string, r *savedRefusal) {
	if r == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if r.refusals <= c.refusals {
		return
	}
	c.refusals = r.refusals
	left := min(time.Until(r.until), max(e.refusedHold(math.MaxInt), e.retryAfterMax()))
	if r.until.IsZero() || left <= 0 {
		return
	}
	c.until = time.Since(e.base) + left
	c.err = &Error{Step: StepRefused, Host: host, Status: r.status, Code: r.code, Description: r.text, Until: e.base.Add(c.until)}
}

// takeOver looks whether another node has fetched a newer token, or was refused, since ours. It lands the flight, and reports whether it did. Two nodes that
// look in the same moment both fetch: jitter makes that rare.
func (s *Source) takeOver(f *flight) bool {
	st := s.e.store
	if st == nil || !st.Shared {
		return false
	}
	t, r := st.glance(s.ctx, s.key(), f.awaited())
	now, fingerprint := s.now(), s.cred.fingerprint()
	if r != nil && r.fingerprint == fingerprint {
		if s.client.restore(s.e, s.host, r); s.heldBack(f, now) {
			return true
		}
	}
	if t == nil || t.fingerprint != fingerprint {
		return false
	}
	h := s.e.held(t, time.Now())
	if h == nil || now >= h.refreshAt && !f.awaited() || !s.newer(h) {
		return false
	}
	f.takenOver = true
	st.count(&st.state.TakenOver)
	s.land(f, h, nil, now)
	if s.e.Logger != nil {
		s.e.Logger.Debug("token of another node taken over", slog.String("credential", s.cred.ID), slog.String("host", s.host))
	}
	return true
}

// newer reports whether a token is another and a younger one than those that the source had.
func (s *Source) newer(h *held) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, own := range []*held{s.current.Load(), s.suspect} {
		if own != nil && (own.token.Value.Equal(h.token.Value) || own.obtained >= h.obtained) {
			return false
		}
	}
	return true
}

// glance looks at what is stored now, if the database did its work last time, and not for long: a turn at the token server is held meanwhile.
func (s *Store) glance(ctx context.Context, key sourceKey, awaited bool) (*savedToken, *savedRefusal) {
	if s.State().Failing {
		return nil, nil // until something could be written
	}
	timeout := lookTimeout
	if awaited {
		timeout = hastyLookTimeout
	}
	short, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	select {
	case s.lookups <- struct{}{}:
	case <-short.Done():
		return nil, nil
	}
	t, r, err := s.look(short, key)
	<-s.lookups
	if ctx.Err() == nil { // else the credential was dropped meanwhile
		if s.told(err); err != nil {
			s.nudge() // to see when the database works again
		}
	}
	return t, r
}
