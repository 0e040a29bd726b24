package servercert

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/mholt/acmez/v3"
	"github.com/mholt/acmez/v3/acme"

	"github.com/tenantgate/tenantgate/pki"
)

// issuer is certmagic's way to an ACME CA.
type issuer struct {
	*ACMEOptions
	storage    *leased
	challenges *challenges
	http       *http.Client
	logger     *slog.Logger
}

var _ certmagic.Issuer = (*issuer)(nil)

// errNotUsed says that the ACME server has issued something else than what was ordered.
var errNotUsed = errors.New("the ACME server's certificate is not used")

var notInKeys = regexp.MustCompile(`[^a-z0-9.-]+`)

// issuerKey names a directory in the storage: readable, and different for different addresses and profiles.
func issuerKey(directory, profile string) string {
	host := directory
	if u, err := url.Parse(directory); err == nil {
		host = u.Host
	}
	sum := sha256.Sum256([]byte(directory + "\x00" + profile))
	return "acme-" + notInKeys.ReplaceAllString(strings.ToLower(host), "-") + "-" + hex.EncodeToString(sum[:6])
}

// IssuerKey implements [certmagic.Issuer].
func (i *issuer) IssuerKey() string { return issuerKey(i.Directory, i.Profile) }

func (i *issuer) prefix() string { return "acme/" + issuerKey(i.Directory, "") }

// Issue implements [certmagic.Issuer]: it orders a certificate, answers the challenges, and looks at what comes. certmagic stores what it returns.
func (i *issuer) Issue(ctx context.Context, csr *x509.CertificateRequest) (*certmagic.IssuedCertificate, error) {
	chains, err := i.order(ctx, i.client(), csr)
	if err != nil {
		return nil, err
	}
	var refused []error
	for _, chain := range chains {
		ordered, err := i.look(chain.ChainPEM, csr)
		if err == nil {
			return &certmagic.IssuedCertificate{Certificate: ordered, Metadata: acme.Certificate{URL: chain.URL}}, nil
		}
		refused = append(refused, err)
	}
	if len(refused) == 0 {
		refused = append(refused, errors.New("there is none"))
	}
	return nil, fmt.Errorf("%w: %w", errNotUsed, errors.Join(refused...))
}

// client makes a client for one attempt.
func (i *issuer) client() *acmez.Client {
	solvers := make(map[string]acmez.Solver)
	for _, kind := range i.Challenges {
		solvers[kind] = i.challenges
	}
	return &acmez.Client{
		Client: &acme.Client{
			Directory: i.Directory, UserAgent: "tenantgate", HTTPClient: i.http, Logger: i.logger,
			PollInterval: time.Second, PollTimeout: attemptTimeout,
		},
		ChallengeSolvers: solvers,
	}
}

// order gets the certificate, with a new account if the server has forgotten the one that is stored.
func (i *issuer) order(ctx context.Context, client *acmez.Client, csr *x509.CertificateRequest) ([]acme.Certificate, error) {
	for again := false; ; again = true {
		account, err := i.account(ctx, client)
		if err != nil {
			return nil, err
		}
		parameters, err := acmez.OrderParametersFromCSR(account, csr)
		if err != nil {
			return nil, fmt.Errorf("ordering a certificate: %w", err)
		}
		parameters.Profile = i.Profile
		chains, err := client.ObtainCertificate(ctx, parameters)
		var problem acme.Problem
		if !again && errors.As(err, &problem) && problem.Type == acme.ProblemTypeAccountDoesNotExist {
			if err := i.forget(ctx); err != nil {
				return nil, err
			}
			continue
		}
		return chains, err
	}
}

// look says whether what the ACME server sent is what was ordered, and puts it in order.
func (i *issuer) look(pem []byte, csr *x509.CertificateRequest) ([]byte, error) {
	certs, err := pki.ParseCertificates(pem)
	if err != nil {
		return nil, err
	}
	if len(certs) > 10 {
		return nil, fmt.Errorf("a chain of %d certificates", len(certs))
	}
	var names []string
	names = append(names, csr.DNSNames...)
	for _, ip := range csr.IPAddresses {
		names = append(names, ip.String())
	}
	now := time.Now()
	chain, _, err := (&judgement{names: names, roots: i.Roots, now: now}).judge(certs, csr.PublicKey)
	if err != nil {
		return nil, err
	}
	if err := timely(chain[0], now); err != nil {
		return nil, err
	}
	return pki.EncodeCertificates(chain...), nil
}
