package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// field is where the proxies meet: a directory, the cores and the processes that were started.
type field struct {
	ctx      context.Context
	dir      string
	cores    cores
	progress func(format string, a ...any)

	self     string // this binary
	gate     string // the tenantgate binary
	nginx    string // nginx's, "" when it is not installed
	ports    ports
	peers    []peer
	versions []string // of what is measured
	running  []*process
}

// cores says which process runs where, as taskset's lists; "" is anywhere.
type cores struct {
	proxy, tenant, load string
	note                string // what is to be said about it
}

// findCores gives the proxy a core of its own, and the tenant and the load one each if there are as many.
func findCores() cores {
	all := allowedCores()
	if _, err := exec.LookPath("taskset"); err != nil {
		return cores{note: "nothing is pinned to a core, because taskset is missing"}
	}
	switch n := len(all); n {
	case 0, 1:
		return cores{note: "the proxy, the tenant and the load share one core"}
	case 2:
		return cores{proxy: all[1], tenant: all[0], load: all[0], note: "the proxy has one core; the tenant and the load share the other, and bound the rates"}
	default:
		return cores{proxy: all[1], tenant: all[0], load: strings.Join(all[2:], ","), note: fmt.Sprintf("the proxy has one core, the tenant another, the load %d", n-2)}
	}
}

// allowedCores are the cores that this process may use.
func allowedCores() []string {
	var all []string
	for part := range strings.SplitSeq(procField("/proc/self/status", "Cpus_allowed_list"), ",") {
		from, to, ranged := strings.Cut(part, "-")
		if !ranged {
			to = from
		}
		first, err1 := strconv.Atoi(from)
		last, err2 := strconv.Atoi(to)
		for c := first; c <= last && err1 == nil && err2 == nil; c++ {
			all = append(all, strconv.Itoa(c))
		}
	}
	return all
}

// pinSelf moves this process, which is the load, to its cores. Threads that come later inherit them.
func (f *field) pinSelf() error {
	if f.cores.load == "" {
		return nil
	}
	if out, err := exec.Command("taskset", "-a", "-c", "-p", f.cores.load, strconv.Itoa(os.Getpid())).CombinedOutput(); err != nil {
		return fmt.Errorf("pinning the load to cores %s: %w: %s", f.cores.load, err, out)
	}
	runtime.GOMAXPROCS(strings.Count(f.cores.load, ",") + 1)
	return nil
}

// process is a program that was started.
type process struct {
	cmd   *exec.Cmd
	log   string
	ended chan struct{} // closed when it has
}

// start runs a program on the given cores. What it says goes to a file.
func (f *field) start(name, on string, argv ...string) (*process, error) {
	if on != "" {
		argv = append([]string{"taskset", "-c", on}, argv...)
	}
	p := &process{cmd: exec.Command(argv[0], argv[1:]...), log: filepath.Join(f.dir, name+".log"), ended: make(chan struct{})}
	out, err := os.OpenFile(p.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	defer out.Close()
	p.cmd.Stdout, p.cmd.Stderr = out, out
	if on != "" && !strings.Contains(on, ",") {
		p.cmd.Env = append(os.Environ(), "GOMAXPROCS=1")
	}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	go func() {
		p.cmd.Wait()
		close(p.ended)
	}()
	f.running = append(f.running, p)
	return p, nil
}

// wait waits until what it tries works, while the process lives.
func (p *process) wait(ctx context.Context, try func() error) error {
	for end := time.Now().Add(15 * time.Second); ; {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.New("interrupted")
		case <-p.ended:
			return fmt.Errorf("it ended: %s", tail(p.log))
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(end) {
			return fmt.Errorf("it does not serve: %w; it said: %s", err, tail(p.log))
		}
	}
}

// stop ends a process, kindly at first.
func (p *process) stop() {
	p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(10 * time.Second):
		p.cmd.Process.Kill()
		<-p.ended
	}
}

// stopAll ends whatever still runs.
func (f *field) stopAll() {
	for _, p := range f.running {
		p.stop()
	}
}

// tail is the end of a file, for errors.
func tail(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(b[max(0, len(b)-600):]))
}
