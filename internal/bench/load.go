package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"
)

// target is where a proxy listens and how to prove to it who calls.
type target struct {
	addr string
	tls  *tls.Config
}

// load is something that a proxy can be kept busy with. What open does is not measured, so that it can be told from what run does.
type load interface {
	open(t target) error
	run(d time.Duration) (tally, error)
	close()
}

// tally is what a load has done.
type tally struct {
	requests  int
	octets    int // of bodies, when they are what counts
	latencies []time.Duration
	elapsed   time.Duration
}

// together runs n workers at once and adds up what they did.
func together(n int, worker func(i int) (tally, error)) (tally, error) {
	var mu sync.Mutex
	var sum tally
	var errs error
	start := time.Now()
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			t, err := worker(i)
			mu.Lock()
			defer mu.Unlock()
			sum.requests += t.requests
			sum.octets += t.octets
			sum.latencies = append(sum.latencies, t.latencies...)
			if errs == nil {
				errs = err
			}
		})
	}
	wg.Wait()
	sum.elapsed = time.Since(start)
	return sum, errs
}

// request is one of HTTP/1.1 as it goes over the wire.
func request(method, path string, body int) []byte {
	head := method + " " + path + " HTTP/1.1\r\nHost: localhost\r\nUser-Agent: bench\r\nAccept: */*\r\n"
	if method == "POST" {
		head += fmt.Sprintf("Content-Type: application/octet-stream\r\nContent-Length: %d\r\n", body)
	}
	return append([]byte(head), "\r\n"...)
}

// caller is one connection of HTTP/1.1 with one request at a time on it.
type caller struct {
	conn *tls.Conn
	in   *bufio.Reader
}

// dial connects; with a cache, sessions are kept there and resumed.
func (t target) dial(cache tls.ClientSessionCache) (*caller, error) {
	conf := t.tls.Clone()
	conf.NextProtos = []string{"http/1.1"}
	conf.ClientSessionCache = cache
	conn, err := tls.Dial("tcp", t.addr, conf)
	if err != nil {
		return nil, fmt.Errorf("connecting: %w", err)
	}
	return &caller{conn, bufio.NewReaderSize(conn, 8<<10)}, nil
}

// dialAll opens n connections, a few at a time.
func (t target) dialAll(n int) ([]*caller, error) {
	all := make([]*caller, n)
	const atOnce = 16
	_, err := together(atOnce, func(i int) (tally, error) {
		for ; i < n; i += atOnce {
			c, err := t.dial(nil)
			if err != nil {
				return tally{}, err
			}
			all[i] = c
		}
		return tally{}, nil
	})
	if err != nil {
		closeAll(all)
	}
	return all, err
}

func closeAll(callers []*caller) {
	for _, c := range callers {
		if c != nil {
			c.conn.Close()
		}
	}
}

// exchange sends a request and reads its answer to the end.
func (c *caller) exchange(request []byte) (octets int, err error) {
	if _, err := c.conn.Write(request); err != nil {
		return 0, err
	}
	return c.readAnswer()
}

// readAnswer reads an answer, which must be a good one with a known length.
func (c *caller) readAnswer() (octets int, err error) {
	length := -1
	for first := true; ; first = false {
		line, err := c.in.ReadSlice('\n')
		if err != nil {
			return 0, fmt.Errorf("reading an answer: %w", err)
		}
		line = bytes.TrimRight(line, "\r\n")
		if first && !bytes.HasPrefix(line, []byte("HTTP/1.1 200")) {
			return 0, fmt.Errorf("the answer is %q", line)
		}
		if len(line) == 0 {
			break
		}
		if name, value, _ := bytes.Cut(line, []byte(":")); len(name) == len("Content-Length") && bytes.EqualFold(name, []byte("Content-Length")) {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return 0, fmt.Errorf("reading an answer: %w", err)
			}
		}
	}
	if length < 0 {
		return 0, errors.New("the answer has no Content-Length")
	}
	if _, err := c.in.Discard(length); err != nil {
		return 0, fmt.Errorf("reading an answer's body: %w", err)
	}
	return length, nil
}

// keptLoad is the same request again and again on connections that are kept, one at a time on each.
type keptLoad struct {
	request []byte
	conns   int
	rate    float64 // requests/s in all; 0 is as fast as they go
	callers []*caller
}

func (l *keptLoad) open(t target) (err error) {
	l.callers, err = t.dialAll(l.conns)
	return err
}

func (l *keptLoad) close() { closeAll(l.callers) }

func (l *keptLoad) run(d time.Duration) (tally, error) {
	start := time.Now()
	end := start.Add(d)
	return together(l.conns, func(i int) (t tally, err error) {
		due := start
		var every time.Duration
		if l.rate > 0 {
			every = time.Duration(float64(l.conns) / l.rate * float64(time.Second))
			due = start.Add(every * time.Duration(i) / time.Duration(l.conns))
		}
		t.latencies = make([]time.Duration, 0, 1<<12)
		for {
			sent := time.Now()
			switch wait := due.Sub(sent); {
			case l.rate > 0 && wait > 0: // that sleep takes longer than it was asked to is not the proxy's doing
				time.Sleep(wait)
				sent = time.Now()
			case l.rate > 0: // that the request before this one took too long is
				sent = due
			}
			if !sent.Before(end) {
				return t, nil
			}
			if _, err := l.callers[i].exchange(l.request); err != nil {
				return t, err
			}
			t.requests++
			t.latencies = append(t.latencies, time.Since(sent))
			due = due.Add(every)
		}
	})
}

// newLoad is a new connection for each request.
type newLoad struct {
	request []byte
	conns   int // at once
	resume  bool
	target  target
	caches  []tls.ClientSessionCache
}

func (l *newLoad) open(t target) error {
	l.target, l.caches = t, make([]tls.ClientSessionCache, l.conns)
	for i := range l.caches {
		if l.resume {
			l.caches[i] = tls.NewLRUClientSessionCache(2)
		}
	}
	return nil
}

func (l *newLoad) close() {}

func (l *newLoad) run(d time.Duration) (tally, error) {
	end := time.Now().Add(d)
	return together(l.conns, func(i int) (t tally, err error) {
		for first := true; time.Now().Before(end); first = false {
			start := time.Now()
			c, err := l.target.dial(l.caches[i])
			if err != nil {
				return t, err
			}
			_, err = c.exchange(l.request)
			if resumed := c.conn.ConnectionState().DidResume; err == nil && !first && resumed != l.resume {
				err = fmt.Errorf("session resumed: %t", resumed)
			}
			c.conn.Close()
			if err != nil {
				return t, err
			}
			t.requests++
			t.latencies = append(t.latencies, time.Since(start))
		}
		return t, nil
	})
}

// streamLoad is large bodies on one connection, one after the other.
type streamLoad struct {
	request []byte
	body    int // octets of the request's body
	caller  *caller
}

func (l *streamLoad) open(t target) (err error) {
	l.caller, err = t.dial(nil)
	if err == nil {
		l.caller.in = bufio.NewReaderSize(l.caller.conn, 64<<10)
	}
	return err
}

func (l *streamLoad) close() {
	if l.caller != nil {
		l.caller.conn.Close()
	}
}

func (l *streamLoad) run(d time.Duration) (tally, error) {
	return together(1, func(int) (t tally, err error) {
		for end := time.Now().Add(d); t.requests == 0 || time.Now().Before(end); t.requests++ {
			if _, err := l.caller.conn.Write(l.request); err != nil {
				return t, err
			}
			for left := l.body; left > 0; {
				n, err := l.caller.conn.Write(zeros[:min(left, len(zeros))])
				if err != nil {
					return t, err
				}
				left -= n
			}
			n, err := l.caller.readAnswer()
			if err != nil {
				return t, err
			}
			t.octets += n + l.body
		}
		return t, nil
	})
}
