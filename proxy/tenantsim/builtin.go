package tenantsim

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// builtin returns the flow that every tenant has at the path.
func builtin(path string) Flow {
	switch path {
	case "/http/echo":
		return Flow{Handler: echo}
	case "/http/sink":
		return Flow{Handler: sink}
	case "/http/stream":
		return Flow{Handler: stream}
	case "/http/early":
		return Flow{Handler: early}
	case "/http/trailer":
		return Flow{Handler: trailer}
	}
	return Flow{}
}

// Echo is the answer of /http/echo.
type Echo struct {
	Method     string              `json:"method"`
	Target     string              `json:"target"` // of the request line, byte for byte
	Path       string              `json:"path"`   // decoded
	Query      string              `json:"query"`  // as sent
	Host       string              `json:"host"`
	Header     map[string][]string `json:"header"` // a token in Authorization is masked: an answer must carry none
	Client     string              `json:"client"` // OAuth client that the request was processed as
	BodyBytes  int64               `json:"body_bytes"`
	BodySHA256 string              `json:"body_sha256"`
}

// echo tells what arrived.
func echo(w http.ResponseWriter, r *http.Request) {
	x := w.(*exchange)
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		return
	}
	header := r.Header.Clone()
	for i, value := range header["Authorization"] {
		scheme, rest, _ := strings.Cut(value, " ")
		header["Authorization"][i] = fmt.Sprintf("%s [%d characters]", scheme, len(rest))
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(Echo{Method: r.Method, Target: r.RequestURI, Path: r.URL.Path, Query: r.URL.RawQuery, Host: r.Host,
		Header: header, Client: x.record.Client, BodyBytes: x.body.count, BodySHA256: hex.EncodeToString(x.body.hash.Sum(nil))})
}

// sink reads the message and tells its size and SHA-256.
func sink(w http.ResponseWriter, r *http.Request) {
	x := w.(*exchange)
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = fmt.Fprintf(w, "{\"bytes\":%d,\"sha256\":%q}\n", x.body.count, hex.EncodeToString(x.body.hash.Sum(nil)))
}

// stream sends ?bytes= zero bytes in pieces of ?chunk= (32768), pausing ?delay= (such as 10ms) before each piece but the first.
// Content-Length is sent with ?length=true only.
func stream(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	size, err := strconv.ParseInt(q.Get("bytes"), 10, 64)
	if err != nil || size < 0 {
		http.Error(w, "bytes must be a number", http.StatusBadRequest)
		return
	}
	delay, _ := time.ParseDuration(q.Get("delay"))
	chunk, _ := strconv.Atoi(q.Get("chunk"))
	if chunk <= 0 || chunk > 1<<20 {
		chunk = 32 << 10
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	if q.Get("length") == "true" {
		w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
	}
	piece := make([]byte, chunk)
	control := http.NewResponseController(w)
	for sent := int64(0); sent < size; sent += int64(chunk) {
		if sent > 0 && !w.(*exchange).sim.pause(r, delay) {
			return
		}
		if _, err := w.Write(piece[:min(int64(chunk), size-sent)]); err != nil {
			return
		}
		if delay > 0 {
			_ = control.Flush()
		}
	}
}

// early answers before it reads the body, and never reads it. ?status= changes the 200.
func early(w http.ResponseWriter, r *http.Request) {
	status, err := strconv.Atoi(r.URL.Query().Get("status"))
	if err != nil || status < 200 || status > 599 {
		status = http.StatusOK
	}
	w.Header().Set("Content-Type", "text/plain")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, "early\n")
	_ = http.NewResponseController(w).Flush()
}

// trailer sends a trailer field after its body (RFC 9110 section 6.5) and tells which ones arrived.
func trailer(w http.ResponseWriter, r *http.Request) {
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		return
	}
	w.Header().Set("Trailer", "X-Checksum")
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"trailer": r.Trailer})
	w.Header().Set("X-Checksum", hex.EncodeToString(w.(*exchange).body.hash.Sum(nil)))
}
