// Command bench measures what a request costs: it sets up a throw-away node with the real binary, runs it and what it is compared with one after the other
// on one core of this machine, loads them over mutual TLS from other cores, and prints a table for docs/performance.md.
//
// It knows the products from outside only, by their command lines and what they say on the wire. It has no part in them, and judges nothing.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

const usage = `bench compares the cost of requests through tenantgate with that of other proxies on this machine.

  go run ./internal/bench                                  # everything; some seven minutes
  go run ./internal/bench --rounds 1 --time 1s             # a first look, in less than a minute
  go run ./internal/bench --only tenantgate --what get,post

It makes a throw-away node with the real binary and a tenant that refuses whoever has no bearer, starts each
proxy in turn on a core of its own, loads it over mutual TLS from other cores, and prints the medians. All of
it happens on loopback and in a temporary directory, and only what it started is stopped. It needs Linux (/proc).

The proxies (--only):
  nginx       when it is installed: client certificate in, kept TLS connections out, a fixed bearer, no access
              log. Without it there are no ratios
  tenantgate  built from this checkout, everything on: identity, role, token, records, metrics
  relay       about the floor of this machine for Go: crypto/tls on both sides, a goroutine for each connection,
              parses next to nothing and checks nothing

What is measured (--what):
  get         GET of 1 KiB on 64 kept connections, as fast as they go; p50 and p99 are those of full load
  post        POST of 16 KiB, likewise
  h2          GET of 1 KiB over HTTP/2, on 4 connections with 16 requests in flight each
  upload      bodies of 256 MB to the tenant, one after the other
  download    and from it
  handshake   a new connection with a full handshake for each request
  resume      the same with resumed sessions
  latency     GET at 2,000 requests/s, counted from when each was due
  idle        memory of a connection that has had one request and idles (2,000 of them)

CPU is user and system time of the proxy's processes, from /proc: it is the figure to compare, as a ratio
within one run. Rates say how fast the load and the tenant are, too, where these share a core.

Flags:
`

// settings are what the command line says.
type settings struct {
	rounds int
	time   time.Duration
	only   []string
	what   []string
	json   bool
}

// children are the parts of the benchmark that run as processes of their own, so that what they use counts for nobody else.
var children = map[string]func(args []string) error{
	"tenant": serveTenant, // ADDRESS PKI
	"relay":  serveRelay,  // ADDRESS TENANT PKI
}

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// run is the whole program, and that of the processes which it starts from the same binary.
func run(args []string, stdout, stderr io.Writer) int {
	if len(args) > 0 {
		if child, ok := children[args[0]]; ok {
			return report(stderr, child(args[1:]))
		}
	}
	s, err := parse(args, stdout, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		fmt.Fprintf(stderr, "bench: %v\nhint: --help explains the flags\n", err)
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	return report(stderr, compare(ctx, s, stdout, stderr))
}

func report(stderr io.Writer, err error) int {
	if err != nil {
		fmt.Fprintf(stderr, "bench: %v\n", err)
		return 1
	}
	return 0
}

func parse(args []string, stdout, stderr io.Writer) (settings, error) {
	var s settings
	var only, what string
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.IntVar(&s.rounds, "rounds", 3, "how often everything is measured; the table has medians")
	f.DurationVar(&s.time, "time", 4*time.Second, "how long each load runs")
	f.StringVar(&only, "only", "", "`proxies` to measure, with commas between them (default: all that are installed)")
	f.StringVar(&what, "what", "", "`loads` to run, with commas between them (default: all)")
	f.BoolVar(&s.json, "json", false, "print every single figure as JSON instead of the table")
	f.Usage = func() {
		fmt.Fprint(stdout, usage)
		f.SetOutput(stdout)
		f.PrintDefaults()
	}
	if err := f.Parse(args); err != nil {
		return s, err
	}
	if f.NArg() > 0 {
		return s, fmt.Errorf("%q is no flag", f.Arg(0))
	}
	if s.rounds < 1 || s.time < 100*time.Millisecond {
		return s, errors.New("--rounds must be 1 or more, --time 100ms or more")
	}
	var err error
	if s.only, err = choice("--only", only, peerNames); err != nil {
		return s, err
	}
	s.what, err = choice("--what", what, measureNames())
	return s, err
}

// choice is what a flag names of what there is, or all of it.
func choice(name, value string, all []string) ([]string, error) {
	if value == "" {
		return all, nil
	}
	chosen := strings.Split(value, ",")
	for _, c := range chosen {
		if !slices.Contains(all, c) {
			return nil, fmt.Errorf("%s: there is no %q, only %s", name, c, strings.Join(all, ", "))
		}
	}
	return chosen, nil
}

// compare sets everything up, measures and prints.
func compare(ctx context.Context, s settings, stdout, stderr io.Writer) (err error) {
	progress := func(format string, a ...any) { fmt.Fprintf(stderr, "bench: "+format+"\n", a...) }
	dir, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return fmt.Errorf("making a directory: %w", err)
	}
	defer func() {
		if rmErr := os.RemoveAll(dir); err == nil {
			err = rmErr
		}
	}()
	if err := os.Chmod(dir, 0o755); err != nil { // nginx's workers are another user when it is started by root
		return fmt.Errorf("opening the directory to nginx: %w", err)
	}
	machine := describe(s) // before this run is part of what it describes
	f := &field{ctx: ctx, dir: dir, cores: findCores(), progress: progress}
	defer f.stopAll()
	if err := f.setUp(s); err != nil {
		return err
	}
	machine.Versions, machine.Cores = f.versions, f.cores.note
	res := newResults(f.peers)
	for round := range s.rounds {
		for _, p := range f.peers {
			progress("round %d of %d: %s", round+1, s.rounds, p.name)
			if err := f.measure(p, s, res); err != nil {
				return fmt.Errorf("measuring %s: %w", p.name, err)
			}
		}
	}
	if s.json {
		return res.writeJSON(stdout, machine)
	}
	return res.writeTable(stdout, machine)
}
