package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// secretFile is a file that holds a secret, by the key of the configuration that names it.
type secretFile struct{ key, path string }

// secretFiles lists the files that hold the keys: without them the database and the CA are worthless.
func (c *Config) secretFiles() []secretFile {
	return []secretFile{
		{"key_file", c.KeyFile},
		{"ca.passphrase_file", c.CA.PassphraseFile},
		{"ca.key_pin_file", c.CA.KeyPINFile},
	}
}

// checkKeyFiles looks at the files that hold secrets: they must be there, not be empty, and be closed to
// everybody but their owner and, for reading, their group.
func checkKeyFiles(cfg *Config) error {
	for _, f := range cfg.secretFiles() {
		if f.path == "" { // validate has required what is required
			continue
		}
		if _, err := readSecretFile(f.path); err != nil {
			return hinted(fmt.Errorf("%s: %w", f.key, err), "%s", unreadable(err, "tenantgate init DIR makes it"))
		}
	}
	return nil
}

// readSecretFile reads a file that holds one secret. Others must have no access to it, or whoever may log in
// to the machine would hold the keys of every tenant. The group may read: secrets are mounted so in containers.
//
// credential:NAME is a credential of the systemd unit (LoadCredential=NAME:..., LoadCredentialEncrypted=NAME:...), which systemd keeps closed to others.
func readSecretFile(path string) ([]byte, error) {
	if name, ok := strings.CutPrefix(path, credentialPrefix); ok {
		var err error
		if path, err = credentialFile(name); err != nil {
			return nil, err
		}
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading secret: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("reading secret %s: %w", path, err)
	}
	if info.Mode().IsRegular() && info.Mode().Perm()&0o027 != 0 {
		return nil, hinted(fmt.Errorf("reading secret %s: its mode %04o opens it to others", path, info.Mode().Perm()), "chmod 600 %s", path)
	}
	b, err := readAtMost(f, 1<<20)
	if err != nil {
		return nil, fmt.Errorf("reading secret %s: %w", path, err)
	}
	if len(bytes.TrimSpace(b)) == 0 {
		return nil, fmt.Errorf("reading secret %s: the file is empty", path)
	}
	return b, nil
}

// credentialPrefix begins the name of a credential that systemd hands to the unit, in the place of a file (systemd.exec(5)).
const credentialPrefix = "credential:"

// credentialFile is where systemd has put a credential.
func credentialFile(name string) (string, error) {
	if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00") {
		return "", hinted(fmt.Errorf("reading credential %q: not the name of one", name), "it is the NAME of LoadCredential=NAME:FILE in the unit")
	}
	dir := os.Getenv("CREDENTIALS_DIRECTORY")
	if dir == "" {
		return "", hinted(fmt.Errorf("reading credential %q: systemd has handed none to this process", name),
			"add LoadCredential=%s:FILE or LoadCredentialEncrypted=%[1]s:FILE to the unit; outside of it, name a file", name)
	}
	return filepath.Join(dir, name), nil
}

// readOptionalSecret reads a secret that need not be there: an empty path, or no file.
func readOptionalSecret(path string) ([]byte, error) {
	if path == "" {
		return nil, nil
	}
	b, err := readSecretFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	return b, err
}

// caSecrets are what opens the CA's keys.
type caSecrets struct {
	passphrase []byte
	next       []byte // while the passphrase is being changed: the new one
	pin        []byte
}

// nextPassphraseFile is where the new passphrase is while it is being changed, "" when the file is not this server's to change.
func (c *CAConfig) nextPassphraseFile() string {
	if c.PassphraseFile == "" || strings.HasPrefix(c.PassphraseFile, credentialPrefix) {
		return ""
	}
	return c.PassphraseFile + ".new"
}

func readCASecrets(c *CAConfig) (s caSecrets, err error) {
	for _, one := range []struct {
		path     string
		optional bool
		to       *[]byte
	}{
		{c.PassphraseFile, c.PassphraseFile == "", &s.passphrase}, {c.nextPassphraseFile(), true, &s.next}, {c.KeyPINFile, c.KeyPINFile == "", &s.pin},
	} {
		read := readSecretFile
		if one.optional {
			read = readOptionalSecret
		}
		b, err := read(one.path)
		if err != nil {
			return caSecrets{}, err
		}
		*one.to = trimLine(b)
	}
	return s, nil
}
