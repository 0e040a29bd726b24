package main

import (
	"bytes"
	"fmt"
	"os"
)

// secretFile is a file that holds a secret, by the key of the configuration that names it.
type secretFile struct{ key, path string }

// secretFiles lists the files that hold the keys: without them the database and the CA are worthless.
func (c *Config) secretFiles() []secretFile {
	return []secretFile{
		{"key_file", c.KeyFile},
		{"ca.passphrase_file", c.CA.PassphraseFile},
	}
}

// checkKeyFiles looks at the files that hold secrets: they must be there, not be empty, and be closed to
// everybody but their owner and, for reading, their group.
func checkKeyFiles(cfg *Config) error {
	for _, f := range cfg.secretFiles() {
		if _, err := readSecretFile(f.path); err != nil {
			return hinted(fmt.Errorf("%s: %w", f.key, err), "%s", unreadable(err, "tenantgate init DIR makes it"))
		}
	}
	return nil
}

// readSecretFile reads a file that holds one secret. Others must have no access to it, or whoever may log in
// to the machine would hold the keys of every tenant. The group may read: secrets are mounted so in containers.
func readSecretFile(path string) ([]byte, error) {
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
