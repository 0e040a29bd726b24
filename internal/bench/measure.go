package main

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// measures are what can be measured, in the order of the table.
var measures = []struct {
	name   string
	title  string
	load   func() load
	report []figure
}{
	{"get", "GET 1 KiB", func() load { return &keptLoad{request: request("GET", small, 0), conns: 64} }, []figure{cpuEach, inKernel, rate, p50, p99}},
	{"post", "POST 16 KiB", func() load {
		return &keptLoad{request: append(request("POST", small, 16<<10), zeros[:16<<10]...), conns: 64}
	}, []figure{cpuEach, rate}},
	{"h2", "HTTP/2 GET 1 KiB", func() load { return &h2Load{path: small, conns: 4, streams: 16} }, []figure{cpuEach, rate}},
	{"upload", "upload", func() load { return &streamLoad{request: request("POST", small, largeOctets), body: largeOctets} }, []figure{cpuOctets, throughput}},
	{"download", "download", func() load { return &streamLoad{request: request("GET", large, 0)} }, []figure{cpuOctets, throughput}},
	{"handshake", "full handshake + GET", func() load { return &newLoad{request: request("GET", small, 0), conns: 16} }, []figure{cpuEach, rate}},
	{"resume", "resumed handshake + GET", func() load { return &newLoad{request: request("GET", small, 0), conns: 16, resume: true} }, []figure{cpuEach, rate}},
	{"latency", "GET at 2,000/s", func() load { return &keptLoad{request: request("GET", small, 0), conns: 64, rate: 2000} }, []figure{p50, p99}},
	{"idle", "idle connection", nil, nil},
}

func measureNames() []string {
	var names []string
	for _, m := range measures {
		names = append(names, m.name)
	}
	return names
}

// figure is one figure out of what a load did and the CPU time that it took.
type figure struct {
	unit string
	of   func(t *tally, cpu cpuTime) float64
}

var (
	cpuEach    = figure{"CPU ms per 1,000 requests", func(t *tally, cpu cpuTime) float64 { return 1e3 * milliseconds(cpu.sum()) / float64(t.requests) }}
	inKernel   = figure{"of it in the kernel", func(t *tally, cpu cpuTime) float64 { return 1e3 * milliseconds(cpu.system) / float64(t.requests) }}
	cpuOctets  = figure{"CPU ms per MB", func(t *tally, cpu cpuTime) float64 { return milliseconds(cpu.sum()) / (float64(t.octets) / 1e6) }}
	rate       = figure{"requests/s", func(t *tally, _ cpuTime) float64 { return float64(t.requests) / t.elapsed.Seconds() }}
	throughput = figure{"MB/s", func(t *tally, _ cpuTime) float64 { return float64(t.octets) / 1e6 / t.elapsed.Seconds() }}
	p50        = figure{"p50 ms", func(t *tally, _ cpuTime) float64 { return milliseconds(t.quantile(0.5)) }}
	p99        = figure{"p99 ms", func(t *tally, _ cpuTime) float64 { return milliseconds(t.quantile(0.99)) }}
)

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// quantile is the latency that a share of the requests did not exceed.
func (t *tally) quantile(share float64) time.Duration {
	if len(t.latencies) == 0 {
		return 0
	}
	slices.Sort(t.latencies)
	return t.latencies[int(share*float64(len(t.latencies)-1))]
}

// measure starts a proxy, measures everything that was asked for, and stops it.
func (f *field) measure(p peer, s settings, res *results) error {
	proc, err := f.start(p.name, f.cores.proxy, p.argv...)
	if err != nil {
		return err
	}
	defer proc.stop()
	pid := proc.cmd.Process.Pid
	if err := proc.wait(f.ctx, func() error { return try(p.target) }); err != nil {
		return err
	}
	for _, m := range measures {
		if !slices.Contains(s.what, m.name) {
			continue
		}
		f.progress("  %s", m.title)
		if m.load == nil {
			err = f.measureIdle(p, pid, m.title, res)
		} else {
			var t tally
			var used cpuTime
			if t, used, err = underLoad(m.load(), p.target, pid, s.time); err == nil {
				for _, r := range m.report {
					res.add(m.title, r.unit, p.name, r.of(&t, used))
				}
			}
		}
		if f.ctx.Err() != nil { // whatever else went wrong, did because of that
			return errors.New("interrupted")
		}
		if err != nil && !errors.Is(err, errNoHTTP2) {
			return fmt.Errorf("%s: %w (it said: %s)", m.title, err, tail(proc.log))
		}
	}
	return nil
}

// try reports whether a proxy serves.
func try(t target) error {
	c, err := t.dial(nil)
	if err != nil {
		return err
	}
	defer c.conn.Close()
	_, err = c.exchange(request("GET", small, 0))
	return err
}

// underLoad runs a load, first for a moment that does not count.
func underLoad(l load, t target, pid int, d time.Duration) (tally, cpuTime, error) {
	defer l.close()
	if err := l.open(t); err != nil {
		return tally{}, cpuTime{}, err
	}
	if _, err := l.run(d / 8); err != nil {
		return tally{}, cpuTime{}, err
	}
	before := cpu(pid)
	done, err := l.run(d)
	used := cpu(pid).since(before)
	if err == nil && done.requests == 0 {
		err = errors.New("not one request ended in time")
	}
	return done, used, err
}

const (
	idleConns = 2000
	settle    = 3 * time.Second // for what connecting left behind
)

// measureIdle compares memory without connections and with many that idle.
func (f *field) measureIdle(p peer, pid int, title string, res *results) error {
	before := memory(pid)
	callers, err := p.target.dialAll(idleConns)
	if err != nil {
		return err
	}
	defer closeAll(callers)
	for _, c := range callers {
		if _, err := c.exchange(request("GET", small, 0)); err != nil {
			return err
		}
	}
	time.Sleep(settle)
	res.add(title, "KiB", p.name, float64(memory(pid)-before)/idleConns)
	return nil
}
