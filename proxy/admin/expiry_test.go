package admin_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/proxy/admin"
	"github.com/tenantgate/tenantgate/proxy/expiry"
)

// ends serves the API with a list of these items.
func ends(t *testing.T, source expiry.Source) (*house, *admin.Client) {
	t.Helper()
	h := build(t)
	s := h.server(func(*http.Request) (string, error) { return "test", nil })
	s.Expiry = &expiry.List{Sources: []expiry.Source{source}}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	return h, &admin.Client{HTTP: server.Client(), Base: server.URL}
}

func TestWhatEndsComesInPagesByItsEnd(t *testing.T) {
	now := time.Now()
	_, c := ends(t, func(_ context.Context, _ time.Time, yield func(expiry.Item) bool) error {
		for i := 9; i >= 0; i-- {
			yield(expiry.Item{Kind: []string{"credential", "review"}[i%2], ID: fmt.Sprint(i), Name: "erp", Expires: now.Add(time.Duration(i)*time.Hour - 30*time.Minute), Warn: 3 * time.Hour})
		}
		return nil
	})
	get := func(query string) (ids, link string) {
		t.Helper()
		response, err := c.HTTP.Get(c.Base + "/v1/expiry" + query)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		if response.StatusCode != 200 {
			return response.Status, ""
		}
		link = response.Header.Get("Link")
		if link != "" {
			link = strings.TrimPrefix(strings.Split(link, ">")[0], "<")
		}
		return "", link
	}
	pages, path := 0, "?limit=3"
	for path != "" {
		status, link := get(path)
		if status != "" {
			t.Fatalf("%s: %s", path, status)
		}
		pages++
		path = strings.TrimPrefix(link, "/v1/expiry")
	}
	if pages != 4 {
		t.Errorf("%d pages of ten items by three", pages)
	}
	for _, tc := range []struct{ within, kind, want string }{
		{"", "", "0 1 2 3 4 5 6 7 8 9"}, {"soon", "", "0 1 2 3"}, {"2h", "", "0 1 2"}, {"", "review", "1 3 5 7 9"}, {"soon", "credential", "0 2"},
	} {
		items, err := c.Expiry(t.Context(), tc.within, tc.kind)
		var got []string
		for _, i := range items {
			got = append(got, i.ID)
		}
		if err != nil || strings.Join(got, " ") != tc.want {
			t.Errorf("within %q, kind %q: got %q, %v, want %q", tc.within, tc.kind, got, err, tc.want)
		}
	}
	for _, query := range []string{"?within=90d", "?within=-1h", "?within=", "?limit=0", "?state=soon"} {
		if status, _ := get(query); status != "400 Bad Request" {
			t.Errorf("%s: %q", query, status)
		}
	}
}

func TestAListThatIsNotWholeIsAnError(t *testing.T) {
	_, c := ends(t, func(context.Context, time.Time, func(expiry.Item) bool) error {
		return errors.New("the database is away")
	})
	if _, err := c.Expiry(t.Context(), "", ""); err == nil {
		t.Error("it was given")
	}
}

func TestAReviewSetsTheNextDateOnRecord(t *testing.T) {
	h := build(t)
	ctx := t.Context()
	if _, err := h.client.AddIdentity(ctx, identity.Identity{Name: "erp", Owner: "team", ReviewDate: "2020-01-31", Roles: []string{"orders.send"}}); err != nil {
		t.Fatal(err)
	}
	due, err := h.client.Reviews(ctx, 0)
	if err != nil || len(due) != 1 || due[0].Reasons[0] != admin.ReviewOverdue || !due[0].Refused {
		t.Errorf("got %+v, %v", due, err)
	}
	stored, err := h.client.ReviewIdentity(ctx, "erp", "")
	want := identity.Date(time.Now().UTC().AddDate(0, 0, 365).Format(time.DateOnly))
	if err != nil || stored.ReviewDate != want || len(stored.Roles) != 1 {
		t.Errorf("got %+v, %v, want %s", stored, err, want)
	}
	if due, err := h.client.Reviews(ctx, 30*24*time.Hour); err != nil || len(due) != 0 {
		t.Errorf("got %+v, %v", due, err)
	}
	for _, next := range []identity.Date{"2020-01-31", "soon", "2999-01-01"} {
		if _, err := h.client.ReviewIdentity(ctx, "erp", next); err == nil {
			t.Errorf("the next review is set to %s", next)
		}
	}
	changes, err := h.client.Changes(ctx, 0, 100)
	if err != nil || changes[len(changes)-1].Action != "identity.review" || !strings.Contains(string(changes[len(changes)-1].Detail), "2020-01-31") {
		t.Errorf("the record says %+v, %v", changes, err)
	}
}

func TestTheTimeBeforeCallsWereNotedDoesNotCount(t *testing.T) {
	h := build(t)
	ctx := t.Context()
	if _, err := h.client.AddIdentity(ctx, identity.Identity{Name: "erp", Owner: "team"}); err != nil {
		t.Fatal(err)
	}
	if _, err := h.db.ExecContext(ctx, `UPDATE identities SET created = 1`); err != nil { // long ago
		t.Fatal(err)
	}
	registry, err := identity.Open(ctx, h.db, h.sealed)
	if err != nil {
		t.Fatal(err)
	}
	if err := registry.Calls().Begin(ctx, time.Now().Add(-48*time.Hour)); err != nil {
		t.Fatal(err)
	}
	s := h.server(func(*http.Request) (string, error) { return "test", nil })
	s.Registry = registry
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	c := &admin.Client{HTTP: server.Client(), Base: server.URL}
	for silent, want := range map[time.Duration]int{24 * time.Hour: 1, 72 * time.Hour: 0} {
		if got, err := c.Inactive(ctx, silent); err != nil || len(got) != want {
			t.Errorf("for %v: got %+v, %v", silent, got, err)
		}
	}
}

func TestWithoutAReceiverNothingIsTold(t *testing.T) {
	h := build(t)
	_, err := h.client.TestNotify(t.Context())
	if e, ok := errors.AsType[*admin.APIError](err); !ok || e.Status != 409 || e.Code != "no_receiver" || e.Hint == "" {
		t.Errorf("got %v", err)
	}
	if n, err := h.client.Notify(t.Context()); err != nil || n.Receiver != "" {
		t.Errorf("got %+v, %v", n, err)
	}
	if list, err := h.client.Notifications(t.Context(), "pending"); err != nil || len(list) != 0 {
		t.Errorf("got %+v, %v", list, err)
	}
}
