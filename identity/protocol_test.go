package identity_test

import (
	"context"
	"errors"
	"testing"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/internal/database/databasetest"
)

// HTTP/2 has no upgrades: a route that allows one and a tenant that is called by HTTP/2 do not go together, whichever comes first.
func TestNoUpgradeToATenantOfHTTP2(t *testing.T) {
	r := openRegistry(t, openDatabase(t, databasetest.SQLite(t)), newSealer(t))
	one, two := tenant("one"), tenant("two")
	two.Protocol = identity.ProtocolHTTP2
	chat := func(tenant string) identity.Route {
		return identity.Route{Name: "chat-" + tenant, Path: "/chat/" + tenant, Tenant: tenant, Role: "chat", Upgrade: []string{"websocket"}}
	}
	change(t, r, func(ctx context.Context, tx *identity.Tx) error {
		_, e1 := tx.AddTenant(ctx, one)
		_, e2 := tx.AddTenant(ctx, two)
		_, e3 := tx.AddRoute(ctx, chat("one"))
		return errors.Join(e1, e2, e3)
	})
	e := refuse(t, r, identity.ErrInvalid, func(ctx context.Context, tx *identity.Tx) error { _, err := tx.AddRoute(ctx, chat("two")); return err })
	if e.Field != "upgrade" {
		t.Errorf("got %+v", e)
	}
	one.Protocol = identity.ProtocolHTTP2
	refuse(t, r, identity.ErrInvalid, func(ctx context.Context, tx *identity.Tx) error { _, err := tx.SetTenant(ctx, one); return err })
}
