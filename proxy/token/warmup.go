package token

import (
	"cmp"
	"context"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// WarmUpState is how far a warm-up is.
type WarmUpState struct {
	Total   int // credentials and scopes that were in use before the restart
	Pending int // that are not done yet
	Failed  int // that got no token; they are tried again when they are asked for
}

// warmUpWidth is how many sources are warmed up at the same time. The turns at each token server, which are fewer, go by its rate.
const warmUpWidth = 100

// WarmUp fetches or refreshes what was in use before the restart and is due, the latest used first (in any order where nodes share a Store), and returns
// when all is done or ctx is. Find gives the source of a credential, scope and parameters, or nil where there is none any more. Callers do not wait behind it: their own
// fetches go first.
func (e *Engine) WarmUp(ctx context.Context, find func(credentialID, scope, parameters string) *Source) WarmUpState {
	list := e.lately(time.Now())
	e.warmUp.set(len(list))
	began := time.Now()
	var wg sync.WaitGroup
	width := make(chan struct{}, warmUpWidth)
	for _, key := range list {
		select {
		case width <- struct{}{}:
		case <-ctx.Done():
			wg.Wait()
			return e.warmUp.get()
		}
		wg.Go(func() {
			var err error
			if s := find(key.id, key.scope, key.parameters); s != nil {
				err = s.warmUp(ctx)
			}
			e.warmUp.done(err)
			<-width
		})
	}
	wg.Wait()
	st := e.warmUp.get()
	if e.Logger != nil && st.Total > 0 {
		e.Logger.Info("tokens of before the restart are warm", slog.Int("sources", st.Total), slog.Int("failed", st.Failed), slog.Duration("took", time.Since(began)))
	}
	return st
}

// WarmUpState returns how far the warm-up is; the zero value if there was none.
func (e *Engine) WarmUpState() WarmUpState { return e.warmUp.get() }

// lately is what was in use shortly before the restart and is not in use again already, the latest first.
func (e *Engine) lately(wall time.Time) []sourceKey {
	type used struct {
		key sourceKey
		at  time.Time
	}
	var all []used
	e.mu.RLock()
	for key, r := range e.restored {
		if wall.Sub(r.lastUse) <= e.keepWarm() {
			all = append(all, used{key, r.lastUse})
		}
	}
	e.mu.RUnlock()
	slices.SortFunc(all, func(a, b used) int {
		return cmp.Or(b.at.Compare(a.at), cmp.Compare(a.key.id, b.key.id), cmp.Compare(a.key.scope, b.key.scope))
	})
	if e.store != nil && e.store.Shared {
		// Nodes that are started together would all fetch the same tokens at the same time; in an order of its own, each finds those of the others.
		rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	}
	keys := make([]sourceKey, len(all))
	for i, u := range all {
		keys[i] = u.key
	}
	return keys
}

// warmUp waits until there is a token that need not be refreshed yet, without being a caller: what it waits for is in the background, and no use.
func (s *Source) warmUp(ctx context.Context) error {
	s.mu.Lock()
	now := s.now()
	f := s.flight
	switch h := s.current.Load(); {
	case s.dropped, h.good(now) && now < h.refreshAt:
		f = nil
	case f == nil:
		if err := s.backoff.holds(now); err != nil {
			s.mu.Unlock()
			return err
		}
		f = s.begin(true)
	}
	s.mu.Unlock()
	if f == nil {
		return nil
	}
	select {
	case <-f.done:
	case <-ctx.Done():
		return ctx.Err()
	}
	if f.err != nil {
		return f.err
	}
	return nil
}

// warmUpProgress is a WarmUpState under its mutex.
type warmUpProgress struct {
	mu    sync.Mutex
	state WarmUpState
}

func (p *warmUpProgress) set(total int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.state = WarmUpState{Total: total, Pending: total}
}

func (p *warmUpProgress) done(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.state.Pending--
	if err != nil {
		p.state.Failed++
	}
}

func (p *warmUpProgress) get() WarmUpState {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.state
}
