package pki_test

import (
	"crypto"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tenantgate/tenantgate/internal/outside"
	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/pki/pkitest"
)

const password = "s3cret p4ss"

// contents are a key of that type and its certificate.
func contents(t testing.TB, env *pkitest.Env, keyType string) pki.Contents {
	t.Helper()
	key := env.Key(keyType)
	issued, err := issue(t, env, pki.IssueOptions{Profile: pki.ClientProfile(), Name: "orders", PublicKey: key.Public()})
	if err != nil {
		t.Fatal(err)
	}
	return pki.Contents{Key: key, Chain: issued.Chain, Roots: env.CA.Trust().Roots(), Alias: "Orders-1"}
}

// javaReader loads stores and signs with their keys, as the JVM's TLS does: file, type and password, three arguments a store.
const javaReader = `
import java.io.FileInputStream;
import java.security.*;
import java.util.Collections;

public class Reader {
  public static void main(String[] a) throws Exception {
    for (int i = 0; i < a.length; i += 3) {
      try (var in = new FileInputStream(a[i])) {
        KeyStore store = KeyStore.getInstance(a[i + 1]);
        store.load(in, a[i + 2].toCharArray());
        String alias = Collections.list(store.aliases()).get(0);
        if (store.isCertificateEntry(alias)) {
          System.out.println(a[i] + " " + a[i + 1] + ": trusts " + alias + ", " + store.size());
          continue;
        }
        var key = (PrivateKey) store.getKey(alias, a[i + 2].toCharArray());
        var chain = store.getCertificateChain(alias);
        String algorithm = key.getAlgorithm().equals("RSA") ? "SHA256withRSA" : key.getAlgorithm().equals("EC") ? "SHA256withECDSA" : "Ed25519";
        var signature = Signature.getInstance(algorithm);
        signature.initSign(key);
        signature.update(new byte[] {1});
        byte[] signed = signature.sign();
        signature.initVerify(chain[0].getPublicKey());
        signature.update(new byte[] {1});
        System.out.println(a[i] + " " + a[i + 1] + ": key " + alias + ", chain of " + chain.length + ", signs " + signature.verify(signed));
      } catch (Exception e) {
        System.out.println(a[i] + " " + a[i + 1] + ": " + e);
      }
    }
  }
}
`

// The files that callers get must open in the tools that callers have. Run with -v for the table.
func TestImportMatrix(t *testing.T) {
	tools := map[string]string{}
	for _, name := range []string{"openssl", "keytool", "java"} {
		tools[name] = outside.Program(t, name)
	}
	env := pkitest.New(t)
	dir := t.TempDir()
	var rows []string
	row := func(keyType string, f pki.Format, tool, result string) {
		rows = append(rows, fmt.Sprintf("%-9s %-18s %-28s %s", keyType, f, tool, result))
	}
	var java [][2]string // file and type
	of := map[string][2]string{}
	for _, keyType := range []string{pki.RSA2048, pki.RSA3072, pki.P256, pki.P384, pki.Ed25519} {
		c := contents(t, env, keyType)
		for _, f := range pki.Formats() {
			b, err := f.Encode(c, password)
			if err != nil {
				t.Fatalf("%s, %s: %v", keyType, f, err)
			}
			path := filepath.Join(dir, keyType+"."+string(f))
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
			of[path] = [2]string{keyType, string(f)}
			switch f {
			case pki.JKS, pki.TrustJKS:
				java = append(java, [2]string{path, "JKS"})
			case pki.PKCS12, pki.PKCS12Legacy, pki.TrustPKCS12:
				java = append(java, [2]string{path, "PKCS12"})
			}
			for _, check := range toolChecks(f, path) {
				if check.tool == "keytool" && keyType != pki.RSA2048 && (keyType != pki.P256 || !f.HoldsKey()) { // it is slow; Java below reads all
					continue
				}
				out, err := exec.CommandContext(t.Context(), tools[check.tool], check.args...).CombinedOutput()
				result := "ok"
				for text, n := range check.want {
					if got := strings.Count(string(out), text); got < n {
						result = fmt.Sprintf("%q stands there %d times, want %d", text, got, n)
					}
				}
				if err != nil {
					result = err.Error()
				}
				if result != "ok" {
					t.Errorf("%s, %s, %s: %s\n%s", keyType, f, check.name, result, out)
				}
				row(keyType, f, check.name, result)
			}
		}
	}
	for line := range strings.Lines(readByJava(t, tools["java"], dir, java)) {
		file, result, _ := strings.Cut(strings.TrimSpace(line), " ")
		kind := of[file]
		ok := strings.Contains(result, ": key orders-1, chain of 3, signs true") || strings.Contains(result, ": trusts orders-1-ca, 1")
		if !ok {
			t.Errorf("%s: %s", kind, result)
		}
		row(kind[0], pki.Format(kind[1]), "java KeyStore", result)
	}
	t.Logf("imports:\n%s", strings.Join(rows, "\n"))
}

func readByJava(t *testing.T, java, dir string, stores [][2]string) string {
	t.Helper()
	source := filepath.Join(dir, "Reader.java")
	if err := os.WriteFile(source, []byte(javaReader), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{source}
	for _, s := range stores {
		args = append(args, s[0], s[1], password)
	}
	out, err := exec.CommandContext(t.Context(), java, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("java: %v\n%s", err, out)
	}
	if n := strings.Count(string(out), "\n"); n != len(stores) {
		t.Errorf("java read %d stores of %d", n, len(stores))
	}
	return string(out)
}

// toolCheck is a call of a tool and how often texts stand in what it prints.
type toolCheck struct {
	name, tool string
	args       []string
	want       map[string]int
}

func toolChecks(f pki.Format, path string) []toolCheck {
	openssl12 := []string{"pkcs12", "-in", path, "-passin", "pass:" + password, "-nodes"}
	key := map[string]int{"BEGIN CERTIFICATE": 3, "PRIVATE KEY-----": 2, "friendlyName: Orders-1": 1}
	list := func(kind string, want map[string]int) toolCheck {
		return toolCheck{"keytool -list " + kind, "keytool", []string{"-list", "-v", "-storetype", kind, "-keystore", path, "-storepass", password}, want}
	}
	move := func(from, to string) toolCheck {
		args := []string{"-importkeystore", "-noprompt", "-srckeystore", path, "-srcstoretype", from, "-srcstorepass", password,
			"-destkeystore", path + "." + to, "-deststoretype", to, "-deststorepass", password}
		return toolCheck{"keytool -import into " + to, "keytool", args, map[string]int{"1 entries successfully imported": 1}}
	}
	entry := map[string]int{"PrivateKeyEntry": 1, "Certificate chain length: 3": 1, "Owner: CN=orders": 1, "Alias name: orders-1": 1}
	trusted := map[string]int{"trustedCertEntry": 1, "Alias name: orders-1-ca": 1}
	switch f {
	case pki.PEMChain:
		return []toolCheck{{"openssl x509", "openssl", []string{"x509", "-in", path, "-noout", "-subject"}, map[string]int{"CN = orders": 1}}}
	case pki.PKCS7:
		return []toolCheck{
			{"openssl pkcs7", "openssl", []string{"pkcs7", "-in", path, "-print_certs", "-noout"}, map[string]int{"subject=": 3, "CN = orders": 1}},
			{"keytool -printcert", "keytool", []string{"-printcert", "-file", path}, map[string]int{"Owner: CN=orders": 1, "Certificate[3]": 1}},
		}
	case pki.PKCS7DER:
		args := []string{"pkcs7", "-inform", "der", "-in", path, "-print_certs", "-noout"}
		return []toolCheck{{"openssl pkcs7 DER", "openssl", args, map[string]int{"subject=": 3}}}
	case pki.PKCS12:
		return []toolCheck{{"openssl pkcs12", "openssl", openssl12, key}, list("PKCS12", entry), move("PKCS12", "JKS")}
	case pki.PKCS12Legacy:
		return []toolCheck{
			{"openssl pkcs12", "openssl", openssl12, key},
			{"openssl pkcs12 -legacy", "openssl", append(openssl12, "-legacy"), key},
			list("PKCS12", entry),
		}
	case pki.JKS:
		return []toolCheck{list("JKS", entry), move("JKS", "PKCS12")}
	case pki.TrustJKS:
		return []toolCheck{list("JKS", trusted)}
	case pki.TrustPKCS12:
		return []toolCheck{
			list("PKCS12", trusted),
			{"openssl pkcs12", "openssl", append(openssl12, "-nokeys"), map[string]int{"BEGIN CERTIFICATE": 1}},
		}
	}
	return nil
}

func TestFormatsRefuseWhatDoesNotFit(t *testing.T) {
	env := pkitest.New(t)
	good := contents(t, env, pki.P256)
	change := func(f func(*pki.Contents)) pki.Contents {
		c := good
		f(&c)
		return c
	}
	for name, c := range map[string]struct {
		formats  []pki.Format
		contents pki.Contents
		password string
		want     string
	}{
		"no password":      {[]pki.Format{pki.PKCS12, pki.PKCS12Legacy, pki.JKS, pki.TrustJKS, pki.TrustPKCS12}, good, "", "there is no password"},
		"a short password": {[]pki.Format{pki.JKS, pki.TrustJKS, pki.TrustPKCS12}, good, "12345", "shorter than 6"},
		"umlauts":          {[]pki.Format{pki.JKS, pki.TrustJKS}, good, "geheimnüß", "ASCII"},
		"another's key": {[]pki.Format{pki.PKCS12, pki.PKCS12Legacy, pki.JKS}, change(func(c *pki.Contents) { c.Key = env.Key(pki.P256) }), password,
			"does not belong to the certificate of CN=orders"},
		"no key":         {[]pki.Format{pki.PKCS12, pki.JKS}, change(func(c *pki.Contents) { c.Key = nil }), password, "no private key"},
		"a public key":   {[]pki.Format{pki.JKS}, change(func(c *pki.Contents) { c.Key = c.Key.(crypto.Signer).Public() }), password, "no private key"},
		"no certificate": {[]pki.Format{pki.PEMChain, pki.PKCS7, pki.PKCS12, pki.JKS}, change(func(c *pki.Contents) { c.Chain = nil }), password, "no certificate"},
		"no roots":       {[]pki.Format{pki.TrustJKS, pki.TrustPKCS12}, change(func(c *pki.Contents) { c.Roots = nil }), password, "no roots"},
		"a long alias":   {[]pki.Format{pki.JKS, pki.PKCS12}, change(func(c *pki.Contents) { c.Alias = strings.Repeat("x", 201) }), password, "alias"},
		"unknown":        {[]pki.Format{"der", ""}, good, password, "unknown"},
	} {
		for _, f := range c.formats {
			b, err := f.Encode(c.contents, c.password)
			var refused *pki.FormatError
			if !errors.As(err, &refused) || !strings.Contains(err.Error(), c.want) || b != nil {
				t.Errorf("%s, %s: got %v, want %q", name, f, err, c.want)
			}
		}
	}
	// Passwords of PKCS#12 may be any text.
	if _, err := pki.PKCS12.Encode(good, "geheimnüß"); err != nil {
		t.Error(err)
	}
}
