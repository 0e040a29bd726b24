package main

import (
	"fmt"
	"sync"
	"time"
)

// progress says on standard error how far a long command is: nothing for two seconds, and then a line every two seconds. Safe for concurrent use.
type progress struct {
	p    *program
	what string

	mu   sync.Mutex // guards what follows
	said time.Time
}

func (p *program) progress(what string) *progress {
	return &progress{p: p, what: what, said: time.Now()}
}

// table is backup.Progress.
func (g *progress) table(name string, rows int64) {
	g.say(fmt.Sprintf("table %s, %d rows", name, rows))
}

func (g *progress) say(how string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if now := time.Now(); now.Sub(g.said) >= 2*time.Second {
		g.said = now
		fmt.Fprintf(g.p.stderr, "%s: %s\n", g.what, how)
	}
}

// counting tells a progress how many octets have passed.
type counting struct {
	to    *progress
	total int64
}

func (c *counting) Write(b []byte) (int, error) {
	c.total += int64(len(b))
	c.to.say(fmt.Sprintf("%d MiB", c.total>>20))
	return len(b), nil
}
