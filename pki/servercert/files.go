package servercert

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tenantgate/tenantgate/pki"
)

// FilesOptions says which files to serve.
type FilesOptions struct {
	// Pairs are the certificates; several for one name may differ in the kind of their key, and each client gets one that it can use.
	Pairs []FilePair
	// Names are what the certificates together must cover, the default first.
	Names []string
	// Roots are what the chains must lead to; empty is not asked.
	Roots []*x509.Certificate
	// Stapler attaches OCSP answers; nil attaches none.
	Stapler *Stapler
	// Logger gets what happens; nil discards it.
	Logger *slog.Logger
	// Interval is how often the files are looked at; 0 means 2 s.
	Interval time.Duration
}

// Files are certificates from files that somebody else keeps. They are read again by themselves: what has changed takes the place of the old when it was
// the same at two looks in a row, so that nothing half written is served, and when it can be served; until then the old one stays. Safe for concurrent use.
type Files struct {
	options FilesOptions
	serving atomic.Pointer[[]*tls.Certificate] // one of each pair
	stop    context.CancelFunc
	running sync.WaitGroup

	mu    sync.Mutex // guards what follows
	pairs []*watched
}

// watched is a pair and what is known of it.
type watched struct {
	FilePair
	sum      [32]byte // of the content that was last found good or bad
	seen     [32]byte // of the last look; zero when it could not be read
	bare     *tls.Certificate
	warnings []string
	trouble
}

// OpenFiles reads the files and watches them until Close. It refuses files that cannot be served, naming them and what is wrong, but not a certificate
// whose time is over or has not come: that is a problem of its state, and no certificate until another one is there.
func OpenFiles(o FilesOptions) (*Files, error) {
	f, err := readFiles(o)
	if err != nil {
		return nil, err
	}
	life, stop := context.WithCancel(context.Background())
	f.stop = stop
	f.running.Go(func() { f.watch(life) })
	f.running.Go(func() { f.options.Stapler.keep(life, f.held, f.republish) })
	return f, nil
}

// CheckFiles says what [OpenFiles] would say, and watches nothing.
func CheckFiles(o FilesOptions) error {
	_, err := readFiles(o)
	return err
}

func readFiles(o FilesOptions) (*Files, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Interval <= 0 {
		o.Interval = 2 * time.Second
	}
	o.Names = normal(o.Names)
	f := &Files{options: o}
	for _, pair := range o.Pairs {
		w := &watched{FilePair: pair}
		if err := f.take(w, true); err != nil {
			return nil, err
		}
		f.pairs = append(f.pairs, w)
	}
	if missing := f.uncovered(f.certificates(nil, nil)); len(missing) > 0 {
		return nil, fmt.Errorf("no certificate in the files covers %s", strings.Join(missing, ", "))
	}
	f.publish()
	return f, nil
}

// take reads a pair and, if it can be served, takes it. first is the first time, at which there is nothing better.
func (f *Files) take(w *watched, first bool) error {
	c, err := w.read()
	if err != nil {
		w.seen = [32]byte{}
		return err
	}
	w.seen = c.sum
	if c.sum == w.sum && w.bare != nil && w.problem == "" {
		return nil
	}
	now := time.Now()
	made, warnings, err := w.parse(c, &judgement{names: f.options.Names, roots: f.options.Roots, now: now})
	if err != nil {
		return err
	}
	if err := timely(made.Leaf, now); err != nil {
		if !first {
			return fmt.Errorf("%s: %w", w.name(), err)
		}
		w.set(w.name()+": "+err.Error(), time.Time{})
		f.options.Logger.Error("server certificate: "+w.problem, "file", w.name())
	}
	if !first {
		if missing := f.uncovered(f.certificates(w, made)); len(missing) > 0 {
			return fmt.Errorf("%s: the certificate is for %s, and nothing would be for %s any more", w.name(), describe(made.Leaf), strings.Join(missing, ", "))
		}
	}
	w.sum, w.bare, w.warnings = c.sum, made, warnings
	for _, warning := range warnings {
		f.options.Logger.Warn("server certificate: "+warning, "file", w.name())
	}
	return nil
}

// certificates are those that are held, with another one for a pair.
func (f *Files) certificates(w *watched, instead *tls.Certificate) []*tls.Certificate {
	var all []*tls.Certificate
	for _, p := range f.pairs {
		if p == w {
			all = append(all, instead)
		} else if p.bare != nil {
			all = append(all, p.bare)
		}
	}
	return all
}

// uncovered are the names for which none of the certificates is.
func (f *Files) uncovered(all []*tls.Certificate) (missing []string) {
	for _, name := range f.options.Names {
		if !slices.ContainsFunc(all, func(c *tls.Certificate) bool { return covers(c.Leaf, name) }) {
			missing = append(missing, name)
		}
	}
	return missing
}

func (f *Files) held() []*tls.Certificate {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.certificates(nil, nil)
}

func (f *Files) republish() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.publish()
}

// publish puts what is held in front of clients, with its OCSP answer.
func (f *Files) publish() {
	all := f.certificates(nil, nil)
	for i, c := range all {
		all[i] = f.options.Stapler.with(c)
	}
	f.serving.Store(&all)
}

// Certificate returns a certificate for a name, nil when there is none that is valid now. Of several the client gets the first that it can use.
func (f *Files) Certificate(name string, hello *tls.ClientHelloInfo) *tls.Certificate {
	now := time.Now()
	var usable *tls.Certificate
	for _, c := range *f.serving.Load() {
		if !leafValid(c, now) || !covers(c.Leaf, name) {
			continue
		}
		if hello.SupportsCertificate(c) == nil {
			return c
		}
		if usable == nil {
			usable = c
		}
	}
	return usable
}

// Covers reports whether there is a certificate for the name, valid or not.
func (f *Files) Covers(name string) bool {
	return slices.ContainsFunc(*f.serving.Load(), func(c *tls.Certificate) bool { return covers(c.Leaf, name) })
}

// Names returns the names that the certificates are for, the default first.
func (f *Files) Names() []string { return slices.Clone(f.options.Names) }

// States returns how each certificate stands.
func (f *Files) States() []State {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []State
	for _, w := range f.pairs {
		s := State{Name: w.name(), Source: "files", Serial: pki.FormatSerial(w.bare.Leaf.SerialNumber), NotBefore: w.bare.Leaf.NotBefore,
			NotAfter: w.bare.Leaf.NotAfter, Problem: w.problem, Since: w.since, Warnings: slices.Clone(w.warnings)}
		for _, name := range f.options.Names {
			if covers(w.bare.Leaf, name) {
				s.Names = append(s.Names, name)
			}
		}
		if w := f.options.Stapler.warning(w.bare); w != "" {
			s.Warnings = append(s.Warnings, w)
		}
		all = append(all, s)
	}
	return all
}

// Close stops watching; what is held is served on. Closing again does nothing.
func (f *Files) Close() {
	f.stop()
	f.running.Wait()
}

// Look reads the files now, without waiting for them to stay the same, and says what is wrong with them.
func (f *Files) Look() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var errs []error
	for _, w := range f.pairs {
		errs = append(errs, f.look(w, true))
	}
	f.publish()
	return errors.Join(errs...)
}
