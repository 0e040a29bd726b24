package pki

import (
	"context"
	"crypto"
	"crypto/x509"
	"database/sql"
	"fmt"
)

// WithHosts returns the client profile for callers whose client speaks ACME: DNS names that they have proved to have stand beside the SPIFFE ID, and the
// name stands in the OU in place of the CN. ACME clients renew for the names of the old certificate, and count its CN among them (certbot, lego). The
// names give no access: whose the certificate is, the SPIFFE ID and the binding say, and a server cannot use it (no serverAuth). Errors are
// *[RequestError].
func (p Profile) WithHosts(hosts []string) (Profile, error) {
	if p.kind != "client" {
		return Profile{}, &RequestError{Field: "profile", Problem: "only client certificates have host names beside their own", Hint: "use the client profile"}
	}
	if err := CheckHosts(hosts); err != nil {
		return Profile{}, err
	}
	p.hosts = append([]string(nil), hosts...)
	return p, nil
}

// CheckPublicKey says whether a key is of a kind and size that is accepted anywhere here: RSA of 2048 to 8192 bits, P-256, P-384 or Ed25519.
func CheckPublicKey(key crypto.PublicKey) error { return checkKey(key) }

// CheckNewKey refuses, with a *[RequestError], to certify a key for a name again when a certificate of that key was revoked, or was issued for another
// name or profile: whoever has a key must stand for one identity, and a key that was given up must not come back.
func (ca *CA) CheckNewKey(ctx context.Context, tx *sql.Tx, name string, key crypto.PublicKey) error {
	fingerprint, err := KeyFingerprint(key)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, ca.options.DatabaseTimeout)
	defer cancel()
	// What is older than the column is known by its certificate; only that of the name itself is looked through.
	rows, err := ca.querier(tx).QueryContext(ctx, `SELECT key, profile, name, revoked_at, der FROM pki_certificates
		WHERE key = $1 OR key = '' AND profile = 'client' AND name = $2`, fingerprint, name)
	if err != nil {
		return fmt.Errorf("looking for certificates of a key: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var known, profile, holder string
		var revoked int64
		var der []byte
		if err := rows.Scan(&known, &profile, &holder, &revoked, &der); err != nil {
			return fmt.Errorf("looking for certificates of a key: %w", err)
		}
		if known == "" {
			c, err := x509.ParseCertificate(der)
			if err != nil || !publicKeyEqual(c.PublicKey, key) {
				continue
			}
		}
		switch {
		case revoked != 0:
			return &RequestError{Field: "key", Problem: "a certificate of this key was revoked", Hint: "make a new key"}
		case profile != "client" || holder != name:
			return &RequestError{Field: "key", Problem: "this key has a certificate of somebody else", Hint: "make a key for this identity alone"}
		}
	}
	return rows.Err()
}
