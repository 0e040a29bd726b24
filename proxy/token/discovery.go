package token

import (
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"sync"
	"time"
)

const (
	// discoveryPause is how long a failure to read metadata is remembered while there are none: credentials that share an issuer do not
	// each find out for themselves.
	discoveryPause = 5 * time.Second
	// rediscoveryPause is how long after a failure metadata that have aged are used before they are read again.
	rediscoveryPause = time.Minute
)

// endpoint is where a token is asked for and, when that was discovered, what the issuer calls itself.
type endpoint struct{ tokenURL, issuer string }

// discoveries are the issuers whose metadata are known. Credentials share them when they reach and trust the issuer in the same way.
// The zero value is empty.
type discoveries struct {
	mu      sync.Mutex // guards issuers; held for map operations only
	issuers map[issuerKey][]*issuer
}

// issuerKey is how an issuer is reached; those of one key differ in whom they trust.
type issuerKey struct{ name, via string }

// issuer is what is known of one authorization server.
type issuer struct {
	roots *x509.CertPool
	gate  chan struct{} // holds one element while its metadata are being read

	mu      sync.Mutex // guards what follows; never held across the network
	read    *metadata  // nil until it was read once; the last good one
	notTill time.Time  // before which it is not read (again)
	err     *Error     // why it was not read the last time
}

// of returns the issuer of a credential, making it if need be.
func (d *discoveries) of(c Credential) *issuer {
	d.mu.Lock()
	defer d.mu.Unlock()
	key := issuerKey{c.Issuer, c.Via}
	for _, i := range d.issuers[key] {
		if samePool(i.roots, c.RootCAs) {
			return i
		}
	}
	if d.issuers == nil {
		d.issuers = make(map[issuerKey][]*issuer)
	}
	i := &issuer{roots: c.RootCAs, gate: make(chan struct{}, 1)}
	d.issuers[key] = append(d.issuers[key], i)
	return i
}

// known returns the credential's token endpoint, "" while it is still to be discovered.
func (d *discoveries) known(c Credential) string {
	if !c.discovers() {
		return c.TokenURL
	}
	i := d.of(c)
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.read == nil {
		return ""
	}
	return i.read.endpoint(c.Style).tokenURL
}

// Endpoint returns the token endpoint that a credential's tokens come from; "" while it is still to be discovered, or none was asked for.
func (e *Engine) Endpoint(credentialID string) string {
	e.mu.RLock()
	defer e.mu.RUnlock()
	for key, s := range e.sources {
		if key.id == credentialID {
			return e.discoveries.known(s.cred)
		}
	}
	return ""
}

// Discover returns the token endpoint of a credential, discovering it if need be.
func (e *Engine) Discover(ctx context.Context, c Credential) (tokenURL string, err *Error) {
	at, err := e.endpoint(ctx, c)
	return at.tokenURL, err
}

// doubt has the credential's metadata read again before the next token is asked for, a minute from now at the latest.
func (d *discoveries) doubt(c Credential) {
	if !c.discovers() {
		return
	}
	i := d.of(c)
	i.mu.Lock()
	defer i.mu.Unlock()
	if soon := time.Now().Add(rediscoveryPause); i.notTill.After(soon) {
		i.notTill = soon
	}
}

// endpoint returns where to ask for the credential's token. Only the first discovery of an issuer is waited for; later ones happen
// beside what was read before, so that an issuer that is down or slow stops nothing.
func (e *Engine) endpoint(ctx context.Context, c Credential) (endpoint, *Error) {
	if !c.discovers() {
		return endpoint{tokenURL: c.TokenURL}, nil
	}
	i := e.discoveries.of(c)
	if m, due, err := i.state(time.Now()); m != nil || err != nil {
		if due {
			e.rediscover(i, c)
		}
		return m.use(c, err)
	}
	select {
	case i.gate <- struct{}{}:
	case <-ctx.Done():
		return endpoint{}, c.undiscovered(ctx.Err())
	}
	defer func() { <-i.gate }()
	m, _, err := i.state(time.Now())
	if m == nil && err == nil { // else another credential was faster
		m, err = e.discover(ctx, i, c)
	}
	return m.use(c, err)
}

// use is the endpoint, or why there is none.
func (m *metadata) use(c Credential, err *Error) (endpoint, *Error) {
	if m == nil {
		return endpoint{}, err
	}
	return m.endpoint(c.Style), nil
}

// state returns what was read last and whether it is to be read again, or the failure that is remembered.
func (i *issuer) state(now time.Time) (m *metadata, due bool, err *Error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	due = !now.Before(i.notTill)
	if i.read == nil && !due {
		return nil, false, i.err
	}
	return i.read, due, nil
}

// rediscover reads the metadata again, if nobody does.
func (e *Engine) rediscover(i *issuer, c Credential) {
	select {
	case i.gate <- struct{}{}:
	default:
		return
	}
	go func() {
		defer func() { <-i.gate }()
		ctx, cancel := context.WithTimeout(context.Background(), e.timeout())
		defer cancel()
		if _, err := e.discover(ctx, i, c); err != nil && e.Logger != nil {
			e.Logger.Warn("issuer's metadata not read again: what was read before stays in force", "issuer", c.Issuer, "error", err.Error())
		}
	}()
}

// discover reads the metadata. The gate is held. An error counts only while nothing was ever read.
func (e *Engine) discover(ctx context.Context, i *issuer, c Credential) (*metadata, *Error) {
	m, err := e.readMetadata(ctx, c)
	i.mu.Lock()
	defer i.mu.Unlock()
	now := time.Now()
	switch {
	case err == nil:
		e.tell(c, i.read, m)
		i.read, i.err, i.notTill = m, nil, now.Add(orDuration(e.DiscoveryAge, time.Hour))
	case i.read != nil:
		i.notTill = now.Add(rediscoveryPause)
	case ctx.Err() == nil || errors.Is(ctx.Err(), context.DeadlineExceeded):
		i.err, i.notTill = err, now.Add(discoveryPause)
	}
	return m, err
}

// tell logs where secrets go from now on, when that was not known or was elsewhere.
func (e *Engine) tell(c Credential, before, now *metadata) {
	if e.Logger == nil || before != nil && *before == *now {
		return
	}
	level := slog.LevelInfo
	if before != nil {
		level = slog.LevelWarn
	}
	e.Logger.Log(context.Background(), level, "token endpoint discovered", "issuer", c.Issuer, "token_endpoint", now.tokenURL, "mtls_token_endpoint", now.mtlsTokenURL)
}
