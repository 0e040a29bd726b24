package proxy

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/tenantgate/tenantgate/proxy/record"
	"github.com/tenantgate/tenantgate/proxy/wire"
)

// fetchH2 is fetch with a tenant of HTTP/2: on a connection that is at hand and, when that is gone, on a new one.
func (f *csrfFetch) fetchH2(ctx context.Context) (*session, *csrfError) {
	if c := f.pool.takeConn(time.Now()); c != nil {
		s, err := f.askH2(ctx, c)
		if err == nil || err.status != 0 || ctx.Err() != nil {
			return s, err
		}
	}
	for {
		c, err := f.pool.another(ctx, true)
		switch {
		case err != nil:
			if f.pool.open.Err() == nil {
				f.gate.failed(time.Now(), f.pool.tenant)
			}
			return nil, f.failed(ctx, record.Unreachable, record.CSRFNoLink, err)
		case c != nil:
			return f.askH2(ctx, c)
		}
		if c = f.pool.takeConn(time.Now()); c != nil { // others had taken all its streams
			return f.askH2(ctx, c)
		}
	}
}

// askH2 makes the request on a stream of its own.
func (f *csrfFetch) askH2(ctx context.Context, c *h2conn) (*session, *csrfError) {
	defer c.release()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the stream, if anything is left of it
	h := make(http.Header, len(f.fields)+1)
	h["User-Agent"] = nil // or net/http would name itself
	for _, field := range f.fields {
		if field.Name != "Host" {
			addCopy(h, field.Name, field.Value)
		}
	}
	scheme := "https"
	if f.pool.tls == nil {
		scheme = "http"
	}
	req := &http.Request{Method: http.MethodGet, URL: &url.URL{Scheme: scheme, Host: f.fields.Get("Host"), Opaque: f.target}, Host: f.fields.Get("Host"),
		Proto: "HTTP/2.0", ProtoMajor: 2, Header: h}
	resp, err := c.http.RoundTrip(req.WithContext(ctx))
	if err != nil {
		return nil, f.failed(ctx, record.NoCSRFToken, record.CSRFBroken, err)
	}
	defer resp.Body.Close()
	f.gate.connected()
	var head wire.Response
	if err := readHead(&head, resp, http.MethodGet); err != nil {
		return nil, f.failed(ctx, record.NoCSRFToken, record.CSRFBroken, err)
	}
	_, _ = io.CopyN(io.Discard, resp.Body, 16<<10)
	return f.read(&head)
}
