package servercert

import (
	"context"
	"time"

	"github.com/tenantgate/tenantgate/pki"
)

// watch looks at the files until life ends. It compares content: modification times say nothing where files are linked, mounted or restored.
func (f *Files) watch(life context.Context) {
	ticker := time.NewTicker(f.options.Interval)
	defer ticker.Stop()
	for {
		select {
		case <-life.Done():
			return
		case <-ticker.C:
		}
		f.mu.Lock()
		changed := false
		for _, w := range f.pairs {
			before := w.bare
			_ = f.look(w, false) // noted and logged
			changed = changed || w.bare != before
		}
		if changed {
			f.publish()
		}
		f.mu.Unlock()
	}
}

// look compares a pair's files with what is held. With hurry it does not wait for a second look.
func (f *Files) look(w *watched, hurry bool) error {
	before := w.seen
	c, err := w.read()
	switch {
	case err != nil:
		w.seen = [32]byte{}
		if before == w.seen || hurry { // at the look before, too
			f.note(w, err)
		}
		return err
	case c.sum == w.sum && w.problem == "":
		w.seen = c.sum
		return nil
	case c.sum != before && !hurry:
		w.seen = c.sum
		return nil // it may be half written
	}
	held := w.bare
	if err := f.take(w, false); err != nil {
		f.note(w, err)
		return err
	}
	w.clear()
	if held == nil || !held.Leaf.Equal(w.bare.Leaf) {
		f.options.Logger.Info("server certificate replaced", "file", w.name(), "serial", pki.FormatSerial(w.bare.Leaf.SerialNumber), "names", describe(w.bare.Leaf),
			"not_after", w.bare.Leaf.NotAfter)
	} else {
		f.options.Logger.Info("server certificate: the files are good again", "file", w.name())
	}
	return nil
}

// note keeps what is wrong with a pair, and logs what was not known yet.
func (f *Files) note(w *watched, err error) {
	problem := err.Error()
	if w.set(problem, time.Time{}) {
		f.options.Logger.Error("server certificate: the files cannot be used, the certificate that was read before stays", "file", w.name(), "error", problem,
			"not_after", w.bare.Leaf.NotAfter)
	}
}
