package notify

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// ReceiverOptions say where notifications go. All but CA are required.
type ReceiverOptions struct {
	// URL is https://HOST[:PORT][/PATH][?QUERY]; plain http only to this machine.
	URL string
	// Secret is one secret a line, or two while they are changed: whsec_ and base64.
	Secret []byte
	// CA are the certificates, in PEM, that the receiver's must come from; nil are the system's.
	CA []byte
	// Timeout is how long one attempt may take.
	Timeout time.Duration
}

// Receiver is where notifications go. Safe for concurrent use. It prints as its host, because an address may hold a secret.
type Receiver struct {
	url     string
	host    string
	secrets [][]byte
	timeout time.Duration
	client  *http.Client
}

// maxAnswer is how much of an answer is read, so that its connection can be used again. Nothing of it is kept.
const maxAnswer = 64 << 10

// CheckURL says whether notifications can be sent to an address. The error does not repeat it.
func CheckURL(address string) error {
	u, err := url.Parse(address)
	switch {
	case err != nil || u.Opaque != "" || u.Hostname() == "" || len(address) > 2048:
		return errors.New("not an address such as https://alerts.example.com/hook")
	case u.User != nil:
		return errors.New("holds a user name or password: the receiver knows us by the signature")
	case u.Fragment != "":
		return errors.New("holds a fragment, which no server would see")
	case u.Scheme == "http" && !loopback(u.Hostname()):
		return errors.New("not https: plain http is only for this machine")
	case u.Scheme != "http" && u.Scheme != "https":
		return errors.New("neither https nor http")
	}
	return nil
}

func loopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

// NewReceiver reads the options. It connects to nobody.
func NewReceiver(o ReceiverOptions) (*Receiver, error) {
	if err := CheckURL(o.URL); err != nil {
		return nil, fmt.Errorf("reading the receiver's address: %w", err)
	}
	secrets, err := parseSecrets(o.Secret)
	if err != nil {
		return nil, fmt.Errorf("reading the receiver's secret: %w", err)
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if o.CA != nil {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(o.CA) {
			return nil, errors.New("reading the receiver's CA: no certificate in it")
		}
	}
	u, err := url.Parse(o.URL)
	if err != nil {
		return nil, errors.New("reading the receiver's address")
	}
	return &Receiver{url: o.URL, host: u.Scheme + "://" + u.Host, secrets: secrets, timeout: o.Timeout, client: &http.Client{
		Transport: &http.Transport{
			DialContext:     (&net.Dialer{Timeout: o.Timeout}).DialContext,
			TLSClientConfig: config, TLSHandshakeTimeout: o.Timeout, ResponseHeaderTimeout: o.Timeout,
			MaxConnsPerHost: 2, MaxIdleConns: 1, IdleConnTimeout: 30 * time.Second, MaxResponseHeaderBytes: 32 << 10, DisableCompression: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// String returns scheme and host: a path or query may be what lets senders in.
func (r *Receiver) String() string { return r.host }

// Close lets go of connections.
func (r *Receiver) Close() { r.client.CloseIdleConnections() }

// SendError is why a notification was not taken.
type SendError struct {
	// Status is what the receiver answered, 0 when it did not.
	Status int
	// After is how long the receiver asks to be left alone, 0 when it does not.
	After time.Duration
	// Problem says what is wrong, without the address.
	Problem string
}

// Error returns the problem.
func (e *SendError) Error() string { return e.Problem }

// unwanted reports whether the receiver has refused this one notification; others may fare better.
func (e *SendError) unwanted() bool {
	return e.Status >= 400 && e.Status < 500 && e.Status != http.StatusUnauthorized && e.Status != http.StatusForbidden && e.Status != http.StatusNotFound &&
		e.Status != http.StatusRequestTimeout && e.Status != http.StatusTooManyRequests
}

// send posts a notification once. Any answer of 2xx means that it was taken.
func (r *Receiver) send(ctx context.Context, id string, body []byte, now time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, r.url, bytes.NewReader(body))
	if err != nil {
		return &SendError{Problem: "the address cannot be asked"}
	}
	timestamp, signature := sign(r.secrets, id, now, body)
	for name, value := range map[string]string{
		"Content-Type": "application/json", "User-Agent": "tenantgate", "Webhook-Id": id, "Webhook-Timestamp": timestamp, "Webhook-Signature": signature,
	} {
		request.Header.Set(name, value)
	}
	response, err := r.client.Do(request)
	if err != nil {
		return &SendError{Problem: problemOf(err)}
	}
	defer response.Body.Close()
	_, _ = io.CopyN(io.Discard, response.Body, maxAnswer) // whatever it says, the status has said it
	switch s := response.StatusCode; {
	case s >= 200 && s < 300:
		return nil
	case s >= 300 && s < 400:
		return &SendError{Status: s, Problem: fmt.Sprintf("the receiver answered %d: redirects are not followed, give the final address", s)}
	default:
		problem := strings.TrimSpace(fmt.Sprintf("the receiver answered %d %s", s, http.StatusText(s)))
		return &SendError{Status: s, After: retryAfter(response.Header.Get("Retry-After")), Problem: problem}
	}
}

// problemOf is an error without the address, which net/http puts before it.
func problemOf(err error) string {
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return "no answer in time"
	}
	return err.Error()
}

// maxAfter bounds how long a receiver may ask to be left alone.
const maxAfter = time.Hour

// retryAfter reads a number of seconds (RFC 9110, 10.2.3); a date is not worth reading.
func retryAfter(value string) time.Duration {
	n, err := strconv.ParseInt(value, 10, 32)
	if err != nil || n < 0 {
		return 0
	}
	return min(time.Duration(n)*time.Second, maxAfter)
}
