package pki_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Netflix/bettertls/test-suites/certutil"
	"github.com/Netflix/bettertls/test-suites/nameconstraints"
	"github.com/Netflix/bettertls/test-suites/pathbuilding"
	testcase "github.com/Netflix/bettertls/test-suites/test-case"

	"github.com/tenantgate/tenantgate/pki"
)

// bettertls makes chains for clients that judge a server. The same chains are put before Trust.VerifyClient as those of callers: serverAuth in them becomes
// clientAuth, for which they are signed anew, with other keys; nothing else in them changes.

// tbs is a certificate's content (RFC 5280 section 4.1), of which two fields are exchanged.
type tbs struct {
	Version   asn1.RawValue
	Serial    asn1.RawValue
	Algorithm pkix.AlgorithmIdentifier
	Issuer    asn1.RawValue
	Validity  asn1.RawValue
	Subject   asn1.RawValue
	Key       asn1.RawValue
	Rest      asn1.RawValue `asn1:"optional"`
}

// serverAuth and clientAuth in DER. They have the same length.
var (
	serverAuthDER = []byte{0x06, 0x08, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x01}
	clientAuthDER = []byte{0x06, 0x08, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x02}
)

// recast makes chains of servers those of callers.
type recast struct {
	root *x509.Certificate
	keys map[string]*ecdsa.PrivateKey // by subject; the root's is its own
}

func (r *recast) key(name []byte) (*ecdsa.PrivateKey, error) {
	if k, ok := r.keys[string(name)]; ok {
		return k, nil
	}
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	r.keys[string(name)] = k
	return k, err
}

func (r *recast) certificate(der []byte) ([]byte, error) {
	if bytes.Equal(der, r.root.Raw) {
		return der, nil
	}
	var cert struct {
		Content   tbs
		Algorithm pkix.AlgorithmIdentifier
		Signature asn1.BitString
	}
	if _, err := asn1.Unmarshal(der, &cert); err != nil {
		return nil, err
	}
	own, err := r.key(cert.Content.Subject.FullBytes)
	if err != nil {
		return nil, err
	}
	issuer, err := r.key(cert.Content.Issuer.FullBytes)
	if err != nil {
		return nil, err
	}
	spki, err := x509.MarshalPKIXPublicKey(own.Public())
	if err != nil {
		return nil, err
	}
	cert.Content.Key = asn1.RawValue{FullBytes: spki}
	cert.Content.Rest.FullBytes = bytes.ReplaceAll(cert.Content.Rest.FullBytes, serverAuthDER, clientAuthDER)
	content, err := asn1.Marshal(cert.Content)
	if err != nil {
		return nil, err
	}
	hash, sum := crypto.SHA256, sha256.Sum256(content)
	digest := sum[:]
	if cert.Algorithm.Algorithm.Equal(asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 1}) { // ecdsa-with-SHA1: deprecated, and to be refused
		old := sha1.Sum(content)
		hash, digest = crypto.SHA1, old[:]
	}
	signature, err := issuer.Sign(rand.Reader, digest, hash)
	if err != nil {
		return nil, err
	}
	return asn1.Marshal(struct {
		Content   asn1.RawValue
		Algorithm pkix.AlgorithmIdentifier
		Signature asn1.BitString
	}{asn1.RawValue{FullBytes: content}, cert.Algorithm, asn1.BitString{Bytes: signature, BitLength: 8 * len(signature)}})
}

// judge puts a case before VerifyClient, as a listener would: what cannot be parsed is refused.
func judge(c testcase.TestCase, trust *pki.Trust, root *x509.Certificate, rootKey *ecdsa.PrivateKey) (accepted bool, err error) {
	made, err := c.GetCertificates(root, rootKey)
	if err != nil {
		return false, err
	}
	r := &recast{root: root, keys: map[string]*ecdsa.PrivateKey{string(root.RawSubject): rootKey}}
	var chain []*x509.Certificate
	for _, der := range made.Certificate {
		again, err := r.certificate(der)
		if err != nil {
			return false, err
		}
		cert, err := x509.ParseCertificate(again)
		if err != nil {
			return false, nil
		}
		chain = append(chain, cert)
	}
	return trust.VerifyClient(chain, time.Now()) == nil, nil
}

// verdicts judges all cases of a provider, on all processors.
func verdicts(t *testing.T, p testcase.TestCaseProvider) map[uint]bool {
	t.Helper()
	root, key, err := certutil.GenerateSelfSignedCert("bettertls root")
	if err != nil {
		t.Fatal(err)
	}
	trust, err := pki.NewTrust([]*x509.Certificate{root}, nil)
	if err != nil {
		t.Fatal(err)
	}
	count, err := p.GetTestCaseCount()
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex // guards all
	all := make(map[uint]bool, count)
	var wg sync.WaitGroup
	workers := uint(runtime.GOMAXPROCS(0))
	for w := range workers {
		wg.Go(func() {
			for i := w; i < count; i += workers {
				c, err := p.GetTestCase(i)
				accepted := false
				if err == nil {
					accepted, err = judge(c, trust, root, key.(*ecdsa.PrivateKey))
				}
				if err != nil {
					t.Errorf("%s %d: %v", p.Name(), i, err)
					return
				}
				mu.Lock()
				all[i] = accepted
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return all
}

func TestVerifyClientAgainstBetterTLS(t *testing.T) {
	if testing.Short() {
		t.Skip("9,572 chains")
	}
	known := betterTLSDeviations(t)
	total, soft := 0, 0
	for _, p := range []testcase.TestCaseProvider{pathbuilding.NewTestCaseProvider(), nameconstraints.NewTestCaseProvider()} {
		got := verdicts(t, p)
		total += len(got)
		found := map[string][]uint{}
		for _, i := range slices.Sorted(maps.Keys(got)) {
			c, err := p.GetTestCase(i)
			if err != nil {
				t.Fatal(err)
			}
			switch want, accepted := c.ExpectedResult(), got[i]; {
			case want == testcase.EXPECTED_RESULT_SOFT_FAIL || want == testcase.EXPECTED_RESULT_SOFT_PASS:
				soft++ // the suite takes either
			case accepted && want == testcase.EXPECTED_RESULT_FAIL:
				found["accepted"] = append(found["accepted"], i)
			case !accepted && want == testcase.EXPECTED_RESULT_PASS:
				found["refused"] = append(found["refused"], i)
			}
		}
		for _, verdict := range []string{"accepted", "refused"} {
			if got, want := ranges(found[verdict]), ranges(known[p.Name()+" "+verdict]); got != want {
				t.Errorf("%s, %s against the suite:\ngot  %s\nlist %s", p.Name(), verdict, got, want)
			}
			t.Logf("%s: %d of %d %s against the suite, all listed", p.Name(), len(found[verdict]), len(got), verdict)
		}
	}
	t.Logf("%d chains, of which the suite leaves %d open", total, soft)
	if total != 9572 {
		t.Errorf("%d chains, want 9572", total)
	}
}

// betterTLSDeviations reads testdata/bettertls-deviations.txt: lines "suite verdict: reason", each followed by lines of case numbers.
func betterTLSDeviations(t *testing.T) map[string][]uint {
	t.Helper()
	b, err := os.ReadFile("testdata/bettertls-deviations.txt")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]uint{}
	key := ""
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case line[0] >= '0' && line[0] <= '9':
			if key == "" {
				t.Fatalf("numbers without a reason: %s", line)
			}
			for part := range strings.SplitSeq(strings.TrimSuffix(line, ","), ",") {
				all[key] = append(all[key], numbers(t, part)...)
			}
		default:
			name, reason, ok := strings.Cut(line, ": ")
			if !ok || reason == "" {
				t.Fatalf("line without a reason: %s", line)
			}
			key = name
		}
	}
	for key := range all {
		slices.Sort(all[key])
	}
	return all
}

// numbers reads 5 or 1-3.
func numbers(t *testing.T, part string) (list []uint) {
	t.Helper()
	first, last, isRange := strings.Cut(part, "-")
	if !isRange {
		last = first
	}
	from, err := strconv.ParseUint(first, 10, 32)
	to, err2 := strconv.ParseUint(last, 10, 32)
	if err != nil || err2 != nil || to < from {
		t.Fatalf("%q is no number or range", part)
	}
	for i := from; i <= to; i++ {
		list = append(list, uint(i))
	}
	return list
}

// ranges writes sorted numbers as 1-3,5.
func ranges(list []uint) string {
	var parts []string
	for i := 0; i < len(list); {
		j := i
		for j+1 < len(list) && list[j+1] == list[j]+1 {
			j++
		}
		if i == j {
			parts = append(parts, fmt.Sprint(list[i]))
		} else {
			parts = append(parts, fmt.Sprintf("%d-%d", list[i], list[j]))
		}
		i = j + 1
	}
	return strings.Join(parts, ",")
}
