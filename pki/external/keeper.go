package external

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/tenantgate/tenantgate/identity"
)

// Keeper fetches the revocation lists of authorities. Of several nodes on one database, one fetches and the others follow the registry; whichever comes first
// takes the turn. Fields without a stated zero value are required.
type Keeper struct {
	Registry *identity.Registry
	// Logger is told what changes: a list that came, one that could not be had; nil discards it.
	Logger *slog.Logger

	once     sync.Once
	client   *http.Client
	mu       sync.Mutex // guards the two below
	underWay map[[2]string]bool
	failing  map[[2]string]bool // was logged
	counts   map[string]*FetchCounts
}

// FetchCounts counts an authority's fetches on this node since it began.
type FetchCounts struct{ Done, Failed uint64 }

const (
	keepInterval = 500 * time.Millisecond
	fetchTurn    = 2 * time.Minute // how long one node has the turn
	backOffFirst = 2 * time.Second
)

// Run fetches what is due, until ctx is done.
func (k *Keeper) Run(ctx context.Context) {
	k.start()
	ticker := time.NewTicker(keepInterval)
	defer ticker.Stop()
	for {
		k.look(ctx)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func (k *Keeper) start() {
	k.once.Do(func() {
		k.client = newClient(false)
		k.underWay, k.failing, k.counts = map[[2]string]bool{}, map[[2]string]bool{}, map[string]*FetchCounts{}
		if k.Logger == nil {
			k.Logger = slog.New(slog.DiscardHandler)
		}
	})
}

// look begins the fetches that are due. Without an authority that names an address it costs nothing.
func (k *Keeper) look(ctx context.Context) {
	wanted := map[[2]string]*identity.Authority{}
	for _, e := range k.Registry.Snapshot().Authorities().All() {
		for _, url := range e.Authority.CRLURLs {
			wanted[[2]string{e.Authority.Name, url}] = e.Authority
		}
	}
	if len(wanted) == 0 {
		return
	}
	stands, err := k.Registry.Fetches(ctx)
	if err != nil {
		return // the registry's own following says so
	}
	now := time.Now()
	for _, f := range stands {
		key := [2]string{f.Authority, f.Source}
		switch {
		case wanted[key] == nil:
			_ = k.Registry.ForgetFetch(ctx, f.Authority, f.Source)
		case now.Before(f.Next):
			delete(wanted, key)
		}
	}
	for key, a := range wanted {
		k.mu.Lock()
		busy := k.underWay[key]
		k.underWay[key] = true
		k.mu.Unlock()
		if busy {
			continue
		}
		failures := 0
		for _, f := range stands {
			if f.Authority == key[0] && f.Source == key[1] {
				failures = f.Failures
			}
		}
		go func() {
			defer func() {
				k.mu.Lock()
				delete(k.underWay, key)
				k.mu.Unlock()
			}()
			k.fetch(ctx, a, key[1], failures)
		}()
	}
}

// fetch takes the turn, fetches one list and notes what came of it.
func (k *Keeper) fetch(ctx context.Context, a *identity.Authority, url string, failures int) {
	now := time.Now()
	mine, err := k.Registry.ClaimFetch(ctx, a.Name, url, now, now.Add(fetchTurn))
	if err != nil || !mine {
		return
	}
	next, err := k.Fetch(ctx, a, url)
	problem := ""
	if err != nil {
		if ctx.Err() != nil {
			next = now // another node, or this one after its restart, has the turn at once
		} else {
			wait := min(backOffFirst<<min(failures, 10), a.Refresh())
			next = time.Now().Add(max(wait, time.Second))
		}
		problem = err.Error()
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := k.Registry.EndFetch(end, a.Name, url, problem, next); err != nil {
		k.Logger.Error("noting how fetching a revocation list went", "authority", a.Name, "error", err)
	}
	k.note(a.Name, url, problem)
}

// note counts, and logs what is not as it was.
func (k *Keeper) note(authority, url, problem string) {
	k.mu.Lock()
	c := k.counts[authority]
	if c == nil {
		c = &FetchCounts{}
		k.counts[authority] = c
	}
	key := [2]string{authority, url}
	was := k.failing[key]
	k.failing[key] = problem != ""
	if problem == "" {
		c.Done++
	} else {
		c.Failed++
	}
	k.mu.Unlock()
	switch {
	case problem != "" && !was:
		k.Logger.Error("fetching a revocation list: the last one stays in force until it is stale", "authority", authority, "url", url, "error", problem)
	case problem == "" && was:
		k.Logger.Info("fetching the revocation list again", "authority", authority, "url", url)
	}
}

// Fetch fetches one list now, verifies it and puts it into the registry. It returns when the next fetch is due.
func (k *Keeper) Fetch(ctx context.Context, a *identity.Authority, url string) (next time.Time, err error) {
	k.start()
	bounded, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	q, err := http.NewRequestWithContext(bounded, http.MethodGet, url, nil)
	if err != nil {
		return time.Time{}, err
	}
	b, err := read(k.client, q, maxList)
	if err != nil {
		return time.Time{}, err
	}
	now := time.Now()
	list, err := ReadCRL(a, url, b, now)
	if err != nil {
		return time.Time{}, fmt.Errorf("the list is not believed: %w", err)
	}
	// Most fetches bring what is there already; that is not worth a revision.
	if !k.holds(a.Name, &list) {
		err = k.Registry.Change(ctx, func(tx *identity.Tx) error {
			_, err := tx.PutRevocationList(ctx, a.Name, list)
			return err
		})
		if err != nil && !errors.Is(err, identity.ErrNotFound) {
			return time.Time{}, err
		}
		k.Logger.Info("a revocation list came", "authority", a.Name, "url", url, "number", list.Number, "entries", list.Entries, "next_update", list.NextUpdate)
	}
	wait := min(a.Refresh(), list.NextUpdate.Sub(now)/2)
	wait -= time.Duration(rand.Int64N(int64(wait)/10 + 1))
	return now.Add(max(wait, time.Second)), nil
}

func (k *Keeper) holds(authority string, list *identity.RevocationList) bool {
	e, ok := k.Registry.Snapshot().Authorities().Find(authority)
	if !ok {
		return false
	}
	for _, l := range e.Lists {
		if l.Source == list.Source && string(l.DER) == string(list.DER) {
			return true
		}
	}
	return false
}

// Counts returns how fetching went for each authority on this node.
func (k *Keeper) Counts() map[string]FetchCounts {
	k.start()
	k.mu.Lock()
	defer k.mu.Unlock()
	all := make(map[string]FetchCounts, len(k.counts))
	for name, c := range k.counts {
		all[name] = *c
	}
	return all
}

// FetchNow is Fetch for an administrator who waits: what comes of it is noted as of any other, and the next fetch is due after it.
func (k *Keeper) FetchNow(ctx context.Context, a *identity.Authority, url string) error {
	next, err := k.Fetch(ctx, a, url)
	problem := ""
	if err != nil {
		problem, next = err.Error(), time.Now().Add(backOffFirst)
	}
	k.note(a.Name, url, problem)
	now := time.Now()
	if _, claimed := k.Registry.ClaimFetch(ctx, a.Name, url, now, now); claimed == nil { // the row is there now
		if noted := k.Registry.EndFetch(ctx, a.Name, url, problem, next); noted != nil && err == nil {
			err = noted
		}
	}
	return err
}
