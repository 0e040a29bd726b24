package pki_test

import (
	"crypto/x509"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/tenantgate/tenantgate/pki"
)

// Answers of openssl's responder, which puts the issuer's own certificate into them, and asks with our question.
func TestAnswersOfOpenSSLAreBelieved(t *testing.T) {
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("SKIPPED: openssl is not here")
	}
	dir := t.TempDir()
	run := func(script string) {
		t.Helper()
		c := exec.Command("sh", "-ec", script)
		c.Dir = dir
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	run(`ec='-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes'
openssl req -x509 $ec -keyout root.key -out root.pem -days 3 -subj '/O=Example/CN=Root'
openssl req $ec -keyout issuing.key -out issuing.csr -subj '/O=Example/CN=Issuing'
printf 'basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign,digitalSignature\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n' > ca.ext
openssl x509 -req -in issuing.csr -CA root.pem -CAkey root.key -CAcreateserial -out issuing.pem -days 3 -extfile ca.ext
printf 'extendedKeyUsage=OCSPSigning\nkeyUsage=digitalSignature\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n' > ocsp.ext
printf 'extendedKeyUsage=clientAuth\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n' > leaf.ext
for name in good revoked ocsp; do
  openssl req $ec -keyout $name.key -out $name.csr -subj "/O=Example/CN=$name"
  ext=leaf.ext; test $name = ocsp && ext=ocsp.ext
  openssl x509 -req -in $name.csr -CA issuing.pem -CAkey issuing.key -CAcreateserial -out $name.pem -days 2 -extfile $ext
done
printf '[ca]\ndefault_ca=x\n[x]\ndatabase=index.txt\ndefault_md=sha256\n' > ca.cnf
: > index.txt
openssl ca -config ca.cnf -valid good.pem -cert issuing.pem -keyfile issuing.key
openssl ca -config ca.cnf -revoke revoked.pem -cert issuing.pem -keyfile issuing.key`)
	read := func(name string) *x509.Certificate {
		t.Helper()
		b, err := os.ReadFile(filepath.Join(dir, name+".pem"))
		if err != nil {
			t.Fatal(err)
		}
		all, err := pki.ParseCertificates(b)
		if err != nil {
			t.Fatal(err)
		}
		return all[0]
	}
	issuer, root := read("issuing"), read("root")
	for _, status := range []string{"good", "revoked"} {
		for _, signer := range []string{"issuing", "ocsp"} {
			leaf := read(status)
			q, err := pki.OCSPRequest(leaf, issuer)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "q.der"), q, 0o600); err != nil {
				t.Fatal(err)
			}
			run("openssl ocsp -index index.txt -CA issuing.pem -rsigner " + signer + ".pem -rkey " + signer + ".key -reqin q.der -respout a.der -ndays 1")
			der, err := os.ReadFile(filepath.Join(dir, "a.der"))
			if err != nil {
				t.Fatal(err)
			}
			v, err := pki.VerifyOCSP(der, leaf, issuer, time.Now())
			if err != nil || v.Status != status || v.NextUpdate.Before(time.Now()) {
				t.Errorf("%s by %s: got %+v, %v", status, signer, v, err)
			}
			other := read(map[string]string{"good": "revoked", "revoked": "good"}[status])
			if v, err := pki.VerifyOCSP(der, other, issuer, time.Now()); err == nil {
				t.Errorf("believed about another certificate: %+v", v)
			}
			if v, err := pki.VerifyOCSP(der, leaf, root, time.Now()); err == nil {
				t.Errorf("believed of another issuer: %+v", v)
			}
			if v, err := pki.VerifyOCSP(der, leaf, issuer, time.Now().Add(48*time.Hour)); err == nil {
				t.Errorf("believed after its end: %+v", v)
			}
		}
	}
}
