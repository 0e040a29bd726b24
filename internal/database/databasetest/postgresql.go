package databasetest

import (
	"bytes"
	"database/sql"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
)

// PostgreSQL is a server of a test's own: a new cluster in a temporary directory, reached by a Unix socket only, gone with the test.
type PostgreSQL struct {
	dir  string
	made atomic.Int64 // databases so far
}

// StartPostgreSQL starts a server or skips the test where there are no programs for one: in the PATH or in
// /usr/lib/postgresql/<version>/bin. Started by root it runs as the user postgres, because it refuses root.
func StartPostgreSQL(t testing.TB) *PostgreSQL {
	t.Helper()
	bin := programs()
	if bin == "" {
		t.Skip("SKIPPED ON POSTGRESQL: no initdb found in PATH or /usr/lib/postgresql/*/bin; install the package postgresql to run this test there")
	}
	// Not t.TempDir: its parent is closed to other users, and its name too long for a socket's address.
	dir, err := os.MkdirTemp("", "tgpg")
	if err != nil {
		t.Fatalf("making a directory for PostgreSQL: %v", err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	as := unprivileged(t, dir)
	initdb := as(exec.Command(filepath.Join(bin, "initdb"), "-D", filepath.Join(dir, "data"), "-U", "tenantgate",
		"--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C"))
	if out, err := initdb.CombinedOutput(); err != nil {
		t.Fatalf("running initdb: %v\n%s", err, out)
	}
	p := &PostgreSQL{dir: dir}
	p.start(t, as, filepath.Join(bin, "postgres"))
	return p
}

// programs returns the directory that holds initdb and postgres, "" when there is none.
func programs() string {
	if path, err := exec.LookPath("initdb"); err == nil {
		return filepath.Dir(path)
	}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if len(found) == 0 {
		return ""
	}
	slices.Sort(found)
	return filepath.Dir(found[len(found)-1])
}

// unprivileged returns what makes a command run as the user postgres when the test runs as root, after giving that user the directory.
func unprivileged(t testing.TB, dir string) func(*exec.Cmd) *exec.Cmd {
	t.Helper()
	inDir := func(c *exec.Cmd) *exec.Cmd { c.Dir = dir; return c }
	if os.Getuid() != 0 {
		return inDir
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		t.Skipf("SKIPPED ON POSTGRESQL: root may not run it and there is no user postgres: %v", err)
	}
	uid, uidErr := strconv.Atoi(u.Uid)
	gid, gidErr := strconv.Atoi(u.Gid)
	if uidErr != nil || gidErr != nil {
		t.Fatalf("reading the ids of user postgres: %q, %q", u.Uid, u.Gid)
	}
	if err := os.Chown(dir, uid, gid); err != nil {
		t.Fatalf("giving PostgreSQL its directory: %v", err)
	}
	return func(c *exec.Cmd) *exec.Cmd { runAs(c, uid, gid); return inDir(c) }
}

// start runs the server below a shell that waits for its standard input to end: when this process is killed, the server goes too.
func (p *PostgreSQL) start(t testing.TB, as func(*exec.Cmd) *exec.Cmd, postgres string) {
	t.Helper()
	const keeper = `"$@" & server=$!; read _; kill -INT $server; wait $server`
	cmd := as(exec.Command("/bin/sh", "-c", keeper, "sh", postgres, "-D", filepath.Join(p.dir, "data"), "-k", p.dir,
		"-c", "listen_addresses=", "-c", "fsync=off", "-c", "max_connections=200"))
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatalf("starting PostgreSQL: %v", err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("starting PostgreSQL: %v", err)
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	t.Cleanup(func() { _ = stdin.Close(); <-ended })
	db := p.admin(t)
	defer func() { _ = db.Close() }()
	retry := time.NewTicker(20 * time.Millisecond)
	defer retry.Stop()
	deadline := time.After(30 * time.Second)
	for {
		err := db.Ping()
		if err == nil {
			return
		}
		select {
		case <-retry.C:
		case <-deadline:
			_ = stdin.Close()
			<-ended
			t.Fatalf("PostgreSQL does not answer: %v\n%s", err, log.String())
		}
	}
}

func (p *PostgreSQL) url(name string) string {
	q := url.Values{"host": {p.dir}, "user": {"tenantgate"}, "dbname": {name}}
	return "postgres:///?" + q.Encode()
}

func (p *PostgreSQL) admin(t testing.TB) *sql.DB {
	t.Helper()
	db, err := sql.Open("pgx", p.url("postgres"))
	if err != nil {
		t.Fatalf("reaching PostgreSQL: %v", err)
	}
	return db
}

// Database makes a new empty database and returns its URL. It goes with the server.
func (p *PostgreSQL) Database(t testing.TB) string {
	t.Helper()
	db := p.admin(t)
	defer func() { _ = db.Close() }()
	name := fmt.Sprintf("test%d", p.made.Add(1))
	if _, err := db.Exec("CREATE DATABASE " + name); err != nil {
		t.Fatalf("creating a database: %v", err)
	}
	return p.url(name)
}
