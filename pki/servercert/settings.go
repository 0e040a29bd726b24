package servercert

import (
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"time"

	"github.com/caddyserver/certmagic"

	"github.com/tenantgate/tenantgate/pki"
)

// idle is how often certmagic's maintenance looks into its cache, in which there is nothing: it paces renewals by state of the whole process and by the name
// of the certificate alone, so that a public CA that fails would hold up the certificates of the CA in this process. (Not longer: certmagic takes five times
// the interval for the time before its end at which a certificate is due in any case.)
const idle = 10 * time.Minute

// settings sets every field that certmagic would otherwise take from its package-wide defaults, whose issuer is Let's Encrypt and whose storage is the home
// directory. On-demand TLS stays off.
func settings(storage pki.Storage, logger *slog.Logger, issuer certmagic.Issuer) certmagic.Config {
	return certmagic.Config{
		RenewalWindowRatio: renewalWindow,
		OnEvent:            func(context.Context, string, map[string]any) error { return nil },
		ShouldEmitFunc:     func(string) bool { return false },
		Issuers:            []certmagic.Issuer{issuer},
		KeySource:          certmagic.StandardKeyGenerator{KeyType: certmagic.P256},
		OCSP:               certmagic.OCSPConfig{DisableStapling: true},
		Storage:            storage,
		DisableARI:         true,
		Logger:             pki.ZapLogger(logger),
	}
}

// noIssuer is the issuer where nothing is to be issued.
type noIssuer struct{}

// Issue implements [certmagic.Issuer].
func (noIssuer) Issue(context.Context, *x509.CertificateRequest) (*certmagic.IssuedCertificate, error) {
	return nil, certmagic.ErrNoRetry{Err: errors.New("there is no issuer")}
}

// IssuerKey implements [certmagic.Issuer].
func (noIssuer) IssuerKey() string { return "none" }
