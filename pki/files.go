package pki

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// The files of a CA, in its directory. The root's key is needed to make a new intermediate and for nothing else: it can
// be moved to a safe place, and [Open] never reads it.
const (
	rootCertFile         = "root_ca.crt"
	rootKeyFile          = "root_ca.key"
	intermediateCertFile = "intermediate_ca.crt"
	intermediateKeyFile  = "intermediate_ca.key"
	requestFile          = "intermediate_ca.csr" // while a root outside has not signed
)

// A file to be written by writeNew.
type newFile struct {
	name string
	mode fs.FileMode
	data []byte
}

// writeNew writes all files or none, and overwrites none: each is written whole under a temporary name and then linked
// to its own, which fails when that exists (rename would replace it).
func writeNew(dir string, files []newFile) (err error) {
	for _, f := range files {
		path := filepath.Join(dir, f.name)
		if _, err := os.Lstat(path); err == nil {
			return &FileError{Path: path, Problem: "the file is there already and is not overwritten", Err: ErrExists, Hint: "choose an empty directory, or move the old CA away"}
		} else if !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("looking for %s: %w", path, err)
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("making the CA directory: %w", err)
	}
	var made []string
	defer func() {
		if err != nil {
			for _, path := range made {
				os.Remove(path)
			}
		}
	}()
	for _, f := range files {
		path := filepath.Join(dir, f.name)
		if err := linkNew(dir, path, f); err != nil {
			if errors.Is(err, fs.ErrExist) {
				return &FileError{Path: path, Problem: "another process wrote the file meanwhile", Err: ErrExists}
			}
			return fmt.Errorf("writing %s: %w", path, err)
		}
		made = append(made, path)
	}
	return syncDir(dir)
}

func linkNew(dir, path string, f newFile) error {
	tmp, err := os.CreateTemp(dir, ".new-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(f.data)
	if err == nil {
		err = tmp.Chmod(f.mode)
	}
	if err == nil {
		err = tmp.Sync()
	}
	if cerr := tmp.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	return os.Link(tmp.Name(), path)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("syncing the CA directory: %w", err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("syncing the CA directory: %w", err)
	}
	return nil
}

func fileThere(dir, name string) bool {
	_, err := os.Stat(filepath.Join(dir, name))
	return err == nil
}
