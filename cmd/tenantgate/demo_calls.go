package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/proxy/admin"
	"github.com/tenantgate/tenantgate/proxy/record"
	"github.com/tenantgate/tenantgate/proxy/tenantsim"
)

// demoCert is a certificate of the demo, in files that curl can use.
type demoCert struct {
	serial        string
	cert, key, ca string // file names
	client        *http.Client
}

// issue makes a certificate as `cert issue` does and a TLS client that shows it.
func (d *demonstration) issue(ctx context.Context, name, as string) (*demoCert, error) {
	f := &issueFlags{out: filepath.Join(d.dir, "certs", as), keyType: pki.P256}
	files := issueTargets(name, f)
	key, err := pki.GenerateKey(f.keyType)
	if err != nil {
		return nil, err
	}
	csr, err := requestFor(name, key)
	if err != nil {
		return nil, err
	}
	place, err := f.prepare(files, key)
	if err != nil {
		return nil, err
	}
	issued, err := d.api.IssueCertificate(ctx, name, admin.CertificateRequest{CSR: csr})
	if err != nil {
		return nil, err
	}
	if err := place.write(f, key, &issued, ""); err != nil {
		return nil, err
	}
	pair, err := tls.LoadX509KeyPair(files[1], files[0])
	if err != nil {
		return nil, fmt.Errorf("reading the certificate back: %w", err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(issued.Roots))
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12},
	}
	return &demoCert{issued.Serial, files[1], files[0], files[2], &http.Client{Transport: transport, Timeout: 20 * time.Second}}, nil
}

// expectation is what a call of the demo must come to.
type expectation struct {
	status  int            // 0: no answer, the handshake is refused
	outcome record.Outcome // in the access record
	tenant  int            // requests that reach the tenant
}

// calls makes the three calls and says whether all went as told.
func (d *demonstration) calls(ctx context.Context) (bool, error) {
	erp, err := d.issue(ctx, demoERP, "erp")
	if err != nil {
		return false, fmt.Errorf("issuing a certificate: %w", explain(err))
	}
	shop, err := d.issue(ctx, demoShop, "webshop")
	if err != nil {
		return false, fmt.Errorf("issuing a certificate: %w", explain(err))
	}
	lost, err := d.issue(ctx, demoERP, "erp-lost")
	if err != nil {
		return false, fmt.Errorf("issuing a certificate: %w", explain(err))
	}
	ok := true
	fmt.Fprintf(d.stdout, "1. allowed: %s sends an order\n", demoERP)
	ok = d.call(ctx, erp, expectation{http.StatusOK, record.Served, 1}) && ok
	fmt.Fprintf(d.stdout, "2. denied: %s sends an order, without the role %s\n", demoShop, roleSend)
	ok = d.call(ctx, shop, expectation{http.StatusForbidden, record.Denied, 0}) && ok

	fmt.Fprintf(d.stdout, "3. revoked: another certificate of %s works...\n", demoERP)
	ok = d.call(ctx, lost, expectation{http.StatusOK, record.Served, 1}) && ok
	if _, err := d.api.RevokeCertificate(ctx, lost.serial, "keyCompromise"); err != nil {
		return false, fmt.Errorf("revoking: %w", explain(err))
	}
	fmt.Fprint(d.stdout, "   ...until it is revoked: on the same open connection\n")
	ok = d.call(ctx, lost, expectation{http.StatusUnauthorized, record.Unidentified, 0}) && ok
	lost.client.CloseIdleConnections()
	fmt.Fprint(d.stdout, "   and on a new one, in the TLS handshake\n")
	ok = d.call(ctx, lost, expectation{0, record.Unidentified, 0}) && ok
	return ok, nil
}

// call makes one call, shows what came of it, and says whether it went as told.
func (d *demonstration) call(ctx context.Context, c *demoCert, want expectation) bool {
	const order = `{"order":4711}`
	before, reached := d.recordCount(), len(d.tenant.Requests())
	status, body, err := d.post(ctx, c, order)
	line := d.nextRecord(ctx, before)
	arrived := d.tenant.Requests()[reached:]

	show := func(name, value string) {
		fmt.Fprintf(d.stdout, "   %-14s %s\n", name, printable(strings.TrimSpace(value)))
	}
	if err != nil {
		show("answer", err.Error())
	} else {
		show("answer", fmt.Sprintf("%d %s", status, http.StatusText(status)))
		show("body", body)
	}
	show("access record", line)
	show("tenant saw", describeArrivals(arrived))
	show("again", fmt.Sprintf("curl --cert %s --key %s --cacert %s -d '%s' https://%s%s", c.cert, c.key, c.ca, order, d.addr.callers, ordersPath))

	ok := status == want.status && (err != nil) == (want.status == 0) && len(arrived) == want.tenant &&
		strings.Contains(line, `"outcome":"`+want.outcome.String()+`"`)
	if !ok {
		show("WRONG", fmt.Sprintf("expected status %d, outcome %s and %d requests at the tenant", want.status, want.outcome, want.tenant))
	}
	fmt.Fprintln(d.stdout)
	return ok
}

// post sends the order; the error is the TLS client's.
func (d *demonstration) post(ctx context.Context, c *demoCert, order string) (int, string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+d.addr.callers+ordersPath, strings.NewReader(order))
	if err != nil {
		return 0, "", err
	}
	r.Header.Set("Content-Type", "application/json")
	// What a caller must not get through: see what the tenant saw.
	r.Header.Set("Authorization", "Basic bm90OnlvdXJz")
	r.Header.Set("Cookie", "JSESSIONID=somebody-elses")
	response, err := c.client.Do(r)
	if err != nil {
		return 0, "", unwrapAll(err)
	}
	defer response.Body.Close()
	b, err := io.ReadAll(io.LimitReader(response.Body, 4<<10))
	return response.StatusCode, string(b), err
}

// unwrapAll is the innermost error: what TLS said, without the URL around it.
func unwrapAll(err error) error {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err
		}
		err = inner
	}
}

// describeArrivals says what reached the tenant, with the token cut off: this is a terminal.
func describeArrivals(requests []tenantsim.Request) string {
	if len(requests) == 0 {
		return "nothing"
	}
	r := requests[len(requests)-1]
	authorization, cookie := "no Authorization", "no Cookie"
	if v := r.Header.Get("Authorization"); v != "" {
		scheme, _, _ := strings.Cut(v, " ")
		authorization = "Authorization: " + scheme + " [redacted]"
	}
	if r.Header.Get("Cookie") != "" {
		cookie = "a Cookie"
	}
	return fmt.Sprintf("%s %s as client %s (%s, %s)", r.Method, r.Target, r.Client, authorization, cookie)
}

// recordCount is the number of access records on disk.
func (d *demonstration) recordCount() int {
	b, err := os.ReadFile(filepath.Join(d.dir, "access.log"))
	if err != nil {
		return 0
	}
	return bytes.Count(b, []byte("\n"))
}

// nextRecord waits for the access record after the first n. Records are written a few milliseconds after the answer.
func (d *demonstration) nextRecord(ctx context.Context, n int) string {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if f, err := os.Open(filepath.Join(d.dir, "access.log")); err == nil {
			lines := bufio.NewScanner(f)
			for i := 0; lines.Scan(); i++ {
				if i == n {
					f.Close()
					return lines.Text()
				}
			}
			f.Close()
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return "(none)"
		}
	}
}
