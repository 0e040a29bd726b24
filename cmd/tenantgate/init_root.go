package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/tenantgate/tenantgate/pki"
)

// rootOutDir is where the root is made that goes to --root-out.
const rootOutDir = "root"

// waits says whether the CA waits for a certificate that a root outside signs.
func (o *initOptions) waits() bool { return o.rootCert != "" && o.rootKey == "" }

// prepare reads what the flags about the root and the KMS name, before anything is made.
func (o *initOptions) prepare(cmd *cobra.Command) (err error) {
	switch {
	case o.rootOut != "" && (o.rootCert != "" || o.rootKey != ""):
		return usageError(cmd, "--root-out is for the key of a root that is made here, in a file: --root-cert and --root-key do not go with it")
	case o.rootCert == "" && o.rootKey != "" && !pki.IsKMS(o.rootKey):
		return usageError(cmd, "--root-key is a file and --root-cert is missing: name the root's certificate, or a KMS URI at which its key is made")
	}
	for _, uri := range []string{o.config.CA.Key, o.rootKey} {
		if uri != "" && (uri == o.config.CA.Key || pki.IsKMS(uri)) {
			if err := pki.CheckKMS(uri); err != nil {
				return err
			}
		}
	}
	if o.config.CA.Key != "" && o.config.CA.Key == o.rootKey {
		return usageError(cmd, "root and intermediate need a key each: name two objects")
	}
	if err := o.absolute(); err != nil {
		return err
	}
	if o.config.CA.KeyPINFile != "" {
		if o.pin, err = readSecretFile(o.config.CA.KeyPINFile); err != nil {
			return hinted(fmt.Errorf("--pin-file: %w", err), "it holds the PIN and is closed to others")
		}
		o.pin = trimLine(o.pin)
	}
	if o.rootPassphraseFile != "" {
		if o.rootPassphrase, err = readSecretFile(o.rootPassphraseFile); err != nil {
			return fmt.Errorf("--root-passphrase-file: %w", err)
		}
		o.rootPassphrase = trimLine(o.rootPassphrase)
	}
	if o.rootCert == "" {
		return nil
	}
	return o.readRoot()
}

// absolute makes the path of the PIN file one that the configuration can hold.
func (o *initOptions) absolute() error {
	path := &o.config.CA.KeyPINFile
	if *path == "" || filepath.IsAbs(*path) || len(*path) > len(credentialPrefix) && (*path)[:len(credentialPrefix)] == credentialPrefix {
		return nil
	}
	abs, err := filepath.Abs(*path)
	if err != nil {
		return fmt.Errorf("--pin-file: %w", err)
	}
	*path = abs
	return nil
}

func (o *initOptions) readRoot() (err error) {
	if o.rootKey != "" {
		o.root, err = pki.OpenRoot(o.rootCert, o.rootKey, o.rootPassphrase, o.pin)
		if errors.Is(err, pki.ErrPassphrase) {
			return &failure{err: err, hint: "--root-passphrase-file names the file with the passphrase of the root's key"}
		}
		return err
	}
	b, err := os.ReadFile(o.rootCert)
	if err != nil {
		return fmt.Errorf("--root-cert: %w", err)
	}
	certs, err := pki.ParseCertificates(b)
	if err != nil {
		return fmt.Errorf("--root-cert %s: %w", o.rootCert, err)
	}
	if len(certs) != 1 {
		return hinted(fmt.Errorf("--root-cert %s holds %d certificates", o.rootCert, len(certs)), "it must hold the one root that is to sign the intermediate")
	}
	if _, err := pki.NewTrust(certs, nil); err != nil {
		return fmt.Errorf("--root-cert %s: %w", o.rootCert, err)
	}
	o.root = &pki.RootSigner{Certificate: certs[0]}
	return nil
}

// placeRoot copies the root to where it is to be, which may be another file system, and overwrites nothing.
func (o *initOptions) placeRoot(made string) error {
	if err := os.MkdirAll(o.rootOut, 0o700); err != nil {
		return fmt.Errorf("--root-out: %w", err)
	}
	for _, f := range []struct {
		name string
		mode os.FileMode
	}{{"root_ca.key", 0o600}, {"root_ca.crt", 0o644}} {
		b, err := os.ReadFile(filepath.Join(made, f.name))
		if err != nil {
			return fmt.Errorf("--root-out: %w", err)
		}
		if err := writeNewFile(filepath.Join(o.rootOut, f.name), b, f.mode); err != nil {
			if f.name == "root_ca.crt" {
				os.Remove(filepath.Join(o.rootOut, "root_ca.key"))
			}
			return fmt.Errorf("--root-out: %w", err)
		}
	}
	return nil
}

// removeRoot takes back what placeRoot has written, when nothing came of init.
func (o *initOptions) removeRoot() {
	os.Remove(filepath.Join(o.rootOut, "root_ca.key"))
	os.Remove(filepath.Join(o.rootOut, "root_ca.crt"))
}

// rootAdvice says what is to be done about the root's key.
func (o *initOptions) rootAdvice() string {
	passphrase := "its passphrase is that of keys/ca-passphrase: keep a copy of that with it."
	if len(o.rootPassphrase) > 0 {
		passphrase = "its passphrase is the one that you gave."
	}
	switch {
	case o.rootOut != "":
		return filepath.Join(o.rootOut, "root_ca.key") + " is needed only to rotate the CA; " + passphrase
	case o.rootCert != "" || o.rootKey != "":
		return "The root's key is needed only to rotate the CA."
	}
	return filepath.Join(o.dir, "ca/root_ca.key") + " is needed only to rotate the CA: move it to a safe place; " + passphrase
}
