package token

import (
	"maps"
	"time"
)

// Drop forgets all tokens of the credential, cancels what is under way for it and makes its sources refuse with
// [ErrDropped]. It is called when a credential is changed, removed, or its identity disabled. It returns at once.
func (e *Engine) Drop(credentialID string) { e.drop(map[string]bool{credentialID: true}) }

// Retain drops every credential that keep does not know, also those of before a restart that nobody has asked for yet.
func (e *Engine) Retain(keep func(credentialID string) bool) {
	judged, gone := map[string]bool{}, map[string]bool{}
	judge := func(id string) {
		if !judged[id] {
			if judged[id] = true; !keep(id) {
				gone[id] = true
			}
		}
	}
	e.mu.RLock()
	for key := range e.sources {
		judge(key.id)
	}
	for key := range e.restored {
		judge(key.id)
	}
	for id := range e.refusals {
		judge(id)
	}
	e.mu.RUnlock()
	if len(gone) > 0 {
		e.drop(gone)
	}
}

// Retire lets go of the sources that wanted does not know, because nothing asks for their scope and parameters any more: they are neither refreshed nor stored
// nor told of. Whoever still holds one gets tokens of it as before.
func (e *Engine) Retire(wanted func(credentialID, scope, parameters string) bool) {
	var retired []*Source
	e.mu.Lock()
	used := map[*client]bool{}
	for key, s := range e.sources {
		if wanted(key.id, key.scope, key.parameters) {
			used[s.client] = true
			continue
		}
		retired = append(retired, s)
		delete(e.sources, key)
	}
	for _, s := range retired {
		if own := (clientKey{s.cred.ID, s.host}); e.clients[own] == s.client && !used[s.client] {
			e.forgetClient(own)
		}
	}
	e.mu.Unlock()
	for _, s := range retired {
		s.retire()
	}
}

// retire has the source refreshed and stored no more.
func (s *Source) retire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.retired.Store(true)
	if s.e.store != nil {
		s.e.store.row(s.key(), rowChange{kind: removeRow, until: time.Now()})
	}
}

func (e *Engine) drop(ids map[string]bool) {
	var dropped []*Source
	e.mu.Lock()
	for key, s := range e.sources {
		if ids[key.id] {
			dropped = append(dropped, s)
			delete(e.sources, key)
		}
	}
	for key := range e.clients {
		if ids[key.id] {
			e.forgetClient(key)
		}
	}
	maps.DeleteFunc(e.restored, func(key sourceKey, _ row) bool { return ids[key.id] })
	maps.DeleteFunc(e.refusals, func(id string, _ []byte) bool { return ids[id] })
	e.mu.Unlock()
	for _, s := range dropped {
		s.drop()
	}
	if e.store != nil {
		e.store.forget(ids) // behind what the sources may still have saved
	}
}

// Close drops every credential for good: later sources refuse as well. It waits for nothing but the Store, and for that no longer than 5 s.
func (e *Engine) Close() {
	if e.store != nil {
		e.touch()
	}
	e.mu.Lock()
	wasOpen := !e.closed
	e.closed = true
	sources := e.sources
	e.sources, e.clients, e.pacers, e.restored = nil, nil, nil, nil
	e.mu.Unlock()
	for _, s := range sources {
		s.drop()
	}
	if e.store != nil && wasOpen {
		e.store.close()
	}
}
