package main

import (
	"encoding/json"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/internal/database"
	"github.com/tenantgate/tenantgate/proxy"
	"github.com/tenantgate/tenantgate/proxy/record"
)

// A switch that the database does not take waits for it, and holds nobody up: neither who caused it nor who stops the node.
func TestASwitchIsRecordedOnceTheDatabaseTakesIt(t *testing.T) {
	ctx := t.Context()
	db, err := database.Open(ctx, filepath.Join(t.TempDir(), "tenantgate.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := database.Migrate(ctx, db, "identity", identity.Migrations()); err != nil {
		t.Fatal(err)
	}
	key, err := identity.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	sealer, err := identity.NewSealer(key)
	if err != nil {
		t.Fatal(err)
	}
	registry, err := identity.Open(ctx, db.DB, sealer)
	if err != nil {
		t.Fatal(err)
	}
	n := &node{registry: registry, metrics: record.NewMetrics(prometheus.NewRegistry()), log: slog.New(slog.DiscardHandler)}
	stuck := newSwitchRecorder(n) // there is no table of change records yet
	begin := time.Now()
	for range 2 * maxSwitches {
		stuck.take(proxy.CredentialSwitch{To: "lost"})
	}
	if took := time.Since(begin); took > time.Second {
		t.Errorf("telling of switches took %v", took)
	}
	stuck.close()

	r := newSwitchRecorder(n)
	r.take(proxy.CredentialSwitch{Identity: "erp", Tenant: "acme", To: "second", From: "first", Cause: "the newer one has worked"})
	r.take(proxy.CredentialSwitch{Identity: "erp", Tenant: "acme", To: "first", From: "second", Fallback: true, Cause: "refused"})
	if err := database.Migrate(ctx, db, "record", record.Migrations()); err != nil {
		t.Fatal(err)
	}
	var changes []record.Change
	for end := time.Now().Add(10 * time.Second); len(changes) < 2 && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if changes, err = record.Changes(ctx, db.DB, 0, 10); err != nil {
			t.Fatal(err)
		}
	}
	r.close()
	if len(changes) != 2 {
		t.Fatalf("got %d records", len(changes))
	}
	for i, want := range []record.Change{
		{Action: "credential.preferred", Name: "second", Detail: json.RawMessage(`{"cause":"the newer one has worked","identity":"erp","instead_of":"first","tenant":"acme"}`)},
		{Action: "credential.fallback", Name: "first", Detail: json.RawMessage(`{"cause":"refused","identity":"erp","instead_of":"second","tenant":"acme"}`)},
	} {
		got := changes[i]
		if got.Action != want.Action || got.Name != want.Name || string(got.Detail) != string(want.Detail) || got.Actor != r.actor || got.Object != "credential" {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
}
