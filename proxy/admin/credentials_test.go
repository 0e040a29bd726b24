package admin_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/proxy/admin"
)

// addCredentials gives the identity erp credentials for tenants a, b and so on, which end in so many days; 0 is not known.
func addCredentials(h *house, days ...int) {
	h.t.Helper()
	ctx, now := h.t.Context(), time.Now()
	_, err := h.client.AddIdentity(ctx, identity.Identity{Name: "erp", Owner: "team"})
	for i, d := range days {
		name := string(rune('a' + i))
		if err == nil {
			_, err = h.client.AddTenant(ctx, identity.Tenant{Name: name, BaseURL: "https://x.example.com", TokenURL: "https://x.example.com/token", AuthStyle: "body"})
		}
		r := admin.CredentialRequest{Tenant: name, Kind: "secret", ClientID: fmt.Sprint(d), Secret: "s"}
		if d != 0 {
			r.NotAfter = now.Add(time.Duration(d) * 24 * time.Hour)
		}
		if err == nil {
			_, err = h.client.AddCredential(ctx, "erp", r)
		}
	}
	if err != nil {
		h.t.Fatal(err)
	}
}

func TestListsCredentialsThatEnd(t *testing.T) {
	h := build(t)
	addCredentials(h, 1, 20, 40, 0)
	for within, want := range map[string][]string{
		"": {"0", "1", "20", "40"}, "720h": {"1", "20"}, "960h1s": {"1", "20", "40"}, "1h": nil,
		"soon": nil, // each of them was added today and has most of its life before it
	} {
		list, err := h.client.AllCredentials(t.Context(), within)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, c := range list {
			got = append(got, c.ClientID)
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("expiring=%s: got %v, want %v", within, got, want)
		}
	}
	for _, bad := range []string{"30d", "-1h", "later"} {
		_, err := h.client.AllCredentials(t.Context(), bad)
		wantError(t, err, 400, "expiring")
	}
}

// What the node says of each credential stands beside it, in a list as well as in a single answer, and an end is all that can be changed.
func TestCredentialsSayHowTheyStand(t *testing.T) {
	h := build(t)
	addCredentials(h, 1, 2)
	ctx := t.Context()
	list, err := h.client.Credentials(ctx, "erp")
	if err != nil || len(list) != 2 {
		t.Fatalf("got %v, %v", list, err)
	}
	for _, c := range list {
		one, err := h.client.Credential(ctx, c.ID)
		want := admin.CredentialUse{State: "state of " + c.ClientID}
		if err != nil || c.Use != want || one.Use != want {
			t.Errorf("got %+v and %+v, %v, want %+v", c.Use, one.Use, err, want)
		}
	}
	for _, body := range []string{`{"client_id":"x"}`, `{"not_after":"tomorrow"}`, `{"not_after":5}`, `[]`} {
		if status, answer := h.send("PATCH", "/v1/credentials/"+list[0].ID, body); status != 400 {
			t.Errorf("%s: %d %s", body, status, answer)
		}
	}
	_, err = h.client.SetCredentialEnd(ctx, "none", time.Now())
	wantError(t, err, 404, "none")
}

// An end that was computed from what somebody else has changed since is refused.
func TestTwoEndsOfACredentialDoNotUndoEachOther(t *testing.T) {
	h := build(t)
	addCredentials(h, 1)
	list, err := h.client.Credentials(t.Context(), "erp")
	if err != nil || len(list) != 1 {
		t.Fatalf("got %v, %v", list, err)
	}
	path := "/v1/credentials/" + list[0].ID
	answer := h.raw("GET " + path + " HTTP/1.1\r\nHost: tenantgate\r\nConnection: close\r\n\r\n")
	_, rest, _ := strings.Cut(answer, "\r\nEtag: ")
	tag, _, found := strings.Cut(rest, "\r\n")
	if !found {
		t.Fatalf("no entity tag in %s", answer)
	}
	for i, want := range []int{200, 412} {
		body := fmt.Sprintf(`{"not_after":"203%d-01-01T00:00:00Z"}`, i)
		if status, answer := h.send("PATCH", path, body, "If-Match: "+tag); status != want {
			t.Errorf("change %d: %d %s", i, status, answer)
		}
	}
}

func states(credentials []*identity.Credential) []admin.CredentialUse {
	uses := make([]admin.CredentialUse, len(credentials))
	for i, c := range credentials {
		uses[i].State = "state of " + c.ClientID
	}
	return uses
}
