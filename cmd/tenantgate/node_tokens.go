package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/tenantgate/tenantgate/proxy/admin"
	"github.com/tenantgate/tenantgate/proxy/record"
	"github.com/tenantgate/tenantgate/proxy/token"
)

// openTokens makes the token engine, with the tokens of before the restart. Without those it works as well, so that a failure is no more than a warning.
func (n *node) openTokens(ctx context.Context, cfg *Config) {
	n.tokens = &token.Engine{
		Logger: n.log, Observe: n.observeFetch, Rate: float64(cfg.Tokens.Rate), InFlight: cfg.Tokens.InFlight, MaxAge: time.Duration(cfg.Tokens.MaxAge),
	}
	store := &token.Store{DB: n.db.DB, Sealer: n.sealer, Shared: cfg.sharedDatabase(), Logger: n.log}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if !cfg.Tokens.Persist {
		if err := store.Erase(ctx); err != nil {
			n.log.Warn("tokens that were stored when tokens.persist was true are still in the database", "error", err)
		}
		return
	}
	n.tokens.Store = store
	found, err := n.tokens.Restore(ctx)
	if err != nil {
		n.log.Warn("tokens of before the restart cannot be read: they are fetched anew", "error", err)
		return
	}
	n.log.Info("tokens of before the restart read", "tokens", found)
}

// tokenServersCheck says how token servers stand. That is a matter of theirs: the node serves, as long as tokens live also where they are needed. The detail
// names no more than /metrics does, and is for everybody.
func (n *node) tokenServersCheck() admin.Check {
	c := admin.Check{Name: "token_servers", OK: true, Public: true}
	var parts []string
	for _, s := range n.tokens.Servers() {
		if part := describeServer(&s); part != "" {
			parts = append(parts, part)
		}
	}
	c.Warning = len(parts) > 0
	if st := n.tokens.WarmUpState(); st.Pending > 0 {
		parts = append(parts, fmt.Sprintf("warming up: %d of %d to go", st.Pending, st.Total))
	}
	c.Detail = strings.Join(parts, "; ")
	return c
}

// describeServer says what is wrong with a token server, "" if nothing is.
func describeServer(s *token.ServerState) string {
	var what []string
	if s.Failing {
		step := string(s.Err.Step)
		if s.Err.Status != 0 {
			step += " " + strconv.Itoa(s.Err.Status)
		}
		what = append(what, "failing since "+moment(s.Since)+" ("+step+")")
	}
	if !s.PausedUntil.IsZero() {
		what = append(what, "asked to be left alone until "+moment(s.PausedUntil))
	}
	if s.Affected > 0 {
		what = append(what, fmt.Sprintf("%d of %d credentials affected, %d without a token", s.Affected, s.Credentials, s.Without))
	}
	if len(what) == 0 {
		return ""
	}
	return s.Host + ": " + strings.Join(what, ", ")
}

// tokenStoreCheck says whether tokens would outlive a restart. If not, the node serves all the same.
func (n *node) tokenStoreCheck() admin.Check {
	c := admin.Check{Name: "token_store", OK: true}
	if n.tokens.Store == nil {
		c.Detail = "tokens.persist is false"
		return c
	}
	if st := n.tokens.Store.State(); st.Failing {
		c.Warning, c.Detail = true, fmt.Sprintf("%d changes cannot be written; the log says why", st.Pending)
	}
	return c
}

// tokenServerStates is what the metrics show of token servers.
func (n *node) tokenServerStates() []record.TokenServerState {
	var all []record.TokenServerState
	for _, s := range n.tokens.Servers() {
		all = append(all, record.TokenServerState{Server: s.Host, Failing: s.Failing, Paused: !s.PausedUntil.IsZero(),
			InFlight: s.InFlight, Waiting: s.Waiting, Affected: s.Affected, Without: s.Without})
	}
	return all
}

// tokenStoreState is what the metrics show of the token store and the warm-up.
func (n *node) tokenStoreState() record.TokenStoreState {
	st := record.TokenStoreState{WarmUpPending: n.tokens.WarmUpState().Pending}
	if n.tokens.Store != nil {
		s := n.tokens.Store.State()
		st.Failing, st.Pending, st.Written, st.Failures, st.Restored, st.TakenOver = s.Failing, s.Pending, s.Written, s.Failures, s.Restored, s.TakenOver
	}
	return st
}
