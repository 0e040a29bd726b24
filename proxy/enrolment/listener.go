package enrolment

import (
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// The bounds of the listener's connections. A caller makes one or two in his certificate's life.
const (
	maxConnections       = 256
	maxSourceConnections = 32
	sourceConnectRate    = 10 // connections a second from one address
	sourceConnectBurst   = 50
	connectRate          = 50 // handshakes a second from all addresses: they take a processor from requests
	connectBurst         = 100
)

// HTTP makes the server of the listener: TLS that asks for a client certificate and takes a connection without one, HTTP/1.1 only, and little
// time for everything. No ticket may stand in for a certificate. Serve it with a listener from [Bound].
func (s *Server) HTTP(certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)) *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	logger := s.logger()
	return &http.Server{
		Handler:           s,
		Protocols:         protocols,
		ReadHeaderTimeout: 5 * time.Second, // of the handshake, too
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      20 * time.Second, // from the end of the head: reading, acting, answering
		IdleTimeout:       10 * time.Second,
		MaxHeaderBytes:    8 << 10,
		// OPTIONS * is answered, counted and put on record as any other.
		DisableGeneralOptionsHandler: true,

		ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
		TLSConfig: &tls.Config{
			MinVersion:             tls.VersionTLS12,
			GetCertificate:         certificate,
			ClientAuth:             tls.RequestClientCert, // judged for each renewal, by renew
			SessionTicketsDisabled: true,
		},
	}
}

// Bound has a listener take so many connections, and so often, in all and from one address. Those of one address beyond its own are closed
// before they cost anything; those beyond the rate of all wait in the kernel.
func Bound(l net.Listener) net.Listener {
	return &bounded{Listener: l, pace: rate.NewLimiter(connectRate, connectBurst),
		sources: newPaces(sourceConnectRate, sourceConnectBurst), open: make(map[netip.Prefix]int)}
}

type bounded struct {
	net.Listener
	pace    *rate.Limiter
	sources paces

	mu    sync.Mutex // guards what follows
	open  map[netip.Prefix]int
	total int
}

// Accept implements [net.Listener].
func (b *bounded) Accept() (net.Conn, error) {
	for {
		conn, err := b.Listener.Accept()
		if err != nil {
			return nil, err
		}
		from := networkOf(addressOf(conn.RemoteAddr().String()))
		if !b.sources.allow(from, time.Now()) || !b.enter(from) {
			conn.Close()
			continue
		}
		if wait := b.pace.Reserve().Delay(); wait > 0 { // a fiftieth of a second at most: nobody else accepts
			time.Sleep(wait)
		}
		return &counted{Conn: conn, leave: sync.OnceFunc(func() { b.exit(from) })}, nil
	}
}

func (b *bounded) enter(from netip.Prefix) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.total >= maxConnections || b.open[from] >= maxSourceConnections {
		return false
	}
	b.total++
	b.open[from]++
	return true
}

func (b *bounded) exit(from netip.Prefix) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.total--
	if b.open[from]--; b.open[from] == 0 {
		delete(b.open, from)
	}
}

// counted is a connection that counts until it is closed.
type counted struct {
	net.Conn
	leave func()
}

// Close implements [net.Conn].
func (c *counted) Close() error {
	defer c.leave()
	return c.Conn.Close()
}
