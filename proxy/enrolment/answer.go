package enrolment

import (
	"crypto/x509"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/proxy/record"
)

// Answer is what a caller gets for a request, as JSON. Without Accept: application/json only Chain is sent, as PEM.
type Answer struct {
	// Identity is whom the certificate stands for; Serial its serial number in lower-case hex, Fingerprint the SHA-256 of its DER.
	Identity    string               `json:"identity"`
	Serial      string               `json:"serial"`
	Fingerprint identity.Fingerprint `json:"fingerprint"`
	// NotBefore and NotAfter are the bounds of its validity.
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
	// Chain is the certificate and its intermediate, Roots what they and this listener's own certificate lead to, as PEM.
	Chain string `json:"chain"`
	Roots string `json:"roots"`
	// ProxyTrust says what verifies the proxy: "" or [TrustRoots] is Roots, [TrustProxyRoots] ProxyRoots, [TrustSystem] what the caller's system trusts anyway.
	ProxyTrust string `json:"proxy_trust,omitempty"`
	// ProxyRoots are what the proxy's certificate leads to where that is another CA, and Roots behind them, because certificates of those are served while
	// the other CA gives none; PEM.
	ProxyRoots string `json:"proxy_roots,omitempty"`
	// Proxy is the address that the certificate is for; "" when the server does not know it.
	Proxy string `json:"proxy,omitempty"`
	// Dropped says what the request asked for and did not get, one sentence each.
	Dropped []string `json:"dropped,omitempty"`

	repeated bool // the caller has got it before
}

// What verifies the proxy: see [Answer.ProxyTrust].
const (
	TrustRoots      = "roots"
	TrustProxyRoots = "proxy_roots"
	TrustSystem     = "system"
)

func (s *Server) answer(issued *pki.Issued, name string, repeated bool) *Answer {
	a := &Answer{
		Identity: name, Serial: issued.Serial, Fingerprint: issued.Fingerprint, NotBefore: issued.Leaf.NotBefore, NotAfter: issued.Leaf.NotAfter,
		Chain: string(issued.PEM()), Roots: s.roots(), Dropped: issued.Dropped, repeated: repeated,
	}
	if s.ProxyRoots != nil {
		switch roots, system := s.ProxyRoots(); {
		case len(roots) > 0:
			a.ProxyTrust, a.ProxyRoots = TrustProxyRoots, string(pki.EncodeCertificates(roots...))+a.Roots
		case system:
			a.ProxyTrust = TrustSystem
		}
	}
	if s.Proxy != nil {
		a.Proxy = s.Proxy()
	}
	return a
}

// roots are all that is trusted now, as PEM: with a new one among them, callers have it before anything is signed under it. The one that tokens name is
// the first, for those who look at no other.
func (s *Server) roots() string {
	first := s.CA.SigningRoot()
	all := []*x509.Certificate{first}
	for _, root := range s.Trust().Roots() {
		if !root.Equal(first) {
			all = append(all, root)
		}
	}
	return string(pki.EncodeCertificates(all...))
}

// The media type of a chain (RFC 8555 section 9.1) and of a certificate request (RFC 5967).
const (
	chainType   = "application/pem-certificate-chain"
	requestType = "application/pkcs10"
)

func writeAnswer(w http.ResponseWriter, r *http.Request, a *Answer) {
	w.Header().Set("Vary", "Accept")
	if !strings.Contains(r.Header.Get("Accept"), "application/json") {
		writePEM(w, a.Chain)
		return
	}
	b, err := json.Marshal(a)
	if err != nil {
		panic(err) // strings and times always encode
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(append(b, '\n')) // a connection that is gone is the caller's to notice
}

func writePEM(w http.ResponseWriter, text string) {
	w.Header().Set("Content-Type", chainType)
	_, _ = w.Write([]byte(text))
}

func writeRefusal(w http.ResponseWriter, refused Refusal, requestID string) {
	if refused.Type == "" {
		refused.Type = "urn:tenantgate:enrolment:" + refused.Code
	}
	refused.Title, refused.RequestID = http.StatusText(refused.Status), requestID
	b, err := json.Marshal(refused)
	if err != nil {
		panic(err) // strings and a number always encode
	}
	h := w.Header()
	h.Set("Content-Type", record.ProblemContentType)
	if refused.allow != "" {
		h.Set("Allow", refused.allow)
	}
	if refused.after != "" {
		h.Set("Retry-After", refused.after)
	}
	if refused.Code == noToken.Code || refused.Code == unknownToken.Code {
		h.Set("WWW-Authenticate", `Bearer realm="enrolment"`)
	}
	w.WriteHeader(refused.Status)
	_, _ = w.Write(append(b, '\n'))
}
