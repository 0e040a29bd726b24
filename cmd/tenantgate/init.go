package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/internal/database"
	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/proxy/record"
)

// initOptions is what `init` makes.
type initOptions struct {
	dir       string
	keyType   string
	adminName string
	config    Config // what the configuration file will say

	rootCert, rootKey, rootPassphraseFile, rootOut string // of the root: see the flags

	root           *pki.RootSigner // read from rootCert and rootKey
	rootPassphrase []byte
	pin            []byte
}

// The files that `init` makes beside those the configuration names.
const (
	configFile    = "tenantgate.yaml"
	adminCertFile = "admin.pem"
	adminKeyFile  = "admin.key"
	buildDir      = ".tenantgate-init" // everything is made here and moved when it is whole
)

func newInitCommand(p *program) *cobra.Command {
	o := initOptions{config: defaultConfig()}
	cmd := &cobra.Command{
		Use:   "init [DIR]",
		Short: "Make a CA, a database, keys, an admin certificate and a configuration",
		Long: `init makes everything that a server needs, in DIR (default: the current directory):

  tenantgate.yaml     the configuration, every key explained
  keys/master.key     encrypts the secrets in the database
  keys/ca-passphrase  opens the keys of the CA
  ca/                 root and intermediate CA, keys encrypted
  tenantgate.db       the database
  admin.pem, .key     the first admin certificate, for --server from another machine

It overwrites nothing: when one of these exists it lists them and changes nothing. It is all or nothing:
when it fails, nothing is left behind.

The root's key is needed only to rotate the CA: --root-out writes it elsewhere. With --root-cert the root is one that is there already: with --root-key it
signs the intermediate now and its key is kept nowhere; without, init writes a request for it, and tenantgate ca csr and ca install complete the CA.
--ca-key makes the intermediate's key in a KMS or HSM (pkcs11:, awskms:, cloudkms:, azurekms:), --root-key without --root-cert the root's.

Choose RSA-2048 when callers cannot do ECDSA (SAP PI/PO, ABAP systems with an old CommonCryptoLib).`,
		Example: `  tenantgate init
  tenantgate init /var/lib/tenantgate --server-name gate.example.com --trust-domain example.internal
  tenantgate init /var/lib/tenantgate --key-type RSA-2048
  tenantgate init /var/lib/tenantgate --root-out /media/safe
  tenantgate init /var/lib/tenantgate --root-cert company-root.crt
  tenantgate init /var/lib/tenantgate --ca-key 'pkcs11:module-path=/usr/lib/softhsm/libsofthsm2.so;token=gate;object=intermediate' --pin-file /etc/tenantgate/pin`,
		Args: maxArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.dir = "."
			if len(args) == 1 {
				o.dir = args[0]
			}
			if err := o.prepare(cmd); err != nil {
				return err
			}
			if err := o.config.validate(); err != nil {
				return usageError(cmd, "%v", err)
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
			defer stop()
			done := p.slow("making keys")
			err := initialize(ctx, o)
			done()
			if err != nil {
				return err
			}
			return p.explainInit(o)
		},
	}
	cmd.Flags().StringVar(&o.keyType, "key-type", pki.P256, "key type of the CA and of server certificates: P-256, P-384, RSA-2048, RSA-3072 or RSA-4096")
	cmd.Flags().StringVar(&o.config.CA.TrustDomain, "trust-domain", o.config.CA.TrustDomain, "first part of each identity's name in a certificate; changing it later makes admin certificates foreign")
	cmd.Flags().StringSliceVar(&o.config.ServerNames, "server-name", o.config.ServerNames, "`names` and IP addresses in the certificate that callers see")
	cmd.Flags().StringVar(&o.config.Listen, "listen", o.config.Listen, "`host:port` where callers connect")
	cmd.Flags().StringVar(&o.config.Admin.Listen, "admin-listen", o.config.Admin.Listen, "`host:port` of the admin listener")
	cmd.Flags().StringVar(&o.config.Enrolment.Listen, "enrolment-listen", o.config.Enrolment.Listen, "`host:port` of the enrolment listener; none unless given")
	cmd.Flags().StringVar(&o.config.CA.Key, "ca-key", "", "KMS `URI` of the intermediate's key, which is made there")
	cmd.Flags().StringVar(&o.config.CA.KeyPINFile, "pin-file", "", "`file` with the PIN for pkcs11, or credential:NAME; the server reads it there")
	cmd.Flags().StringVar(&o.rootCert, "root-cert", "", "`file` with the certificate of a root that is there already")
	cmd.Flags().StringVar(&o.rootKey, "root-key", "", "`file` or KMS URI of its key; without --root-cert a KMS URI at which the new root's key is made")
	cmd.Flags().StringVar(&o.rootPassphraseFile, "root-passphrase-file", "", "`file` with the passphrase of the root's key (default: that of the intermediate's)")
	cmd.Flags().StringVar(&o.rootOut, "root-out", "", "`directory` for the new root's key, in place of ca/")
	cmd.Flags().StringVar(&o.adminName, "admin", "admin", "`name` in the first admin certificate")
	return cmd
}

// initialize makes everything in a directory of its own and then moves it into place, so that a failure
// leaves nothing half-made.
func initialize(ctx context.Context, o initOptions) error {
	names := o.names()
	if err := refuseExisting(o.dir, names); err != nil {
		return err
	}
	made, err := makeDir(o.dir)
	if err != nil {
		return err
	}
	build := filepath.Join(o.dir, buildDir)
	if err := os.Mkdir(build, 0o700); err != nil {
		if errors.Is(err, os.ErrExist) {
			return hinted(fmt.Errorf("making %s: it exists", build), "another init is running, or one was killed: then remove that directory")
		}
		return fmt.Errorf("making a directory to build in: %w", err)
	}
	err = o.build(ctx, build)
	if ctx.Err() != nil {
		err = errors.New("interrupted: nothing was made")
	}
	if err == nil && o.rootOut != "" {
		err = o.placeRoot(filepath.Join(build, rootOutDir))
	}
	if err == nil {
		if err = moveAll(build, o.dir, names); err != nil && o.rootOut != "" {
			o.removeRoot()
		}
	}
	if rmErr := os.RemoveAll(build); err == nil && rmErr != nil {
		err = fmt.Errorf("removing %s: %w", build, rmErr)
	}
	if err != nil && made {
		os.Remove(o.dir) // works only while it is empty
	}
	return err
}

// names lists what will appear in the directory, the configuration last: where it is, init was complete.
func (o *initOptions) names() []string {
	if o.waits() {
		return []string{"keys", "ca", o.config.Database, configFile}
	}
	return []string{"keys", "ca", o.config.Database, adminKeyFile, adminCertFile, configFile}
}

// refuseExisting lists what is in the way.
func refuseExisting(dir string, names []string) error {
	var there []string
	for _, name := range names {
		path := filepath.Join(dir, name)
		switch _, err := os.Lstat(path); {
		case err == nil:
			there = append(there, path)
		case !errors.Is(err, os.ErrNotExist):
			return fmt.Errorf("looking for %s: %w", path, err)
		}
	}
	if len(there) == 0 {
		return nil
	}
	return &failure{
		err:  fmt.Errorf("%s: there already, nothing was changed", strings.Join(there, ", ")),
		hint: "choose another directory; init never overwrites keys",
	}
}

// makeDir makes dir if it is missing and says whether it did.
func makeDir(dir string) (bool, error) {
	if _, err := os.Stat(dir); err == nil {
		return false, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return false, hinted(fmt.Errorf("making %s: %w", dir, err), "run it as the user that will run the server, in a directory which that user may write")
	}
	return true, nil
}

// build makes everything inside dir.
func (o *initOptions) build(ctx context.Context, dir string) error {
	cfg := o.config
	cfg.resolve(dir)
	master, err := identity.GenerateKey()
	if err != nil {
		return fmt.Errorf("making the master key: %w", err)
	}
	var random [32]byte
	rand.Read(random[:]) // never fails (crypto/rand)
	passphrase := []byte(base64.RawURLEncoding.EncodeToString(random[:]))
	if err := os.Mkdir(filepath.Join(dir, "keys"), 0o700); err != nil {
		return fmt.Errorf("making the directory for keys: %w", err)
	}
	if err := writeNewFile(cfg.KeyFile, master, 0o600); err != nil {
		return err
	}
	if err := writeNewFile(cfg.CA.PassphraseFile, append(passphrase, '\n'), 0o600); err != nil {
		return err
	}
	ca := pki.InitOptions{
		Dir: cfg.CA.Dir, Passphrase: passphrase, TrustDomain: cfg.CA.TrustDomain, KeyType: o.keyType, KeyURI: cfg.CA.Key, PIN: o.pin,
		Root: o.root, RootPassphrase: o.rootPassphrase,
	}
	if o.root == nil {
		ca.RootKeyURI = o.rootKey
	}
	if o.rootOut != "" {
		ca.RootOut = filepath.Join(dir, rootOutDir)
	}
	if err := pki.Init(ca); err != nil {
		return err
	}
	if err := o.buildDatabase(ctx, dir, &cfg, master, passphrase); err != nil {
		return err
	}
	var text bytes.Buffer
	if err := renderConfig(&text, &o.config); err != nil {
		return err
	}
	return writeNewFile(filepath.Join(dir, configFile), text.Bytes(), 0o600)
}

// buildDatabase makes the tables, checks the key in, and issues the first admin certificate.
func (o *initOptions) buildDatabase(ctx context.Context, dir string, cfg *Config, master, passphrase []byte) (err error) {
	db, err := openDatabase(ctx, database.Open, cfg.Database)
	if err != nil {
		return err
	}
	defer func() {
		if closeErr := db.Close(); err == nil && closeErr != nil {
			err = fmt.Errorf("closing the database: %w", closeErr)
		}
	}()
	sealer, err := identity.NewSealer(master)
	if err != nil {
		return err
	}
	if _, err := identity.Open(ctx, db.DB, sealer); err != nil { // binds the database to the master key
		return err
	}
	if o.waits() {
		return nil
	}
	ca, err := pki.Open(ctx, pki.Options{
		Dir: cfg.CA.Dir, Passphrase: passphrase, KeyURI: cfg.CA.Key, PIN: o.pin, TrustDomain: cfg.CA.TrustDomain, DB: db.DB, Sealer: sealer,
	})
	if err != nil {
		return err
	}
	return o.issueAdmin(ctx, dir, db, ca)
}

// issueAdmin issues the first admin certificate; its CA record and its change record are one transaction.
func (o *initOptions) issueAdmin(ctx context.Context, dir string, db *database.DB, ca *pki.CA) error {
	keyType := pki.P256
	if strings.HasPrefix(o.keyType, "RSA") {
		keyType = pki.RSA2048
	}
	key, err := pki.GenerateKey(keyType)
	if err != nil {
		return fmt.Errorf("making the admin key: %w", err)
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("recording the admin certificate: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // without effect after the commit
	issued, err := ca.Issue(ctx, tx, pki.IssueOptions{Profile: pki.AdminProfile(), Name: o.adminName, PublicKey: key.Public()})
	if err != nil {
		return err
	}
	detail, err := json.Marshal(map[string]any{"profile": "admin", "serial": issued.Serial, "not_after": issued.Leaf.NotAfter})
	if err != nil {
		return fmt.Errorf("recording the admin certificate: %w", err)
	}
	if _, err := record.AppendChange(ctx, tx, record.Change{
		Actor: "init", Action: "issue", Object: "certificate", Name: o.adminName, Detail: detail,
	}); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("recording the admin certificate: %w", err)
	}
	pem, err := pki.EncodePrivateKey(key)
	if err != nil {
		return err
	}
	if err := writeNewFile(filepath.Join(dir, adminKeyFile), pem, 0o600); err != nil {
		return err
	}
	return writeNewFile(filepath.Join(dir, adminCertFile), issued.PEM(), 0o644)
}

// moveAll moves the names from one directory to another of the same file system; when one cannot be moved,
// those before it go back.
func moveAll(from, to string, names []string) error {
	if err := refuseExisting(to, names); err != nil {
		return err
	}
	for i, name := range names {
		if err := os.Rename(filepath.Join(from, name), filepath.Join(to, name)); err != nil {
			for _, done := range names[:i] {
				os.Rename(filepath.Join(to, done), filepath.Join(from, done))
			}
			return fmt.Errorf("moving %s into place: %w", name, err)
		}
	}
	return nil
}

// explainInit says what was made and what comes next.
func (p *program) explainInit(o initOptions) error {
	at := func(name string) string { return filepath.Join(o.dir, name) }
	made := map[string]string{
		"config": at(configFile), "master_key": at(o.config.KeyFile), "ca_passphrase": at(o.config.CA.PassphraseFile),
		"ca": at(o.config.CA.Dir), "database": at(o.config.Database), "admin_certificate": at(adminCertFile), "admin_key": at(adminKeyFile),
	}
	if o.waits() {
		made["admin_certificate"], made["admin_key"] = "", ""
		made["request"] = at(filepath.Join(o.config.CA.Dir, "intermediate_ca.csr"))
	}
	return p.show(made, func(w io.Writer) {
		fields(w,
			field{"configuration", made["config"]},
			field{"keys", made["master_key"] + ", " + made["ca_passphrase"]},
			field{"CA", made["ca"]},
			field{"database", made["database"]},
			field{"admin certificate", strings.TrimPrefix(made["admin_certificate"]+", "+made["admin_key"], ", ")},
		)
		if o.waits() {
			fmt.Fprintf(w, `
The root has to sign the intermediate before the server can start:
  tenantgate ca csr -c %s > intermediate.csr
  tenantgate ca install -c %[1]s FILE
`, made["config"])
			return
		}
		fmt.Fprintf(w, `
Back up %s and %s apart from the database: it is worthless without them.
%s

Next:
  tenantgate serve -c %s
  tenantgate -c %[4]s tenant add --help
`, at("keys"), at("ca"), o.rootAdvice(), made["config"])
	})
}
