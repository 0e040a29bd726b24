package pki

import (
	"cmp"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"time"

	"go.step.sm/crypto/pemutil"
)

// InitOptions says what CA to make.
type InitOptions struct {
	// Dir gets the four files; it is made (0700) if missing.
	Dir string
	// Passphrase encrypts both keys (PKCS#8, PBES2 with AES-256). Required.
	Passphrase []byte
	// TrustDomain is the authority part of the SPIFFE IDs this CA will issue, such as tenantgate.internal. Required.
	TrustDomain string
	// Name begins the subjects: "<Name> Root CA". Default: the trust domain.
	Name string
	// KeyType of root and intermediate: P-256 (default), RSA-2048, RSA-3072 or RSA-4096 for clients without ECDSA.
	KeyType string
	// KeyURI and RootKeyURI are where in a KMS the keys are made, instead of files; PIN opens it. See [OpenKMSKey].
	KeyURI, RootKeyURI string
	PIN                []byte
	// Root is a root that is there already; without its Key the intermediate waits for a certificate. Its key is written nowhere.
	Root *RootSigner
	// RootOut gets the root's key, and its certificate, instead of Dir; RootPassphrase encrypts it, "" is Passphrase.
	RootOut        string
	RootPassphrase []byte
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

const (
	rootLifetime         = 10 * 365 * 24 * time.Hour
	intermediateLifetime = 5 * 365 * 24 * time.Hour
	backdate             = time.Minute // for clocks that are behind
	rootPathLen          = 2           // an intermediate, and above that the root that follows this one
)

// An Authority is a root and an intermediate with their keys, not yet written anywhere.
type Authority struct {
	Root, Intermediate       *x509.Certificate
	RootKey, IntermediateKey crypto.Signer
}

// NewAuthority makes a root (10 years) and an intermediate (5 years, path length 0). It uses neither Dir nor Passphrase:
// for authorities whose keys are kept elsewhere, and for tests.
func NewAuthority(o InitOptions) (*Authority, error) {
	if err := checkTrustDomain(o.TrustDomain); err != nil {
		return nil, err
	}
	switch o.KeyType {
	case "", P256, P384, RSA2048, RSA3072, RSA4096:
	default:
		return nil, fmt.Errorf("making the CA: key type %q: use P-256, P-384, RSA-2048, RSA-3072 or RSA-4096", o.KeyType)
	}
	if o.Name == "" {
		o.Name = o.TrustDomain
	}
	now := time.Now()
	if o.Now != nil {
		now = o.Now()
	}
	var a Authority
	var err error
	if a.RootKey, err = GenerateKey(o.KeyType); err != nil {
		return nil, fmt.Errorf("making the root key: %w", err)
	}
	if a.IntermediateKey, err = GenerateKey(o.KeyType); err != nil {
		return nil, fmt.Errorf("making the intermediate key: %w", err)
	}
	if a.Root, err = signAuthority(pkix.Name{CommonName: o.Name + " Root CA"}, nil, now, rootLifetime, rootPathLen, a.RootKey.Public(), nil, a.RootKey); err != nil {
		return nil, fmt.Errorf("signing the root: %w", err)
	}
	if a.Intermediate, err = signAuthority(pkix.Name{CommonName: o.Name + " Intermediate CA"}, nil, now, intermediateLifetime, 0, a.IntermediateKey.Public(), a.Root, a.RootKey); err != nil {
		return nil, fmt.Errorf("signing the intermediate: %w", err)
	}
	return &a, nil
}

// Init makes an authority and writes it, keys encrypted, into files that only the owner reads (certificates 0644, keys
// 0600). It writes all files or none and never overwrites one ([ErrExists]).
//
// With a root that is there already it makes an intermediate alone: signed, when the root's key is given, or with a request in the place of its certificate, which
// [InstallFirst] completes.
func Init(o InitOptions) error {
	if len(o.Passphrase) == 0 {
		return &FileError{Path: o.Dir, Problem: "no passphrase given for the CA's keys", Hint: "an unencrypted CA key is not offered"}
	}
	if o.Root == nil && o.RootKeyURI == "" && o.KeyURI == "" && o.RootOut == "" {
		a, err := NewAuthority(o)
		if err != nil {
			return err
		}
		return writeAuthority(o, a)
	}
	a, request, err := o.assemble()
	if err != nil {
		return err
	}
	if request == nil {
		return writeAuthority(o, a)
	}
	all, err := o.keyFiles(a)
	if err != nil {
		return err
	}
	return writeNew(o.Dir, append(all,
		newFile{requestFile, 0o644, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: request})},
		newFile{rootCertFile, 0o644, EncodeCertificates(a.Root)}))
}

// assemble is NewAuthority with keys and a root as o says; request is what a root outside has to sign.
func (o *InitOptions) assemble() (a *Authority, request []byte, err error) {
	if err := checkTrustDomain(o.TrustDomain); err != nil {
		return nil, nil, err
	}
	name, now := cmp.Or(o.Name, o.TrustDomain), time.Now()
	if o.Now != nil {
		now = o.Now()
	}
	key := func(uri string) (crypto.Signer, error) {
		if uri == "" {
			return GenerateKey(o.KeyType)
		}
		return CreateKMSKey(uri, o.PIN, o.KeyType)
	}
	root := o.Root
	a = &Authority{}
	if root == nil {
		if a.RootKey, err = key(o.RootKeyURI); err != nil {
			return nil, nil, fmt.Errorf("making the root key: %w", err)
		}
		if root, err = NewRoot(name+" Root CA", a.RootKey, now); err != nil {
			return nil, nil, err
		}
	}
	a.Root = root.Certificate
	if a.IntermediateKey, err = key(o.KeyURI); err != nil {
		return nil, nil, fmt.Errorf("making the intermediate key: %w", err)
	}
	request, err = x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: name + " Intermediate CA"}}, a.IntermediateKey)
	if err != nil {
		return nil, nil, fmt.Errorf("signing the request of the intermediate: %w", err)
	}
	if root.Key == nil {
		return a, request, checkCA(a.Root)
	}
	a.Intermediate, err = root.SignIntermediate(request, now)
	return a, nil, err
}

func writeAuthority(o InitOptions, a *Authority) error {
	all, err := o.keyFiles(a)
	if err != nil {
		return err
	}
	return writeNew(o.Dir, append(all, newFile{intermediateCertFile, 0o644, EncodeCertificates(a.Intermediate)}, newFile{rootCertFile, 0o644, EncodeCertificates(a.Root)}))
}

// keyFiles are the files for the keys that are to be kept in files. A root's key for RootOut is written there at once.
func (o *InitOptions) keyFiles(a *Authority) (all []newFile, err error) {
	if a.RootKey != nil && o.RootKeyURI == "" {
		passphrase := o.RootPassphrase
		if len(passphrase) == 0 {
			passphrase = o.Passphrase
		}
		if o.RootOut != "" {
			err = WriteRoot(o.RootOut, a.Root, a.RootKey, passphrase)
		} else {
			var pem []byte
			pem, err = encryptKey(a.RootKey, passphrase)
			all = append(all, newFile{rootKeyFile, 0o600, pem})
		}
		if err != nil {
			return nil, err
		}
	}
	if o.KeyURI == "" {
		pem, err := encryptKey(a.IntermediateKey, o.Passphrase)
		if err != nil {
			return nil, err
		}
		all = append(all, newFile{intermediateKeyFile, 0o600, pem})
	}
	return all, nil
}

// FirstRequest returns the request that the root outside has to sign, as PEM, while a CA made by [Init] waits for that; fs.ErrNotExist when it does not.
func FirstRequest(dir string) ([]byte, error) {
	if fileThere(dir, intermediateCertFile) {
		return nil, fs.ErrNotExist
	}
	return os.ReadFile(filepath.Join(dir, requestFile))
}

// InstallFirst completes a CA for which [FirstRequest] has a request: certs are what came back, in any order. The root in the directory is the anchor; one among certs
// has to be the same.
func InstallFirst(dir string, certs []*x509.Certificate, now time.Time) error {
	request, err := FirstRequest(dir)
	if err != nil {
		return err
	}
	csr, err := ParseAuthorityRequest(request)
	if err != nil {
		return err
	}
	inter, err := certificateFor(csr.PublicKey, certs)
	if err != nil {
		return err
	}
	roots, err := readCertificates(filepath.Join(dir, rootCertFile))
	if err != nil {
		return err
	}
	root := signerOf(inter, roots)
	if root == nil {
		return notByOurRoot(inter, certs)
	}
	if err := checkIntermediate(inter, root, now); err != nil {
		return err
	}
	if err := writeNew(dir, []newFile{{intermediateCertFile, 0o644, EncodeCertificates(inter)}}); err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(dir, requestFile)); err != nil {
		return fmt.Errorf("removing the request: %w", err)
	}
	return nil
}

func checkTrustDomain(td string) error {
	if !trustDomainRE.MatchString(td) {
		return fmt.Errorf("trust domain %q: use a lower-case name such as tenantgate.internal (SPIFFE-ID section 2.1)", td)
	}
	return nil
}

// signAuthority signs a CA certificate; parent nil means itself. A raw subject is taken byte for byte in place of name.
func signAuthority(name pkix.Name, raw []byte, now time.Time, lifetime time.Duration, pathLen int, pub crypto.PublicKey, parent *x509.Certificate, signer crypto.Signer) (*x509.Certificate, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	t := &x509.Certificate{
		SerialNumber: serial, Subject: name, RawSubject: raw,
		NotBefore: now.Add(-backdate).UTC().Truncate(time.Second), NotAfter: now.Add(lifetime).UTC().Truncate(time.Second),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, BasicConstraintsValid: true, IsCA: true,
		MaxPathLen: pathLen, MaxPathLenZero: pathLen == 0,
	}
	if parent == nil {
		parent = t
	} else {
		t.KeyUsage |= x509.KeyUsageDigitalSignature // it signs OCSP answers, which are neither certificates nor lists (RFC 5280 section 4.2.1.3)
	}
	der, err := x509.CreateCertificate(rand.Reader, t, parent, pub, signer)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

func encryptKey(key crypto.Signer, passphrase []byte) ([]byte, error) {
	block, err := pemutil.Serialize(key, pemutil.WithPKCS8(true), pemutil.WithPassword(passphrase))
	if err != nil {
		return nil, fmt.Errorf("encrypting the CA key: %w", err)
	}
	return pem.EncodeToMemory(block), nil
}

// newSerial returns a positive serial number of 128 bits from the system's random source, of which 126 are random: the
// first octet is 0x40 to 0x7f, so that every serial number has 16 octets in DER and 32 digits in hex.
func newSerial() (*big.Int, error) {
	var b [16]byte
	if _, err := rand.Read(b[:]); err != nil {
		return nil, fmt.Errorf("making a serial number: %w", err)
	}
	b[0] = b[0]&0x3f | 0x40
	return new(big.Int).SetBytes(b[:]), nil
}

// FormatSerial returns a serial number as it is written everywhere in tenantgate: lower-case hex without colons.
func FormatSerial(serial *big.Int) string {
	if serial == nil {
		return ""
	}
	return serial.Text(16)
}
