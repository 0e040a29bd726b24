package notify_test

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tenantgate/tenantgate/internal/database"
	"github.com/tenantgate/tenantgate/internal/database/databasetest"
	"github.com/tenantgate/tenantgate/proxy/notify"
)

// pythonReceiver verifies as a receiver that shares no code with us would: by the rules of Standard Webhooks.
const pythonReceiver = `
import base64, hashlib, hmac, http.server, json, sys, time
key = base64.b64decode(sys.argv[1].split("_", 1)[1])
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        at = self.headers["webhook-timestamp"]
        signed = self.headers["webhook-id"].encode() + b"." + at.encode() + b"." + body
        want = "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
        good = any(hmac.compare_digest(want, s) for s in self.headers["webhook-signature"].split(" "))
        event = json.loads(body)
        good = good and abs(time.time() - int(at)) < 300 and event["version"] == 1 and event["id"] == self.headers["webhook-id"]
        self.send_response(204 if good else 401)
        self.end_headers()
        print("verified" if good else "refused", event["type"], flush=True)
    def log_message(self, *args): pass
server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
`

func TestAReceiverInPythonVerifiesTheSignature(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("python3 is not installed")
	}
	cmd := exec.CommandContext(t.Context(), python, "-c", pythonReceiver, secretText)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	lines := bufio.NewScanner(out)
	lines.Scan()
	address := "http://127.0.0.1:" + lines.Text() + "/"
	db := open(t, databasetest.SQLite(t))
	const other = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
	for _, tc := range []struct{ secrets, want string }{
		{secretText, "verified test"}, {other + "\n" + secretText, "verified test"}, {other, "refused test"},
	} {
		h := newHouse(t, db, "a", notify.ReceiverOptions{URL: address, Secret: []byte(tc.secrets), Timeout: 5 * time.Second})
		if d, err := h.sender.SendTest(t.Context()); err != nil || d.Delivered != strings.HasPrefix(tc.want, "verified") {
			t.Errorf("got %+v, %v", d, err)
		}
		if lines.Scan(); lines.Text() != tc.want {
			t.Errorf("the receiver says %q, want %q", lines.Text(), tc.want)
		}
	}
}

// childDatabase names the database, and childReceiver the address, of a process that is this test and delivers until it is killed.
const childDatabase, childReceiver, childAhead = "NOTIFY_TEST_DATABASE", "NOTIFY_TEST_RECEIVER", "NOTIFY_TEST_AHEAD"

func TestMain(m *testing.M) {
	if os.Getenv(childDatabase) != "" {
		deliver()
	}
	os.Exit(m.Run())
}

func deliver() {
	ctx := context.Background()
	db, err := database.OpenExisting(ctx, os.Getenv(childDatabase))
	if err != nil {
		panic(err)
	}
	to, err := notify.NewReceiver(notify.ReceiverOptions{URL: os.Getenv(childReceiver), Secret: []byte(secretText), Timeout: 5 * time.Second})
	if err != nil {
		panic(err)
	}
	ahead, err := time.ParseDuration(os.Getenv(childAhead))
	if err != nil {
		panic(err)
	}
	s := &notify.Sender{Queue: &notify.Queue{DB: db.DB}, Receiver: func() *notify.Receiver { return to }, Now: func() time.Time { return time.Now().Add(ahead) }}
	s.Run(ctx)
}

// The receiver kills the sender while it is being told. What was not answered comes again with the same id; what was, does not.
func TestKill9LosesNoNotificationAndTellsNoneTwiceThatWasTaken(t *testing.T) {
	url := databasetest.SQLite(t)
	db := open(t, url)
	queue := &notify.Queue{DB: db.DB}
	for _, id := range []string{"one", "two", "three"} {
		if err := queue.Add(t.Context(), time.Now(), notify.Event{Type: notify.CertificateRevoked, Subject: notify.Subject{Kind: "certificate", ID: id}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	var child atomic.Pointer[os.Process]
	var calls atomic.Int32
	ids := make(chan string, 100)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := calls.Add(1)
		_, _ = io.Copy(io.Discard, r.Body) // only then the end of the connection is seen
		ids <- r.Header.Get("webhook-id")
		if n == 2 {
			_ = child.Load().Kill()
			<-r.Context().Done()
		}
	}))
	t.Cleanup(server.Close)
	start := func(ahead string) *exec.Cmd {
		t.Helper()
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childDatabase+"="+url, childReceiver+"="+server.URL, childAhead+"="+ahead)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		child.Store(cmd.Process)
		return cmd
	}
	_ = start("0s").Wait()
	second := start("10m") // when the claim of the first one is over
	t.Cleanup(func() { _ = second.Process.Kill(); _ = second.Wait() })
	count := map[string]int{}
	var order []string
	for range 4 {
		select {
		case id := <-ids:
			count[id]++
			order = append(order, id)
		case <-time.After(30 * time.Second):
			t.Fatalf("got %v and no more", order)
		}
	}
	if len(count) != 3 || count[order[0]] != 1 || count[order[1]] != 2 {
		t.Errorf("got %v", order)
	}
	select {
	case id := <-ids:
		t.Errorf("%s was told again", id)
	case <-time.After(2500 * time.Millisecond):
	}
}
