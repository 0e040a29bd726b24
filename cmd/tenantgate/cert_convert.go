package main

import (
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tenantgate/tenantgate/pki"
)

// convertFlags are the flags of `cert convert`.
type convertFlags struct {
	chain, key, ca, pkcs12 string // inputs
	inPasswordFile         string
	to, out, alias         string
	passwordFile           string
}

func newCertConvertCommand(p *program) *cobra.Command {
	var f convertFlags
	var names []string
	for _, format := range pki.Formats() {
		names = append(names, string(format))
	}
	cmd := &cobra.Command{
		Use:   "convert --to FORMAT [--chain FILE] [--key FILE] [--ca FILE] [--pkcs12 FILE] [--out FILE]",
		Short: "Write keys and certificates in the formats that callers take",
		Long: `convert needs no server. It reads a certificate with its intermediates (--chain), a private key (--key) and roots (--ca), PEM or DER, or
all of them from a PKCS#12 file (--pkcs12), and writes

  pem                certificate and intermediates, as nginx, curl and Go take them
  pkcs7              certificate, intermediates and root: the answer to a request in STRUST
  pkcs7-der          the same in DER: Windows (.p7b)
  pkcs12             key and certificates: OpenSSL 1.1.1, Java 8u301 and later
  pkcs12-legacy      the same with 3DES, for JVMs and sapgenpse of the past; the password protects next to nothing
  jks                key and certificates as a Java key store; its password protects next to nothing either
  truststore-jks, truststore-pkcs12
                     the roots alone, for Java's javax.net.ssl.trustStore

Files with a private key are made with mode 0600. Nothing is overwritten.`,
		Example: `  tenantgate cert convert --chain erp.pem --ca ca.pem --to pkcs7 --out erp.p7b
  tenantgate cert convert --chain pi.pem --key pi.key --ca ca.pem --to jks --alias pi --out pi.jks --password-file password
  tenantgate cert convert --ca ca.pem --to truststore-jks --out trust.jks --password-file password
  tenantgate cert convert --pkcs12 old.p12 --in-password-file old --to pkcs12 --out new.p12 --password-file new`,
		Args: exactArgs(),
	}
	flags := cmd.Flags()
	flags.StringVar(&f.chain, "chain", "", "`file` with the certificate, and its intermediates behind it")
	flags.StringVar(&f.key, "key", "", "`file` with the private key")
	flags.StringVar(&f.ca, "ca", "", "`file` with the roots")
	flags.StringVar(&f.pkcs12, "pkcs12", "", "PKCS#12 `file` with key, certificate and what it leads to, instead of the three")
	flags.StringVar(&f.inPasswordFile, "in-password-file", "", "`file` with the password of --pkcs12, or of an encrypted --key; - is standard input")
	flags.StringVar(&f.to, "to", "", "`format`: "+strings.Join(names, ", "))
	flags.StringVar(&f.out, "out", "", "`file` to write instead of standard output, which gets nothing that holds a key")
	flags.StringVar(&f.alias, "alias", "", "`name` of the entry in a key store or trust store (default the certificate's common name)")
	flags.StringVar(&f.passwordFile, "password-file", "", "`file` with the password of the new file; - is standard input")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := f.check(cmd, names); err != nil {
			return err
		}
		return p.convert(cmd, &f)
	}
	return cmd
}

// check refuses flags that do not go together, and those that would do nothing.
func (f *convertFlags) check(cmd *cobra.Command, formats []string) error {
	format := pki.Format(f.to)
	switch {
	case !slices.Contains(formats, f.to):
		return usageError(cmd, "--to is %q, not one of %s", f.to, strings.Join(formats, ", "))
	case f.pkcs12 != "" && (f.chain != "" || f.key != "" || f.ca != ""):
		return usageError(cmd, "--pkcs12 has what --chain, --key and --ca would give")
	case f.pkcs12 == "" && f.chain == "" && format.HoldsChain():
		return usageError(cmd, "--chain or --pkcs12 is missing")
	case f.pkcs12 == "" && f.ca == "" && !format.HoldsChain():
		return usageError(cmd, "--ca or --pkcs12 is missing")
	case f.pkcs12 == "" && f.key == "" && format.HoldsKey():
		return usageError(cmd, "--key is missing: %s holds one", f.to)
	case f.key != "" && !format.HoldsKey():
		return usageError(cmd, "--key is given, and %s holds none", f.to)
	case f.out == "" && format.NeedsPassword():
		return usageError(cmd, "--out is missing")
	case f.passwordFile != "" && !format.NeedsPassword():
		return usageError(cmd, "--password-file is given, and %s has no password", f.to)
	case f.alias != "" && !format.NeedsPassword():
		return usageError(cmd, "--alias is given, and %s has no entries with names", f.to)
	case f.inPasswordFile == "-" && f.passwordFile == "-":
		return usageError(cmd, "standard input cannot be both passwords")
	}
	return nil
}

func (p *program) convert(cmd *cobra.Command, f *convertFlags) error {
	format := pki.Format(f.to)
	if f.out != "" {
		if err := refuseFiles([]string{f.out}); err != nil {
			return err
		}
	}
	contents, err := p.readContents(cmd, f)
	if err != nil {
		return err
	}
	contents.Alias = f.alias
	password := ""
	if format.NeedsPassword() {
		if password, err = p.newPassword(cmd, f.passwordFile, format); err != nil {
			return err
		}
	}
	b, err := format.Encode(contents, password)
	if err != nil {
		return err
	}
	if f.out == "" {
		_, err := p.stdout.Write(b)
		return err
	}
	mode := fs.FileMode(0o644)
	if format.HoldsKey() {
		mode = 0o600
	}
	if err := writeNewFile(f.out, b, mode); err != nil {
		return err
	}
	wrote := map[string]string{"wrote": f.out, "format": f.to}
	return p.show(wrote, func(w io.Writer) { fmt.Fprintf(w, "wrote %s\n", f.out) })
}

// readContents reads what the flags name.
func (p *program) readContents(cmd *cobra.Command, f *convertFlags) (c pki.Contents, err error) {
	if f.pkcs12 != "" {
		b, err := p.readInput(f.pkcs12, "the PKCS#12 file")
		if err != nil {
			return c, err
		}
		password, err := p.password(cmd, "--in-password-file", f.inPasswordFile, "password of "+f.pkcs12+": ")
		if err != nil {
			return c, err
		}
		c, err := pki.DecodePKCS12(b, password)
		return c, inFile(f.pkcs12, err)
	}
	for _, in := range []struct {
		name string
		into *[]*x509.Certificate
	}{{f.chain, &c.Chain}, {f.ca, &c.Roots}} {
		if in.name == "" {
			continue
		}
		if *in.into, err = readBundle(p, in.name, "certificates", pki.ParseCertificates); err != nil {
			return c, err
		}
	}
	if f.key != "" {
		c.Key, err = p.readPrivateKey(cmd, f.key, f.inPasswordFile)
	}
	return c, err
}

func (p *program) readPrivateKey(cmd *cobra.Command, file, passwordFile string) (crypto.PrivateKey, error) {
	b, err := p.readInput(file, "the private key")
	if err != nil {
		return nil, err
	}
	key, err := pki.OpenPrivateKey(b, "")
	if errors.Is(err, pki.ErrPassphrase) {
		password, err := p.password(cmd, "--in-password-file", passwordFile, "password of "+file+": ")
		if err != nil {
			return nil, err
		}
		key, err = pki.OpenPrivateKey(b, password)
		return key, inFile(file, err)
	}
	return key, inFile(file, err)
}

// inFile names the file in an error of package pki.
func inFile(name string, err error) error {
	if e, ok := errors.AsType[*pki.FileError](err); ok {
		e.Path = name
	}
	return err
}
