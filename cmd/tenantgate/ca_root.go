package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/tenantgate/tenantgate/pki"
)

// rootFlags say where a root and its key are, for the moment in which the root signs. The key is opened by the command, never by the server.
type rootFlags struct {
	cert, key, passphraseFile, pinFile string
}

func (f *rootFlags) add(cmd *cobra.Command, whose string) {
	flags := cmd.Flags()
	flags.StringVar(&f.key, "root-key", "", "`file` or KMS URI of "+whose+" root's key (default root_ca.key of ca.dir, if it is there)")
	flags.StringVar(&f.cert, "root-cert", "", "`file` with that root's certificate (default root_ca.crt of ca.dir)")
	flags.StringVar(&f.passphraseFile, "root-passphrase-file", "", "`file` with the passphrase of that key (default ca.passphrase_file)")
	flags.StringVar(&f.pinFile, "pin-file", "", "`file` with the PIN, if a key is in an HSM (default ca.key_pin_file)")
}

// open opens the root. It returns nil when none was named and the configuration, if there is one, has none either: then it is offline.
func (f *rootFlags) open(p *program) (*pki.RootSigner, error) {
	cfg, cfgErr := loadConfig(p.configPath())
	if f.key == "" {
		if f.cert != "" {
			return nil, &failure{err: errors.New("--root-cert is given without --root-key"), hint: "name the key, or leave both out and have the root sign outside: ca csr", usage: true}
		}
		if cfgErr != nil {
			return nil, nil
		}
		f.key = filepath.Join(cfg.CA.Dir, "root_ca.key")
		if _, err := os.Stat(f.key); errors.Is(err, os.ErrNotExist) {
			return nil, nil
		}
	}
	cert := f.cert
	if cert == "" {
		if cfgErr != nil {
			return nil, hinted(fmt.Errorf("finding the root's certificate: %w", cfgErr), "name it: --root-cert FILE")
		}
		cert = cfg.CA.rootFile()
	}
	passphrase, pin, err := f.secrets(cfg, cfgErr)
	if err != nil {
		return nil, err
	}
	root, err := pki.OpenRoot(cert, f.key, passphrase, pin)
	if errors.Is(err, pki.ErrPassphrase) {
		return nil, &failure{err: err, hint: "--root-passphrase-file names the file with the passphrase of the root's key"}
	}
	return root, err
}

// secrets reads what opens the root's key.
func (f *rootFlags) secrets(cfg *Config, cfgErr error) (passphrase, pin []byte, err error) {
	passphraseFile, pinFile := f.passphraseFile, f.pinFile
	if cfgErr == nil {
		if passphraseFile == "" {
			passphraseFile = cfg.CA.PassphraseFile
		}
		if pinFile == "" {
			pinFile = cfg.CA.KeyPINFile
		}
	}
	if pki.IsKMS(f.key) {
		b, err := readOptionalSecret(pinFile)
		return nil, trimLine(b), err
	}
	if passphraseFile == "" {
		return nil, nil, &failure{err: errors.New("the passphrase of the root's key is missing"), hint: "--root-passphrase-file FILE", usage: true}
	}
	b, err := readSecretFile(passphraseFile)
	return trimLine(b), nil, err
}
