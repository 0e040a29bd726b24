package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// newFile is a file that was made for what comes into it later, so that a place which cannot be written is found before an act that
// cannot be undone. It is write or discard that ends it.
type newFile struct {
	f    *os.File
	path string
	mode fs.FileMode
}

// reserveFile makes a file that must not exist yet.
func reserveFile(path string, mode fs.FileMode) (*newFile, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		if errors.Is(err, os.ErrExist) {
			return nil, hinted(fmt.Errorf("writing %s: it exists and is not overwritten", path), "choose another name, or move it away")
		}
		return nil, fmt.Errorf("writing: %w", err)
	}
	return &newFile{f, path, mode}, nil
}

// write puts data into the file, on disk when it returns. What could not be written whole is removed.
func (n *newFile) write(data []byte) error {
	_, err := n.f.Write(data)
	if err == nil {
		err = n.f.Chmod(n.mode) // whatever the umask
	}
	if err == nil {
		err = n.f.Sync()
	}
	if closeErr := n.f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		os.Remove(n.path)
		return fmt.Errorf("writing %s: %w", n.path, err)
	}
	return nil
}

// discard removes the file.
func (n *newFile) discard() {
	n.f.Close()
	os.Remove(n.path)
}

// writeNewFile writes a file that must not exist yet, on disk when it returns. What could not be written
// whole is removed.
func writeNewFile(path string, data []byte, mode fs.FileMode) error {
	n, err := reserveFile(path, mode)
	if err != nil {
		return err
	}
	return n.write(data)
}

// replaceFile writes a file whole or not at all, over an old one if there is one; it is on disk when replaceFile returns.
func replaceFile(path string, data []byte, mode fs.FileMode) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(data)
	if err == nil {
		err = tmp.Chmod(mode)
	}
	if err == nil {
		err = tmp.Sync()
	}
	if closeErr := tmp.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}
