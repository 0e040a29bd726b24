package servercert_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"software.sslmate.com/src/go-pkcs12"

	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/pki/servercert"
)

const look = 2 * time.Second

// looks lets the files be looked at so many times.
func looks(n int) {
	time.Sleep(time.Duration(n)*look + look/2)
	synctest.Wait()
}

type files struct {
	*servercert.Files
	t   *testing.T
	log *logged
}

func openFiles(t *testing.T, o servercert.FilesOptions) *files {
	t.Helper()
	f := &files{t: t, log: new(logged)}
	o.Logger = slog.New(slog.NewTextHandler(f.log, nil))
	if o.Names == nil {
		o.Names = []string{"gate.example.com"}
	}
	var err error
	if f.Files, err = servercert.OpenFiles(o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	return f
}

func (p place) pair() []servercert.FilePair {
	return []servercert.FilePair{{Certificate: p.path("cert.pem"), Key: p.path("key.pem")}}
}

// shows fails unless the certificate is served.
func (f *files) shows(what string, leaf *x509.Certificate) {
	f.t.Helper()
	c := f.Certificate("gate.example.com", &tls.ClientHelloInfo{})
	switch {
	case c == nil && leaf != nil:
		f.t.Errorf("%s: nothing is served", what)
	case c != nil && leaf == nil:
		f.t.Errorf("%s: a certificate is served", what)
	case c != nil && !c.Leaf.Equal(leaf):
		f.t.Errorf("%s: another certificate is served", what)
	}
}

func TestFilesAreTakenWhenTheyHaveChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, p := newPublic(t), newPlace(t)
		cert, key, first := ca.pair("gate.example.com")
		p.write("cert.pem", cert)
		p.write("key.pem", key)
		f := openFiles(t, servercert.FilesOptions{Pairs: p.pair()})
		f.shows("at first", first)
		looks(5)
		f.shows("unchanged", first)

		cert, key, second := ca.pair("gate.example.com")
		p.write("cert.pem", cert) // certificate and key do not fit for a while
		looks(1)
		f.shows("between certificate and key", first)
		p.write("key.pem", key)
		looks(3)
		f.shows("with both", second)
		if s := f.States()[0]; s.Problem != "" || len(s.Warnings) > 0 || s.Serial != pki.FormatSerial(second.SerialNumber) {
			t.Errorf("state %+v", s)
		}
		f.Close() // the bubble wants its end
	})
}

// As Kubernetes mounts a secret: links into a directory that is a link itself, which is exchanged.
func TestFilesBehindLinksAreTakenWhenTheLinkChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, p := newPublic(t), newPlace(t)
		version := func(name string) *x509.Certificate {
			cert, key, leaf := ca.pair("gate.example.com")
			for _, err := range []error{os.Mkdir(p.path(name), 0o700), os.WriteFile(p.path(name+"/tls.crt"), cert, 0o444),
				os.WriteFile(p.path(name+"/tls.key"), key, 0o440),
				os.Symlink(name, p.path("data.tmp")), os.Rename(p.path("data.tmp"), p.path("..data"))} {
				if err != nil {
					t.Fatal(err)
				}
			}
			return leaf
		}
		first := version("v1")
		for _, link := range []string{"tls.crt", "tls.key"} {
			if err := os.Symlink("..data/"+link, p.path(link)); err != nil {
				t.Fatal(err)
			}
		}
		f := openFiles(t, servercert.FilesOptions{Pairs: []servercert.FilePair{{Certificate: p.path("tls.crt"), Key: p.path("tls.key")}}})
		f.shows("at first", first)
		second := version("v2")
		looks(3)
		f.shows("after the exchange", second)
		f.Close()
	})
}

// A file that grows while it is looked at is not taken until it has stopped, even where its beginning makes sense.
func TestAHalfWrittenChainIsNotServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, p := newPublic(t), newPlace(t)
		cert, key, first := ca.pair("gate.example.com")
		p.write("cert.pem", cert)
		p.write("key.pem", key)
		f := openFiles(t, servercert.FilesOptions{Pairs: p.pair()})
		k := newKey(t)
		second := ca.issue(k.Public(), nil, "gate.example.com")
		p.write("key.pem", keyPEM(t, k))
		p.write("cert.pem", pki.EncodeCertificates(second))
		looks(1)
		f.shows("half written", first)
		p.write("cert.pem", pki.EncodeCertificates(second, ca.inter))
		looks(3)
		f.shows("written", second)
		if c := f.Certificate("gate.example.com", &tls.ClientHelloInfo{}); len(c.Certificate) != 2 {
			t.Errorf("a chain of %d", len(c.Certificate))
		}
		f.Close()
	})
}

func TestWhatCannotBeServedKeepsTheOldCertificate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, p := newPublic(t), newPlace(t)
		cert, key, first := ca.pair("gate.example.com")
		otherCert, otherKey, _ := ca.pair("gate.example.com")
		foreign, foreignKey, _ := ca.pair("other.example.org")
		k := newKey(t)
		with := func(change func(*x509.Certificate)) []byte {
			return pki.EncodeCertificates(ca.issue(k.Public(), change, "gate.example.com"), ca.inter)
		}
		expired := with(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
		early := with(func(c *x509.Certificate) { c.NotBefore = time.Now().Add(24 * time.Hour) })
		client := with(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} })
		kPEM := keyPEM(t, k)
		restore := func() {
			p.write("cert.pem", cert)
			p.write("key.pem", key)
		}
		restore()
		f := openFiles(t, servercert.FilesOptions{Pairs: p.pair()})
		for _, c := range []struct {
			name      string
			cert, key []byte
			after     func()
			want      string
		}{
			{"key of another", otherCert, key, nil, "the key belongs to none of the 2 certificates"},
			{"certificate of another", cert, otherKey, nil, "the key belongs to none"},
			{"other name", foreign, foreignKey, nil, "is for other.example.org, which is none of gate.example.com"},
			{"expired", expired, kPEM, nil, "expired on "},
			{"not yet valid", early, kPEM, nil, "is not valid before"},
			{"not for servers", client, kPEM, nil, "not for servers"},
			{"cut in the middle", cert[:len(cert)-100], key, nil, "broken PEM"},
			{"damaged", bytes.Replace(otherCert, []byte("M"), []byte("!"), 3), otherKey, nil, "cert.pem: "},
			{"empty", []byte(" \n"), key, nil, "cert.pem is empty"},
			{"no key", otherCert, []byte("nothing\n"), nil, "there is no private key in it"},
			{"key cut", otherCert, otherKey[:60], nil, "there is no private key in it"},
			{"too large", bytes.Repeat([]byte("x"), 2<<20), key, nil, "larger than 1 MiB"},
			{"missing", otherCert, otherKey, func() { os.Remove(p.path("key.pem")) }, "key.pem is missing"},
			{"a directory", otherCert, otherKey, func() { os.Remove(p.path("key.pem")); os.Mkdir(p.path("key.pem"), 0o700) }, "is no regular file"},
			{"open to others", otherCert, otherKey, func() { os.Chmod(p.path("key.pem"), 0o644) }, "mode 0644 opens it to others"},
		} {
			p.write("cert.pem", c.cert)
			p.write("key.pem", c.key)
			if c.after != nil {
				c.after()
			}
			looks(3)
			f.shows(c.name, first)
			s := f.States()[0]
			if !strings.Contains(s.Problem, c.want) || s.Since.IsZero() || !s.Valid(time.Now()) {
				t.Errorf("%s: problem %q, want %q", c.name, s.Problem, c.want)
			}
			if secret := string(c.key); len(secret) > 100 && strings.Contains(s.Problem+f.log.String(), secret[60:80]) {
				t.Errorf("%s: key material in %q or the log", c.name, s.Problem)
			}
			before := strings.Count(f.log.String(), "level=ERROR")
			looks(5)
			if n := strings.Count(f.log.String(), "level=ERROR") - before; n > 0 {
				t.Errorf("%s: logged %d times more", c.name, n)
			}
			if err := f.Look(); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: when it is asked for: %v", c.name, err)
			}
			os.Remove(p.path("key.pem"))
			restore()
			looks(3)
			if s := f.States()[0]; s.Problem != "" {
				t.Errorf("after %s: problem %q", c.name, s.Problem)
			}
		}
		f.Close()
	})
}

// At the start there is nothing old to keep: what is wrong is said, and nothing is opened.
func TestFilesThatCannotBeServedAreRefusedAtTheStart(t *testing.T) {
	ca, p := newPublic(t), newPlace(t)
	cert, key, _ := ca.pair("gate.example.com")
	_, otherKey, _ := ca.pair("gate.example.com")
	p.write("cert.pem", cert)
	for want, o := range map[string]servercert.FilesOptions{
		"belongs to none": {Pairs: p.pair(), Names: []string{"gate.example.com"}},
		"is for gate.example.com, which is none of other.test": {Pairs: []servercert.FilePair{{Certificate: p.path("cert.pem"), Key: p.path("good.pem")}},
			Names: []string{"other.test"}},
		"no certificate in the files covers other.test": {Pairs: []servercert.FilePair{{Certificate: p.path("cert.pem"), Key: p.path("good.pem")}},
			Names: []string{"gate.example.com", "other.test"}},
		"does not lead to a root": {Pairs: []servercert.FilePair{{Certificate: p.path("cert.pem"), Key: p.path("good.pem")}}, Names: []string{"gate.example.com"},
			Roots: []*x509.Certificate{newPublic(t).root}},
	} {
		p.write("key.pem", otherKey)
		p.write("good.pem", key)
		f, err := servercert.OpenFiles(o)
		if err == nil {
			f.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

// Time passes: an expired certificate is never served, at the start and later, and one that replaces it is.
func TestAnExpiredCertificateIsNoneAndItsSuccessorIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, p := newPublic(t), newPlace(t)
		k := newKey(t)
		short := ca.issue(k.Public(), func(c *x509.Certificate) { c.NotAfter = time.Now().Add(time.Hour) }, "gate.example.com")
		p.write("cert.pem", pki.EncodeCertificates(short, ca.inter))
		p.write("key.pem", keyPEM(t, k))
		f := openFiles(t, servercert.FilesOptions{Pairs: p.pair()})
		f.shows("while it is valid", short)
		time.Sleep(2 * time.Hour)
		f.shows("when it has expired", nil)
		if s := f.States()[0]; s.Valid(time.Now()) {
			t.Errorf("state %+v", s)
		}
		again := openFiles(t, servercert.FilesOptions{Pairs: p.pair()}) // a restart
		again.shows("after a restart", nil)
		if s := again.States()[0]; !strings.Contains(s.Problem, "expired on") {
			t.Errorf("state %+v", s)
		}
		cert, key, next := ca.pair("gate.example.com")
		p.write("cert.pem", cert)
		p.write("key.pem", key)
		looks(3)
		for _, one := range []*files{f, again} {
			one.shows("its successor", next)
			if s := one.States()[0]; s.Problem != "" {
				t.Errorf("state %+v", s)
			}
			one.Close()
		}
	})
}

func TestChainsArePutInOrderAndWhatIsMissingIsSaid(t *testing.T) {
	ca := newPublic(t)
	k := newKey(t)
	leaf := ca.issue(k.Public(), nil, "gate.example.com")
	stranger := newPublic(t).inter
	for _, c := range []struct {
		name  string
		certs []*x509.Certificate
		sent  int
		want  string // in the warnings; "" is none
	}{
		{"in order", []*x509.Certificate{leaf, ca.inter}, 2, ""},
		{"with its root", []*x509.Certificate{leaf, ca.inter, ca.root}, 2, ""},
		{"wrong order", []*x509.Certificate{ca.inter, leaf}, 2, "not in order"},
		{"root first", []*x509.Certificate{ca.root, ca.inter, leaf}, 2, "not in order"},
		{"alone", []*x509.Certificate{leaf}, 1, "no certificate of its issuer (CN=Public Intermediate) follows"},
		{"with a stranger", []*x509.Certificate{leaf, ca.inter, stranger}, 2, "do not belong to the chain"},
	} {
		p := newPlace(t)
		p.write("cert.pem", pki.EncodeCertificates(c.certs...))
		p.write("key.pem", keyPEM(t, k))
		f := openFiles(t, servercert.FilesOptions{Pairs: p.pair()})
		f.shows(c.name, leaf)
		sent := f.Certificate("gate.example.com", &tls.ClientHelloInfo{}).Certificate
		if len(sent) != c.sent || !bytes.Equal(sent[0], leaf.Raw) || c.sent > 1 && !bytes.Equal(sent[1], ca.inter.Raw) {
			t.Errorf("%s: %d certificates are sent", c.name, len(sent))
		}
		if got := strings.Join(f.States()[0].Warnings, "\n"); (c.want == "") != (got == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: warnings %q, want %q", c.name, got, c.want)
		}
		f.Close()
	}
}

func TestFilesOfOtherFormats(t *testing.T) {
	ca, p := newPublic(t), newPlace(t)
	k := newKey(t)
	leaf := ca.issue(k.Public(), nil, "*.example.com")
	p12, err := pkcs12.Modern2023.Encode(k, leaf, []*x509.Certificate{ca.inter}, "s3cret")
	if err != nil {
		t.Fatal(err)
	}
	p.write("gate.p12", p12)
	p.write("password", []byte("s3cret\n"))
	p.write("wrong", []byte("wr0ng\n"))
	p.write("both.pem", append(keyPEM(t, k), pki.EncodeCertificates(leaf, ca.inter)...))
	for name, pair := range map[string]servercert.FilePair{
		"PKCS#12":  {PKCS12: p.path("gate.p12"), PasswordFile: p.path("password")},
		"one file": {Certificate: p.path("both.pem")},
	} {
		f := openFiles(t, servercert.FilesOptions{Pairs: []servercert.FilePair{pair}})
		f.shows(name, leaf)
		if f.Covers("x.y.example.com") || !f.Covers("other.example.com") {
			t.Errorf("%s: covers what it should not, or not what it should", name)
		}
		f.Close()
	}
	_, err = servercert.OpenFiles(servercert.FilesOptions{Pairs: []servercert.FilePair{{PKCS12: p.path("gate.p12"), PasswordFile: p.path("wrong")}},
		Names: []string{"gate.example.com"}})
	if err == nil || !strings.Contains(err.Error(), "check the password") || strings.Contains(err.Error(), "wr0ng") {
		t.Errorf("a wrong password: %v", err)
	}
}

// A name has a certificate of each kind, and each client gets one that it can use.
func TestEachClientGetsAKindOfKeyThatItKnows(t *testing.T) {
	ca, p := newPublic(t), newPlace(t)
	ecdsaCert, ecdsaKey, ecdsaLeaf := ca.pair("gate.example.com")
	k := newRSAKey(t)
	rsaLeaf := ca.issue(k.Public(), nil, "gate.example.com")
	for name, b := range map[string][]byte{"e.pem": ecdsaCert, "e.key": ecdsaKey, "r.pem": pki.EncodeCertificates(rsaLeaf, ca.inter), "r.key": keyPEM(t, k)} {
		p.write(name, b)
	}
	f := openFiles(t, servercert.FilesOptions{Pairs: []servercert.FilePair{{Certificate: p.path("e.pem"), Key: p.path("e.key")},
		{Certificate: p.path("r.pem"), Key: p.path("r.key")}}})
	defer f.Close()
	for suite, want := range map[uint16]*x509.Certificate{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256: rsaLeaf,
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256: ecdsaLeaf} {
		a, b := net.Pipe()
		go tls.Server(a, &tls.Config{GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
			return f.Certificate(h.ServerName, h), nil
		}}).Handshake()
		client := tls.Client(b, &tls.Config{ServerName: "gate.example.com", InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{suite}})
		if err := client.Handshake(); err != nil {
			t.Fatal(err)
		}
		if !client.ConnectionState().PeerCertificates[0].Equal(want) {
			t.Errorf("suite %s: another certificate", tls.CipherSuiteName(suite))
		}
		a.Close()
		b.Close()
	}
}
