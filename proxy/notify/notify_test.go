package notify_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tenantgate/tenantgate/internal/database"
	"github.com/tenantgate/tenantgate/internal/database/databasetest"
	"github.com/tenantgate/tenantgate/proxy/notify"
)

const secretText = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwdGVzdA=="

// receiver is a real server that takes notifications, with knobs.
type receiver struct {
	*httptest.Server
	mu     sync.Mutex
	status int // that it answers; 0 is 204
	header http.Header
	body   string        // that it answers
	hang   chan struct{} // while it is open, nothing is answered
	got    []taken
}

// taken is one request.
type taken struct {
	header http.Header
	body   []byte
	event  notify.Event
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{header: http.Header{}}
	r.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		body, _ := io.ReadAll(q.Body)
		one := taken{header: q.Header.Clone(), body: body}
		_ = json.Unmarshal(body, &one.event)
		r.mu.Lock()
		r.got = append(r.got, one)
		status, answer, hang := r.status, r.body, r.hang
		for name, values := range r.header {
			w.Header()[name] = values
		}
		r.mu.Unlock()
		if hang != nil {
			<-hang
		}
		if status == 0 {
			status = http.StatusNoContent
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, answer)
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) set(status int, header ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status, r.header = status, http.Header{}
	for i := 0; i+1 < len(header); i += 2 {
		r.header.Set(header[i], header[i+1])
	}
}

// hold has nothing answered until the function is called that it returns.
func (r *receiver) hold() (release func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	hang := make(chan struct{})
	r.hang = hang
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		close(hang)
		r.hang = nil
	}
}

func (r *receiver) all() []taken {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]taken(nil), r.got...)
}

func (r *receiver) options() notify.ReceiverOptions {
	return notify.ReceiverOptions{URL: r.URL + "/hook?key=hidden-in-the-address", Secret: []byte(secretText + "\n"), Timeout: 5 * time.Second,
		CA: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: r.Certificate().Raw})}
}

// house is a node: a queue and its sender, with a clock of their own.
type house struct {
	t      *testing.T
	queue  *notify.Queue
	sender *notify.Sender
	now    time.Time
}

func open(t *testing.T, url string) *database.DB {
	t.Helper()
	db, err := database.Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	if err := database.Migrate(t.Context(), db, "notify", notify.Migrations()); err != nil {
		t.Fatal(err)
	}
	return db
}

func newHouse(t *testing.T, db *database.DB, node string, o notify.ReceiverOptions) *house {
	t.Helper()
	to, err := notify.NewReceiver(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(to.Close)
	h := &house{t: t, now: time.Now().UTC()}
	h.queue = &notify.Queue{DB: db.DB, Installation: "gate.test", Node: node}
	h.sender = &notify.Sender{Queue: h.queue, Receiver: func() *notify.Receiver { return to }, Now: func() time.Time { return h.now }}
	return h
}

func (h *house) add(kind, id string) {
	h.t.Helper()
	if err := h.queue.Add(h.t.Context(), h.now, notify.Event{Type: kind, Severity: notify.Info, Subject: notify.Subject{Kind: "certificate", ID: id}}); err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) reconcile(holds ...notify.Condition) error {
	return h.queue.Reconcile(h.t.Context(), h.now, holds, func(notify.Subject) (string, string) { return notify.ExpiryRenewed, "newer" })
}

func condition(id string, rank int64) notify.Condition {
	return notify.Condition{Rank: rank, Event: notify.Event{
		Type: []string{notify.ExpirySoon, notify.ExpiryUrgent, notify.ExpiryExpired}[rank-1], Severity: notify.Warning, Owner: "team-" + id,
		Subject: notify.Subject{Kind: "credential", ID: id, Name: "erp"}, Expires: time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC),
	}}
}

// types are the types of what the receiver has got, and after each the id of its subject.
func (r *receiver) types() string {
	var all []string
	for _, one := range r.all() {
		all = append(all, one.event.Type+" "+one.event.Subject.ID)
	}
	return strings.Join(all, ", ")
}

func TestNotify(t *testing.T) {
	databasetest.Each(t, func(t *testing.T, create func(testing.TB) string) {
		for name, test := range map[string]func(*testing.T, *database.DB){
			"is signed and says what it is about":               testSigned,
			"one node of two tells, and a change once":          testConditions,
			"what one node alone knows, another does not end":   testLocal,
			"a receiver that fails gets all once it works":      testFailing,
			"what one notification is refused, holds none back": testUnwanted,
			"an attempt that was cut off comes again":           testCutOff,
			"change records are read on from where it stopped":  testCursor,
			"nothing is added when too much waits":              testFull,
			"what nobody takes for a month is given up":         testGivenUp,
		} {
			t.Run(name, func(t *testing.T) { test(t, open(t, create(t))) })
		}
	})
}

func testSigned(t *testing.T, db *database.DB) {
	r := newReceiver(t)
	h := newHouse(t, db, "a", r.options())
	h.add(notify.CertificateRevoked, "6f3a")
	if err := h.sender.Round(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := r.all()
	if len(got) != 1 {
		t.Fatalf("%d requests", len(got))
	}
	one := got[0]
	id, at := one.header.Get("webhook-id"), one.header.Get("webhook-timestamp")
	key, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(secretText, "whsec_"))
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s.%s.%s", id, at, one.body)
	if want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)); one.header.Get("webhook-signature") != want {
		t.Errorf("signature %s, want %s", one.header.Get("webhook-signature"), want)
	}
	if at != fmt.Sprint(h.now.Unix()) || one.header.Get("Content-Type") != "application/json" {
		t.Errorf("headers %v", one.header)
	}
	e := one.event
	if e.Version != 1 || e.ID != id || e.Type != notify.CertificateRevoked || e.Installation != "gate.test" || e.Subject.ID != "6f3a" || e.Time.IsZero() {
		t.Errorf("got %s", one.body)
	}
	list, err := h.queue.List(t.Context(), notify.Delivered, "", 10)
	if err != nil || len(list) != 1 || list[0].ID != id || list[0].Attempts != 1 || list[0].Finished.IsZero() {
		t.Errorf("the queue has %+v, %v", list, err)
	}
}

func testConditions(t *testing.T, db *database.DB) {
	r := newReceiver(t)
	a, b := newHouse(t, db, "a", r.options()), newHouse(t, db, "b", r.options())
	step := func(want string, holds ...notify.Condition) {
		t.Helper()
		before := len(r.all())
		for _, h := range []*house{a, b, a} { // the last as after a restart
			if err := h.reconcile(holds...); err != nil {
				t.Fatal(err)
			}
			if err := h.sender.Round(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		var all []string
		for _, one := range r.all()[before:] {
			all = append(all, one.event.Type+" "+one.event.Subject.ID)
		}
		if got := strings.Join(all, ", "); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	step("expiry.soon one", condition("one", 1))
	step("", condition("one", 1))
	step("expiry.urgent one", condition("one", 2))
	step("expiry.soon two", condition("one", 2), condition("two", 1))
	step("expiry.expired two", condition("one", 2), condition("two", 3))
	step("expiry.renewed one", condition("two", 3))
	later := condition("two", 1)
	later.Event.Expires = later.Event.Expires.AddDate(1, 0, 0)
	step("expiry.soon two", later)
	step("expiry.renewed two")
	ended := r.all()[len(r.all())-1].event
	if ended.Owner != "team-two" || ended.Subject.Name != "erp" || ended.Cause != "newer" || !ended.Expires.Equal(later.Event.Expires) {
		t.Errorf("what ends a condition says %+v", ended)
	}
}

func testLocal(t *testing.T, db *database.DB) {
	r := newReceiver(t)
	a, b := newHouse(t, db, "a", r.options()), newHouse(t, db, "b", r.options())
	local := condition("server", 1)
	local.Local = true
	for _, step := range []struct {
		h     *house
		holds []notify.Condition
	}{{a, []notify.Condition{local}}, {b, nil}, {b, []notify.Condition{local}}, {a, []notify.Condition{local}}} {
		if err := step.h.reconcile(step.holds...); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.sender.Round(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := r.types(); got != "expiry.soon server" {
		t.Errorf("got %q", got)
	}
	b.now = b.now.Add(25 * time.Hour) // node a is gone
	if err := b.reconcile(); err != nil {
		t.Fatal(err)
	}
	if err := b.sender.Round(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := r.types(); got != "expiry.soon server, expiry.renewed server" {
		t.Errorf("a day later: got %q", got)
	}
}

func testFailing(t *testing.T, db *database.DB) {
	r := newReceiver(t)
	h := newHouse(t, db, "a", r.options())
	for i := range 7 {
		h.add(notify.CertificateRevoked, fmt.Sprint(i))
	}
	for _, status := range []int{500, 503, 429, 401, 302, 307} {
		r.set(status, "Location", r.URL+"/elsewhere", "Retry-After", "120")
		before := len(r.all())
		err := h.sender.Round(t.Context())
		e, ok := errors.AsType[*notify.SendError](err)
		if !ok || e.Status != status || len(r.all()) != before+1 {
			t.Errorf("%d: got %v after %d requests", status, err, len(r.all())-before)
		}
		if strings.Contains(fmt.Sprint(err), "hidden") || strings.Contains(fmt.Sprint(err), "elsewhere") {
			t.Errorf("the error tells the address: %v", err)
		}
		h.now = h.now.Add(time.Second)
	}
	st := h.sender.State()
	if st.Pending != 7 || st.Failed != 6 || st.FailingSince.IsZero() || st.Oldest.IsZero() {
		t.Errorf("state %+v", st)
	}
	r.set(0)
	h.now = h.now.Add(2 * time.Hour)
	if err := h.sender.Round(t.Context()); err != nil {
		t.Fatal(err)
	}
	ids := map[string]bool{}
	for _, one := range r.all() {
		ids[one.header.Get("webhook-id")] = true
	}
	if st := h.sender.State(); st.Pending != 0 || st.Delivered != 7 || !st.FailingSince.IsZero() || len(ids) != 7 {
		t.Errorf("state %+v, %d ids", st, len(ids))
	}
}

func testUnwanted(t *testing.T, db *database.DB) {
	r := newReceiver(t)
	h := newHouse(t, db, "a", r.options())
	h.add(notify.CertificateRevoked, "one")
	h.add(notify.CertificateRevoked, "two")
	r.set(422)
	if err := h.sender.Round(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := len(r.all()); got != 2 {
		t.Errorf("%d requests, want one for each", got)
	}
	if st := h.sender.State(); st.Pending != 2 {
		t.Errorf("state %+v", st)
	}
}

func testCutOff(t *testing.T, db *database.DB) {
	r := newReceiver(t)
	h := newHouse(t, db, "a", r.options())
	h.add(notify.CertificateRevoked, "one")
	release := r.hold()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- h.sender.Round(ctx) }()
	for len(r.all()) == 0 {
		time.Sleep(time.Millisecond)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("a stopping node reports %v", err)
	}
	release()
	if err := h.sender.Round(t.Context()); err != nil || len(r.all()) != 1 {
		t.Errorf("%v; it was sent again at once, though the first attempt may be under way", err)
	}
	h.now = h.now.Add(5 * time.Minute)
	if err := h.sender.Round(t.Context()); err != nil {
		t.Fatal(err)
	}
	if all := r.all(); len(all) != 2 || all[0].header.Get("webhook-id") != all[1].header.Get("webhook-id") {
		t.Errorf("%d requests", len(all))
	}
}

func testCursor(t *testing.T, db *database.DB) {
	r := newReceiver(t)
	h, ctx := newHouse(t, db, "a", r.options()), t.Context()
	for _, head := range []int64{40, 99} {
		if at, err := h.queue.Cursor(ctx, head); err != nil || at != 40 {
			t.Fatalf("got %d, %v", at, err)
		}
	}
	event := []notify.Event{{Type: notify.CertificateRevoked, Subject: notify.Subject{Kind: "certificate", ID: "one"}}}
	for range 2 { // two nodes
		if err := h.queue.Advance(ctx, h.now, 40, 42, event); err != nil {
			t.Fatal(err)
		}
	}
	if at, err := h.queue.Cursor(ctx, 99); err != nil || at != 42 {
		t.Errorf("got %d, %v", at, err)
	}
	if list, err := h.queue.List(ctx, "", "", 10); err != nil || len(list) != 1 {
		t.Errorf("got %+v, %v", list, err)
	}
}

func testFull(t *testing.T, db *database.DB) {
	r := newReceiver(t)
	h, ctx := newHouse(t, db, "a", r.options()), t.Context()
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range notify.MaxPending - 1 {
		if _, err := tx.ExecContext(ctx, `INSERT INTO notify_events (id, type, state, created, next, attempts, finished, problem, subject, body)
			VALUES ($1, 'test', 'pending', 1, 1, 0, 0, '', '{}', '{}')`, fmt.Sprintf("evt_%05d", i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	if _, err := h.queue.Cursor(ctx, 1); err != nil {
		t.Fatal(err)
	}
	if err := h.reconcile(condition("one", 1), condition("two", 1)); !errors.Is(err, notify.ErrFull) {
		t.Errorf("got %v", err)
	}
	if err := h.queue.Advance(ctx, h.now, 1, 2, []notify.Event{{Type: notify.Test}}); !errors.Is(err, notify.ErrFull) {
		t.Errorf("got %v", err)
	}
	if at, err := h.queue.Cursor(ctx, 9); err != nil || at != 1 {
		t.Errorf("the cursor went on without room: %d, %v", at, err)
	}
	if _, err := db.ExecContext(ctx, `DELETE FROM notify_events`); err != nil {
		t.Fatal(err)
	}
	if err := h.reconcile(condition("one", 1), condition("two", 1)); err != nil {
		t.Fatal(err)
	}
	if list, err := h.queue.List(ctx, "", "", 10); err != nil || len(list) != 1 {
		t.Errorf("with room again: %+v, %v", list, err)
	}
}

func testGivenUp(t *testing.T, db *database.DB) {
	r := newReceiver(t)
	h, ctx := newHouse(t, db, "a", r.options()), t.Context()
	h.add(notify.CertificateRevoked, "one")
	h.now = h.now.Add(31 * 24 * time.Hour)
	if err := h.sender.Tidy(ctx); err != nil {
		t.Fatal(err)
	}
	if err := h.sender.Round(ctx); err != nil || len(r.all()) != 0 || h.sender.State().GivenUp != 1 {
		t.Errorf("%v, %d requests, %+v", err, len(r.all()), h.sender.State())
	}
	h.now = h.now.Add(31 * 24 * time.Hour)
	if err := h.sender.Tidy(ctx); err != nil {
		t.Fatal(err)
	}
	if list, err := h.queue.List(ctx, "", "", 10); err != nil || len(list) != 0 {
		t.Errorf("two months later the queue has %+v, %v", list, err)
	}
}

func TestTheReceiverIsJudgedAndBounded(t *testing.T) {
	r := newReceiver(t)
	db := open(t, databasetest.SQLite(t))
	test := func(o notify.ReceiverOptions) string {
		t.Helper()
		d, err := newHouse(t, db, "a", o).sender.SendTest(t.Context())
		if err != nil || d.Delivered != (d.Problem == "") || d.Receiver != r.URL {
			t.Errorf("got %+v, %v", d, err)
		}
		return d.Problem
	}
	if got := test(r.options()); got != "" {
		t.Error(got)
	}
	other := r.options()
	other.CA = nil
	if got := test(other); !strings.Contains(got, "certificate") || strings.Contains(got, "hidden") {
		t.Errorf("a certificate of another CA: %q", got)
	}
	slow := r.options()
	slow.Timeout = 100 * time.Millisecond
	release := r.hold()
	if got := test(slow); got != "no answer in time" {
		t.Errorf("no answer: %q", got)
	}
	release()
	r.mu.Lock()
	r.body = strings.Repeat("x", 10<<20)
	r.mu.Unlock()
	r.set(200)
	if got := test(r.options()); got != "" {
		t.Errorf("a long answer: %q", got)
	}
}

func TestAddressesAndSecretsThatAreRefused(t *testing.T) {
	for _, o := range []notify.ReceiverOptions{
		{URL: "http://alerts.example.com/", Secret: []byte(secretText)}, {URL: "https://user:pass@alerts.example.com/", Secret: []byte(secretText)},
		{URL: "alerts.example.com", Secret: []byte(secretText)}, {URL: "file:///etc/passwd", Secret: []byte(secretText)}, {URL: "https://a.example/#x", Secret: []byte(secretText)},
		{URL: "https://a.example/", Secret: nil}, {URL: "https://a.example/", Secret: []byte("plain-secret-text")}, {URL: "https://a.example/", Secret: []byte("whsec_c2hvcnQ=")},
		{URL: "https://a.example/", Secret: []byte(secretText + "\n" + secretText + "\n" + secretText)},
		{URL: "https://a.example/", Secret: []byte(secretText), CA: []byte("no certificate")},
	} {
		_, err := notify.NewReceiver(o)
		if err == nil {
			t.Errorf("%s with %q was taken", o.URL, o.Secret)
		} else if len(o.Secret) > 0 && strings.Contains(err.Error(), strings.TrimPrefix(string(o.Secret), "whsec_")) || strings.Contains(err.Error(), "pass@") {
			t.Errorf("the error tells a secret: %v", err)
		}
	}
}
