package main

import (
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"
)

func TestADaemonRenewsWhenItIsDueAndLooksAtTheClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const life = 90 * 24 * time.Hour
		ctx, cancel := context.WithTimeout(t.Context(), 200*24*time.Hour)
		defer cancel()
		due, last, longest, renewed := time.Now().Add(life*2/3), time.Now(), time.Duration(0), []time.Time(nil)
		d := &renewing{log: slog.New(slog.DiscardHandler), step: func(context.Context) (time.Time, time.Duration, error) {
			now := time.Now()
			longest, last = max(longest, now.Sub(last)), now
			if !now.Before(due) {
				if late := now.Sub(due); late > time.Second {
					t.Errorf("%v late", late)
				}
				renewed = append(renewed, now)
				due = now.Add(life * 2 / 3)
			}
			return due, life, nil
		}}
		d.run(ctx)
		if len(renewed) != 3 || longest > time.Minute {
			t.Errorf("renewed %d times in 200 days, the longest pause was %v", len(renewed), longest)
		}
	})
}

func TestADaemonComesAgainAfterFailures(t *testing.T) {
	for _, c := range []struct {
		life        time.Duration
		first, most time.Duration
	}{{90 * 24 * time.Hour, time.Minute, time.Hour}, {10 * time.Minute, 3 * time.Second, 30 * time.Second}, {0, time.Minute, time.Hour}} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 24*time.Hour)
			defer cancel()
			var pauses []time.Duration
			last := time.Now()
			d := &renewing{log: slog.New(slog.DiscardHandler), step: func(context.Context) (time.Time, time.Duration, error) {
				pauses = append(pauses, time.Since(last))
				last = time.Now()
				return time.Time{}, c.life, errors.New("unreachable")
			}}
			d.run(ctx)
			pauses = pauses[1:]
			if pauses[0] < c.first*8/10 || pauses[0] > c.first*12/10 {
				t.Errorf("first pause %v, want about %v", pauses[0], c.first)
			}
			for i, p := range pauses {
				if p > c.most*12/10 || i > 10 && p < c.most*8/10 {
					t.Errorf("pause %d is %v, want about %v at most", i, p, c.most)
				}
			}
		})
	}
}

func TestDueAtTwoThirdsAndNotAllAtOnce(t *testing.T) {
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	const life = 90 * 24 * time.Hour
	first, last := begin.Add(life), begin
	for i := range 200 {
		due := dueAt(&x509.Certificate{Raw: []byte{byte(i)}, NotBefore: begin, NotAfter: begin.Add(life)})
		if due.Before(begin.Add(life*7/12)) || due.After(begin.Add(life*2/3)) {
			t.Errorf("due %v after its beginning", due.Sub(begin))
		}
		if due.Before(first) {
			first = due
		}
		if due.After(last) {
			last = due
		}
	}
	if spread := last.Sub(first); spread < life/12*9/10 {
		t.Errorf("200 certificates are due within %v", spread)
	}
}
