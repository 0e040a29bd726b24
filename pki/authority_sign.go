package pki

import (
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// A RootSigner is a root with its key, where that is opened: on the machine of whoever rotates, for as long as it takes. The server never sees it.
type RootSigner struct {
	Certificate *x509.Certificate
	Key         crypto.Signer
}

// OpenRoot reads a root's certificate and its key: a file that the passphrase opens, or the URI of a KMS, which the PIN opens. With several certificates in the
// file, as in root_ca.crt after a rotation, it is the one that the key belongs to. Errors are *[FileError].
func OpenRoot(certFile, key string, passphrase, pin []byte) (*RootSigner, error) {
	certs, err := readCertificates(certFile)
	if err != nil {
		return nil, err
	}
	var signer crypto.Signer
	if IsKMS(key) {
		signer, err = OpenKMSKey(key, pin)
	} else {
		signer, err = readKey(key, passphrase)
	}
	if err != nil {
		return nil, err
	}
	for _, c := range certs {
		if publicKeyEqual(c.PublicKey, signer.Public()) {
			if err := checkCA(c); err != nil {
				return nil, &FileError{Path: certFile, Problem: subjectOf(c), Err: err}
			}
			return &RootSigner{c, signer}, nil
		}
	}
	return nil, &FileError{Path: key, Problem: "the key does not belong to a certificate in " + certFile, Hint: "name the root's own certificate and key"}
}

// SignIntermediate signs the request of an intermediate (PKCS#10 in DER or PEM), for five years or as long as the root lives.
func (r *RootSigner) SignIntermediate(request []byte, now time.Time) (*x509.Certificate, error) {
	csr, err := ParseAuthorityRequest(request)
	if err != nil {
		return nil, err
	}
	if r.Certificate.MaxPathLen == 0 && r.Certificate.MaxPathLenZero {
		return nil, errors.New("signing the intermediate: the root's path length is 0, it may sign none")
	}
	lifetime := min(intermediateLifetime, r.Certificate.NotAfter.Sub(now))
	if lifetime < 24*time.Hour {
		return nil, fmt.Errorf("signing the intermediate: the root ends on %s", r.Certificate.NotAfter.UTC().Format(time.RFC3339))
	}
	c, err := signAuthority(csr.Subject, csr.RawSubject, now, lifetime, 0, csr.PublicKey, r.Certificate, r.Key)
	if err != nil {
		return nil, fmt.Errorf("signing the intermediate: %w", err)
	}
	return c, nil
}

// NewRoot makes a root with a key that is there already, for ten years.
func NewRoot(name string, key crypto.Signer, now time.Time) (*RootSigner, error) {
	if err := checkKey(key.Public()); err != nil {
		return nil, fmt.Errorf("making a root: %w", err)
	}
	c, err := signAuthority(pkix.Name{CommonName: name}, nil, now, rootLifetime, rootPathLen, key.Public(), nil, key)
	if err != nil {
		return nil, fmt.Errorf("signing the root: %w", err)
	}
	return &RootSigner{c, key}, nil
}

// Cross signs, with the root before, what clients that have only that one need to believe a server below the new root: the new root itself, or, if r may not sign
// a root because of its path length, the new root's intermediate. It ends when r does.
func (r *RootSigner) Cross(root, inter *x509.Certificate, now time.Time) (*x509.Certificate, error) {
	c, pathLen := root, rootPathLen-1
	if r.Certificate.MaxPathLen >= 0 && (r.Certificate.MaxPathLen > 0 || r.Certificate.MaxPathLenZero) && r.Certificate.MaxPathLen < rootPathLen {
		c, pathLen = inter, 0
	}
	lifetime := min(c.NotAfter.Sub(now), r.Certificate.NotAfter.Sub(now))
	if lifetime < time.Hour {
		return nil, fmt.Errorf("signing the new root with the old one: the old one ends on %s", r.Certificate.NotAfter.UTC().Format(time.RFC3339))
	}
	crossed, err := signAuthority(c.Subject, c.RawSubject, now, lifetime, pathLen, c.PublicKey, r.Certificate, r.Key)
	if err != nil {
		return nil, fmt.Errorf("signing the new root with the old one: %w", err)
	}
	return crossed, nil
}

// ParseAuthorityRequest reads the request of an intermediate, PEM or DER, and checks that whoever made it has the key.
func ParseAuthorityRequest(b []byte) (*x509.CertificateRequest, error) {
	list, err := parseBundle(b, "certificate request", []string{"CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST"}, x509.ParseCertificateRequest)
	if err != nil {
		return nil, err
	}
	csr := list[0]
	switch err := csr.CheckSignature(); {
	case len(list) != 1:
		return nil, &FileError{Problem: fmt.Sprintf("%d certificate requests instead of one", len(list))}
	case err != nil:
		return nil, &FileError{Problem: "the request is not signed by its key", Err: err}
	case emptyName(csr.RawSubject):
		return nil, &FileError{Problem: "the request has no subject"}
	}
	return csr, checkKey(csr.PublicKey)
}

// WriteRoot writes a root's certificate and, unless its key is nil, the key, encrypted, into a directory as root_ca.crt and root_ca.key. It overwrites nothing.
func WriteRoot(dir string, root *x509.Certificate, key crypto.Signer, passphrase []byte) error {
	all := []newFile{}
	if key != nil {
		pem, err := encryptKey(key, passphrase)
		if err != nil {
			return err
		}
		all = append(all, newFile{rootKeyFile, 0o600, pem})
	}
	return writeNew(dir, append(all, newFile{rootCertFile, 0o644, EncodeCertificates(root)}))
}

// Rekey encrypts the private keys in the files of a directory of the CA under the passphrase to, each in one step, and returns the names of those that it has
// changed. Keys that it opens already stay as they are, so that it can be called again after it was broken off. One that neither opens is a *[FileError], and
// then nothing was changed; the root's may have a passphrase of its own.
func Rekey(dir string, from, to []byte) (changed []string, err error) {
	next := map[string][]byte{}
	for _, name := range []string{intermediateKeyFile, rootKeyFile} {
		path := filepath.Join(dir, name)
		if !fileThere(dir, name) {
			continue
		}
		if _, err := readKey(path, to); err == nil {
			continue
		}
		key, err := readKey(path, from)
		if errors.Is(err, ErrPassphrase) && name == rootKeyFile && fileThere(dir, intermediateKeyFile) {
			continue // the root's has a passphrase of its own
		}
		if err != nil {
			return nil, err
		}
		if next[name], err = encryptKey(key, to); err != nil {
			return nil, err
		}
	}
	for _, name := range []string{intermediateKeyFile, rootKeyFile} {
		if pem := next[name]; pem != nil {
			if err := replace(dir, newFile{name, 0o600, pem}); err != nil {
				return changed, fmt.Errorf("writing %s: %w", filepath.Join(dir, name), err)
			}
			changed = append(changed, name)
		}
	}
	return changed, nil
}

// replace writes a file whole or not at all, over the one that is there, with its owner's permissions.
func replace(dir string, f newFile) error {
	tmp, err := os.CreateTemp(dir, ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(f.data)
	err = errors.Join(err, tmp.Chmod(f.mode), tmp.Sync(), tmp.Close())
	if err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), filepath.Join(dir, f.name)); err != nil {
		return err
	}
	return syncDir(dir)
}
