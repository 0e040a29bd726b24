package pki

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/time/rate"
)

// A Sealer encrypts what is stored at rest. The context is bound into the ciphertext as associated data: a value sealed
// in one place does not open in another. Safe for concurrent use.
type Sealer interface {
	Seal(plaintext, context []byte) ([]byte, error)
	Open(ciphertext, context []byte) ([]byte, error)
}

// Options says which CA to open and with what.
type Options struct {
	// Dir holds root_ca.crt, intermediate_ca.crt and (unless Key is given) intermediate_ca.key.
	Dir string
	// Passphrase decrypts the intermediates' keys, and encrypts those that are made. NextPassphrase is tried when it does not open a key: while the
	// passphrase is changed, some keys may have the new one already. It may be empty.
	Passphrase, NextPassphrase []byte
	// KeyURI is the URI of a KMS or HSM that holds the key of intermediate_ca.crt, in place of intermediate_ca.key; PIN opens it, and every other key that
	// is named by a URI. See [OpenKMSKey].
	KeyURI string
	PIN    []byte
	// PKCS11Module is a PKCS#11 library that may be loaded for keys of further intermediates, besides that of KeyURI. No other one is, whatever an administrator asks
	// for or the database says: a library is code that runs in this process.
	PKCS11Module string
	// Key signs in place of intermediate_ca.key, which is then not read: for keys kept in a device or service. It must belong
	// to intermediate_ca.crt.
	Key crypto.Signer
	// TrustDomain is the authority part of the SPIFFE IDs issued. Required.
	TrustDomain string
	// DB holds the tables of [Migrations], already migrated. Required. The caller closes it after the CA's last use.
	DB *sql.DB
	// Node is what this process calls itself to the others on the database: they wait for it before they sign with another key, so that it has to call
	// [CA.Refresh] regularly. "" takes no part in that.
	Node string
	// Changed is told that Trust, or the intermediate that signs, has changed; nil is not told. It is called by whoever calls Refresh.
	Changed func(*CA)
	// Sealer seals the private keys of server certificates, and of further intermediates, at rest. Required for ServerCertificates.
	Sealer Sealer
	// Logger gets the CA's and certmagic's messages; nil discards them.
	Logger *slog.Logger
	// Now is the clock of issuing; nil means time.Now. certmagic always uses time.Now.
	Now func() time.Time
	// DatabaseTimeout bounds each database call; 0 means 5 s.
	DatabaseTimeout time.Duration
	// ServerProfile is for the certificates of our own listeners; the zero value means ServerProfile().
	ServerProfile Profile
	// ServerKeyType is the key type of server certificates: P-256, P-384, RSA-2048 or RSA-4096; "" means RSA-2048 when the intermediate has an RSA key
	// (clients without ECDSA) and P-256 otherwise.
	ServerKeyType string
	// KeyTypes are the types of keys that get client and admin certificates: P-256, P-384, Ed25519, and RSA-2048, RSA-3072 or RSA-4096 for RSA keys of so many
	// bits and more. Empty means all of them. Certificates that were issued before stay good.
	KeyTypes []string
	// PublicURL is where others find the revocation list, answers about single certificates and the CA's certificate: http://HOST[:PORT][/PATH] without a
	// slash at the end. It is written into every certificate; "" writes nothing.
	PublicURL string
	// CRLLifetime is how long a revocation list is valid; 0 means 24 h. Another one follows after half of it, and after each revocation.
	CRLLifetime time.Duration
	// OCSPLifetime is how long an answer about a certificate is valid; 0 means 1 h, and less than 10 minutes is 10 minutes.
	OCSPLifetime time.Duration
	// RenewCheck is how often server certificates are looked at for renewal; 0 means 10 minutes. A certificate is renewed
	// when a third of its lifetime is left.
	RenewCheck time.Duration
}

// Open reads the CA's files, checks that they fit together and are valid now, and starts the authority. It starts no
// goroutine. Errors are *[FileError], naming the file and what to do; [ErrPassphrase] is among their causes.
func Open(ctx context.Context, o Options) (*CA, error) {
	if err := checkTrustDomain(o.TrustDomain); err != nil {
		return nil, err
	}
	if o.DB == nil {
		return nil, errors.New("opening the CA: no database given")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.DatabaseTimeout <= 0 {
		o.DatabaseTimeout = 5 * time.Second
	}
	if o.CRLLifetime <= 0 {
		o.CRLLifetime = 24 * time.Hour
	}
	if o.OCSPLifetime <= 0 {
		o.OCSPLifetime = time.Hour
	}
	o.OCSPLifetime = max(o.OCSPLifetime, 10*time.Minute)
	if o.ServerProfile.kind == "" {
		o.ServerProfile = ServerProfile()
	} else if o.ServerProfile.kind != "server" {
		return nil, fmt.Errorf("opening the CA: ServerProfile is a %s profile", o.ServerProfile.kind)
	}
	switch o.ServerKeyType {
	case "", P256, P384, RSA2048, RSA4096:
	default:
		return nil, fmt.Errorf("opening the CA: server key type %q: use P-256, P-384, RSA-2048 or RSA-4096", o.ServerKeyType)
	}
	if err := checkKeyTypes(o.KeyTypes); err != nil {
		return nil, fmt.Errorf("opening the CA: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, 2*o.DatabaseTimeout)
	defer cancel()
	ca := &CA{
		options: o, node: rand.Text(), unknown: rate.NewLimiter(unknownRate, unknownBurst), turn: make(chan struct{}, 1), keys: map[string]crypto.Signer{},
	}
	var err error
	if ca.carrier, err = newCarrier(); err != nil {
		return nil, err
	}
	if err := ca.readFiles(ctx); err != nil {
		return nil, err
	}
	if err := ca.adopt(ctx); err != nil {
		return nil, err
	}
	ca.turn <- struct{}{}
	_, err = ca.refresh(ctx)
	<-ca.turn
	if err != nil {
		return nil, fmt.Errorf("opening the CA: %w", err)
	}
	return ca, ca.checkSigning()
}

// readFiles reads the directory, and the key of its intermediate. When another intermediate has taken its place by a command, it is no longer needed: what
// is wrong with it then is told by [CA.Authorities] alone.
func (ca *CA) readFiles(ctx context.Context) error {
	// The tables must be there before anything is decided.
	records, err := readAuthorityRows(ctx, ca.options.DB)
	if err != nil {
		return fmt.Errorf("reading the CA's tables: %w", err)
	}
	needed := successor(records) == nil
	roots, inter, err := readAuthorities(ca.options.Dir, ca.options.Now())
	ca.files = files{roots, inter}
	if err != nil && (needed || len(roots) == 0) {
		return err
	}
	if inter == nil {
		return nil
	}
	key, err := ca.readFileKey(inter)
	if err != nil {
		if needed {
			return err
		}
		return nil
	}
	ca.keys[fingerprintOf(inter)] = key
	return nil
}

func (ca *CA) readFileKey(inter *x509.Certificate) (key crypto.Signer, err error) {
	o, path := &ca.options, filepath.Join(ca.options.Dir, intermediateKeyFile)
	switch {
	case o.Key != nil:
		key = o.Key
	case o.KeyURI != "":
		path = o.KeyURI
		if key, err = OpenKMSKey(o.KeyURI, o.PIN); err != nil {
			return nil, err
		}
	default:
		if key, err = readKey(path, o.Passphrase, o.NextPassphrase); err != nil {
			return nil, err
		}
	}
	if !publicKeyEqual(key.Public(), inter.PublicKey) {
		return nil, &FileError{Path: path, Problem: "the key does not belong to " + intermediateCertFile, Hint: "restore both files from the same backup"}
	}
	return key, nil
}

// checkSigning refuses to start on an intermediate that is not valid now, if it came by a command. That of the directory was looked at when it was read.
func (ca *CA) checkSigning() error {
	c, now := ca.Intermediate(), ca.options.Now()
	if ca.files.inter != nil && c.Equal(ca.files.inter) {
		return nil
	}
	switch {
	case now.After(c.NotAfter):
		return &FileError{Path: "intermediate " + PublicID(c), Problem: "it expired on " + c.NotAfter.UTC().Format(time.RFC3339), Hint: "check this machine's clock"}
	case now.Before(c.NotBefore):
		return &FileError{Path: "intermediate " + PublicID(c), Problem: "it is not valid before " + c.NotBefore.UTC().Format(time.RFC3339), Hint: "check this machine's clock"}
	}
	return nil
}

// readAuthorities reads roots (the first signs, further ones are trusted too) and intermediate and checks them. The roots are there, too, when it is the
// intermediate that is at fault.
func readAuthorities(dir string, now time.Time) (roots []*x509.Certificate, inter *x509.Certificate, err error) {
	rootPath, interPath := filepath.Join(dir, rootCertFile), filepath.Join(dir, intermediateCertFile)
	if roots, err = readCertificates(rootPath); err != nil {
		return nil, nil, err
	}
	for _, c := range roots {
		if err := checkCA(c); err != nil {
			return nil, nil, &FileError{Path: rootPath, Problem: subjectOf(c), Err: err}
		}
	}
	inters, err := readCertificates(interPath)
	if err != nil {
		return roots, nil, waitsForCertificate(dir, err)
	}
	if len(inters) != 1 {
		return roots, nil, &FileError{Path: interPath, Problem: fmt.Sprintf("holds %d certificates", len(inters)), Hint: "it must hold the one that signs; others belong into a trust bundle"}
	}
	inter = inters[0]
	if err := checkCA(inter); err != nil {
		return roots, nil, &FileError{Path: interPath, Problem: subjectOf(inter), Err: err}
	}
	pool := x509.NewCertPool()
	signed := false
	for _, c := range roots {
		pool.AddCert(c)
		signed = signed || inter.CheckSignatureFrom(c) == nil
	}
	if !signed {
		return roots, nil, &FileError{Path: interPath, Problem: "the intermediate is not signed by a root in " + rootCertFile, Hint: "restore both files from the same backup"}
	}
	if now.After(inter.NotAfter) {
		return roots, nil, &FileError{Path: interPath, Problem: "the intermediate expired on " + inter.NotAfter.UTC().Format(time.RFC3339), Hint: "docs/ca.md says how to make another one while the server cannot start"}
	}
	if now.Before(inter.NotBefore) {
		return roots, nil, &FileError{Path: interPath, Problem: "the intermediate is not valid before " + inter.NotBefore.UTC().Format(time.RFC3339), Hint: "check this machine's clock"}
	}
	if _, err := inter.Verify(x509.VerifyOptions{Roots: pool, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err != nil {
		return roots, nil, &FileError{Path: rootPath, Problem: "no valid path from the intermediate to a root", Err: err, Hint: "see whether the root has expired"}
	}
	return roots, inter, nil
}

// waitsForCertificate says what to do when there is a request in the place of the intermediate.
func waitsForCertificate(dir string, err error) error {
	var fe *FileError
	if _, statErr := os.Stat(filepath.Join(dir, requestFile)); statErr == nil && errors.Is(err, fs.ErrNotExist) && errors.As(err, &fe) {
		fe.Problem, fe.Hint = "the intermediate is not signed yet", "have the root sign it (tenantgate ca csr), then: tenantgate ca install FILE"
	}
	return err
}

// ReadTrust reads roots and intermediate of the CA's directory again, with every check of [Open], and returns what would be trusted with them; [CA.UseTrust]
// puts it in force. It refuses roots that the intermediate this CA signs with does not lead to, because they would make every certificate that it has
// issued and will issue foreign: to change to another CA, keep the old root in the file, or restart. Errors are *[FileError].
func (ca *CA) ReadTrust() (*Trust, error) {
	dir, now, l := ca.options.Dir, ca.options.Now(), ca.lineage.Load()
	roots, inter, err := readAuthorities(dir, now)
	if err != nil && (successor(l.records) == nil || len(roots) == 0) {
		return nil, err
	}
	f := files{roots, inter}
	trust, err := ca.trustOf(l, f)
	if err != nil {
		return nil, &FileError{Path: dir, Problem: "the CA's own certificates", Err: err}
	}
	signing := l.signing()
	if _, err := signing.cert.Verify(x509.VerifyOptions{Roots: trust.rootPool, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err != nil && !l.retired[signing.id] {
		return nil, &FileError{Path: filepath.Join(dir, rootCertFile), Problem: "no root in it leads to the intermediate that signs now", Err: err,
			Hint: "keep the old root in the file beside the new one, or restart to change the CA"}
	}
	trust.files = f
	return trust, nil
}

// UseTrust puts in force what [CA.ReadTrust] has returned, and returns what is in force then: the same as before if nothing was changed, so that TLS tickets
// stay good.
func (ca *CA) UseTrust(ctx context.Context, t *Trust) (*Trust, error) {
	select {
	case ca.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-ca.turn }()
	l := *ca.lineage.Load()
	trust, err := ca.trustOf(&l, t.files)
	if err != nil {
		return nil, err
	}
	ca.files = t.files
	if trust.Generation() != l.trust.Generation() {
		l.trust = trust
		ca.lineage.Store(&l)
	}
	return l.trust, nil
}

func readCertificates(path string) ([]*x509.Certificate, error) {
	b, err := readFile(path)
	if err != nil {
		return nil, err
	}
	certs, err := ParseCertificates(b)
	if err != nil {
		var fe *FileError
		if errors.As(err, &fe) {
			fe.Path = path
			return nil, fe
		}
		return nil, &FileError{Path: path, Problem: "reading certificates", Err: err}
	}
	return certs, nil
}

func readKey(path string, passphrases ...[]byte) (crypto.Signer, error) {
	b, err := readFile(path)
	if err != nil {
		return nil, err
	}
	return openKey(path, b, passphrases...)
}

func openKey(path string, b []byte, passphrases ...[]byte) (crypto.Signer, error) {
	if len(bytes.Join(passphrases, nil)) == 0 {
		// pemutil would ask for one on the terminal.
		return nil, &FileError{Path: path, Problem: "no passphrase given", Err: ErrPassphrase}
	}
	if !strings.Contains(string(b), "-----BEGIN ENCRYPTED PRIVATE KEY-----") {
		return nil, &FileError{Path: path, Problem: "not an encrypted PKCS#8 private key", Hint: "it must begin with -----BEGIN ENCRYPTED PRIVATE KEY-----"}
	}
	key, err := decryptKey(b, passphrases...)
	switch {
	case errors.Is(err, ErrPassphrase):
		return nil, &FileError{Path: path, Problem: "opening the key", Err: ErrPassphrase, Hint: "check the passphrase file"}
	case err != nil:
		return nil, &FileError{Path: path, Problem: "reading the key: the file is damaged, or the passphrase is wrong", Err: err}
	}
	return key, nil
}

// readFile reads a file of the CA, at most maxBundle bytes.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, &FileError{Path: path, Problem: "the file is missing", Err: fs.ErrNotExist, Hint: "make the CA first, or check the configured directory"}
		}
		return nil, &FileError{Path: path, Problem: "opening the file", Err: err}
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxBundle))
	if err != nil {
		return nil, &FileError{Path: path, Problem: "reading the file", Err: err}
	}
	return b, nil
}
