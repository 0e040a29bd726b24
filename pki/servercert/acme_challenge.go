package servercert

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/mholt/acmez/v3"
	"github.com/mholt/acmez/v3/acme"

	"github.com/tenantgate/tenantgate/pki"
)

// The challenges that are answered (RFC 8555 section 8.3, RFC 8737).
const (
	TLSALPN01 = acme.ChallengeTypeTLSALPN01
	HTTP01    = acme.ChallengeTypeHTTP01
)

// ALPN is the protocol of a handshake that is a tls-alpn-01 challenge and nothing else (RFC 8737 section 6.2).
const ALPN = acmez.ACMETLS1Protocol

// HTTPPath is where http-01 challenges are asked for (RFC 8555 section 8.3).
const HTTPPath = "/.well-known/acme-challenge/"

const (
	challengeLife = 10 * time.Minute       // of one that a node which died has left
	challengePoll = 500 * time.Millisecond // how often challenges of other nodes are looked for
	challengeWait = 3 * challengePoll      // how long they get to find one of this node
)

// challenges are those that are open, on all nodes. Whoever asks for an answer makes nobody look into the database: what other nodes have begun is fetched
// before it is asked for. It is a solver for [acmez.Client].
type challenges struct {
	storage pki.Storage
	prefix  string // in the storage
	shared  bool   // other nodes use the storage
	logger  *slog.Logger

	mu     sync.RWMutex // guards what follows
	own    map[string]*openChallenge
	others map[string]*openChallenge // by the same keys; replaced whole
}

// openChallenge is one, with its answer. The JSON is what other nodes read.
type openChallenge struct {
	Challenge acme.Challenge `json:"challenge"`
	Expires   time.Time      `json:"expires"`

	certificate *tls.Certificate // of tls-alpn-01
}

var _ interface {
	acmez.Solver
	acmez.Waiter
} = (*challenges)(nil)

func newChallenges(storage pki.Storage, prefix string, shared bool, logger *slog.Logger) *challenges {
	return &challenges{storage: storage, prefix: prefix + "/challenges", shared: shared, logger: logger, own: make(map[string]*openChallenge)}
}

// token is what RFC 8555 section 8.3 allows: base64url.
var token = regexp.MustCompile(`^[A-Za-z0-9_-]{16,256}$`)

// key is what a challenge is asked for by: http-01 by its token, tls-alpn-01 by its name, which for an address is the one of RFC 8738 section 6.
func key(c *acme.Challenge) string {
	if c.Type == HTTP01 {
		return HTTP01 + " " + c.Token
	}
	name := strings.ToLower(c.Identifier.Value)
	if c.Identifier.Type == "ip" {
		name = reverseName(name)
	}
	return TLSALPN01 + " " + name
}

// reverseName is an address as it is asked for by name (RFC 1035 section 3.5, RFC 3596 section 2.5).
func reverseName(address string) string {
	ip, err := netip.ParseAddr(address)
	if err != nil {
		return address
	}
	var labels []string
	if ip = ip.Unmap(); ip.Is4() {
		for _, b := range ip.AsSlice() {
			labels = append(labels, strconv.Itoa(int(b)))
		}
	} else {
		for _, b := range ip.AsSlice() {
			labels = append(labels, strconv.FormatInt(int64(b>>4), 16), strconv.FormatInt(int64(b&15), 16))
		}
	}
	slices.Reverse(labels)
	zone := ".ip6.arpa"
	if ip.Is4() {
		zone = ".in-addr.arpa"
	}
	return strings.Join(labels, ".") + zone
}

func (o *openChallenge) prepare() error {
	if !token.MatchString(o.Challenge.Token) {
		return errors.New("the ACME server's challenge has a token that is none")
	}
	if o.Challenge.Type != TLSALPN01 {
		return nil
	}
	var err error
	o.certificate, err = acmez.TLSALPN01ChallengeCert(o.Challenge)
	return err
}

func (s *challenges) path(c *acme.Challenge) string { return path.Join(s.prefix, c.Type+"-"+c.Token) }

// Present implements [acmez.Solver].
func (s *challenges) Present(ctx context.Context, c acme.Challenge) error {
	open := &openChallenge{Challenge: c, Expires: time.Now().Add(challengeLife)}
	if err := open.prepare(); err != nil {
		return fmt.Errorf("preparing the answer to a challenge: %w", err)
	}
	b, err := json.Marshal(open)
	if err != nil {
		return fmt.Errorf("preparing the answer to a challenge: %w", err)
	}
	if err := s.storage.Store(ctx, s.path(&c), b); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.own[key(&c)] = open
	return nil
}

// Wait implements [acmez.Waiter]: it lets the other nodes find the challenge before the ACME server asks one of them.
func (s *challenges) Wait(ctx context.Context, _ acme.Challenge) error {
	if !s.shared {
		return nil
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(challengeWait):
		return nil
	}
}

// CleanUp implements [acmez.Solver].
func (s *challenges) CleanUp(ctx context.Context, c acme.Challenge) error {
	s.mu.Lock()
	delete(s.own, key(&c))
	s.mu.Unlock()
	return s.storage.Delete(context.WithoutCancel(ctx), s.path(&c))
}

// find returns the open challenge of a key, nil if there is none.
func (s *challenges) find(key string) *openChallenge {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if open := s.own[key]; open != nil {
		return open
	}
	if open := s.others[key]; open != nil && time.Now().Before(open.Expires) {
		return open
	}
	return nil
}

// follow fetches the challenges of other nodes until life ends, and takes away those that nodes which died have left.
func (s *challenges) follow(life context.Context) {
	interval := challengePoll
	if !s.shared {
		interval = challengeLife // only what an earlier run has left
	}
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	failing := false
	for {
		err := s.fetch(life)
		if (err != nil) != failing && life.Err() == nil {
			if failing = err != nil; failing {
				s.logger.Warn("server certificate: looking for challenges of other nodes", "error", err)
			}
		}
		select {
		case <-life.Done():
			return
		case <-ticker.C:
		}
	}
}

func (s *challenges) fetch(ctx context.Context) error {
	paths, err := s.storage.List(ctx, s.prefix, false)
	if errors.Is(err, fs.ErrNotExist) {
		paths, err = nil, nil
	}
	if err != nil {
		return err
	}
	s.mu.RLock()
	known := s.others
	s.mu.RUnlock()
	found := make(map[string]*openChallenge)
	for _, p := range paths {
		open, err := s.load(ctx, p, known)
		switch {
		case err != nil:
			return err
		case open == nil:
		case time.Now().After(open.Expires):
			if err := s.storage.Delete(ctx, p); err != nil {
				return err
			}
		default:
			found[key(&open.Challenge)] = open
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.others = found
	return nil
}

// load returns the challenge at a path, nil if it is gone or makes no sense. One that is known is not read again.
func (s *challenges) load(ctx context.Context, p string, known map[string]*openChallenge) (*openChallenge, error) {
	for _, open := range known {
		if s.path(&open.Challenge) == p {
			return open, nil
		}
	}
	b, err := s.storage.Load(ctx, p)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	open := new(openChallenge)
	if json.Unmarshal(b, open) != nil || open.prepare() != nil {
		return nil, nil
	}
	return open, nil
}

// certificate answers a tls-alpn-01 challenge; nil when there is none for the name.
func (s *challenges) certificate(hello *tls.ClientHelloInfo) *tls.Certificate {
	if net.ParseIP(hello.ServerName) != nil {
		return nil
	}
	if open := s.find(TLSALPN01 + " " + pki.NormalServerName(hello.ServerName)); open != nil {
		return open.certificate
	}
	return nil
}

// authorization answers an http-01 challenge; "" when there is none for the token.
func (s *challenges) authorization(token string) string {
	if open := s.find(HTTP01 + " " + token); open != nil {
		return open.Challenge.KeyAuthorization
	}
	return ""
}
