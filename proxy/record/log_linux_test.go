package record_test

import (
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/tenantgate/tenantgate/proxy/record"
)

// limitFiles lets this process write files up to size bytes, as a disk that is full then. What does not fit is refused after a partial write.
func limitFiles(t *testing.T, size uint64) (lift func()) {
	t.Helper()
	signal.Ignore(syscall.SIGXFSZ)
	var old syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: size, Max: old.Max}); err != nil {
		t.Fatal(err)
	}
	lift = func() {
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
			t.Error(err)
		}
		signal.Reset(syscall.SIGXFSZ)
	}
	t.Cleanup(lift)
	return lift
}

// TestAFileThatFillsUpContinuesInTheMiddleOfALine: the line that did not fit is finished where it was broken off.
func TestAFileThatFillsUpContinuesInTheMiddleOfALine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	lift := limitFiles(t, 5000)
	l := open(t, record.LogOptions{Path: path})
	for i := range 50 {
		l.Append(numbered(i))
	}
	eventually(t, "the log refuses", func() bool { return l.Ready() != nil })
	if info, err := os.Stat(path); err != nil || info.Size() != 5000 {
		t.Fatalf("file of %d bytes, %v; want 5000, in the middle of a line", info.Size(), err)
	}
	lift()
	eventually(t, "the log is ready again", func() bool { return l.Ready() == nil })
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	log, _ := os.ReadFile(path)
	wantIDs(t, log, 50)
}

// TestARotationInTheMiddleOfALineMovesTheLine: the old file, which is full, keeps whole lines, and the new one begins with a whole line.
func TestARotationInTheMiddleOfALineMovesTheLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	lift := limitFiles(t, 5000)
	l := open(t, record.LogOptions{Path: path, RetryInterval: time.Hour})
	for i := range 50 {
		l.Append(numbered(i))
	}
	eventually(t, "the log refuses", func() bool { return l.Ready() != nil })
	lift()
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	if err := l.Reopen(); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	before, _ := os.ReadFile(path + ".1")
	after, _ := os.ReadFile(path)
	first := len(ids(t, before))
	if first == 0 || len(ids(t, after)) == 0 {
		t.Fatalf("%d records in the old file, %d in the new: want some in both", first, len(ids(t, after)))
	}
	wantIDs(t, append(before, after...), 50)
}
