package record

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// LogOptions says where access records go and how many may wait. Only Path is required.
type LogOptions struct {
	// Path of the file; it is made with mode 0600. "-" writes to Output.
	Path string
	// Output is where "-" writes; nil is os.Stdout.
	Output io.Writer
	// Buffer is how many bytes of records may wait for the disk; 0 is 8 MiB, about 20,000 records. From half of it on, Ready
	// refuses; the other half is kept for the requests that were accepted before. Twice this much memory may be in use.
	Buffer int
	// FlushInterval is how long a record may wait for others, so that many are written at once; 0 is 10 ms. It is also what a
	// killed process loses at most. Files are not synced: what the kernel has taken survives the process, not a power cut.
	FlushInterval time.Duration
	// RetryInterval is the pause between attempts while writing fails; 0 is 250 ms.
	RetryInterval time.Duration
	// UnsafeDropWhenFull serves requests although they can not be recorded. Ready then never refuses, and records are lost,
	// counted in tenantgate_record_lost_total.
	UnsafeDropWhenFull bool
	// Metrics counts each record that is appended, whether it can be written or not, and shows the log's state; nil does neither.
	Metrics *Metrics
	// Logger is told when writing begins to fail and when it works again; nil tells nobody.
	Logger *slog.Logger
}

// Log appends access records to a file, one JSON object a line, from a goroutine of its own. All methods may be called at any time
// from any goroutine.
type Log struct {
	o    LogOptions
	soft int64 // bytes waiting from which on Ready refuses

	failure atomic.Pointer[error] // why writing fails; nil while it works
	pending atomic.Int64          // bytes that wait: in cur and in the writer's batch
	fails   atomic.Int64          // attempts to write that failed
	lost    atomic.Int64          // records that were given up
	lines   atomic.Int64          // records written

	lineBuffers sync.Pool // *[]byte

	mu      sync.Mutex // guards the four below; held while a line is copied, never while the disk works
	cur     []byte     // whole lines, not yet seen by the writer
	refused int64      // requests refused as unrecorded for which there was no room, not yet told in the log
	dropped int64      // records lost for which there was no room, not yet told in the log
	closed  bool

	wake    chan struct{} // cur is no longer empty
	urgent  chan struct{} // cur has grown large: do not wait for more
	reopen  chan chan error
	closing chan struct{}
	done    chan struct{}
	final   error // what Close returns; valid after done
}

const (
	defaultBuffer = 8 << 20
	minBuffer     = 64 << 10 // room for two longest lines
	urgentBytes   = 64 << 10 // a write of this size costs little more than its copying
	keepBytes     = 1 << 20  // a buffer that grew beyond this is given back when little of it is used again
)

var errFull = errors.New("recording access: too many records wait for the disk")
var errClosed = errors.New("recording access: the log is closed")

// Open opens the log for appending and starts its writer. A half line at the end of the file, which a killed process may have left, is
// cut off. The caller must Close the log.
func Open(o LogOptions) (*Log, error) {
	if o.Buffer == 0 {
		o.Buffer = defaultBuffer
	}
	o.Buffer = max(o.Buffer, minBuffer)
	if o.FlushInterval == 0 {
		o.FlushInterval = 10 * time.Millisecond
	}
	if o.RetryInterval == 0 {
		o.RetryInterval = 250 * time.Millisecond
	}
	if o.Output == nil {
		o.Output = os.Stdout
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s, err := openSink(o)
	if err != nil {
		return nil, err
	}
	l := &Log{
		o:       o,
		soft:    int64(o.Buffer / 2),
		wake:    make(chan struct{}, 1),
		urgent:  make(chan struct{}, 1),
		reopen:  make(chan chan error),
		closing: make(chan struct{}),
		done:    make(chan struct{}),
	}
	l.lineBuffers.New = func() any { b := make([]byte, 0, 1024); return &b }
	o.Metrics.watchLog(l)
	go (&writer{l: l, sink: s}).run()
	return l, nil
}

// Ready says whether a request that is accepted now can be recorded. An error means: refuse it with [Unrecorded]. It is two atomic loads.
func (l *Log) Ready() error {
	if l.o.UnsafeDropWhenFull {
		return nil
	}
	if err := l.failure.Load(); err != nil {
		return *err
	}
	if l.pending.Load() > l.soft {
		return errFull
	}
	return nil
}

// Append takes a record. It copies it into memory and returns; it never waits for the disk and keeps nothing of a. The record of a request
// that was accepted while Ready returned nil has room; if so many were accepted at once that it has not, it is lost and counted, and
// the log says so in a line of its own when there is room again. The metrics count it in any case.
func (l *Log) Append(a *Access) {
	l.o.Metrics.Observe(a)
	l.write(a, a.Outcome == Unrecorded)
}

// write makes a line of a record and puts it into the buffer.
func (l *Log) write(a *Access, refusal bool) {
	b := l.lineBuffers.Get().(*[]byte)
	line := a.AppendLine((*b)[:0])
	l.put(line, refusal)
	*b = line[:0]
	l.lineBuffers.Put(b)
}

// put copies one line into cur. A refusal (the record of a request that was not served for want of room) may not use up the room that
// is kept for requests in flight: it is then only counted.
func (l *Log) put(line []byte, refusal bool) {
	n := int64(len(line))
	limit := int64(l.o.Buffer)
	if refusal {
		limit = l.soft
	}
	l.mu.Lock()
	if l.closed || l.pending.Load()+n > limit {
		if refusal {
			l.refused++
		} else {
			l.dropped++
			l.lost.Add(1)
		}
		l.mu.Unlock()
		return
	}
	before := len(l.cur)
	l.cur = append(l.cur, line...)
	l.pending.Add(n)
	l.mu.Unlock()
	if before == 0 {
		signal(l.wake)
	}
	if before < urgentBytes && before+len(line) >= urgentBytes {
		signal(l.urgent)
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Reopen closes the file and opens its path again, for log rotation. When that does not work it keeps the old file and returns why.
// A line is never split between the two. For "-" it does nothing.
func (l *Log) Reopen() error {
	answer := make(chan error, 1)
	select {
	case l.reopen <- answer:
		return <-answer
	case <-l.done:
		return errClosed
	}
}

// Close writes what waits and closes the file. If writing fails it tries once more, then gives up and says how much is lost.
// Records appended after Close are lost and counted.
func (l *Log) Close() error {
	l.mu.Lock()
	first := !l.closed
	l.closed = true
	l.mu.Unlock()
	if first {
		close(l.closing)
	}
	<-l.done
	return l.final
}

// LogState is the log's state in numbers.
type LogState struct {
	PendingBytes int64 // waiting for the disk
	BufferBytes  int64 // how many may wait
	Written      int64 // records written
	Failures     int64 // attempts to write that failed
	Lost         int64 // records given up
}

// State reads the numbers; they are not of one instant.
func (l *Log) State() LogState {
	return LogState{l.pending.Load(), int64(l.o.Buffer), l.lines.Load(), l.fails.Load(), l.lost.Load()}
}

// gapLine is the record that tells of records that are missing before it.
func gapLine(refused, dropped int64) []byte {
	a := Access{
		Time:      time.Now(),
		RequestID: NewRequestID(),
		Outcome:   Unrecorded,
		Status:    Unrecorded.Status(),
		Cause:     fmt.Sprintf("before this line %d requests were refused and %d records lost, because they could not be written", refused, dropped),
	}
	return a.AppendLine(nil)
}
