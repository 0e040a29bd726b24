package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/internal/database"
	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/proxy/admin"
)

func newCACSRCommand(p *program) *cobra.Command {
	return &cobra.Command{
		Use:   "csr",
		Short: "Print the request that a root outside has to sign",
		Long: `csr prints the PKCS#10 request of the intermediate that waits for a certificate: after init with a root that is elsewhere, or after ca rotate. With
openssl, on the machine that has the root's key:

  openssl x509 -req -in intermediate.csr -CA root.crt -CAkey root.key -days 1825 -out intermediate.crt -extfile intermediate.ext

where intermediate.ext holds

  basicConstraints = critical, CA:TRUE, pathlen:0
  keyUsage = critical, keyCertSign, cRLSign, digitalSignature
  subjectKeyIdentifier = hash
  authorityKeyIdentifier = keyid`,
		Example: `  tenantgate ca csr > intermediate.csr`,
		Args:    exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if first, _, err := p.firstRequest(); err == nil {
				return p.show(map[string]string{"request": string(first)}, func(w io.Writer) { w.Write(first) })
			}
			return p.call(func(c *admin.Client) error {
				list, err := c.CACertificates(cmd.Context())
				if err != nil {
					return err
				}
				for i := range list {
					if list[i].State == string(pki.AuthorityRequested) {
						return p.show(list[i], func(w io.Writer) { fmt.Fprint(w, list[i].Request) })
					}
				}
				return hinted(errors.New("nothing waits for a certificate"), "tenantgate ca rotate intermediate makes a request")
			})
		},
	}
}

// firstRequest returns the request of a CA that was made for a root outside and has no intermediate yet.
func (p *program) firstRequest() ([]byte, *Config, error) {
	if p.target.server != "" || p.target.socket != "" {
		return nil, nil, os.ErrNotExist
	}
	cfg, err := loadConfig(p.configPath())
	if err != nil {
		return nil, nil, err
	}
	b, err := pki.FirstRequest(cfg.CA.Dir)
	return b, cfg, err
}

func newCAInstallCommand(p *program) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "install FILE",
		Short: "Take what a root outside has signed",
		Long: `install takes the certificate that a root has signed for the request of ca csr. FILE is PEM or DER; the root may be in it too. Everything is looked at
before anything is changed: the key, CA:TRUE, path length, key usage, validity, and that the root is the one that is trusted.

After init it completes the CA: the server can be started, and admin.pem and admin.key are made. On a running server the intermediate signs from then on,
once every node knows it; with --no-activate when ca activate is called. A root that is not trusted yet is taken only if --root names it; then nothing comes
from it until tenantgate ca rotate root --activate.`,
		Example: `  tenantgate ca install intermediate.crt
  tenantgate ca install intermediate.crt --root new-root.crt`,
		Args: exactArgs("FILE"),
	}
	root := cmd.Flags().String("root", "", "`file` with a root that is to be trusted from now on")
	wait := cmd.Flags().Bool("no-activate", false, "have it sign later: ca activate")
	adminName := cmd.Flags().String("admin", "admin", "`name` in the first admin certificate, after init")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		b, err := p.readInput(args[0], "the certificate")
		if err != nil {
			return err
		}
		certs, err := pki.ParseCertificates(b)
		if err != nil {
			return hinted(fmt.Errorf("reading %s: %w", args[0], err), "it must hold the intermediate's certificate as PEM or DER")
		}
		if _, cfg, err := p.firstRequest(); err == nil {
			if *root != "" {
				return usageError(cmd, "the root was named when the CA was made: leave --root out")
			}
			if err := pki.InstallFirst(cfg.CA.Dir, certs, time.Now()); err != nil {
				return err
			}
			return p.completeInit(cmd.Context(), cfg, *adminName)
		}
		install := admin.CAInstallation{Certificates: string(pki.EncodeCertificates(certs...))}
		if *root != "" {
			b, err := p.readInput(*root, "the root")
			if err != nil {
				return err
			}
			install.Root = string(b)
		}
		return p.calling("waiting for the server and the other nodes", func(c *admin.Client) error { return p.install(cmd.Context(), c, install, *wait) })
	}
	return cmd
}

func (p *program) install(ctx context.Context, c *admin.Client, install admin.CAInstallation, wait bool) error {
	done, err := c.InstallCACertificate(ctx, install)
	if err != nil {
		return err
	}
	status, err := c.CAStatus(ctx)
	if err != nil {
		return err
	}
	if stateOf(&status, done.Root) == pki.AuthorityPending {
		return p.rootIsWaiting(&status)
	}
	if !wait {
		return p.activate(ctx, c, done.ID)
	}
	return p.show(done, func(w io.Writer) {
		fmt.Fprintf(w, "intermediate %s is trusted; next: tenantgate ca activate %[1]s\n", done.ID[:16])
	})
}

// completeInit issues the first admin certificate, as init does where it can, beside the configuration.
func (p *program) completeInit(ctx context.Context, cfg *Config, adminName string) (err error) {
	dir := filepath.Dir(p.configPath())
	o := initOptions{dir: dir, adminName: adminName, config: *cfg}
	if _, err := os.Stat(filepath.Join(dir, adminCertFile)); err == nil {
		return p.completed(dir)
	}
	key, err := readSecretFile(cfg.KeyFile)
	if err != nil {
		return err
	}
	sealer, err := identity.NewSealer(key)
	if err != nil {
		return err
	}
	db, err := openDatabase(ctx, database.OpenExisting, cfg.Database)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	ca, err := openCA(ctx, cfg, db, sealer)
	if err != nil {
		return err
	}
	if strings.HasPrefix(pki.KeyType(ca.Intermediate().PublicKey), "RSA") {
		o.keyType = pki.RSA2048
	}
	if err := o.issueAdmin(ctx, dir, db, ca); err != nil {
		return hinted(err, "the CA is complete all the same; start the server and use tenantgate cert issue --admin")
	}
	return p.completed(dir)
}

// openCA opens the CA for a command that runs where no server does.
func openCA(ctx context.Context, cfg *Config, db *database.DB, sealer identity.Sealer) (*pki.CA, error) {
	secrets, err := readCASecrets(&cfg.CA)
	if err != nil {
		return nil, err
	}
	return pki.Open(ctx, pki.Options{
		Dir: cfg.CA.Dir, Passphrase: secrets.passphrase, NextPassphrase: secrets.next, KeyURI: cfg.CA.Key, PIN: secrets.pin, PKCS11Module: cfg.CA.PKCS11Module, TrustDomain: cfg.CA.TrustDomain,
		DB: db.DB, Sealer: sealer, PublicURL: cfg.Publish.URL,
	})
}

func (p *program) completed(dir string) error {
	at := func(name string) string { return filepath.Join(dir, name) }
	made := map[string]string{"admin_certificate": at(adminCertFile), "admin_key": at(adminKeyFile), "config": p.configPath()}
	return p.show(made, func(w io.Writer) {
		fmt.Fprintf(w, "the CA is complete\nadmin certificate: %s, %s\n\nnext: tenantgate serve -c %s\n", made["admin_certificate"], made["admin_key"], made["config"])
	})
}

func newCAActivateCommand(p *program) *cobra.Command {
	return &cobra.Command{
		Use:   "activate ID",
		Short: "Have an intermediate sign that is trusted already",
		Long: `activate has an intermediate sign that is pending or, to go back, retiring. It waits until every node on the database knows it, and changes nothing if
that takes more than ten seconds.`,
		Args: exactArgs("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.calling("waiting for the other nodes", func(c *admin.Client) error { return p.activate(cmd.Context(), c, args[0]) })
		},
	}
}

func newCARetireCommand(p *program) *cobra.Command {
	var q admin.CARetirement
	cmd := &cobra.Command{
		Use:   "retire ID",
		Short: "Believe a root or an intermediate no more",
		Long: `retire refuses, on every node within a second, whoever comes with a certificate that leads to a root or an intermediate, and cuts their connections. The
certificates that it has signed for callers and administrators are revoked in the same act. It is final.

It is refused for what signs now, and while somebody depends on it: valid certificates under it or, for a root, callers who may not have the new one
(ca status). After a compromise (--reason keyCompromise or cACompromise) nobody is waited for. --force retires it all the same.

What was only requested is withdrawn.`,
		Example: `  tenantgate ca retire 3f9a51c0 --reason superseded
  tenantgate ca rotate intermediate && tenantgate ca retire 3f9a51c0 --reason keyCompromise`,
		Args: exactArgs("ID"),
	}
	cmd.Flags().StringVar(&q.Reason, "reason", "unspecified", "why: "+strings.Join(pki.RevocationReasons(), ", "))
	cmd.Flags().BoolVar(&q.Force, "force", false, "although somebody depends on it")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return p.call(func(c *admin.Client) error {
			done, err := c.RetireCACertificate(cmd.Context(), args[0], q)
			if err != nil {
				return err
			}
			return p.show(done, func(w io.Writer) { fmt.Fprintf(w, "retired %s, and revoked %d certificates\n", args[0], done.Revoked) })
		})
	}
	return cmd
}
