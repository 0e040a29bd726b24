package main

import (
	"bytes"
	"context"
	"os"
	"strings"
	"sync"
	"testing"
)

// screen is a terminal that calls seen once a text has appeared on it.
type screen struct {
	mu     sync.Mutex // guards what follows
	buffer bytes.Buffer
	text   string
	seen   func()
}

func (s *screen) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.buffer.Write(b)
	if strings.Contains(s.buffer.String(), s.text) {
		s.seen()
	}
	return len(b), nil
}

func TestDemoStaysUpUntilInterruptedAndCleansUp(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	ctx, interrupt := context.WithCancel(t.Context())
	out := &screen{text: "until Ctrl-C", seen: interrupt}
	var errors bytes.Buffer
	if status := run(ctx, []string{"demo"}, strings.NewReader(""), out, &errors); status != exitOK {
		t.Errorf("exit status %d, want %d: %s", status, exitOK, errors.String())
	}
	left, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
