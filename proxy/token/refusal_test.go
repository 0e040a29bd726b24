package token_test

import (
	"testing"
	"time"

	"github.com/tenantgate/tenantgate/proxy/token"
)

func crashLoop(t *testing.T, d *disk, server *tokenServer) {
	server.set(status(401, `{"error":"invalid_client","error_description":"Bad credentials"}`))
	began := time.Now()
	var last *token.Error
	for time.Since(began) < 14*time.Minute {
		n := d.start(t, server)
		for range 3 {
			last = mustFail(t, n.Source(credential()))
			time.Sleep(10 * time.Second)
		}
		n.kill(t)
	}
	if got := server.count(); got != 2 {
		t.Errorf("got %d log-ons over %v of crashes, want 2: IAS locks a client after five", got, time.Since(began))
	}
	if last.Step != token.StepRefused || last.Status != 401 || last.Code != "invalid_client" || last.Description != "Bad credentials" || last.Until.IsZero() {
		t.Errorf("got %+v, want the refusal of before the crash", last)
	}
	server.set(nil)
	changed := credential()
	changed.Secret = token.NewSecret("right")
	n := d.start(t, server)
	mustToken(t, n.Source(changed)) // at once: the credential changed
	n.stop(t)
	n = d.start(t, server)
	mustToken(t, n.Source(changed))
	n.stop(t)
	if got := server.count(); got != 3 {
		t.Errorf("got %d requests, want the changed credential's token to be stored", got)
	}
}

func holdEnds(t *testing.T, d *disk, server *tokenServer) {
	server.set(status(401, `{"error":"invalid_client"}`))
	n := d.start(t, server)
	mustFail(t, n.Source(credential()))
	time.Sleep(2 * time.Second)
	mustFail(t, n.Source(credential()))
	n.stop(t)
	server.set(nil)
	time.Sleep(16 * time.Minute)
	n = d.start(t, server)
	mustToken(t, n.Source(credential()))
	n.stored(t)
	var rows int
	if err := n.db.QueryRow(`SELECT count(*) FROM token_refusals`).Scan(&rows); err != nil || rows != 0 {
		t.Errorf("got %d rows of refusals (%v) after the client was accepted", rows, err)
	}
	n.stop(t)
}
