package record

import (
	"bytes"
	"fmt"
	"time"
)

// writer is the log's goroutine: it alone touches the file. All its fields are its own.
type writer struct {
	l     *Log
	sink  sink
	batch []byte // whole lines taken from the log
	pos   int    // how much of batch is in the file; may be in the middle of a line after a failed write
	spare []byte // the buffer to give to the log at the next exchange
}

// run writes until the log is closed.
func (w *writer) run() {
	defer close(w.l.done)
	for {
		select {
		case <-w.l.wake:
			w.gather()
			w.drain()
		case answer := <-w.l.reopen:
			if w.take() {
				w.write() // once: the old file may be what does not work
			}
			answer <- w.reopen()
			w.drain()
		case <-w.l.closing:
			w.finish()
			return
		}
	}
}

// gather waits a little for more lines, so that a busy proxy makes a hundred writes a second, not a hundred thousand.
func (w *writer) gather() {
	t := time.NewTimer(w.l.o.FlushInterval)
	defer t.Stop()
	select {
	case <-t.C:
	case <-w.l.urgent:
	case <-w.l.closing:
	}
}

// drain writes all that waits, as often as it takes. It gives up only when the log is being closed.
func (w *writer) drain() {
	for w.take() {
		for !w.write() {
			if !w.pause() {
				return
			}
		}
	}
}

// take exchanges the written batch for the lines that wait; false when there are none.
func (w *writer) take() bool {
	if w.pos < len(w.batch) {
		return true
	}
	l := w.l
	if w.batch != nil && (cap(w.batch) <= keepBytes || len(w.batch) > cap(w.batch)/16) {
		w.spare = w.batch[:0]
	}
	w.batch, w.pos = nil, 0
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.refused+l.dropped > 0 && l.failure.Load() == nil {
		gap := gapLine(l.refused, l.dropped)
		l.cur = append(l.cur, gap...)
		l.pending.Add(int64(len(gap)))
		l.refused, l.dropped = 0, 0
	}
	if len(l.cur) == 0 {
		return false
	}
	w.batch, l.cur, w.spare = l.cur, w.spare, nil
	return true
}

// write continues where the last write ended.
func (w *writer) write() bool {
	l := w.l
	n, err := w.sink.Write(w.batch[w.pos:])
	l.lines.Add(int64(bytes.Count(w.batch[w.pos:w.pos+n], newline)))
	w.pos += n
	l.pending.Add(-int64(n))
	if err != nil {
		w.failed(err)
		return false
	}
	if l.failure.Swap(nil) != nil {
		l.o.Logger.Info("access records are written again", "path", l.o.Path)
	}
	return true
}

var newline = []byte{'\n'}

func (w *writer) failed(err error) {
	l := w.l
	l.fails.Add(1)
	wrapped := fmt.Errorf("recording access: %w", err)
	if l.failure.Swap(&wrapped) == nil {
		l.o.Logger.Error("access records can not be written; requests are refused until they can", "path", l.o.Path, "error", err)
	}
}

// pause waits before the next attempt; a reopened file is tried at once. It is false when the log is being closed.
func (w *writer) pause() bool {
	t := time.NewTimer(w.l.o.RetryInterval)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case answer := <-w.l.reopen:
		answer <- w.reopen()
		return true
	case <-w.l.closing:
		return false
	}
}

// reopen exchanges the file. The part of a line that the old file already has is taken back from it, and the line goes whole to the new one.
func (w *writer) reopen() error {
	next, err := openSink(w.l.o)
	if err != nil {
		return err
	}
	if part := w.pos - (bytes.LastIndexByte(w.batch[:w.pos], '\n') + 1); w.pos < len(w.batch) && part > 0 {
		if err := w.sink.unwrite(part); err == nil {
			w.pos -= part
			w.l.pending.Add(int64(part))
		}
	}
	if err := w.sink.Close(); err != nil {
		w.l.o.Logger.Warn("closing the old access log", "path", w.l.o.Path, "error", err)
	}
	w.sink = next
	return nil
}

// finish writes the rest, with one more attempt if that fails, closes the file and leaves the log refusing.
func (w *writer) finish() {
	l := w.l
	for w.take() {
		if ok := w.write(); !ok && !w.write() {
			break
		}
	}
	l.mu.Lock()
	left := bytes.Count(w.batch[w.pos:], newline) + bytes.Count(l.cur, newline)
	l.mu.Unlock()
	if left > 0 {
		l.lost.Add(int64(left))
		l.final = fmt.Errorf("closing the access log: %d records are lost: %w", left, *l.failure.Load())
	}
	if err := w.sink.Close(); err != nil && l.final == nil {
		l.final = fmt.Errorf("closing the access log: %w", err)
	}
	l.failure.Store(&errClosed)
}
