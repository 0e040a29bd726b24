package servercert

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/tenantgate/tenantgate/pki"
)

// FilePair names the files of one certificate and its key: either Certificate and Key (PEM), or PKCS12 and PasswordFile.
type FilePair struct {
	// Certificate holds the certificate and its chain, Key the private key; "" is the file of the certificate, which then holds both.
	Certificate, Key string
	// PKCS12 holds certificate, chain and key (RFC 7292).
	PKCS12 string
	// PasswordFile holds the password of PKCS12, or of an encrypted Key; "" where Key is not encrypted.
	PasswordFile string
}

// name is how the pair is called.
func (p *FilePair) name() string {
	if p.PKCS12 != "" {
		return p.PKCS12
	}
	return p.Certificate
}

func (p *FilePair) keyFile() string {
	switch {
	case p.PKCS12 != "":
		return p.PKCS12
	case p.Key != "":
		return p.Key
	}
	return p.Certificate
}

// maxFile bounds each file, in bytes.
const maxFile = 1 << 20

// content is what the files of a pair hold at one time.
type content struct {
	certificate, key, password []byte
	sum                        [sha256.Size]byte
}

// read reads the files twice, because they may be exchanged meanwhile, one after the other (or all at once, by a symbolic link): what is not the same
// both times is not believed.
func (p *FilePair) read() (*content, error) {
	first, err := p.readOnce()
	if err != nil {
		return nil, err
	}
	again, err := p.readOnce()
	if err != nil {
		return nil, err
	}
	if first.sum != again.sum {
		return nil, errors.New("the files are being written")
	}
	return first, nil
}

func (p *FilePair) readOnce() (*content, error) {
	var c content
	var err error
	if c.key, err = readFile(p.keyFile(), true); err != nil {
		return nil, err
	}
	c.certificate = c.key
	if p.PKCS12 == "" && p.Key != "" {
		if c.certificate, err = readFile(p.Certificate, false); err != nil {
			return nil, err
		}
	}
	if p.PasswordFile != "" {
		if c.password, err = readFile(p.PasswordFile, true); err != nil {
			return nil, err
		}
	}
	h := sha256.New()
	for _, b := range [][]byte{c.certificate, c.key, c.password} {
		sum := sha256.Sum256(b)
		h.Write(sum[:])
	}
	h.Sum(c.sum[:0])
	return &c, nil
}

// readFile reads a regular file. A secret one must be closed to others; its group may read, because that is how secrets are mounted in containers.
func readFile(path string, secret bool) ([]byte, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%s is missing", path)
	case err != nil:
		return nil, fmt.Errorf("looking for %s: %w", path, err)
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is no regular file", path)
	case secret && info.Mode().Perm()&0o027 != 0:
		return nil, fmt.Errorf("%s holds a secret, and its mode %04o opens it to others (chmod 600; of a Kubernetes secret defaultMode: 0440)",
			path, info.Mode().Perm())
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", path, err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading %s: %w", path, err)
	case len(b) > maxFile:
		return nil, fmt.Errorf("%s is larger than 1 MiB", path)
	case len(bytes.TrimSpace(b)) == 0:
		return nil, fmt.Errorf("%s is empty", path)
	}
	return b, nil
}

// parse makes of the content what can be served, apart from the time of the certificate: see timely. An error never repeats what was read.
func (p *FilePair) parse(c *content, j *judgement) (*tls.Certificate, []string, error) {
	var certs []*x509.Certificate
	var made tls.Certificate
	password := strings.TrimRight(string(c.password), "\r\n")
	if p.PKCS12 != "" {
		contents, err := pki.DecodePKCS12(c.key, password)
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", p.PKCS12, err)
		}
		certs, made.PrivateKey = append(contents.Chain, contents.Roots...), contents.Key
	} else {
		var err error
		if made.PrivateKey, err = pki.OpenPrivateKey(c.key, password); err != nil {
			return nil, nil, fmt.Errorf("%s: %w", p.keyFile(), err)
		}
		if certs, err = pki.ParseCertificates(withoutKeys(c.certificate)); err != nil {
			return nil, nil, fmt.Errorf("%s: %w", p.Certificate, err)
		}
	}
	signer, ok := made.PrivateKey.(crypto.Signer)
	if !ok {
		return nil, nil, fmt.Errorf("%s: the private key cannot sign", p.keyFile())
	}
	chain, warnings, err := j.judge(certs, signer.Public())
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", p.name(), err)
	}
	made.Leaf = chain[0]
	for _, cert := range chain {
		made.Certificate = append(made.Certificate, cert.Raw)
	}
	return &made, warnings, nil
}

// withoutKeys is a PEM file without the private keys in it. What is not whole stays, and is found by whoever parses it.
func withoutKeys(b []byte) []byte {
	if !bytes.Contains(b, []byte("PRIVATE KEY-----")) && !bytes.Contains(b, []byte("PARAMETERS-----")) {
		return b
	}
	var kept bytes.Buffer
	for {
		block, rest := pem.Decode(b)
		if block == nil {
			kept.Write(b)
			return kept.Bytes()
		}
		if whole := b[:len(b)-len(rest)]; bytes.Count(whole, []byte("-----BEGIN ")) > 1 {
			kept.Write(whole) // it holds a block that is damaged
		} else if !strings.HasSuffix(block.Type, "PRIVATE KEY") && !strings.HasSuffix(block.Type, "PARAMETERS") {
			kept.Write(whole)
		}
		b = rest
	}
}
