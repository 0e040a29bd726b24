package pki

import (
	"context"
	"crypto/x509"
	"fmt"

	"github.com/caddyserver/certmagic"
)

// serverIssuer is certmagic's way to the CA in this process: no ACME, no port, no account.
type serverIssuer struct {
	ca      *CA
	storage *storage
	life    context.Context // ends when the ServerCerts are closed
	issuer  string          // fingerprint of the intermediate that signed when the ServerCerts were made
}

var _ certmagic.Issuer = (*serverIssuer)(nil)

// Issue signs and records the certificate in a transaction of its own and returns it after the commit.
func (i *serverIssuer) Issue(ctx context.Context, csr *x509.CertificateRequest) (*certmagic.IssuedCertificate, error) {
	ctx, done, err := i.storage.begin(ctx) // Close waits for us
	if err != nil {
		return nil, err
	}
	defer done()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(i.life, cancel)()
	name, err := onlyName(csr)
	if err != nil {
		return nil, err
	}
	request, err := ParseRequest(csr.Raw)
	if err != nil {
		return nil, err
	}
	tx, err := i.ca.options.DB.BeginTx(ctx, nil)
	if err != nil {
		return nil, fmt.Errorf("recording a server certificate: %w", err)
	}
	defer tx.Rollback() // no effect after Commit
	issued, err := i.ca.Issue(ctx, tx, IssueOptions{Profile: i.ca.options.ServerProfile, Name: name, Request: request})
	if err != nil {
		return nil, err
	}
	if err := tx.Commit(); err != nil {
		return nil, fmt.Errorf("recording a server certificate: %w", err)
	}
	return &certmagic.IssuedCertificate{Certificate: issued.ServerPEM()}, nil
}

// IssuerKey names the directory in storage. It holds the intermediate's fingerprint: after a change of the CA, new
// certificates are issued instead of the old ones being served.
func (i *serverIssuer) IssuerKey() string { return "tenantgate-" + i.issuer[:16] }

// onlyName returns the one name certmagic asks for.
func onlyName(csr *x509.CertificateRequest) (string, error) {
	switch {
	case len(csr.DNSNames) == 1 && len(csr.IPAddresses) == 0:
		return csr.DNSNames[0], nil
	case len(csr.DNSNames) == 0 && len(csr.IPAddresses) == 1:
		return csr.IPAddresses[0].String(), nil
	}
	return "", &RequestError{Field: "subjectAltName", Problem: "a server certificate has one name"}
}
