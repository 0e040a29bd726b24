package pki

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"database/sql"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"time"
)

// checkConstraints says whether an intermediate and its root may issue what this CA issues: the SPIFFE IDs of its trust domain, and the names of the server
// certificates that are valid now. A company's root may have given name constraints (RFC 5280 section 4.2.1.10) by which every caller would refuse this server,
// and by which it would not even start again.
func (ca *CA) checkConstraints(ctx context.Context, tx *sql.Tx, inter, root *x509.Certificate) error {
	constraints := []pkix.Extension{}
	for _, c := range []*x509.Certificate{inter, root} {
		for _, e := range c.Extensions {
			if e.Id.Equal(oidNameConstraints) {
				constraints = append(constraints, e)
			}
		}
	}
	if len(constraints) == 0 {
		return nil
	}
	wanted := []*x509.Certificate{}
	for _, p := range []Profile{ClientProfile(), AdminProfile()} {
		wanted = append(wanted, &x509.Certificate{URIs: []*url.URL{p.uri(ca.options.TrustDomain, "name")}})
	}
	servers, err := serverNames(ctx, tx, ca.options.Now())
	if err != nil {
		return err
	}
	for _, constraint := range constraints {
		for _, w := range append(wanted, servers...) {
			name, err := refusedName(constraint, w, ca.options.Now())
			if err != nil {
				return err
			}
			if name != "" {
				return &AuthorityError{Problem: subjectOf(inter) + ": name constraints do not permit " + name + ", which this CA issues certificates for",
					Hint: "have it signed without nameConstraints, or with those that permit the server_names and spiffe://" + ca.options.TrustDomain}
			}
		}
	}
	return nil
}

// serverNames are the server certificates that are valid.
func serverNames(ctx context.Context, tx *sql.Tx, now time.Time) (all []*x509.Certificate, err error) {
	rows, err := tx.QueryContext(ctx, `SELECT der FROM pki_certificates WHERE profile = 'server' AND revoked_at = 0 AND not_after > $1`, now.UnixMicro())
	if err != nil {
		return nil, fmt.Errorf("reading the server certificates: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var der []byte
		if err := rows.Scan(&der); err != nil {
			return nil, fmt.Errorf("reading the server certificates: %w", err)
		}
		if c, err := x509.ParseCertificate(der); err == nil {
			all = append(all, c)
		}
	}
	return all, rows.Err()
}

// refusedName returns the first name of a certificate that may not be issued under a constraint, "" when all may: it tries, with a CA that nobody believes.
func refusedName(constraint pkix.Extension, names *x509.Certificate, now time.Time) (string, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "trial"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, ExtraExtensions: []pkix.Extension{constraint}}
	issuer, err := sign(template, template, key)
	if err != nil {
		return "", err
	}
	roots := x509.NewCertPool()
	roots.AddCert(issuer)
	try := func(name string, one x509.Certificate) (string, error) {
		one.SerialNumber, one.NotBefore, one.NotAfter = big.NewInt(2), template.NotBefore, template.NotAfter
		c, err := sign(&one, issuer, key)
		if err != nil {
			return "", err
		}
		if _, err := c.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err != nil {
			return name, nil
		}
		return "", nil
	}
	for _, uri := range names.URIs {
		if refused, err := try(uri.String(), x509.Certificate{URIs: []*url.URL{uri}}); refused != "" || err != nil {
			return refused, err
		}
	}
	for _, name := range names.DNSNames {
		if refused, err := try(name, x509.Certificate{DNSNames: []string{name}}); refused != "" || err != nil {
			return refused, err
		}
	}
	for _, ip := range names.IPAddresses {
		if refused, err := try(ip.String(), x509.Certificate{IPAddresses: []net.IP{ip}}); refused != "" || err != nil {
			return refused, err
		}
	}
	return "", nil
}

func sign(template, parent *x509.Certificate, key *ecdsa.PrivateKey) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}
