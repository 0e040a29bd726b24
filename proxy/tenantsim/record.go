package tenantsim

import (
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// Request is one request that reached the tenant, also one that was refused there.
type Request struct {
	Sequence   int // from 1, over all listeners
	Time       time.Time
	Listener   Listener
	Connection string // requests on one connection share it
	Method     string
	Target     string      // of the request line, byte for byte
	Head       string      // request line and header fields, byte for byte, with the empty line
	Header     http.Header // the same, names folded by net/http, Host left out
	Host       string
	BodyBytes  int64  // that were read, decoded from chunks
	BodySHA256 string // of these, lower-case hex
	Status     int    // of the answer, 0 as long as there is none

	Client   string // OAuth client that the request was processed as (SapAuthenticatedUserName), "" if none
	Session  bool   // Client comes from a session cookie and not from the token
	Executed bool   // a flow or API call was executed: a message processing log exists
	MPLID    string // its id
	Done     bool   // the answer is complete
}

// HeaderLines returns the header fields as they stood on the wire, in their order.
func (r Request) HeaderLines() []string {
	if r.Head == "" {
		return nil
	}
	return lines(r.Head)[1:]
}

// Requests returns what reached the runtime and the API so far, oldest first, requests under way included.
func (s *Sim) Requests() []Request { return s.records.list(Runtime, API) }

// TokenRequests returns what reached /oauth/token on both listeners so far, oldest first.
func (s *Sim) TokenRequests() []Request {
	return slices.DeleteFunc(s.records.list(Token, MTLSToken), func(r Request) bool { return !strings.HasPrefix(r.Target, "/oauth") })
}

// Executed returns the requests that a flow or the API executed: the message processing logs.
func (s *Sim) Executed() []Request {
	return slices.DeleteFunc(s.Requests(), func(r Request) bool { return !r.Executed })
}

// Heads returns every request head that any connection to the runtime or the API carried, byte for byte, also of requests
// that net/http refused and that Requests therefore misses.
func (s *Sim) Heads() []string { return s.records.headList(Runtime, API) }

// Forget empties the records; sequence numbers go on.
func (s *Sim) Forget() { s.records.forget() }

// recorder keeps the newest requests.
type recorder struct {
	limit int

	mu       sync.Mutex // guards what follows
	sequence int
	requests []*Request
	heads    [][2]string // connection, head
}

func (r *recorder) begin(q *Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sequence++
	q.Sequence = r.sequence
	r.requests = trim(append(r.requests, q), r.limit)
}

func (r *recorder) head(connection, head string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.heads = trim(append(r.heads, [2]string{connection, head}), r.limit)
}

// trim drops the older half when there are twice as many as allowed, so that it costs nothing on average.
func trim[T any](list []T, limit int) []T {
	if len(list) < 2*limit {
		return list
	}
	return slices.Clone(list[len(list)-limit:])
}

func (r *recorder) change(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
}

func (r *recorder) list(names ...Listener) []Request {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []Request
	for _, q := range r.requests[max(0, len(r.requests)-r.limit):] {
		if slices.Contains(names, q.Listener) {
			c := *q
			c.Header = q.Header.Clone()
			out = append(out, c)
		}
	}
	return out
}

func (r *recorder) headList(names ...Listener) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []string
	for _, h := range r.heads[max(0, len(r.heads)-r.limit):] {
		at := strings.LastIndexByte(h[0], '-')
		if slices.Contains(names, Listener(h[0][:at])) {
			out = append(out, h[1])
		}
	}
	return out
}

func (r *recorder) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests, r.heads = nil, nil
}

// exchange is one request as its handler sees it. It is used by the handler's goroutine only; what of it is in record is
// changed through the recorder.
type exchange struct {
	http.ResponseWriter
	sim    *Sim
	record *Request
	body   *countedBody
	status int
}

// recorded wraps a handler with the record of its requests.
func (s *Sim) recorded(name Listener, next http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := &Request{Time: time.Now(), Listener: name, Method: r.Method, Target: r.RequestURI, Header: r.Header.Clone(), Host: r.Host}
		r = r.WithContext(r.Context()) // net/http looks at its own Body when it answers before a body that it was to ask for
		if c := tapOf(r.Context()); c != nil {
			q.Connection, q.Head = c.id, c.take()
			state := c.ConnectionState()
			r.TLS = &state // net/http knows only its own
		}
		s.records.begin(q)
		body := &countedBody{ReadCloser: r.Body, hash: sha256.New(), control: http.NewResponseController(w), sim: s}
		r.Body = body
		x := &exchange{ResponseWriter: w, sim: s, record: q, body: body}
		defer func() {
			s.records.change(func() {
				q.BodyBytes, q.BodySHA256 = body.count, hex.EncodeToString(body.hash.Sum(nil))
				q.Done, q.Status = true, x.status
				if q.Status == 0 {
					q.Status = http.StatusOK
				}
			})
		}()
		next(x, r)
	})
}

// WriteHeader implements [http.ResponseWriter].
func (x *exchange) WriteHeader(status int) {
	if x.status == 0 && status >= 200 {
		x.status = status
	}
	x.ResponseWriter.WriteHeader(status)
}

// Unwrap lets [http.ResponseController] through.
func (x *exchange) Unwrap() http.ResponseWriter { return x.ResponseWriter }

// as notes whose request this is.
func (x *exchange) as(client string, session bool) {
	x.sim.records.change(func() { x.record.Client, x.record.Session = client, session })
}

// executed notes that the tenant did what was asked, and returns the message processing log id.
func (x *exchange) executed() string {
	id := newMPLID()
	x.sim.records.change(func() { x.record.Executed, x.record.MPLID = true, id })
	return id
}

// countedBody counts and hashes what is read, and gives up on a pause that is too long.
type countedBody struct {
	io.ReadCloser
	sim     *Sim
	control *http.ResponseController
	hash    hash.Hash
	count   int64
}

// Read implements [io.Reader].
func (b *countedBody) Read(p []byte) (int, error) {
	gap := b.sim.switches.Load().BodyGap
	if gap == 0 {
		gap = 20 * time.Second
	}
	_ = b.control.SetReadDeadline(time.Now().Add(gap))
	n, err := b.ReadCloser.Read(p)
	b.hash.Write(p[:n])
	b.count += int64(n)
	if err == io.EOF {
		_ = b.control.SetReadDeadline(time.Time{})
	}
	return n, err
}
