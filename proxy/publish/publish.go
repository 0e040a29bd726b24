// Package publish serves what everybody may know of the CA, over plain HTTP: its revocation lists, answers about single certificates (OCSP), and
// its own certificates. All of it is signed, so that it needs no TLS; whoever checks a certificate could not trust TLS before he has checked.
//
// It does not know who asks, and has no secret to keep: it reads what package pki has made, and can change nothing.
package publish

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tenantgate/tenantgate/pki"
)

// maxAge is how long caches may keep what they got: long enough to take load off, short enough for a revocation.
const maxAge = time.Minute

// maxAnswers bounds the OCSP requests that are looked up at the same time.
const maxAnswers = 64

// Handler is an [http.Handler] for [pki.CRLPath], [pki.CertificatePath] and [pki.OCSPPath]. Timeouts are the [http.Server]'s. Safe for concurrent use; no
// field may be changed after the first request.
type Handler struct {
	// CA is what is published. Required. Its list is served as it is in memory: somebody has to call its CRL regularly.
	CA *pki.CA
	// Trust returns the CA certificates that are served. Required.
	Trust func() *pki.Trust
	// Logger is told of answers that could not be made; nil discards that.
	Logger *slog.Logger

	answering atomic.Int64
}

// ServeHTTP implements [http.Handler].
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Content-Type-Options", "nosniff")
	path := r.URL.Path
	if path == pki.OCSPPath || strings.HasPrefix(path, pki.OCSPPath+"/") {
		h.serveOCSP(w, r)
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		refuse(w, http.StatusMethodNotAllowed, "GET, HEAD")
		return
	}
	if id, ok := between(path, "/crl/", ".crl"); ok {
		if crl, ok := h.CA.PublishedCRL(id); ok {
			serve(w, r, "application/pkix-crl", crl.ThisUpdate, crl.NextUpdate, crl.DER)
			return
		}
		if h.CA.Issues(id) { // there will be one
			w.Header().Set("Retry-After", "1")
			refuse(w, http.StatusServiceUnavailable, "")
			return
		}
	}
	if id, ok := between(path, "/ca/", ".crt"); ok {
		if c := h.certificate(id); c != nil {
			serve(w, r, "application/pkix-cert", c.NotBefore, c.NotAfter, c.Raw)
			return
		}
	}
	refuse(w, http.StatusNotFound, "")
}

func between(s, before, after string) (string, bool) {
	s, ok := strings.CutPrefix(s, before)
	if !ok {
		return "", false
	}
	return strings.CutSuffix(s, after)
}

func (h *Handler) certificate(id string) *x509.Certificate {
	trust := h.Trust()
	for _, c := range append(trust.Intermediates(), trust.Roots()...) {
		if pki.PublicID(c) == id {
			return c
		}
	}
	return nil
}

// serveOCSP answers by POST, and by GET with the request in base64 in the path (RFC 6960 appendix A.1). The status is 200 whatever the answer says: it says it itself.
func (h *Handler) serveOCSP(w http.ResponseWriter, r *http.Request) {
	if h.answering.Add(1) > maxAnswers {
		h.answering.Add(-1)
		w.Header().Set("Retry-After", "1")
		refuse(w, http.StatusServiceUnavailable, "")
		return
	}
	defer h.answering.Add(-1)
	request, err := ocspRequest(w, r)
	switch {
	case errors.Is(err, errMethod):
		refuse(w, http.StatusMethodNotAllowed, "GET, POST")
		return
	case err != nil:
		request = nil // is answered as malformed
	}
	answer, err := h.CA.OCSP(r.Context(), request)
	if err != nil && h.Logger != nil && !errors.Is(err, context.Canceled) {
		h.Logger.Warn("answering about a certificate", "answer", answer.Status, "error", err)
	}
	if answer.NextUpdate.IsZero() || r.Method == http.MethodPost {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Content-Type", "application/ocsp-response")
		_, _ = w.Write(answer.DER)
		return
	}
	// No Last-Modified: two answers may begin with the same minute, and the second say that the certificate is revoked. The entity tags differ.
	serve(w, r, "application/ocsp-response", time.Time{}, answer.NextUpdate, answer.DER)
}

var errMethod = errors.New("a method that is not served here")

func ocspRequest(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	switch {
	case r.Method == http.MethodPost && r.URL.Path == pki.OCSPPath:
		return io.ReadAll(http.MaxBytesReader(w, r.Body, pki.MaxOCSPRequest))
	case r.Method == http.MethodGet || r.Method == http.MethodHead:
		encoded := strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, pki.OCSPPath), "/")
		if len(encoded) > base64.StdEncoding.EncodedLen(pki.MaxOCSPRequest) {
			return nil, errors.New("the request is too long")
		}
		return base64.StdEncoding.DecodeString(encoded)
	}
	return nil, errMethod
}

// serve answers with what is true from modified (zero is not told) until then, with an entity tag, in parts and on conditions as asked (RFC 9110 sections 8.8, 13 and 14).
func serve(w http.ResponseWriter, r *http.Request, kind string, modified, until time.Time, content []byte) {
	sum := sha256.Sum256(content)
	age := max(0, min(maxAge, time.Until(until)))
	header := w.Header()
	header.Set("Content-Type", kind)
	header.Set("ETag", `"`+hex.EncodeToString(sum[:8])+`"`)
	header.Set("Cache-Control", fmt.Sprintf("public, no-transform, must-revalidate, max-age=%d", int(age.Seconds())))
	http.ServeContent(w, r, "", modified, bytes.NewReader(content))
}

func refuse(w http.ResponseWriter, status int, allow string) {
	if allow != "" {
		w.Header().Set("Allow", allow)
	}
	w.Header().Set("Cache-Control", "no-store")
	http.Error(w, http.StatusText(status), status)
}
