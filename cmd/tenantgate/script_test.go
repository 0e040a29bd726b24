package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// The scripts run the real command: the test binary is tenantgate, a tenant and a caller, by the name it is
// started under.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"tenantgate": main,
		"tenantsim":  exit(runTenant),
		"caller":     exit(runCaller),
		"notifysink": exit(runNotifySink),
		"hook":       exit(runHook),
		"sql":        exit(runSQL),
		"documented": exit(runDocumented),
		"gocaller":   exit(runGoCaller),
	})
}

func exit(run func(args []string) error) func() {
	return func() {
		if err := run(os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}

// TestScripts runs testdata/script: the listing is the specification.
func TestScripts(t *testing.T) {
	fixtures := makeFixtures(t)
	docs, err := filepath.Abs("../../docs")
	if err != nil {
		t.Fatal(err)
	}
	// The path of a Unix socket has 107 bytes, and the scripts' names are sentences.
	work, err := os.MkdirTemp("", "tg")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(work) })
	guides, err := filepath.Abs("../../docs/callers")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		WorkdirRoot:         work,
		Setup: func(env *testscript.Env) error {
			env.Setenv("FIXTURES", fixtures)
			env.Setenv("DOCS", docs)
			env.Setenv("GORACE", "atexit_sleep_ms=0") // with -race each command would sleep a second at its end
			env.Setenv("TENANTGATE_CONFIG", "")
			env.Setenv("TENANTGATE_SOCKET", "")
			return nil
		},
		Condition: func(cond string) (bool, error) {
			switch cond {
			case "root":
				return os.Geteuid() == 0, nil
			}
			return false, fmt.Errorf("unknown condition %q", cond)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"addresses": scriptAddresses,
			"await":     scriptAwait,
			"hup":       scriptSignalHUP,
			"mode":      scriptMode,
			"capture":   scriptCapture,
			"status":    scriptStatus,
			"set-up":    scriptSetUp,
			"guide":     scriptGuide(guides),

			"fleet":      scriptFleet,
			"fleet-id":   scriptFleetID,
			"move-fleet": scriptMoveFleet,
			"dates":      scriptDates,
			"guide-part": scriptGuidePart(docs),

			"until-stdout":  scriptUntilStdout,
			"until-refused": scriptUntilRefused,

			"until-last-call": scriptUntilLastCall,
		},
	})
}

// deadline bounds every wait of a script. Nothing waits for time: each waits for a condition.
const deadline = 20 * time.Second

func until(ts *testscript.TestScript, what string, condition func() bool) {
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			ts.Fatalf("waiting for %s: not within %v", what, deadline)
		}
	}
}

// scriptAddresses waits for a file of name=value lines and puts them into the environment: addresses FILE [PREFIX].
func scriptAddresses(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: addresses FILE [PREFIX]")
	}
	prefix := ""
	if len(args) > 1 {
		prefix = args[1]
	}
	path := ts.MkAbs(args[0])
	until(ts, path, func() bool { _, err := os.Stat(path); return err == nil })
	for line := range strings.Lines(ts.ReadFile(args[0])) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		ts.Setenv(prefix+name, value)
	}
}

// scriptAwait waits until a file holds a text, or, with an empty text, until it is there: await FILE TEXT.
func scriptAwait(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: await FILE TEXT")
	}
	path := ts.MkAbs(args[0])
	until(ts, fmt.Sprintf("%q in %s", args[1], path), func() bool {
		if args[1] == "" {
			_, err := os.Stat(path) // a socket cannot be read
			return err == nil
		}
		b, err := os.ReadFile(path)
		return err == nil && strings.Contains(string(b), args[1])
	})
}

// scriptSignalHUP sends SIGHUP to the only server in the background.
func scriptSignalHUP(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: hup")
	}
	var servers []*os.Process
	for _, c := range ts.BackgroundCmds() {
		if filepath.Base(c.Path) == "tenantgate" {
			servers = append(servers, c.Process)
		}
	}
	if len(servers) != 1 {
		ts.Fatalf("%d servers in the background, need one", len(servers))
	}
	ts.Check(servers[0].Signal(syscall.SIGHUP))
}

// scriptMode compares the permissions of files: mode 0600 FILE...
func scriptMode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: mode MODE FILE...")
	}
	for _, name := range args[1:] {
		info, err := os.Stat(ts.MkAbs(name))
		ts.Check(err)
		if got := fmt.Sprintf("%04o", info.Mode().Perm()); got != args[0] {
			ts.Fatalf("%s has mode %s, want %s", name, got, args[0])
		}
	}
}

// scriptCapture puts a member of a JSON file into the environment: capture VAR FILE "member": the first string
// of that name.
func scriptCapture(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: capture VAR FILE MEMBER")
	}
	_, rest, ok := strings.Cut(ts.ReadFile(args[1]), fmt.Sprintf("%q: \"", args[2]))
	value, _, ok2 := strings.Cut(rest, `"`)
	if !ok || !ok2 {
		ts.Fatalf("%s has no member %q", args[1], args[2])
	}
	ts.Setenv(args[0], value)
}

// scriptSetUp copies what `init` made once for all scripts, because making keys takes its time: set-up DIR. It listens on free ports.
func scriptSetUp(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: set-up DIR")
	}
	dir := ts.MkAbs(args[0])
	ts.Check(os.CopyFS(dir, os.DirFS(filepath.Join(ts.Getenv("FIXTURES"), "node"))))
	ts.Check(filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := os.Stat(filepath.Join(ts.Getenv("FIXTURES"), "node", strings.TrimPrefix(path, dir)))
		if err != nil {
			return err
		}
		return os.Chmod(path, info.Mode().Perm()) // CopyFS opens everything to the umask
	}))
}

// scriptStatus runs a command that must exit with a status: status N COMMAND...
func scriptStatus(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status N COMMAND...")
	}
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		exit, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if strconv.Itoa(got) != args[0] {
		ts.Fatalf("%s exited with %d, want %s", args[1], got, args[0])
	}
}

// scriptUntilStdout runs a command until it prints what a pattern matches, whatever its status:
// until-stdout PATTERN COMMAND...
func scriptUntilStdout(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: until-stdout PATTERN COMMAND...")
	}
	pattern, err := regexp.Compile(args[0])
	ts.Check(err)
	until(ts, args[0], func() bool {
		_ = ts.Exec(args[1], args[2:]...)
		return pattern.MatchString(ts.ReadFile("stdout"))
	})
}

// scriptUntilRefused waits until nobody listens at an address any more: until-refused HOST:PORT.
func scriptUntilRefused(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: until-refused HOST:PORT")
	}
	until(ts, "nobody at "+args[0], func() bool {
		conn, err := net.Dial("tcp", args[0])
		if err == nil {
			conn.Close()
		}
		return err != nil
	})
}

// fixture writes a file of the fixtures.
func fixture(t *testing.T, dir, name string, data []byte) {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}
