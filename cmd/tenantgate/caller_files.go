package main

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/proxy/enrolment"
)

// callerFiles are where a caller has its key, its certificate with the chain, the CA's roots, what verifies the proxy where its certificate is of another CA,
// and what renewal needs to know.
type callerFiles struct {
	key, cert, ca, proxyCA, settings string
}

// filesIn are the files of an identity in a directory, as `enroll` and `cert issue` name them.
func filesIn(dir, name string) callerFiles {
	return filesBeside(filepath.Join(dir, name+".pem"))
}

// filesBeside are the files that belong to a certificate's.
func filesBeside(cert string) callerFiles {
	stem := strings.TrimSuffix(cert, filepath.Ext(cert))
	return callerFiles{key: stem + ".key", cert: cert, ca: filepath.Join(filepath.Dir(cert), "ca.pem"),
		proxyCA: filepath.Join(filepath.Dir(cert), "proxy-ca.pem"), settings: stem + ".json"}
}

// callerSettings is what `renew` has to know beside the certificate; it is no secret.
type callerSettings struct {
	EnrolmentURL string `json:"enrolment_url"`
	ProxyURL     string `json:"proxy_url,omitempty"`
}

func (s *callerSettings) encode() ([]byte, error) {
	b, err := json.MarshalIndent(s, "", "  ")
	return append(b, '\n'), err
}

func readSettings(path string) (*callerSettings, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the enrolment address: %w", err)
	}
	var s callerSettings
	if err := json.Unmarshal(b, &s); err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	return &s, nil
}

// received is an answer of the enrolment listener that was looked at.
type received struct {
	*enrolment.Answer
	pair  tls.Certificate
	roots []*x509.Certificate
}

// receive checks that the answer is a certificate for the key, of the identity, and that its roots hold one that was known before.
func receive(a *enrolment.Answer, key crypto.Signer, identity string, known []*x509.Certificate) (*received, error) {
	pem, err := pki.EncodePrivateKey(key)
	if err != nil {
		return nil, err
	}
	r := &received{Answer: a}
	if r.pair, err = tls.X509KeyPair([]byte(a.Chain), pem); err != nil {
		return nil, fmt.Errorf("reading the server's answer: %w", err)
	}
	if r.roots, err = pki.ParseCertificates([]byte(a.Roots)); err != nil {
		return nil, fmt.Errorf("reading the server's answer: %w", err)
	}
	if a.ProxyTrust == enrolment.TrustProxyRoots {
		if _, err = pki.ParseCertificates([]byte(a.ProxyRoots)); err != nil {
			return nil, fmt.Errorf("reading the server's answer: %w", err)
		}
	}
	if name := identityOf(r.pair.Leaf); name != identity {
		return nil, fmt.Errorf("reading the server's answer: the certificate is for %q, not for %q", name, identity)
	}
	for _, root := range r.roots {
		for _, k := range known {
			if root.Equal(k) {
				return r, nil
			}
		}
	}
	return nil, errors.New("reading the server's answer: its roots hold none that was known before")
}

// verifies is the file that verifies the proxy, "" where the caller's system does.
func (f *callerFiles) verifies(trust string) string {
	switch trust {
	case enrolment.TrustSystem:
		return ""
	case enrolment.TrustProxyRoots:
		return f.proxyCA
	}
	return f.ca
}

// identityOf is whom a certificate of a caller is for. One that was got by ACME says so in its SPIFFE ID alone.
func identityOf(leaf *x509.Certificate) string {
	if len(leaf.URIs) == 1 {
		if name, ok := strings.CutPrefix(leaf.URIs[0].Path, "/identity/"); ok {
			return name
		}
	}
	return leaf.Subject.CommonName
}

// curl is the command that calls the proxy with the files.
func (f *callerFiles) curl(a *enrolment.Answer) string {
	proxy := a.Proxy
	if proxy == "" {
		proxy = "https://PROXY:8443"
	}
	verify := ""
	if file := f.verifies(a.ProxyTrust); file != "" {
		verify = " --cacert " + file
	}
	return fmt.Sprintf("curl --cert %s --key %s%s %s/PATH", f.cert, f.key, verify, proxy)
}
