package main

import (
	"context"
	"encoding/json"
	"os"
	"time"
	_ "time/tzdata" // brownout windows have time zones, and a container may have none

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/proxy/record"
)

const (
	// stageInterval is how often it is looked whether a date of a login has come. The stage itself needs no look: it follows from the clock.
	stageInterval = time.Second
	// stageSlack is how far the clocks of nodes may be apart without their recording a step to and fro.
	stageSlack = 5 * time.Minute
	// usesInterval is how often it is written down when logins were used, and what was found out about those in stage observe.
	usesInterval = 5 * time.Second
)

// rehashing is a password that is to be hashed anew.
type rehashing struct {
	user     string
	old      identity.PasswordHash
	password string
}

// loginKeeper does for logins what is not done on the way of requests: it records the steps of stages, writes down uses and findings, and replaces imported hashes.
type loginKeeper struct {
	node  *node
	actor string
	queue chan rehashing
	lost  bool // the last step could not be recorded
	stop  context.CancelFunc
	ended chan struct{}
}

func newLoginKeeper(n *node) *loginKeeper {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return &loginKeeper{node: n, actor: "node:" + host, queue: make(chan rehashing, 16)}
}

// begin begins, once there is a data plane.
func (k *loginKeeper) begin() {
	var ctx context.Context
	ctx, k.stop = context.WithCancel(context.Background())
	k.ended = make(chan struct{})
	go k.run(ctx)
}

// rehash has an imported hash replaced. It does not wait: what finds no place is done at the next time that the password is verified.
func (k *loginKeeper) rehash(user string, old identity.PasswordHash, password string) {
	select {
	case k.queue <- rehashing{user, old, password}:
	default:
	}
}

// close writes down what is left to write.
func (k *loginKeeper) close() {
	if k.stop == nil {
		return
	}
	k.stop()
	<-k.ended
}

func (k *loginKeeper) run(ctx context.Context) {
	defer close(k.ended)
	stages, uses := time.NewTicker(stageInterval), time.NewTicker(usesInterval)
	defer stages.Stop()
	defer uses.Stop()
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.Background(), 2*time.Second)
			k.writeDown(last)
			cancel()
			return
		case <-stages.C:
			k.recordStages(ctx)
		case <-uses.C:
			k.writeDown(ctx)
		case r := <-k.queue:
			k.replace(ctx, r)
		}
	}
}

// recordStages records the steps that are due: the first node that sees one does, and the others find it done.
func (k *loginKeeper) recordStages(ctx context.Context) {
	now := time.Now()
	for _, l := range k.node.registry.Snapshot().Logins() {
		if l.StageDue(now, stageSlack) {
			err := k.recordStage(ctx, l.User)
			if err != nil && !k.lost && ctx.Err() == nil {
				k.node.log.Error("recording a stage: it is in force all the same, and is recorded when that is possible", "login", l.User, "error", err)
			}
			if k.lost = err != nil; k.lost {
				return // the database, most likely
			}
		}
	}
}

func (k *loginKeeper) recordStage(ctx context.Context, user string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return k.node.registry.Change(ctx, func(tx *identity.Tx) error {
		before, now, err := tx.RecordStage(ctx, user, stageSlack)
		if err != nil || before == now {
			return err
		}
		k.node.log.Info("a login has reached another stage", "login", user, "from", before, "to", now)
		return k.append(ctx, tx, "stage", user, map[string]identity.Stage{"from": before, "to": now})
	})
}

// append records what the node did by itself.
func (k *loginKeeper) append(ctx context.Context, tx *identity.Tx, verb, user string, detail any) error {
	text, err := json.Marshal(detail)
	if err != nil {
		return err
	}
	_, err = record.AppendChange(ctx, tx.SQL(), record.Change{
		Actor: k.actor, Action: identity.ObjectLogin + "." + verb, Object: identity.ObjectLogin, Name: user, Detail: text,
	})
	return err
}

// writeDown writes uses and findings. Those that cannot be written are lost: they are no record, and the next ones follow.
func (k *loginKeeper) writeDown(ctx context.Context) {
	if uses := k.node.proxy.LoginUses(); len(uses) > 0 {
		if err := k.node.registry.NoteLoginUses(ctx, uses); err != nil && ctx.Err() == nil {
			k.node.log.Warn("writing down when logins were used", "error", err)
		}
	}
	if findings := k.node.proxy.LoginFindings(); len(findings) > 0 {
		if err := k.node.registry.NoteLoginFindings(ctx, findings); err != nil && ctx.Err() == nil {
			k.node.log.Warn("writing down what was found out about observed logins", "error", err)
		}
	}
}

// replace stores a hash of today's cost in place of an imported one.
func (k *loginKeeper) replace(ctx context.Context, r rehashing) {
	if b, ok := k.node.registry.Snapshot().Login(r.user); !ok || !b.Login.Password.Equal(r.old) {
		return
	}
	fresh, err := identity.HashPassword(r.password)
	if err != nil {
		return // it is one that bcrypt takes and HTTP Basic cannot carry; it was carried, so this does not happen
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	err = k.node.registry.Change(ctx, func(tx *identity.Tx) error {
		done, err := tx.RehashLogin(ctx, r.user, r.old, fresh)
		if err != nil || !done {
			return err
		}
		return k.append(ctx, tx, "rehash", r.user, map[string]string{"from": r.old.Kind(), "to": fresh.Kind()})
	})
	if err != nil && ctx.Err() == nil {
		k.node.log.Warn("hashing a password anew: the old hash stays", "login", r.user, "error", err)
	}
}
