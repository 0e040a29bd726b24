package token_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/tenantgate/tenantgate/proxy/token"
)

// tokenServer is a real HTTP server on in-memory connections, so that it can live in a synctest bubble.
type tokenServer struct {
	conns chan net.Conn

	mu       sync.Mutex
	requests []time.Time
	answer   http.HandlerFunc // nil: a token that lives for an hour
	issued   int
}

// newTokenServer starts a server and an engine that reaches it. Both end with the test.
func newTokenServer(t testing.TB) (*tokenServer, *token.Engine) {
	s := &tokenServer{conns: make(chan net.Conn)}
	done := make(chan struct{})
	server := &http.Server{Handler: s, ErrorLog: log.New(io.Discard, "", 0)}
	go func() { _ = server.Serve(&pipeListener{conns: s.conns, done: done}) }()
	e := &token.Engine{Dial: s.dial}
	t.Cleanup(func() {
		e.Close()
		_ = server.Close() // closes done, by the listener
	})
	return s, e
}

func (s *tokenServer) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	near, far := net.Pipe()
	select {
	case s.conns <- far:
		return near, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (s *tokenServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.requests = append(s.requests, time.Now())
	answer := s.answer
	s.mu.Unlock()
	_, _ = io.Copy(io.Discard, r.Body)
	if answer == nil {
		answer = s.lifetime("3600")
	}
	answer(w, r)
}

// lifetime answers with a fresh token and this expires_in.
func (s *tokenServer) lifetime(expiresIn string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		s.mu.Lock()
		s.issued++
		n := s.issued
		s.mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"access_token":"token-%d","token_type":"bearer","expires_in":%s}`, n, expiresIn)
	}
}

// limited answers 429 to what comes above so many requests within a second, and counts them.
func limited(s *tokenServer, limit int, over *int) http.HandlerFunc {
	var last []time.Time
	var mu sync.Mutex
	return func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		now := time.Now()
		for len(last) > 0 && now.Sub(last[0]) >= time.Second {
			last = last[1:]
		}
		last = append(last, now)
		refuse := len(last) > limit
		if refuse {
			*over++
		}
		mu.Unlock()
		if refuse {
			status(429, "<html>", "Retry-After", "1", "Content-Type", "text/html")(w, r)
			return
		}
		s.slow(50*time.Millisecond)(w, r)
	}
}

func status(code int, body string, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(code)
		_, _ = io.WriteString(w, body)
	}
}

func (s *tokenServer) set(h http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = h
}

func (s *tokenServer) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.requests)
}

type pipeListener struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

const secret = "s3cr3t$+/=&%"

func credential() token.Credential {
	return token.Credential{ID: "c1", TokenURL: "http://localhost/oauth/token", Style: token.Body, ClientID: "sb-1!b2|it!b3", Secret: token.NewSecret(secret)}
}

func mustToken(t testing.TB, s *token.Source) token.Token {
	t.Helper()
	tok, err := s.Token(context.Background())
	if err != nil {
		t.Fatalf("Token: %v", err)
	}
	return tok
}

func mustFail(t testing.TB, s *token.Source) *token.Error {
	t.Helper()
	_, err := s.Token(context.Background())
	var e *token.Error
	if !errors.As(err, &e) {
		t.Fatalf("Token: got error %v, want a *token.Error", err)
	}
	return e
}
