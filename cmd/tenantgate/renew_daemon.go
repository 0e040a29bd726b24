package main

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"time"
)

// lookAgain is the longest pause between two looks at the clock: it may be set, and the machine may have slept.
const lookAgain = time.Minute

// daemon renews whenever it is time, until ctx is done.
func (r *renewer) daemon(ctx context.Context) error {
	log := slog.New(slog.NewTextHandler(r.stderr, nil))
	pair, _, err := r.files.load() // a slip is told at once
	if err != nil {
		return err
	}
	log.Info("renewing", "certificate", r.files.cert, "until", moment(pair.Leaf.NotAfter), "due", moment(dueAt(pair.Leaf)))
	d := &renewing{step: func(ctx context.Context) (time.Time, time.Duration, error) { return r.step(ctx, log) }, log: log}
	d.run(ctx)
	return nil
}

// step renews when it is time, runs the command when it is owed, and says when the certificate is due next and how long it lives.
func (r *renewer) step(ctx context.Context, log *slog.Logger) (due time.Time, life time.Duration, err error) {
	release, err := exclusive(r.files.cert)
	if err != nil {
		return due, 0, err
	}
	defer release()
	pair, _, err := r.files.load()
	if err != nil {
		return due, 0, err
	}
	due, life = dueAt(pair.Leaf), pair.Leaf.NotAfter.Sub(pair.Leaf.NotBefore)
	if !time.Now().Before(due) {
		got, err := r.renew(ctx)
		if err != nil {
			return due, life, err
		}
		due, life = dueAt(got.pair.Leaf), got.NotAfter.Sub(got.NotBefore)
		log.Info("renewed", "certificate", r.files.cert, "serial", got.Serial, "until", moment(got.NotAfter), "due", moment(due))
	}
	return due, life, r.announce(ctx)
}

// renewing repeats a step: when it is due, and after failures at pauses that double, a good deal shorter than what is left of the certificate.
type renewing struct {
	// step does what is to be done now and returns when there will be something again, and the lifetime of the certificate; 0 is not known.
	step func(context.Context) (due time.Time, life time.Duration, err error)
	log  *slog.Logger
}

func (d *renewing) run(ctx context.Context) {
	failures := 0
	for ctx.Err() == nil {
		due, life, err := d.step(ctx)
		pause := lookAgain
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			failures++
			pause = backOff(failures, life)
			d.log.Error("renewing", "error", err, "hint", hintOf(err), "again_in", pause.Round(time.Second).String())
		default:
			failures = 0
			pause = max(min(lookAgain, time.Until(due.Round(0))), time.Second)
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// backOff is the pause after so many failures in a row: from a minute to an hour for a certificate of 90 days, from seconds for one of minutes, and
// a fifth more or less, so that callers that failed together do not come again together.
func backOff(failures int, life time.Duration) time.Duration {
	if life <= 0 {
		life = 90 * 24 * time.Hour
	}
	first := min(max(life/200, time.Second), time.Minute)
	most := min(max(life/20, 10*time.Second), time.Hour)
	pause := min(first<<min(failures-1, 12), most) // 4096 times the first is more than most
	return time.Duration(float64(pause) * (0.8 + 0.4*rand.Float64()))
}
