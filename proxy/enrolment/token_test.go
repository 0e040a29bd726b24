package enrolment_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/proxy/enrolment"
	"github.com/tenantgate/tenantgate/proxy/record"
)

func TestATokenIsRefused(t *testing.T) {
	h := build(t)
	key := h.pki.Key(pki.P256)
	enroll := func(token *enrolment.Token) error {
		_, err := h.client().Enroll(t.Context(), token, h.csr(key))
		return err
	}
	t.Run("of another server", func(t *testing.T) {
		h.refused(enroll(enrolment.NewToken(h.url, sha256.Sum256(h.pki.CA.SigningRoot().Raw), "erp")), "unknown_token", record.Unidentified, 0)
	})
	t.Run("altered", func(t *testing.T) {
		h.refused(enroll(altered(t, h.token(nil), `"i":"erp"`, `"i":"adm"`)), "unknown_token", record.Unidentified, 0)
	})
	t.Run("expired", func(t *testing.T) {
		token := h.token(nil)
		h.at(time.Now().Add(time.Hour + time.Second))
		defer h.at(time.Time{})
		h.refused(enroll(token), "expired_token", record.Unidentified, 0)
	})
	t.Run("withdrawn", func(t *testing.T) {
		token := h.token(func(rules *pki.EnrolmentToken) { rules.ID = "withdrawn" })
		h.change(func(ctx context.Context, tx *identity.Tx) error {
			_, err := h.pki.CA.WithdrawEnrolmentToken(ctx, tx.SQL(), "withdrawn")
			return err
		})
		h.refused(enroll(token), "withdrawn_token", record.Unidentified, 0)
	})
	t.Run("for another key", func(t *testing.T) {
		other, err := pki.KeyFingerprint(h.pki.Key(pki.P256).Public())
		if err != nil {
			t.Fatal(err)
		}
		h.refused(enroll(h.token(func(rules *pki.EnrolmentToken) { rules.Key = other })), "other_key", record.Denied, 0)
	})
	t.Run("for another host", func(t *testing.T) {
		h.hosts = map[string][]netip.Addr{
			"erp.example.com": {netip.MustParseAddr("192.0.2.1")},
			"192.0.2.0/24":    {netip.MustParseAddr("127.0.0.1")}, // a network is nothing to resolve
		}
		for _, source := range []string{"erp.example.com", "nowhere.example.com", "192.0.2.0/24", "192.0.2.1", "2001:db8::/32"} {
			h.refused(enroll(h.token(func(rules *pki.EnrolmentToken) { rules.Source = source })), "other_host", record.Denied, 0)
		}
	})
	t.Run("of an identity that was removed", func(t *testing.T) {
		h.refused(enroll(h.token(func(rules *pki.EnrolmentToken) { rules.Name = "ghost" })), "unknown_token", record.Unidentified, 0)
	})
	t.Run("of a disabled identity", func(t *testing.T) {
		token := h.token(nil)
		h.set(func(erp *identity.Identity) { erp.Disabled = true })
		h.refused(enroll(token), "disabled", record.Denied, 0)
		h.set(func(erp *identity.Identity) { erp.Disabled = false })
		if err := enroll(token); err != nil {
			t.Errorf("what was refused has used the token up: %v", err)
		}
	})
}

func altered(t *testing.T, token *enrolment.Token, from, to string) *enrolment.Token {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(token.Reveal(), "tge1_"))
	if err != nil {
		t.Fatal(err)
	}
	content := bytes.Replace(b[:len(b)-4], []byte(from), []byte(to), 1)
	sum := sha256.Sum256(content)
	other, err := enrolment.ParseToken("tge1_" + base64.RawURLEncoding.EncodeToString(append(content, sum[:4]...)))
	if err != nil || other.Reveal() == token.Reveal() {
		t.Fatalf("not altered: %v", err)
	}
	return other
}

func TestATokenIsBoundToHostAndKey(t *testing.T) {
	h := build(t)
	key := h.pki.Key(pki.P256)
	fingerprint, err := pki.KeyFingerprint(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	h.hosts = map[string][]netip.Addr{"erp.example.com": {netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("::ffff:127.0.0.1")}}
	for _, source := range []string{"erp.example.com", "127.0.0.1", "127.0.0.0/8", "::ffff:127.0.0.1"} {
		token := h.token(func(rules *pki.EnrolmentToken) { rules.Source, rules.Key = source, fingerprint })
		if _, err := h.client().Enroll(t.Context(), token, h.csr(key)); err != nil {
			t.Errorf("%s: %v", source, err)
		}
	}
}

func TestATokenReadsItselfBack(t *testing.T) {
	token := enrolment.NewToken("https://gate.example.com:8444", sha256.Sum256([]byte("root")), "erp")
	text := token.Reveal()
	read, err := enrolment.ParseToken(text + "\n")
	if err != nil || read.Hash() != token.Hash() || read.URL != token.URL || read.Root != token.Root || read.Identity != "erp" {
		t.Fatalf("got %v, %v", read, err)
	}
	for i := range text { // every slip of the pen is noticed before anybody is called
		b := []byte(text)
		b[i] ^= 1
		if _, err := enrolment.ParseToken(string(b)); err == nil {
			t.Errorf("octet %d of the token does not matter", i)
		} else if strings.Contains(err.Error(), string(b[5:20])) {
			t.Errorf("the error tells the token: %v", err)
		}
	}
	for _, bad := range []string{"", "tge1_", text[:len(text)/2], "Bearer " + text,
		enrolment.NewToken("http://gate.example.com", [32]byte{}, "erp").Reveal(),
		enrolment.NewToken("https://gate.example.com/path", [32]byte{}, "erp").Reveal()} {
		if _, err := enrolment.ParseToken(bad); err == nil {
			t.Errorf("%.20q is taken for a token", bad)
		}
	}
	// Whoever sends a token chooses no other place for its files, and drives no terminal.
	for _, name := range []string{"", ".", "..", "../erp", "a/b", "-erp", ".ssh", "erp\x1b[2J", "erp@example.com"} {
		if _, err := enrolment.ParseToken(enrolment.NewToken("https://gate.example.com:8444", [32]byte{}, name).Reveal()); err == nil {
			t.Errorf("a token for %q is taken", name)
		}
	}
}

func TestSourcesOfTokens(t *testing.T) {
	for _, good := range []string{"", "erp.example.com", "localhost", "192.0.2.1", "2001:db8::1", "10.0.0.0/8"} {
		if err := enrolment.CheckSource(good); err != nil {
			t.Error(err)
		}
	}
	bad := []string{"a b", "https://erp", "10.0.0.0/99", "::ffff:10.0.0.0/104", "erp:443", strings.Repeat("a", 254), "ärp"}
	if slices.ContainsFunc(bad, func(s string) bool { return enrolment.CheckSource(s) == nil }) {
		t.Errorf("one of %q is taken", bad)
	}
}

func FuzzATokenIsItsText(f *testing.F) {
	f.Add(enrolment.NewToken("https://gate.example.com:8444", [32]byte{1}, "erp").Reveal())
	f.Add("tge1_")
	f.Add("tge1_e30AAAA")
	f.Fuzz(func(t *testing.T, text string) {
		token, err := enrolment.ParseToken(text)
		if err != nil {
			return
		}
		if token.Reveal() != strings.TrimSpace(text) || enrolment.CheckURL(token.URL) != nil || token.Hash() != sha256.Sum256([]byte(token.Reveal())) {
			t.Errorf("got %q out of %q", token.Reveal(), text)
		}
	})
}
