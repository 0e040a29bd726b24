package main

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/proxy/enrolment"
)

// renewFiles are the files of a certificate that is renewed. What is new is written whole beside the old (.new), and then takes its name: first the
// key, then the certificate. Between the two steps, which follow each other at once, key and certificate do not fit; a run that was killed there is
// finished by the next one. There is no such moment when both are in one file, or when the key stays.
type renewFiles struct {
	callerFiles
	foreignCA bool // the roots are in a file that is not ours to write: it may hold others, too
}

// resolved follows symbolic links, so that the files are replaced and not the links.
func (f *renewFiles) resolved() error {
	for _, path := range []*string{&f.cert, &f.key} {
		real, err := filepath.EvalSymlinks(*path)
		if err != nil {
			return fmt.Errorf("reading the certificate and its key: %w", err)
		}
		*path = real
	}
	return nil
}

// oneFile says that key and certificate are in the same file.
func (f *renewFiles) oneFile() bool { return f.key == f.cert }

func (f *renewFiles) newKey() string  { return f.key + ".new" }
func (f *renewFiles) newCert() string { return f.cert + ".new" }

// reload is there while a renewed certificate has not been made known by --exec.
func (f *renewFiles) reload() string { return f.cert + ".reload" }

// load finishes what an earlier run had begun to put in place, and reads key and certificate.
func (f *renewFiles) load() (pair tls.Certificate, key crypto.Signer, err error) {
	pair, key, err = f.read(f.cert, f.key)
	if err == nil || f.oneFile() {
		return pair, key, err
	}
	// The key was put in place and the certificate was not.
	if _, _, newErr := f.read(f.newCert(), f.key); newErr == nil {
		if err := os.Rename(f.newCert(), f.cert); err != nil {
			return pair, nil, fmt.Errorf("finishing an earlier renewal: %w", err)
		}
		return f.read(f.cert, f.key)
	}
	return pair, nil, err
}

func (f *renewFiles) read(cert, key string) (tls.Certificate, crypto.Signer, error) {
	chain, err := os.ReadFile(cert)
	if err != nil {
		return tls.Certificate{}, nil, fmt.Errorf("reading the certificate: %w", err)
	}
	private, err := os.ReadFile(key)
	if err != nil {
		return tls.Certificate{}, nil, fmt.Errorf("reading the key: %w", err)
	}
	pair, err := tls.X509KeyPair(chain, private)
	if err != nil {
		return tls.Certificate{}, nil, hinted(fmt.Errorf("reading %s and %s: %w", cert, key, err), "--cert and --key must belong together")
	}
	signer, err := pki.ParsePrivateKey(private)
	if err != nil {
		return tls.Certificate{}, nil, fmt.Errorf("reading %s: %w", key, err)
	}
	return pair, signer, nil
}

// next is the key of the new certificate: the old one when it is kept, the one that an earlier run has made and got no answer for, or a new one.
// It is on disk before anybody is asked to certify it.
func (f *renewFiles) next(old crypto.Signer, keep bool, keyType string) (crypto.Signer, error) {
	if keep {
		return old, nil
	}
	if key, err := readSigner(f.newKey()); err == nil && pki.KeyType(key.Public()) == keyType {
		return key, nil
	}
	key, err := pki.GenerateKey(keyType)
	if err != nil {
		return nil, err
	}
	b, err := pki.EncodePrivateKey(key)
	if err != nil {
		return nil, err
	}
	return key, f.write(f.newKey(), b, f.key)
}

// forget lets go of a new key for which there will be no certificate.
func (f *renewFiles) forget() { os.Remove(f.newKey()) }

// put has the new certificate and its key take the place of the old ones.
func (f *renewFiles) put(got *received, key crypto.Signer, keep bool) error {
	chain := []byte(got.Chain)
	if f.oneFile() {
		b, err := pki.EncodePrivateKey(key)
		if err != nil {
			return err
		}
		if err := f.replace(f.cert, append(b, chain...), f.cert); err != nil {
			return err
		}
		f.forget()
		return f.putTrust(got)
	}
	if err := f.write(f.newCert(), chain, f.cert); err != nil {
		return err
	}
	if !keep {
		if err := os.Rename(f.newKey(), f.key); err != nil {
			return fmt.Errorf("replacing the key: %w", err)
		}
	}
	if err := os.Rename(f.newCert(), f.cert); err != nil {
		return fmt.Errorf("replacing the certificate: %w; run it again to finish this", err)
	}
	if err := syncDir(filepath.Dir(f.cert)); err != nil {
		return err
	}
	return f.putTrust(got)
}

// putTrust writes what verifies the enrolment listener and the proxy.
func (f *renewFiles) putTrust(got *received) error {
	if err := f.putRoots(got.roots); err != nil {
		return err
	}
	b := []byte(got.ProxyRoots)
	if got.ProxyTrust != enrolment.TrustProxyRoots {
		if _, err := os.Stat(f.proxyCA); err != nil || got.ProxyTrust == enrolment.TrustSystem {
			return nil
		}
		b = pki.EncodeCertificates(got.roots...) // the proxy's certificate is the CA's own again
	}
	if old, err := os.ReadFile(f.proxyCA); err == nil && string(old) == string(b) {
		return nil
	}
	return f.replace(f.proxyCA, b, f.proxyCA)
}

// putRoots writes the CA's roots when they have changed: a new root comes with the first renewal after it was made.
func (f *renewFiles) putRoots(roots []*x509.Certificate) error {
	if f.foreignCA {
		return nil
	}
	b := pki.EncodeCertificates(roots...)
	if old, err := os.ReadFile(f.ca); err == nil && string(old) == string(b) {
		return nil
	}
	return f.replace(f.ca, b, f.ca)
}

// replace writes a file whole and then gives it its name, with the mode and owner that another one has.
func (f *renewFiles) replace(path string, data []byte, like string) error {
	if err := f.write(path+".new", data, like); err != nil {
		return err
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("replacing %s: %w", path, err)
	}
	return nil
}

// write makes a file, in the place of one that a run which was killed has left half written, with the mode and owner that another one has. It is new
// in any case: the directory may belong to a user who would have root write through a link.
func (f *renewFiles) write(path string, data []byte, like string) error {
	mode := fs.FileMode(0o644)
	old, err := os.Stat(like)
	switch {
	case err == nil:
		mode = old.Mode().Perm()
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("writing %s: %w", path, err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	fresh, err := reserveFile(path, 0o600)
	if err != nil {
		return err
	}
	fresh.mode = mode
	if old != nil {
		if err := sameOwner(fresh.f, old); err != nil {
			fresh.discard()
			return hinted(fmt.Errorf("giving %s the owner of %s: %w", path, like, err), "run it as that user or as root")
		}
	}
	return fresh.write(data)
}
