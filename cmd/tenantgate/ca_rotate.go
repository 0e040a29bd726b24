package main

import (
	"context"
	"crypto"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/proxy/admin"
)

func newCARotateCommand(p *program) *cobra.Command {
	return group(&cobra.Command{
		Use:   "rotate",
		Short: "Have another intermediate, or another root, take the place of the one that is there",
		Example: `  tenantgate ca rotate intermediate
  tenantgate ca rotate root --root-out /media/safe`,
	}, newCARotateIntermediateCommand(p), newCARotateRootCommand(p))
}

// intermediateFlags say what intermediate is wanted.
type intermediateFlags struct{ name, keyType, key string }

func (f *intermediateFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.key, "key", "", "KMS `URI` of the intermediate's key, which is made there (default: it is made in the server and kept encrypted in the database; database says so where the old one is in a KMS)")
	flags.StringVar(&f.keyType, "key-type", "", "P-256, P-384, RSA-2048, RSA-3072 or RSA-4096 (default: as the one that signs)")
	flags.StringVar(&f.name, "name", "", "common name (default: the subject of the one that signs, so that vendors who match the issuer need not be told)")
}

func (f *intermediateFlags) request() admin.CARequest {
	return admin.CARequest{Name: f.name, KeyType: f.keyType, Key: f.key}
}

func newCARotateIntermediateCommand(p *program) *cobra.Command {
	var root rootFlags
	var inter intermediateFlags
	cmd := &cobra.Command{
		Use:   "intermediate",
		Short: "Sign with another intermediate from now on",
		Long: `intermediate makes another intermediate below the same root and has it sign from then on. What the old one has signed stays good until it ends,
or until ca retire; the old one keeps its revocation list and OCSP answers. This server's own certificates change at once, open connections stay.

The server makes the key; this command has the root sign, with the root's key as it finds it: root_ca.key of ca.dir, --root-key FILE, or a KMS. Without
one it prints the request (CSR): have the root sign it outside, then tenantgate ca install FILE.

Every node on the database has to know the new one before it signs. Broken off at any moment, the command can be given again and goes on.`,
		Example: `  tenantgate ca rotate intermediate
  tenantgate ca rotate intermediate --root-key /media/safe/root_ca.key --root-passphrase-file /media/safe/passphrase
  tenantgate ca rotate intermediate --key 'pkcs11:module-path=/usr/lib/softhsm/libsofthsm2.so;token=gate;object=intermediate-2'`,
		Args: exactArgs(),
	}
	root.add(cmd, "the")
	inter.add(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		signer, err := root.open(p)
		if err != nil {
			return err
		}
		return p.calling("waiting for the server and the other nodes", func(c *admin.Client) error {
			return p.rotateIntermediate(cmd.Context(), c, signer, &inter)
		})
	}
	return cmd
}

func (p *program) rotateIntermediate(ctx context.Context, c *admin.Client, root *pki.RootSigner, inter *intermediateFlags) error {
	status, err := c.CAStatus(ctx)
	if err != nil {
		return err
	}
	waiting := pendingIntermediate(&status)
	if waiting != nil && stateOf(&status, waiting.Root) == pki.AuthorityPending {
		return hinted(errors.New("a new root is waiting for its turn"), "tenantgate ca rotate root --activate; or withdraw it: tenantgate ca retire %s", waiting.Root[:16])
	}
	if waiting == nil {
		if root != nil && !trusted(&status, root) {
			return hinted(errors.New("the root is not one that this server trusts"), "tenantgate ca list shows them; to change to another root: tenantgate ca rotate root")
		}
		requested, err := c.RequestCACertificate(ctx, inter.request())
		if err != nil {
			return err
		}
		if root == nil {
			return p.showRequest(&requested, "have the root sign it, then: tenantgate ca install FILE")
		}
		cert, err := root.SignIntermediate([]byte(requested.Request), time.Now())
		if err != nil {
			return err
		}
		installed, err := c.InstallCACertificate(ctx, admin.CAInstallation{Certificates: string(pki.EncodeCertificates(cert))})
		if err != nil {
			return err
		}
		waiting = &installed
	}
	return p.activate(ctx, c, waiting.ID)
}

// activate has an intermediate sign and says so.
func (p *program) activate(ctx context.Context, c *admin.Client, id string) error {
	done, err := c.ActivateCACertificate(ctx, id)
	if err != nil {
		return err
	}
	return p.show(done, func(w io.Writer) {
		fmt.Fprintf(w, "intermediate %s signs, until %s\n", done.ID[:16], moment(done.NotAfter))
	})
}

func (p *program) showRequest(a *admin.CACertificate, next string) error {
	if !p.json {
		fmt.Fprintf(p.stderr, "this is the request of intermediate %s: %s\n", a.ID[:16], next)
	}
	return p.show(a, func(w io.Writer) { fmt.Fprint(w, a.Request) })
}

func pendingIntermediate(s *admin.CAStatus) *admin.CACertificate {
	for i, a := range s.Authorities {
		if a.Kind == pki.KindIntermediate && a.State == string(pki.AuthorityPending) {
			return &s.Authorities[i]
		}
	}
	return nil
}

func stateOf(s *admin.CAStatus, id string) pki.AuthorityState {
	for _, a := range s.Authorities {
		if a.ID == id {
			return pki.AuthorityState(a.State)
		}
	}
	return ""
}

// trusted reports whether the server trusts the root, with exactly this certificate.
func trusted(s *admin.CAStatus, root *pki.RootSigner) bool {
	for _, a := range s.Authorities {
		if a.Kind == pki.KindRoot && a.Certificate == string(pki.EncodeCertificates(root.Certificate)) {
			return a.State != string(pki.AuthorityRetired)
		}
	}
	return false
}

// newRootFlags say where the new root's key is to be.
type newRootFlags struct {
	out, key, cert, name, passphraseFile string
	activate                             bool
}

func newCARotateRootCommand(p *program) *cobra.Command {
	var old rootFlags
	var inter intermediateFlags
	var f newRootFlags
	cmd := &cobra.Command{
		Use:   "root",
		Short: "Change to another root, in two steps",
		Long: `root makes another root and an intermediate below it. From then on every node trusts both roots, and whoever enrols, renews or is issued a
certificate gets both. Nothing else changes: certificates, and this server's own, come from the old root until

  tenantgate ca rotate root --activate

which says first who may not have the new root yet (tenantgate ca status). When the old root may be believed no more: tenantgate ca retire ID, which is
refused while somebody depends on it.

The new root's key is written to --root-out, which is best not on this machine, or made in a KMS (--new-root-key); nothing but another rotation needs it. If
the old root's key is at hand, the old root signs the new one: this server sends that along after the change, and clients that have only the old root
go on believing it. With --new-root-cert the new root is made outside: its certificate alone is needed, and the command prints the request that it has to
sign (then: tenantgate ca install FILE --root ROOT-FILE).

Broken off at any moment, the command can be given again and goes on.`,
		Example: `  tenantgate ca rotate root --root-out /media/safe
  tenantgate ca status
  tenantgate ca rotate root --activate
  tenantgate ca retire 3f9a51c0`,
		Args: exactArgs(),
	}
	old.add(cmd, "the old")
	inter.add(cmd)
	flags := cmd.Flags()
	flags.StringVar(&f.out, "root-out", "", "`directory` for the new root: root_ca.crt and root_ca.key")
	flags.StringVar(&f.key, "new-root-key", "", "KMS `URI` of the new root's key, which is made there; --root-out gets the certificate alone")
	flags.StringVar(&f.cert, "new-root-cert", "", "`file` with the certificate of a root that was made outside")
	flags.StringVar(&f.name, "root-name", "", "common name of the new root (default: the old one's, with a number)")
	flags.StringVar(&f.passphraseFile, "new-root-passphrase-file", "", "`file` with the passphrase for the new root's key (default ca.passphrase_file)")
	flags.BoolVar(&f.activate, "activate", false, "have the new root's intermediate sign now")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if f.activate {
			return p.calling("waiting for the server and the other nodes", func(c *admin.Client) error { return p.activateRoot(cmd.Context(), c) })
		}
		if f.out == "" && f.cert == "" {
			return usageError(cmd, "where is the new root's key to be? give --root-out DIR, or --new-root-cert FILE of a root that was made outside")
		}
		if f.cert != "" && (f.out != "" || f.key != "") {
			return usageError(cmd, "--new-root-cert is of a root that was made outside: --root-out and --new-root-key do not go with it")
		}
		before, err := old.open(p)
		if err != nil {
			return err
		}
		return p.calling("waiting for the server and the other nodes", func(c *admin.Client) error {
			return p.rotateRoot(cmd.Context(), c, before, &old, &f, &inter)
		})
	}
	return cmd
}

func (p *program) rotateRoot(ctx context.Context, c *admin.Client, old *pki.RootSigner, oldFlags *rootFlags, f *newRootFlags, inter *intermediateFlags) error {
	status, err := c.CAStatus(ctx)
	if err != nil {
		return err
	}
	if waiting := pendingIntermediate(&status); waiting != nil {
		if stateOf(&status, waiting.Root) != pki.AuthorityPending {
			return hinted(errors.New("an intermediate of the old root is waiting for its turn"), "tenantgate ca rotate intermediate has it sign; or withdraw it: tenantgate ca retire %s", waiting.ID[:16])
		}
		return p.rootIsWaiting(&status)
	}
	if old != nil && !trusted(&status, old) {
		return hinted(errors.New("the old root is not one that this server trusts"), "--root-key and --root-cert are of the root that is to be followed")
	}
	if f.cert != "" {
		return p.requestForRoot(ctx, c, f, inter)
	}
	root, err := f.make(p, &status, oldFlags)
	if err != nil {
		return err
	}
	requested, err := c.RequestCACertificate(ctx, inter.request())
	if err != nil {
		return err
	}
	now := time.Now()
	cert, err := root.SignIntermediate([]byte(requested.Request), now)
	if err != nil {
		return err
	}
	bundle := pki.EncodeCertificates(cert, root.Certificate)
	if old != nil {
		crossed, err := old.Cross(root.Certificate, cert, now)
		if err != nil {
			return err
		}
		bundle = append(bundle, pki.EncodeCertificates(crossed)...)
	} else {
		fmt.Fprintln(p.stderr, "the old root's key is not at hand: clients that have only the old root will not believe this server after the change")
	}
	_, err = c.InstallCACertificate(ctx, admin.CAInstallation{Certificates: string(bundle), Root: string(pki.EncodeCertificates(root.Certificate))})
	if err != nil {
		return err
	}
	if status, err = c.CAStatus(ctx); err != nil {
		return err
	}
	return p.rootIsWaiting(&status)
}

// rootIsWaiting says how things are and what comes next.
func (p *program) rootIsWaiting(s *admin.CAStatus) error {
	return p.show(s, func(w io.Writer) {
		fmt.Fprintf(w, "root %s is trusted; nothing comes from it yet\n%s\n\nnext, when they have it: tenantgate ca rotate root --activate\n", s.Root[:16], withoutRoot(s))
	})
}

// requestForRoot prints the request that a root outside is to sign.
func (p *program) requestForRoot(ctx context.Context, c *admin.Client, f *newRootFlags, inter *intermediateFlags) error {
	b, err := p.readInput(f.cert, "the root's certificate")
	if err != nil {
		return err
	}
	if certs, err := pki.ParseCertificates(b); err != nil || len(certs) != 1 {
		return hinted(errors.Join(fmt.Errorf("%s does not hold one certificate", f.cert), err), "give the new root's own certificate")
	}
	requested, err := c.RequestCACertificate(ctx, inter.request())
	if err != nil {
		return err
	}
	return p.showRequest(&requested, "have the new root sign it, then: tenantgate ca install FILE --root "+f.cert)
}

// make makes the new root, or finds the one that an attempt before has made.
func (f *newRootFlags) make(p *program, s *admin.CAStatus, old *rootFlags) (*pki.RootSigner, error) {
	passphrase, pin, err := (&rootFlags{key: f.key, passphraseFile: f.passphraseFile, pinFile: old.pinFile}).secretsFor(p)
	if err != nil {
		return nil, err
	}
	certFile, keyFile := filepath.Join(f.out, "root_ca.crt"), filepath.Join(f.out, "root_ca.key")
	if f.key != "" {
		keyFile = f.key
	}
	if _, err := os.Stat(certFile); err == nil {
		root, err := pki.OpenRoot(certFile, keyFile, passphrase, pin)
		if err == nil && trusted(s, root) {
			return nil, hinted(fmt.Errorf("the root in %s is trusted already", f.out), "name another directory for the new one")
		}
		return root, err
	}
	name := f.name
	if name == "" {
		name = nextName(s)
	}
	var key crypto.Signer
	if f.key != "" {
		key, err = pki.CreateKMSKey(f.key, pin, rootKeyType(s))
		if errors.Is(err, pki.ErrExists) { // an attempt before was broken off; no root that is trusted may have the same key
			key, err = pki.OpenKMSKey(f.key, pin)
		}
	} else {
		key, err = pki.GenerateKey(rootKeyType(s))
	}
	if err != nil {
		return nil, err
	}
	root, err := pki.NewRoot(name, key, time.Now())
	if err != nil {
		return nil, err
	}
	if f.key != "" {
		key = nil
	}
	return root, pki.WriteRoot(f.out, root.Certificate, key, passphrase)
}

// secretsFor is secrets with the configuration's, if there is one.
func (f *rootFlags) secretsFor(p *program) (passphrase, pin []byte, err error) {
	cfg, cfgErr := loadConfig(p.configPath())
	return f.secrets(cfg, cfgErr)
}

// nextName is the name of the newest root with the next number.
func nextName(s *admin.CAStatus) string {
	n, first := 0, ""
	for _, a := range s.Authorities {
		if a.Kind != pki.KindRoot {
			continue
		}
		n++
		if block, _ := pem.Decode([]byte(a.Certificate)); block != nil && first == "" {
			if certs, err := pki.ParseCertificates(block.Bytes); err == nil {
				first = certs[0].Subject.CommonName
			}
		}
	}
	return fmt.Sprintf("%s G%d", first, n+1)
}

// rootKeyType is the key type of the newest root, as far as one can be made.
func rootKeyType(s *admin.CAStatus) string {
	for _, a := range s.Authorities {
		if a.ID == s.Root {
			switch a.KeyType {
			case pki.P256, pki.P384, pki.RSA2048, pki.RSA3072, pki.RSA4096:
				return a.KeyType
			}
		}
	}
	return pki.P256
}

func (p *program) activateRoot(ctx context.Context, c *admin.Client) error {
	status, err := c.CAStatus(ctx)
	if err != nil {
		return err
	}
	waiting := pendingIntermediate(&status)
	if waiting == nil || stateOf(&status, waiting.Root) != pki.AuthorityPending {
		return hinted(errors.New("no new root is waiting for its turn"), "tenantgate ca rotate root --root-out DIR makes one")
	}
	if len(status.WithoutRoot) > 0 {
		fmt.Fprintln(p.stderr, withoutRoot(&status))
	}
	return p.activate(ctx, c, waiting.ID)
}
