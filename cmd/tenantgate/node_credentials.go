package main

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/proxy"
	"github.com/tenantgate/tenantgate/proxy/admin"
	"github.com/tenantgate/tenantgate/proxy/record"
)

// switchRecorder writes a change record for each switch between two credentials, one after the other, beside the requests that caused it.
type switchRecorder struct {
	node  *node
	actor string
	queue chan proxy.CredentialSwitch
	stop  context.CancelFunc
	ended chan struct{}
}

const (
	// maxSwitches wait for the database. A tenant with more identities in rotation that fall back together loses records, not traffic, and the log has them.
	maxSwitches = 1024
	// switchTimeout bounds one attempt to write.
	switchTimeout = 10 * time.Second
	// switchLast bounds the writing of what waits when the node stops.
	switchLast = 2 * time.Second
)

func newSwitchRecorder(n *node) *switchRecorder {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	ctx, stop := context.WithCancel(context.Background())
	r := &switchRecorder{node: n, actor: "node:" + host, queue: make(chan proxy.CredentialSwitch, maxSwitches), stop: stop, ended: make(chan struct{})}
	go r.run(ctx)
	return r
}

// take counts a switch and has it recorded. It does not wait.
func (r *switchRecorder) take(s proxy.CredentialSwitch) {
	r.node.metrics.CredentialSwitched(s.Tenant, s.Fallback)
	select {
	case r.queue <- s:
	default:
		r.node.log.Error("recording a switch of credentials: too many wait for the database", "credential", s.To)
	}
}

func (r *switchRecorder) run(ctx context.Context) {
	defer close(r.ended)
	for {
		select {
		case s := <-r.queue:
			if !r.write(ctx, s) {
				r.finish(s)
				return
			}
		case <-ctx.Done():
			r.finish()
			return
		}
	}
}

// write tries until it is done, and reports false when the node stops before.
func (r *switchRecorder) write(ctx context.Context, s proxy.CredentialSwitch) bool {
	for pause := time.Second; ; pause = min(2*pause, time.Minute) {
		attempt, cancel := context.WithTimeout(ctx, switchTimeout)
		err := r.append(attempt, s)
		cancel()
		if err == nil {
			return true
		}
		if ctx.Err() == nil {
			r.node.log.Error("recording a switch of credentials", "credential", s.To, "error", err)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return false
		}
	}
}

// finish tries what is left once more, because the node stops.
func (r *switchRecorder) finish(left ...proxy.CredentialSwitch) {
	ctx, cancel := context.WithTimeout(context.Background(), switchLast)
	defer cancel()
	for len(r.queue) > 0 {
		left = append(left, <-r.queue)
	}
	for _, s := range left {
		if err := r.append(ctx, s); err != nil {
			r.node.log.Error("recording a switch of credentials: it is lost", "credential", s.To, "error", err)
		}
	}
}

func (r *switchRecorder) append(ctx context.Context, s proxy.CredentialSwitch) error {
	action := "credential.preferred"
	if s.Fallback {
		action = "credential.fallback"
	}
	detail, err := json.Marshal(map[string]string{"identity": s.Identity, "tenant": s.Tenant, "instead_of": s.From, "cause": s.Cause})
	if err != nil {
		return err
	}
	return r.node.registry.Change(ctx, func(tx *identity.Tx) error {
		_, err := record.AppendChange(ctx, tx.SQL(), record.Change{
			Actor: r.actor, Action: action, Object: identity.ObjectCredential, Name: s.To, Detail: detail,
		})
		return err
	})
}

// close writes what waits and ends.
func (r *switchRecorder) close() {
	r.stop()
	<-r.ended
}

// credentialUses says how credentials stand, for the admin API.
func (n *node) credentialUses(credentials []*identity.Credential) []admin.CredentialUse {
	uses := make([]admin.CredentialUse, len(credentials))
	for i, s := range n.proxy.CredentialStates(credentials) {
		uses[i] = admin.CredentialUse(s)
	}
	return uses
}

// credentialEnds yields what the metrics show of each credential.
func (n *node) credentialEnds() iter.Seq[record.CredentialEnd] {
	return func(yield func(record.CredentialEnd) bool) {
		snapshot, now := n.registry.Snapshot(), time.Now()
		for c := range snapshot.AllCredentials() {
			if !yield(record.CredentialEnd{Tenant: c.Tenant, NotAfter: c.NotAfter, NeedsSuccessor: snapshot.NeedsSuccessor(c, now)}) {
				return
			}
		}
	}
}

// expiring are the credentials whose end is near or over and that have no successor, the next end first.
func (n *node) expiring() []*identity.Credential {
	var list []*identity.Credential
	snapshot, now := n.registry.Snapshot(), time.Now()
	for c := range snapshot.AllCredentials() {
		if snapshot.NeedsSuccessor(c, now) {
			list = append(list, c)
		}
	}
	slices.SortFunc(list, func(a, b *identity.Credential) int { return a.NotAfter.Compare(b.NotAfter) })
	return list
}

const (
	remindEvery = 24 * time.Hour
	maxReminded = 20 // lines; what is beyond is counted
)

// remind writes a line to the log for each credential that has to be replaced soon: at once and then daily, until ctx is done.
func (n *node) remind(ctx context.Context) {
	ticker := time.NewTicker(remindEvery)
	defer ticker.Stop()
	for {
		list := n.expiring()
		for i, c := range list {
			if i == maxReminded {
				n.log.Warn("more credentials end soon", "count", len(list)-i)
				break
			}
			n.log.Warn("a credential ends soon and has no successor", "identity", c.Identity, "tenant", c.Tenant, "credential", c.ID, "not_after", c.NotAfter)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// credentialsCheck names what an operator has to replace or look at. The node serves all the same.
func (n *node) credentialsCheck() admin.Check {
	var parts []string
	if list := n.expiring(); len(list) > 0 {
		c := list[0]
		parts = append(parts, fmt.Sprintf("%s without a successor, the first that of %s for %s (%s)", counted(len(list), "credential has ended or ends soon", "credentials have ended or end soon"),
			c.Identity, c.Tenant, moment(c.NotAfter)))
	}
	back := n.proxy.Fallbacks()
	tenants := make([]string, 0, len(back))
	for tenant := range back {
		tenants = append(tenants, tenant)
	}
	slices.Sort(tenants)
	if len(tenants) > 0 {
		parts = append(parts, "the newer credential does not work and the older one is used, at "+list(tenants))
	}
	return admin.Check{Name: "credentials", OK: true, Warning: len(parts) > 0, Detail: strings.Join(parts, "; ")}
}

func counted(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
