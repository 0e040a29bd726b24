package record_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/tenantgate/tenantgate/proxy/record"
)

func open(t testing.TB, o record.LogOptions) *record.Log {
	t.Helper()
	if o.FlushInterval == 0 {
		o.FlushInterval = time.Millisecond
	}
	if o.RetryInterval == 0 {
		o.RetryInterval = time.Millisecond
	}
	l, err := record.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func numbered(n int) *record.Access {
	a := sample()
	a.RequestID = fmt.Sprintf("%032x", n)
	return a
}

// ids reads the request ids of a log whose every line must be valid.
func ids(t testing.TB, log []byte) []string {
	t.Helper()
	var list []string
	for s := bufio.NewScanner(bytes.NewReader(log)); s.Scan(); {
		var a struct {
			RequestID string `json:"request_id"`
		}
		if err := json.Unmarshal(s.Bytes(), &a); err != nil {
			t.Fatalf("%v in %q", err, s.Text())
		}
		list = append(list, a.RequestID)
	}
	if n := len(log); n > 0 && log[n-1] != '\n' {
		t.Errorf("log ends in half a line")
	}
	return list
}

func wantIDs(t testing.TB, log []byte, n int) {
	t.Helper()
	list := ids(t, log)
	if len(list) != n {
		t.Fatalf("%d records, want %d", len(list), n)
	}
	for i, id := range list {
		if want := fmt.Sprintf("%032x", i); id != want {
			t.Fatalf("record %d is %s, want %s", i, id, want)
		}
	}
}

// eventually polls a condition that another goroutine makes true.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(200 * time.Microsecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited 10 s in vain: %s", what)
		}
	}
}

func TestLogKeepsEveryRecordOfManyWriters(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	l := open(t, record.LogOptions{Path: path})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 500 {
				l.Append(numbered(i))
			}
		})
	}
	wg.Wait()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	log, _ := os.ReadFile(path)
	if got := len(ids(t, log)); got != 4000 {
		t.Errorf("%d records, want 4000", got)
	}
	info, _ := os.Stat(path)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, want 0600", info.Mode())
	}
	if s := l.State(); s.Written != 4000 || s.Lost != 0 || s.PendingBytes != 0 {
		t.Errorf("state %+v", s)
	}
	if l.Ready() == nil {
		t.Error("a closed log says it is ready")
	}
}

func TestLogCutsTheHalfLineOfAKilledProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	whole := string(numbered(0).AppendLine(nil))
	if err := os.WriteFile(path, []byte(whole+whole[:40]), 0o600); err != nil {
		t.Fatal(err)
	}
	l := open(t, record.LogOptions{Path: path})
	l.Append(numbered(1))
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	log, _ := os.ReadFile(path)
	wantIDs(t, log, 2)
}

func TestLogRefusesAFileThatIsNoLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "photo.jpg")
	if err := os.WriteFile(path, bytes.Repeat([]byte("x"), 100<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := record.Open(record.LogOptions{Path: path}); err == nil {
		t.Error("opened")
	}
	if info, _ := os.Stat(path); info.Size() != 100<<10 {
		t.Errorf("the file was changed: %d bytes", info.Size())
	}
}

// disk is an output with room for so many bytes: like a full disk, it takes what fits and refuses the rest.
type disk struct {
	mu      sync.Mutex
	room    int
	content bytes.Buffer
}

func (d *disk) Write(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := min(len(p), d.room)
	d.room -= n
	d.content.Write(p[:n])
	if n < len(p) {
		return n, syscall.ENOSPC
	}
	return n, nil
}

func (d *disk) add(room int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.room += room
}

func (d *disk) bytes() []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	return bytes.Clone(d.content.Bytes())
}

func TestLogLosesNothingWhenTheDiskIsFullForAWhile(t *testing.T) {
	d := &disk{room: 5000}
	m := prometheus.NewRegistry()
	l := open(t, record.LogOptions{Path: "-", Output: d, Metrics: record.NewMetrics(m)})
	for i := range 100 {
		l.Append(numbered(i))
	}
	eventually(t, "the log refuses", func() bool { return l.Ready() != nil })
	if err := l.Ready(); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("Ready is %v, want one that names the full disk", err)
	}
	if got := scrape(t, m)["tenantgate_record_ready"]; got != 0 {
		t.Errorf("tenantgate_record_ready %v, want 0", got)
	}
	if got := scrape(t, m)["tenantgate_record_failures_total"]; got < 1 {
		t.Errorf("tenantgate_record_failures_total %v, want at least 1", got)
	}
	// Room comes back in pieces that are no line: each write stops in the middle of one and must go on there.
	for range 10 {
		d.add(333)
		eventually(t, "the piece is written", func() bool { d.mu.Lock(); defer d.mu.Unlock(); return d.room == 0 })
	}
	d.add(1 << 20)
	eventually(t, "the log is ready again", func() bool { return l.Ready() == nil })
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	wantIDs(t, d.bytes(), 100)
}

func TestLogKeepsRoomForRequestsInFlight(t *testing.T) {
	d := &disk{}
	l := open(t, record.LogOptions{Path: "-", Output: d, Buffer: 128 << 10})
	l.Append(numbered(0))
	eventually(t, "the log refuses", func() bool { return l.Ready() != nil })
	// A flood of refusals, then one request that had been accepted before.
	for range 5000 {
		a := numbered(0)
		a.Outcome = record.Unrecorded
		l.Append(a)
	}
	if s := l.State(); s.PendingBytes > 64<<10 {
		t.Errorf("refusals fill %d bytes, want at most half of the buffer", s.PendingBytes)
	}
	inFlight := numbered(7)
	inFlight.Cause = "in flight"
	l.Append(inFlight)
	d.add(10 << 20)
	eventually(t, "the log is ready again", func() bool { return l.Ready() == nil })
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	log := string(d.bytes())
	if !strings.Contains(log, "in flight") {
		t.Error("the record of the request in flight is missing")
	}
	var told int
	if i := strings.Index(log, "before this line "); i < 0 {
		t.Error("the log does not tell of the refusals that it could not hold")
	} else if _, err := fmt.Sscanf(log[i:], "before this line %d requests were refused", &told); err != nil {
		t.Error(err)
	}
	// One line is numbered(0), one the request in flight, one the gap's own.
	if listed := len(ids(t, []byte(log))) - 3; told+listed != 5000 {
		t.Errorf("%d refusals told and %d listed, want 5000 together", told, listed)
	}
	if s := l.State(); s.Lost != 0 {
		t.Errorf("%d records lost, want none", s.Lost)
	}
}

func TestLogIsBounded(t *testing.T) {
	l := open(t, record.LogOptions{Path: "-", Output: &disk{}, Buffer: 64 << 10, UnsafeDropWhenFull: true})
	for i := range 5000 {
		l.Append(numbered(i))
	}
	s := l.State()
	if s.PendingBytes > 65<<10 || s.Lost == 0 { // one line may be over: the one that tells of the lost ones
		t.Errorf("state %+v, want at most 64 KiB waiting and the rest lost", s)
	}
	if err := l.Ready(); err != nil {
		t.Errorf("UnsafeDropWhenFull, but Ready is %v", err)
	}
	if err := l.Close(); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("Close says %v, want how much is lost and why", err)
	}
	if s := l.State(); s.Lost != 5000 && s.Lost != 5001 {
		t.Errorf("%d lost after Close, want all 5000 and perhaps the line that tells of them", s.Lost)
	}
}

func TestReopenFollowsARotation(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "access.log")
	l := open(t, record.LogOptions{Path: path})
	for i := range 10 {
		l.Append(numbered(i))
	}
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	if err := l.Reopen(); err != nil {
		t.Fatal(err)
	}
	l.Append(numbered(0))
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	old, _ := os.ReadFile(path + ".1")
	wantIDs(t, old, 10)
	now, _ := os.ReadFile(path)
	wantIDs(t, now, 1)
	if err := l.Reopen(); err == nil {
		t.Error("a closed log was reopened")
	}
}

func TestReopenKeepsTheOldFileWhenTheNewOneCannotBeOpened(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "logs")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "access.log")
	l := open(t, record.LogOptions{Path: path})
	if err := os.Rename(dir, dir+".away"); err != nil {
		t.Fatal(err)
	}
	if err := l.Reopen(); err == nil {
		t.Error("Reopen of a path that is not there worked")
	}
	l.Append(numbered(0))
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	log, _ := os.ReadFile(filepath.Join(dir+".away", "access.log"))
	wantIDs(t, log, 1)
}

// TestReopenRepairsAFullDisk: /dev/full refuses each write as a full disk does; an operator points the path elsewhere and sends SIGHUP.
func TestReopenRepairsAFullDisk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	if err := os.Symlink("/dev/full", path); err != nil {
		t.Fatal(err)
	}
	l := open(t, record.LogOptions{Path: path, RetryInterval: time.Hour})
	for i := range 20 {
		l.Append(numbered(i))
	}
	eventually(t, "the log refuses", func() bool { return l.Ready() != nil })
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := l.Reopen(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the log is ready again", func() bool { return l.Ready() == nil })
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	log, _ := os.ReadFile(path)
	wantIDs(t, log, 20)
}

func TestAppendTakesNoMemory(t *testing.T) {
	l := open(t, record.LogOptions{Path: filepath.Join(t.TempDir(), "access.log"), Metrics: record.NewMetrics(prometheus.NewRegistry())})
	a := sample()
	for range 5000 {
		l.Append(a)
	}
	if n := testing.AllocsPerRun(5000, func() { l.Append(a) }); n > 0.01 {
		t.Errorf("%v allocations a record, want 0", n)
	}
}

func BenchmarkAppend(b *testing.B) {
	file := func(b *testing.B) string { return filepath.Join(b.TempDir(), "access.log") }
	memory := func(*testing.B) string { return "-" }
	for _, test := range []struct {
		name    string
		path    func(*testing.B) string
		metrics *record.Metrics
	}{
		{"file", file, nil},
		{"file+metrics", file, record.NewMetrics(prometheus.NewRegistry())},
		{"discard", memory, nil}, // without the disk, which shares the machine with the benchmark
	} {
		b.Run(test.name, func(b *testing.B) {
			// Drop what the disk can not take: this is about what a request pays.
			l, err := record.Open(record.LogOptions{Path: test.path(b), Output: io.Discard, Metrics: test.metrics, UnsafeDropWhenFull: true})
			if err != nil {
				b.Fatal(err)
			}
			defer l.Close()
			a := sample()
			b.ReportAllocs()
			for b.Loop() {
				l.Append(a)
			}
			b.ReportMetric(float64(l.State().Lost)/float64(b.N), "lost/op")
		})
	}
}

func BenchmarkReady(b *testing.B) {
	l := open(b, record.LogOptions{Path: filepath.Join(b.TempDir(), "access.log")})
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if l.Ready() != nil {
				b.Error("not ready")
			}
		}
	})
}
