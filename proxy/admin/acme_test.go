package admin_test

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/proxy/admin"
)

func TestACMEKeysFromAddToRemove(t *testing.T) {
	h := build(t)
	h.furnish()
	ctx := t.Context()
	made, err := h.client.AddACMEKey(ctx, "erp", admin.ACMEKeyRequest{
		Hosts: []string{"ERP.example.com"}, Valid: identity.Duration(2 * time.Hour), Lifetime: identity.Duration(24 * time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	secret, err := base64.RawURLEncoding.DecodeString(made.HMACKey)
	if left := time.Until(made.Expires); err != nil || len(secret) != 32 || made.State != "open" || made.Identity != "erp" ||
		made.Directory != "https://enrol.test:8444/acme/directory" || !slices.Equal(made.Hosts, []string{"erp.example.com"}) || time.Duration(made.Lifetime) != 24*time.Hour || left < time.Hour || left > 2*time.Hour {
		t.Errorf("got %+v, %v", made, err)
	}
	shown, err := h.client.ACMEKey(ctx, made.ID)
	if err != nil || shown.ID != made.ID || shown.State != "open" {
		t.Errorf("got %+v, %v", shown, err)
	}
	if list, err := h.client.ACMEKeys(ctx, "erp", "open"); err != nil || len(list) != 1 {
		t.Errorf("got %+v, %v", list, err)
	}
	for range 2 {
		if err := h.client.RemoveACMEKey(ctx, made.ID); err != nil {
			t.Error(err)
		}
	}
	if list, err := h.client.ACMEKeys(ctx, "", "removed"); err != nil || len(list) != 1 || list[0].Removed.IsZero() {
		t.Errorf("got %+v, %v", list, err)
	}
	var dump strings.Builder
	actions := []string{}
	for _, c := range h.changes() {
		fmt.Fprintf(&dump, "%+v %s\n", c, c.Detail)
		actions = append(actions, c.Action)
	}
	if strings.Contains(dump.String(), made.HMACKey) || !slices.Contains(actions, "acme_key.add") || !slices.Contains(actions, "acme_key.remove") {
		t.Errorf("got the change records\n%s", &dump)
	}
}

func TestACMEKeysThatCannotBeMadeAreRefused(t *testing.T) {
	h := build(t)
	h.furnish()
	hosts := []string{"erp.example.com"}
	for code, q := range map[string]admin.ACMEKeyRequest{
		"no hosts":       {},
		"a wildcard":     {Hosts: []string{"*.example.com"}},
		"an address":     {Hosts: []string{"10.0.0.1"}},
		"too long":       {Hosts: hosts, Valid: identity.Duration(1000 * time.Hour)},
		"too short":      {Hosts: hosts, Valid: 1},
		"too long-lived": {Hosts: hosts, Lifetime: identity.Duration(9000 * 24 * time.Hour)},
	} {
		if _, err := h.client.AddACMEKey(t.Context(), "erp", q); err == nil {
			t.Errorf("%s: it is made", code)
		}
	}
	if _, err := h.client.AddACMEKey(t.Context(), "nobody", admin.ACMEKeyRequest{Hosts: hosts}); err == nil {
		t.Error("one for nobody is made")
	}
	if list, err := h.client.ACMEKeys(t.Context(), "", ""); err != nil || len(list) != 0 {
		t.Errorf("got %+v, %v", list, err)
	}
}

func TestRemovingAnIdentityRemovesItsACMEKeys(t *testing.T) {
	h := build(t)
	h.furnish()
	made, err := h.client.AddACMEKey(t.Context(), "erp", admin.ACMEKeyRequest{Hosts: []string{"erp.example.com"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := h.client.RemoveIdentity(t.Context(), "erp", true); err != nil {
		t.Fatal(err)
	}
	if k, err := h.client.ACMEKey(t.Context(), made.ID); err != nil || k.State != "removed" {
		t.Errorf("got %+v, %v", k, err)
	}
}
