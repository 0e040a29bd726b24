package main

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/proxy/enrolment"
)

// enrollPlace is where `enroll` puts its files. All of them are made in a hidden directory, whose name tells the token; it becomes the directory
// that was asked for, in one step, or, if that is there already, the files are moved into it, the certificate last. Until the end the key is in the
// hidden directory, so that the same command, run again, goes on where it was broken off.
type enrollPlace struct {
	out     string      // the directory asked for
	stage   string      // the hidden one
	whole   bool        // stage becomes out
	name    string      // the identity
	files   callerFiles // in out
	ownsKey bool        // the key is one of the files
	release func()      // lets others into stage
	parent  string      // the directory above, when it was made for this; "" when it was there
}

// findPlace says where the files will be, and refuses a place where files of these names are already. It makes nothing.
func findPlace(out string, token *enrolment.Token, keyFile string) (*enrollPlace, error) {
	if out == "" {
		out = token.Identity
	}
	out = filepath.Clean(out)
	hash := token.Hash()
	hidden := ".enrolling-" + hex.EncodeToString(hash[:6])
	p := &enrollPlace{out: out, name: token.Identity, files: filesIn(out, token.Identity), ownsKey: keyFile == ""}
	if !p.ownsKey {
		p.files.key = keyFile
	}
	switch info, err := os.Stat(out); {
	case errors.Is(err, os.ErrNotExist):
		p.whole, p.stage = true, filepath.Join(filepath.Dir(out), hidden)
	case err != nil:
		return nil, fmt.Errorf("looking for %s: %w", out, err)
	case !info.IsDir():
		return nil, hinted(fmt.Errorf("%s is no directory", out), "choose another --out; nothing was issued")
	default:
		p.stage = filepath.Join(out, hidden)
	}
	if _, err := os.Lstat(p.stage); err == nil {
		return p, nil // it goes on; what is in the way by then is compared
	}
	there := []string{p.files.cert, p.files.settings}
	if p.ownsKey {
		there = append(there, p.files.key)
	}
	return p, refuseFiles(there)
}

// knowsRoot accepts a file of roots that is there already, if the CA's is among them: another identity's files are in the same directory.
func knowsRoot(path string, root *x509.Certificate) error {
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading roots: %w", err)
	}
	roots, err := pki.ParseCertificates(b)
	if err != nil || !slices.ContainsFunc(roots, root.Equal) {
		return hinted(fmt.Errorf("%s holds another CA and is not overwritten", path), "choose another --out; nothing was issued")
	}
	return nil
}

// prepare makes the hidden directory and the key in it, or finds the key that an earlier run has left there.
func (p *enrollPlace) prepare(f *enrollFlags) (crypto.Signer, error) {
	parent := filepath.Dir(p.stage)
	made, err := makeDir(parent)
	if err != nil {
		return nil, &failure{err: err, hint: "choose another --out; nothing was issued"}
	}
	if made {
		p.parent = parent
	}
	if err := os.Mkdir(p.stage, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, hinted(fmt.Errorf("making %s: %w", p.stage, err), "choose another --out; nothing was issued")
	}
	if p.release, err = exclusive(p.stage); err != nil {
		return nil, err
	}
	if !p.ownsKey {
		return readSigner(f.keyFile)
	}
	path := filesIn(p.stage, p.name).key
	key, err := readSigner(path)
	if !errors.Is(err, os.ErrNotExist) {
		return key, err
	}
	if key, err = pki.GenerateKey(f.keyType); err != nil {
		p.giveUp()
		return nil, &failure{err: fmt.Errorf("--key-type: %w", err), hint: "tenantgate enroll --help", usage: true}
	}
	b, err := pki.EncodePrivateKey(key)
	if err == nil {
		err = replaceFile(path, b, 0o600) // whole or not at all
	}
	if err != nil {
		p.giveUp()
		return nil, err
	}
	return key, nil
}

// again is the hint that says how to go on.
func (p *enrollPlace) again() string {
	return "run the same command again while the token is valid: it gets that certificate; the key is kept in " + p.stage
}

// giveUp removes the hidden directory: the token is good for nothing any more, and neither is the key.
func (p *enrollPlace) giveUp() {
	os.RemoveAll(p.stage)
	if p.parent != "" {
		os.Remove(p.parent) // works only while it is empty
	}
}

// finish writes what was received beside the key, and puts all in place.
func (p *enrollPlace) finish(got *received, base string) error {
	settings, err := (&callerSettings{EnrolmentURL: base, ProxyURL: got.Proxy}).encode()
	if err != nil {
		return err
	}
	staged := filesIn(p.stage, p.name)
	type file struct {
		path string
		data []byte
	}
	files := []file{{staged.ca, pki.EncodeCertificates(got.roots...)}, {staged.settings, settings}, {staged.cert, []byte(got.Chain)}}
	if got.ProxyTrust == enrolment.TrustProxyRoots {
		files = append([]file{{staged.proxyCA, []byte(got.ProxyRoots)}}, files...)
	}
	for _, f := range files {
		if err := replaceFile(f.path, f.data, 0o644); err != nil {
			return err
		}
	}
	if p.whole {
		if err := p.sweep(staged); err != nil {
			return err
		}
		if err := os.Rename(p.stage, p.out); err == nil {
			return syncDir(filepath.Dir(p.out))
		}
		// Somebody has made the directory meanwhile.
		if err := os.MkdirAll(p.out, 0o700); err != nil {
			return fmt.Errorf("making %s: %w", p.out, err)
		}
	}
	moves := [][2]string{{staged.settings, p.files.settings}, {staged.cert, p.files.cert}}
	if p.ownsKey {
		moves = append([][2]string{{staged.key, p.files.key}}, moves...)
	}
	if _, err := os.Lstat(p.files.ca); err != nil { // one that is there was looked at
		moves = append([][2]string{{staged.ca, p.files.ca}}, moves...)
	}
	if got.ProxyTrust == enrolment.TrustProxyRoots { // several identities of one server have the same
		if err := os.Rename(staged.proxyCA, p.files.proxyCA); err != nil {
			return fmt.Errorf("writing %s: %w", p.files.proxyCA, err)
		}
	}
	for _, m := range moves {
		if err := linkSame(m[0], m[1]); err != nil {
			return err
		}
	}
	if err := syncDir(p.out); err != nil {
		return err
	}
	return os.RemoveAll(p.stage)
}

// sweep removes from the hidden directory what a run that was killed has left half written.
func (p *enrollPlace) sweep(staged callerFiles) error {
	entries, err := os.ReadDir(p.stage)
	if err != nil {
		return fmt.Errorf("looking into %s: %w", p.stage, err)
	}
	for _, e := range entries {
		path := filepath.Join(p.stage, e.Name())
		if !slices.Contains([]string{staged.key, staged.cert, staged.ca, staged.proxyCA, staged.settings}, path) {
			if err := os.Remove(path); err != nil {
				return fmt.Errorf("clearing %s: %w", p.stage, err)
			}
		}
	}
	return nil
}

// linkSame gives a file a second name, or accepts a file of that name with the same content. It replaces nothing.
func linkSame(from, to string) error {
	err := os.Link(from, to)
	if err == nil {
		return nil
	}
	data, readErr := os.ReadFile(from)
	if readErr != nil {
		return fmt.Errorf("writing %s: %w", to, readErr)
	}
	if !errors.Is(err, os.ErrExist) { // a file system without links
		info, statErr := os.Stat(from)
		if statErr != nil {
			return fmt.Errorf("writing %s: %w", to, statErr)
		}
		return writeNewFile(to, data, info.Mode().Perm())
	}
	if old, err := os.ReadFile(to); err == nil && bytes.Equal(old, data) {
		return nil
	}
	return fmt.Errorf("writing %s: it exists with other content and is not overwritten: move it away", to)
}

// readSigner reads a private key in PEM: PKCS#8, or what openssl wrote before.
func readSigner(path string) (crypto.Signer, error) {
	b, err := readSecretFile(path)
	if err != nil {
		return nil, err
	}
	return pki.ParsePrivateKey(b)
}

// syncDir has what was named in a directory on disk when it returns.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("writing %s: %w", dir, err)
	}
	defer d.Close()
	_ = d.Sync() // not every system lets a directory be synced
	return nil
}
