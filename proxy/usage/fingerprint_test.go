package usage_test

import (
	"crypto/tls"
	"io"
	"net"
	"os/exec"
	"strings"
	"testing"

	"github.com/tenantgate/tenantgate/pki/pkitest"
	"github.com/tenantgate/tenantgate/proxy/usage"
)

func TestFingerprintHasTheFormOfJA4(t *testing.T) {
	hello := &tls.ClientHelloInfo{
		ServerName: "gate", SupportedVersions: []uint16{0x0a0a, tls.VersionTLS13, tls.VersionTLS12},
		CipherSuites: []uint16{0x1a1a, 0x1301, 0x1302, 0xc02b}, SupportedProtos: []string{"h2", "http/1.1"},
		SignatureSchemes: []tls.SignatureScheme{0x0403, 0x0804}, Extensions: []uint16{0x2a2a, 0, 16, 10, 13, 43, 51},
	}
	got := usage.Fingerprint(hello)
	if !strings.HasPrefix(got, "t13d0306h2_") || len(got) != 36 {
		t.Errorf("got %s", got)
	}
	again := *hello
	again.CipherSuites, again.Extensions = []uint16{0xc02b, 0x3a3a, 0x1302, 0x1301}, []uint16{51, 43, 35, 13, 10, 16, 0, 41, 21}
	if other := usage.Fingerprint(&again); other != got {
		t.Errorf("another order, another GREASE and a resumed session make %s of %s", other, got)
	}
	again.SignatureSchemes = hello.SignatureSchemes[:1]
	if other := usage.Fingerprint(&again); other == got {
		t.Error("other signature schemes make no difference")
	}
	if got := usage.Fingerprint(&tls.ClientHelloInfo{SupportedProtos: []string{"\x00x"}}); got != "t00i000008_000000000000_000000000000" {
		t.Errorf("an empty hello: %s", got)
	}
}

// TestFingerprintSurvivesResumption speaks TLS with a client that resumes, and with curl, which is another one.
func TestFingerprintSurvivesResumption(t *testing.T) {
	ca := pkitest.New(t)
	seen := make(chan string, 8)
	config := &tls.Config{Certificates: []tls.Certificate{ca.Server("localhost")}}
	config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		seen <- usage.Fingerprint(hello)
		return nil, nil
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { io.WriteString(c, "hello"); c.Close() }()
		}
	}()
	client := &tls.Config{InsecureSkipVerify: true, ClientSessionCache: tls.NewLRUClientSessionCache(1), ServerName: "localhost"}
	dial := func() (string, bool) {
		c, err := tls.Dial("tcp", l.Addr().String(), client)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		io.ReadAll(c) // the ticket comes with what is read
		return <-seen, c.ConnectionState().DidResume
	}
	first, _ := dial()
	second, resumed := dial()
	if !resumed || first != second {
		t.Errorf("resumed %v: %s, then %s", resumed, first, second)
	}
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("SKIPPED: no curl")
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	exec.Command("curl", "-sk", "--http0.9", "https://localhost:"+port).Run()
	if other := <-seen; other == first {
		t.Errorf("curl looks like Go: %s", other)
	}
}

func BenchmarkFingerprint(b *testing.B) {
	hello := &tls.ClientHelloInfo{
		ServerName: "gate", SupportedVersions: []uint16{tls.VersionTLS13, tls.VersionTLS12}, CipherSuites: make([]uint16, 31), SupportedProtos: []string{"h2", "http/1.1"},
		SignatureSchemes: make([]tls.SignatureScheme, 20), Extensions: []uint16{0, 11, 10, 35, 16, 22, 23, 49, 13, 43, 45, 51},
	}
	b.ReportAllocs()
	for b.Loop() {
		usage.Fingerprint(hello)
	}
}
