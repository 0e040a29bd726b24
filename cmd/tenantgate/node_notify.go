package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"github.com/tenantgate/tenantgate/proxy/admin"
	"github.com/tenantgate/tenantgate/proxy/expiry"
	"github.com/tenantgate/tenantgate/proxy/notify"
	"github.com/tenantgate/tenantgate/proxy/record"
)

// notifications watch for what the receiver is to be told, queue it, and have it delivered.
type notifications struct {
	node     *node
	queue    *notify.Queue
	sender   *notify.Sender
	receiver atomic.Pointer[notify.Receiver]

	refusals     uint64 // of enrolment, when the quarter of an hour began
	refusalsFrom time.Time
	failing      bool // the last look failed; for the log

	looked   time.Time     // at what ends
	took     time.Duration // to look
	revision int64         // of the registry then
}

const (
	// What ends is looked at when the registry has changed, and every conditionsInterval; the rest every noticeInterval.
	noticeInterval     = 2 * time.Second
	conditionsInterval = 30 * time.Second
	// conditionsShare bounds the part of the time that is spent on looking at a large registry that changes all the time: one in so many.
	conditionsShare = 20
	noticeTimeout   = 20 * time.Second
	// forgetRecords is the age at which a change record is no news: when notifications are switched on again after a year, nobody wants to hear of it.
	forgetRecords = 7 * 24 * time.Hour
	recordsPage   = 500
	// fewRevocations are told of one by one.
	fewRevocations = 20
	// refusalsInterval and manyRefusals: so many refusals of enrolment in a time are worth a word.
	refusalsInterval = 15 * time.Minute
	manyRefusals     = 20
	// serverPatience is for how long a token server may fail unheard.
	serverPatience = time.Minute
)

func newNotifications(n *node, cfg *Config) (*notifications, error) {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	s := &notifications{node: n, queue: &notify.Queue{DB: n.db.DB, Installation: cfg.CA.TrustDomain, Node: host}}
	s.sender = &notify.Sender{Queue: s.queue, Receiver: s.receiver.Load, Logger: n.log}
	receiver, err := cfg.Notify.receiver()
	s.use(receiver)
	return s, err
}

// receiver makes what the section describes, nil for none.
func (c *NotifyConfig) receiver() (*notify.Receiver, error) {
	if c.URL == "" {
		return nil, nil
	}
	secret, err := readSecretFile(c.SecretFile)
	if err != nil {
		return nil, hinted(fmt.Errorf("notify.secret_file: %w", err), "(printf whsec_; openssl rand -base64 32) > %s; chmod 600 %s", c.SecretFile, c.SecretFile)
	}
	o := notify.ReceiverOptions{URL: c.URL, Secret: secret, Timeout: time.Duration(c.Timeout)}
	if c.CAFile != "" {
		if o.CA, err = readConfigFile(c.CAFile); err != nil {
			return nil, fmt.Errorf("notify.ca_file: %w", err)
		}
	}
	r, err := notify.NewReceiver(o)
	if err != nil {
		return nil, hinted(fmt.Errorf("notify: %w", err), "docs/expiry.md describes the section")
	}
	return r, nil
}

// use puts another receiver, or none, in the place of the present one.
func (s *notifications) use(r *notify.Receiver) {
	if old := s.receiver.Swap(r); old != nil {
		old.Close()
	}
}

// run looks and delivers until ctx is done.
func (s *notifications) run(ctx context.Context) {
	go s.sender.Run(ctx)
	ticker := time.NewTicker(noticeInterval)
	defer ticker.Stop()
	for {
		if s.receiver.Load() != nil {
			s.noticed(ctx, s.notice(ctx, time.Now()))
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// noticed logs when looking begins to fail.
func (s *notifications) noticed(ctx context.Context, err error) {
	failing := err != nil && ctx.Err() == nil
	if failing && !s.failing {
		s.node.log.Warn("looking for what is to be told: it is done again", "error", err)
	}
	s.failing = failing
}

// notice queues what is new.
func (s *notifications) notice(ctx context.Context, now time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, noticeTimeout)
	defer cancel()
	return errors.Join(s.changed(ctx, now), s.records(ctx, now), s.refused(ctx, now))
}

// changed looks at what ends when there may be something new.
func (s *notifications) changed(ctx context.Context, now time.Time) error {
	revision := s.node.registry.Snapshot().Revision()
	least := conditionsShare * s.took
	if revision == s.revision {
		least = max(least, conditionsInterval)
	}
	if since := now.Sub(s.looked); since >= 0 && since < least {
		return nil
	}
	began := time.Now()
	err := s.conditions(ctx, now)
	if s.took = time.Since(began); err == nil {
		s.revision, s.looked = revision, now
	}
	return err
}

// conditions tells of ends that are near and of token servers that fail, and of what is so no more.
func (s *notifications) conditions(ctx context.Context, now time.Time) error {
	var holds []notify.Condition
	works := map[[2]string]bool{} // kinds and names of which something lives on
	err := s.node.ends.Each(ctx, now, func(i *expiry.Item) bool {
		if i.State.Due() {
			holds = append(holds, ending(i))
		} else {
			works[[2]string{i.Kind, i.Name}] = true
		}
		return true
	})
	if err != nil { // what is missing has not ended
		return err
	}
	for _, server := range s.node.tokens.Servers() {
		if server.Failing && now.Sub(server.Since) > serverPatience {
			holds = append(holds, notify.Condition{Rank: 1, Local: true, Event: notify.Event{
				Type: notify.TokenServerFailing, Severity: notify.Warning, Subject: notify.Subject{Kind: "token_server", ID: server.Host, Name: server.Host},
				Cause: describeServer(&server), Hint: "tenantgate status; callers notice nothing while tokens live",
			}})
		}
	}
	return s.queue.Reconcile(ctx, now, holds, func(subject notify.Subject) (string, string) {
		switch {
		case subject.Kind == "token_server":
			return notify.TokenServerRecovered, ""
		case subject.Kind == expiry.KindReview && works[[2]string{subject.Kind, subject.Name}]:
			return notify.ExpiryRenewed, "it was reviewed"
		case works[[2]string{subject.Kind, subject.Name}] && !s.node.revoked(subject):
			return notify.ExpiryRenewed, "something newer does its work"
		}
		return notify.ExpiryRemoved, "it is gone, revoked, or its identity is disabled"
	})
}

// revoked reports whether what was told to end is a caller's certificate that was revoked before.
func (n *node) revoked(subject notify.Subject) bool {
	if subject.Kind != expiry.KindCaller {
		return false
	}
	c, ok := n.registry.Snapshot().CertificateBySerial(subject.ID)
	return ok && c.Revoked()
}

// ending is what is told of something whose end is near.
func ending(i *expiry.Item) notify.Condition {
	c := notify.Condition{Rank: 1, Event: notify.Event{
		Type: notify.ExpirySoon, Severity: notify.Info, Owner: i.Owner, Expires: i.Expires, Hint: i.Command,
		Subject: notify.Subject{Kind: i.Kind, ID: i.ID, Name: i.Name, Tenant: i.Tenant},
	}}
	switch i.State {
	case expiry.Urgent:
		c.Rank, c.Event.Type, c.Event.Severity = 2, notify.ExpiryUrgent, notify.Warning
	case expiry.Expired:
		c.Rank, c.Event.Type, c.Event.Severity = 3, notify.ExpiryExpired, notify.Critical
	}
	return c
}

// records tells of what change records say: revocations.
func (s *notifications) records(ctx context.Context, now time.Time) error {
	head, err := record.LastChange(ctx, s.node.db.DB)
	if err != nil {
		return err
	}
	for {
		from, err := s.queue.Cursor(ctx, head)
		if err != nil {
			return err
		}
		page, err := record.Changes(ctx, s.node.db.DB, from, recordsPage)
		if err != nil || len(page) == 0 {
			return err
		}
		if err := s.queue.Advance(ctx, now, from, page[len(page)-1].Seq, s.node.revocations(page, now)); err != nil {
			return err
		}
	}
}

// revocations are the revocations among change records: one by one, or all as one when there are many.
func (n *node) revocations(page []record.Change, now time.Time) []notify.Event {
	var events []notify.Event
	for _, c := range page {
		if c.Action != "certificate.revoke" || now.Sub(c.Time) > forgetRecords {
			continue
		}
		var detail struct {
			Reason string `json:"reason"`
		}
		_ = json.Unmarshal(c.Detail, &detail) // of another form it tells less
		events = append(events, notify.Event{
			Type: notify.CertificateRevoked, Severity: notify.Warning, Subject: notify.Subject{Kind: "certificate", ID: c.Name},
			Count: 1, Cause: detail.Reason, Hint: "tenantgate cert show " + c.Name,
		})
	}
	if len(events) <= fewRevocations {
		n.nameRevoked(events)
	}
	if len(events) <= fewRevocations {
		return events
	}
	return []notify.Event{{
		Type: notify.CertificateRevoked, Severity: notify.Warning, Subject: notify.Subject{Kind: "certificate"}, Count: int64(len(events)),
		Hint: "tenantgate audit list shows them",
	}}
}

// nameRevoked adds whose the certificates were.
func (n *node) nameRevoked(events []notify.Event) {
	snapshot := n.registry.Snapshot()
	for i := range events {
		e := &events[i]
		if c, ok := snapshot.CertificateBySerial(e.Subject.ID); ok {
			e.Subject.Name = c.Identity
			if holder, ok := snapshot.Identity(c.Identity); ok {
				e.Owner = holder.Owner
			}
		}
	}
}

// refused tells of many requests for certificates that were refused within a quarter of an hour.
func (s *notifications) refused(ctx context.Context, now time.Time) error {
	n := s.node.metrics.EnrolmentsRefused()
	if !s.refusalsFrom.IsZero() && now.Sub(s.refusalsFrom) < refusalsInterval {
		return nil
	}
	many, first := n-s.refusals, s.refusalsFrom.IsZero()
	if !first && many > manyRefusals {
		err := s.queue.Add(ctx, now, notify.Event{
			Type: notify.EnrolmentRefused, Severity: notify.Info, Subject: notify.Subject{Kind: "enrolment", Name: s.queue.Node}, Count: int64(many),
			Hint: "the access record has them with their cause: a token that has expired, a certificate that may not be renewed, or somebody who tries",
		})
		if err != nil {
			return err
		}
	}
	s.refusals, s.refusalsFrom = n, now
	return nil
}

// check says whether notifications are delivered.
func (s *notifications) check() admin.Check {
	c := admin.Check{Name: "notifications", OK: true}
	if s.receiver.Load() == nil {
		c.Detail = "no receiver"
		return c
	}
	st := s.sender.State()
	c.Warning = !st.FailingSince.IsZero()
	c.Detail = fmt.Sprintf("%d pending", st.Pending)
	if c.Warning {
		c.Detail += ", failing since " + moment(st.FailingSince) + ": " + st.Problem
	}
	return c
}

// notifyState is what the metrics show of notifications.
func (n *node) notifyState() record.NotificationState {
	if n.notify == nil {
		return record.NotificationState{}
	}
	st := n.notify.sender.State()
	return record.NotificationState{Pending: st.Pending, Oldest: st.Oldest, Delivered: st.Delivered, Failed: st.Failed, GivenUp: st.GivenUp}
}
