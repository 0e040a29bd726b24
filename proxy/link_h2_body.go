package proxy

import (
	"io"
	"net/http"
	"strings"
	"sync"

	"github.com/tenantgate/tenantgate/proxy/wire"
)

// drawn is a request's body on its way from the upload to net/http, which reads it as fast as the tenant takes it: nothing is held in between.
type drawn struct {
	*io.PipeReader
	w       *io.PipeWriter
	stream  *stream
	trailer http.Header   // the request's
	tail    wire.Fields   // what it is to be at the end
	read    bool          // net/http has begun to read
	begun   chan struct{} // closed then: the tenant wants the body. nil unless the stream expects that
	decided chan struct{} // closed when the final answer has come, likewise
}

// draw has net/http read the body from the upload.
func (s *stream) draw(r *http.Request) {
	d := &drawn{stream: s, trailer: r.Trailer}
	d.PipeReader, d.w = io.Pipe()
	if s.expect {
		d.begun, d.decided = make(chan struct{}), make(chan struct{})
	}
	r.Body = d
	s.drawn.Store(d)
	if s.ctx.Err() != nil {
		s.end(errInterrupted)
	}
}

// Read implements io.Reader for net/http, in one goroutine.
func (d *drawn) Read(p []byte) (int, error) {
	if d.begun != nil && !d.read {
		close(d.begun)
	}
	d.read = true
	n, err := d.PipeReader.Read(p)
	if err == io.EOF {
		for _, f := range d.tail {
			addCopy(d.trailer, f.Name, f.Value)
		}
	}
	return n, err
}

// write sends a part of the body. It returns once net/http has taken all of it.
func (s *stream) write(p []byte) error {
	_, err := s.drawn.Load().w.Write(p)
	return err
}

// endBody ends the body, with its trailer section.
func (s *stream) endBody() {
	d := s.drawn.Load()
	s.x.upload.trailer(func(name, value string) {
		d.tail = append(d.tail, wire.Field{Name: strings.Clone(name), Value: strings.Clone(value)})
	})
	d.w.Close()
}

// lent is a body that was received whole. Its buffer serves another exchange once this one has ended, and net/http may still want to read then.
type lent struct {
	mu   sync.Mutex // guards rest; held while it is read
	rest []byte
	over bool // it was taken back
}

// lend has net/http read the body from a buffer.
func (s *stream) lend(r *http.Request, body []byte) {
	s.lent = &lent{rest: body}
	r.Body = s.lent
}

// Read implements io.Reader for net/http.
func (b *lent) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.over:
		return 0, errInterrupted
	case len(b.rest) == 0:
		return 0, io.EOF
	}
	n := copy(p, b.rest)
	b.rest = b.rest[n:]
	return n, nil
}

// Close implements io.Closer for net/http.
func (b *lent) Close() error { return nil }

func (b *lent) takeBack() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.rest, b.over = nil, true
}
