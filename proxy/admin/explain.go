package admin

import (
	"context"
	"crypto/x509"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/pki"
)

// ExplainRequest is the body of POST /v1/explain: a request that nobody sends.
type ExplainRequest struct {
	// Identity is who would call. Required.
	Identity string `json:"identity"`
	// Login is the user name that it would be sent with, on the bridge, and its right password; "" is a certificate.
	Login string `json:"login,omitempty"`
	// Method and URL are what would be asked for: https://host/path?query, or /path?query with the first of the server's names as the host.
	// Required.
	Method string `json:"method"`
	URL    string `json:"url"`
	// From is the address it would come from; "" is one that is in no network.
	From string `json:"from,omitempty"`
	// At is when it would come; zero is now.
	At time.Time `json:"at,omitzero"`
	// Certificate is what would be shown, as PEM, leaf first; "" is the identity's newest certificate that is valid.
	Certificate string `json:"certificate,omitempty"`
	// BodySize is how many octets its body would have.
	BodySize int64 `json:"body_size,omitempty"`
}

// ExplainQuestion is an [ExplainRequest] that was read.
type ExplainQuestion struct {
	Identity, Login, Method, Target string

	Host        string     // "" is the server's own
	From        netip.Addr // invalid when none is given
	At          time.Time
	Certificate []*x509.Certificate
	BodySize    int64
}

// Explanation is the answer to an [ExplainRequest].
type Explanation struct {
	// Allowed says that the request would be sent to the tenant. Outcome is how it would end otherwise, as access records have it, and Cause why.
	Allowed bool   `json:"allowed"`
	Outcome string `json:"outcome"`
	Cause   string `json:"cause,omitempty"`
	// Steps are what was looked at, in the order of a request.
	Steps []ExplainedStep `json:"steps"`
}

// ExplainedStep is one thing that was looked at.
type ExplainedStep struct {
	// Name is a word: certificate or login, identity, network, window, request, route, role, body, capacity, concurrency, rate, quota, tenant, credential, csrf, would.
	Name string `json:"name"`
	// State is pass, fail or skip.
	State string `json:"state"`
	// Reason says why.
	Reason string `json:"reason"`
	// Outcome is what a step that fails ends the request with.
	Outcome string `json:"outcome,omitempty"`
	// Change is the command that would change a step that fails; "" when there is none.
	Change string `json:"change,omitempty"`
}

// explainRequest says what would become of a request. It changes nothing and uses no secret, and is therefore not recorded.
func explainRequest(s *Server, c *call) (any, error) {
	var r ExplainRequest
	if err := c.decode(&r); err != nil {
		return nil, err
	}
	if s.Explain == nil {
		return nil, errNoAddress
	}
	q, err := r.read()
	if err != nil {
		return nil, err
	}
	if _, ok := s.Registry.Snapshot().Identity(q.Identity); !ok {
		return nil, absent(identity.ObjectIdentity, q.Identity)
	}
	if _, ok := s.Registry.Snapshot().Login(identity.NormalUser(q.Login)); !ok && q.Login != "" {
		return nil, absent(identity.ObjectLogin, q.Login)
	}
	return s.Explain(q), nil
}

// read refuses what could not be a request.
func (r *ExplainRequest) read() (ExplainQuestion, error) {
	q := ExplainQuestion{Identity: r.Identity, Login: r.Login, Method: r.Method, At: r.At, BodySize: r.BodySize}
	switch {
	case r.Identity == "":
		return q, invalid("identity", "no identity is given", "name who would call")
	case r.Method == "":
		return q, invalid("method", "no method is given", "GET, POST or another one")
	case r.Login != "" && r.Certificate != "":
		return q, invalid("login", "a certificate is given besides", "beside a certificate a login is not looked at: give one of them")
	case r.BodySize < 0:
		return q, invalid("body_size", "the size is negative", "give octets")
	}
	var ok bool
	if q.Host, q.Target, ok = splitURL(r.URL); !ok {
		return q, invalid("url", "it is not https://host/path or /path", "give it as a caller would, without a fragment")
	}
	if r.From != "" {
		a, err := netip.ParseAddr(r.From)
		if err != nil {
			return q, invalid("from", "it is not an IP address", "give the address from which the caller connects")
		}
		q.From = a.Unmap().WithZone("")
	}
	if r.Certificate != "" {
		chain, err := pki.ParseCertificates([]byte(r.Certificate))
		if err != nil {
			return q, invalid("certificate", err.Error(), "give PEM, the leaf first")
		}
		q.Certificate = chain
	}
	return q, nil
}

// splitURL takes a URL apart without decoding anything of it: what is judged is what would be sent.
func splitURL(url string) (host, target string, ok bool) {
	if strings.ContainsAny(url, "# \t\r\n") {
		return "", "", false
	}
	if rest, absolute := strings.CutPrefix(url, "https://"); absolute {
		at := strings.IndexAny(rest, "/?")
		switch {
		case at < 0:
			return rest, "/", rest != ""
		case at == 0:
			return "", "", false
		case rest[at] == '?':
			return rest[:at], "/" + rest[at:], true
		}
		return rest[:at], rest[at:], true
	}
	return "", url, strings.HasPrefix(url, "/")
}

// Explain says what would become of a request.
func (c *Client) Explain(ctx context.Context, q ExplainRequest) (Explanation, error) {
	return do[Explanation](ctx, c, http.MethodPost, address("explain"), q)
}
