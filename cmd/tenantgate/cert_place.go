package main

import (
	"bytes"
	"crypto"
	"fmt"
	"os"
	"path/filepath"

	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/proxy/admin"
)

// issueTargets lists the files that will be written: key, chain and root, or the one key store.
func issueTargets(name string, f *issueFlags) []string {
	if f.store() != "" {
		return []string{f.store()}
	}
	return []string{filepath.Join(f.out, name+".key"), filepath.Join(f.out, name+".pem"), filepath.Join(f.out, "ca.pem")}
}

// refuseFiles fails when a key or certificate would be overwritten. ca.pem may be there: it is compared later.
func refuseFiles(files []string) error {
	for _, file := range files {
		if _, err := os.Lstat(file); err == nil && filepath.Base(file) != "ca.pem" {
			return hinted(fmt.Errorf("%s exists and is not overwritten", file), "choose another name, or move it away; nothing was issued")
		}
	}
	return nil
}

// issuePlace is where an issued certificate goes: files that are there already, empty but for the key.
type issuePlace struct {
	dir    string   // made for it; "" when it was there
	key    string   // the key's file, already whole; "" for a key store
	chain  *newFile // or the key store
	caFile string
}

// prepare makes the files. The key goes into its own at once, because it is the one thing that cannot be had again.
func (f *issueFlags) prepare(files []string, key crypto.Signer) (*issuePlace, error) {
	place := &issuePlace{}
	if f.store() != "" {
		var err error
		place.chain, err = reserveFile(f.store(), 0o600)
		return place, err
	}
	made, err := makeDir(f.out)
	if err != nil {
		return nil, &failure{err: err, hint: "choose another --out; nothing was issued"}
	}
	if made {
		place.dir = f.out
	}
	place.caFile = files[2]
	pemKey, err := pki.EncodePrivateKey(key)
	if err == nil {
		err = writeNewFile(files[0], pemKey, 0o600)
	}
	if err != nil {
		place.undo()
		return nil, err
	}
	place.key = files[0]
	if place.chain, err = reserveFile(files[1], 0o644); err != nil {
		place.undo()
		return nil, err
	}
	return place, nil
}

// undo removes what prepare made.
func (p *issuePlace) undo() {
	if p.chain != nil {
		p.chain.discard()
	}
	if p.key != "" {
		os.Remove(p.key)
	}
	if p.dir != "" {
		os.Remove(p.dir) // works only while it is empty
	}
}

// write fills the files.
func (p *issuePlace) write(f *issueFlags, key crypto.Signer, issued *admin.IssuedCertificate, password string) error {
	chain, err := pki.ParseCertificates([]byte(issued.Chain))
	if err != nil {
		return fmt.Errorf("reading the server's answer: %w", err)
	}
	roots, err := pki.ParseCertificates([]byte(issued.Roots))
	if err != nil {
		return fmt.Errorf("reading the server's answer: %w", err)
	}
	if f.store() != "" {
		b, err := f.format().Encode(pki.Contents{Key: key, Chain: chain, Roots: roots, Alias: f.alias}, password)
		if err != nil {
			p.undo()
			return err
		}
		return p.chain.write(b)
	}
	if err := p.chain.write(pki.EncodeCertificates(chain...)); err != nil {
		return err
	}
	return writeSame(p.caFile, pki.EncodeCertificates(roots...))
}

// writeSame writes a file, or accepts one that holds the same already.
func writeSame(path string, data []byte) error {
	if old, err := os.ReadFile(path); err == nil {
		if bytes.Equal(old, data) {
			return nil
		}
		return hinted(fmt.Errorf("%s holds another CA and is not overwritten", path), "choose another --out")
	}
	return writeNewFile(path, data, 0o644)
}
