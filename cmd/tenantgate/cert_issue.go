package main

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/proxy/admin"
)

// issueFlags are the flags of `cert issue`.
type issueFlags struct {
	out          string
	pkcs12, jks  string
	passwordFile string
	legacy       bool
	alias        string
	keyType      string
	lifetime     Duration
	admin        bool
}

// store is the key store that is written, "" when it is PEM files.
func (f *issueFlags) store() string {
	if f.jks != "" {
		return f.jks
	}
	return f.pkcs12
}

// format is the format of the key store.
func (f *issueFlags) format() pki.Format {
	switch {
	case f.jks != "":
		return pki.JKS
	case f.legacy:
		return pki.PKCS12Legacy
	}
	return pki.PKCS12
}

// check refuses flags that do not go together.
func (f *issueFlags) check(cmd *cobra.Command) error {
	given := 0
	for _, target := range []string{f.out, f.pkcs12, f.jks} {
		if target != "" {
			given++
		}
	}
	switch {
	case given != 1:
		return usageError(cmd, "give one of --out, --pkcs12 and --jks")
	case f.out != "" && f.passwordFile != "":
		return usageError(cmd, "--password-file is for --pkcs12 and --jks")
	case f.out != "" && f.alias != "":
		return usageError(cmd, "--alias is for --pkcs12 and --jks")
	case f.legacy && f.pkcs12 == "":
		return usageError(cmd, "--legacy is for --pkcs12")
	}
	return nil
}

func newCertIssueCommand(p *program) *cobra.Command {
	f := issueFlags{}
	cmd := &cobra.Command{
		Use:   "issue IDENTITY (--out DIR | --pkcs12 FILE | --jks FILE) [--admin]",
		Short: "Make a key and a certificate for an identity, or an administrator",
		Long: `issue makes the private key here, sends the server a request for it, and writes either

  --out DIR       IDENTITY.key (0600), IDENTITY.pem (certificate and intermediate) and ca.pem (the root)
  --pkcs12 FILE   all of it in one PKCS#12 file under a password
  --jks FILE      the same as a Java key store

The key never leaves this machine. Nothing is overwritten. The password comes from --password-file or, at a terminal, is
asked for. --legacy writes PKCS#12 as SAP JVMs and sapgenpse of the past read it (3DES); its password protects next to
nothing, so protect the file. Other formats, and trust stores: cert convert. Where the proxy's certificate is of another CA
(server_certificate in the configuration), ca.pem does not verify it: enroll and renew write what does.

--admin makes a certificate for an administrator of that name instead, for --server from another machine. It calls no
tenant. cert list --admin shows them; cert revoke takes one back.`,
		Example: `  tenantgate cert issue erp --out erp-files
  tenantgate cert issue pi --key-type RSA-2048 --pkcs12 pi.p12 --password-file password --legacy
  tenantgate cert issue pi --jks pi.jks --alias pi-key
  tenantgate cert issue batch --out . --lifetime 30d
  tenantgate cert issue anna --admin --out anna`,
		Args: exactArgs("IDENTITY"),
	}
	flags := cmd.Flags()
	flags.StringVar(&f.out, "out", "", "`directory` for PEM files; made if it is missing")
	flags.StringVar(&f.pkcs12, "pkcs12", "", "`file` for PKCS#12")
	flags.StringVar(&f.jks, "jks", "", "`file` for a Java key store")
	flags.StringVar(&f.passwordFile, "password-file", "", "`file` with the password of the key store; - is standard input")
	flags.StringVar(&f.alias, "alias", "", "`name` of the key in the key store (default IDENTITY); Java reads it in lower case")
	flags.BoolVar(&f.legacy, "legacy", false, "PKCS#12 with 3DES, for old SAP software")
	flags.StringVar(&f.keyType, "key-type", pki.P256, "P-256, P-384, RSA-2048, RSA-3072, RSA-4096 or Ed25519")
	durationFlag(cmd, &f.lifetime, "lifetime", "how long it is valid, such as 30d (default 90d, at most 398d)")
	flags.BoolVar(&f.admin, "admin", false, "for an administrator, and not for an identity")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := f.check(cmd); err != nil {
			return err
		}
		return p.issueCertificate(cmd, args[0], &f)
	}
	return cmd
}

func (p *program) issueCertificate(cmd *cobra.Command, name string, f *issueFlags) error {
	files := issueTargets(name, f)
	if err := refuseFiles(files); err != nil {
		return err
	}
	var password string
	if f.store() != "" {
		var err error
		if password, err = p.newPassword(cmd, f.passwordFile, f.format()); err != nil {
			return err
		}
	}
	done := p.slow("making the key")
	key, err := pki.GenerateKey(f.keyType)
	done()
	if err != nil {
		return usageError(cmd, "--key-type: %v", err)
	}
	csr, err := requestFor(name, key)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	return p.call(func(c *admin.Client) error {
		// Everything that can be found out before the certificate is there is: it cannot be taken back.
		place, err := f.prepare(files, key)
		if err != nil {
			return err
		}
		issue, holder := c.IssueCertificate, "identity"
		if f.admin {
			issue, holder = c.IssueToAdministrator, "administrator"
		}
		issued, err := issue(ctx, name, admin.CertificateRequest{CSR: csr, Lifetime: identity.Duration(f.lifetime)})
		if err != nil {
			place.undo()
			return err
		}
		if err := place.write(f, key, &issued, password); err != nil {
			return issuedAllTheSame(err, issued.Serial)
		}
		p.tellDropped(issued.Dropped)
		return p.show(issued, func(w io.Writer) {
			fmt.Fprintf(w, "issued certificate %s for %s %s, valid until %s\n", issued.Serial, holder, name, moment(issued.NotAfter))
			for _, file := range files {
				fmt.Fprintf(w, "wrote %s\n", file)
			}
		})
	})
}

// issuedAllTheSame says what to do about a certificate that nobody got.
func issuedAllTheSame(err error, serial string) error {
	return &failure{err: fmt.Errorf("%w; the certificate %s was issued", err, serial), hint: "tenantgate cert revoke " + serial + " --reason superseded"}
}

// requestFor makes a certificate request (PEM) that names the identity and nothing else.
func requestFor(name string, key crypto.Signer) (string, error) {
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: name}}, key)
	if err != nil {
		return "", fmt.Errorf("making the certificate request: %w", err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})), nil
}

// tellDropped says on standard error what a request asked for and did not get.
func (p *program) tellDropped(dropped []string) {
	for _, d := range dropped {
		fmt.Fprintf(p.stderr, "not granted: %s\n", printable(d))
	}
}
