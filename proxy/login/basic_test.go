package login_test

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/tenantgate/tenantgate/proxy/login"
)

func encode(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

func TestBasic(t *testing.T) {
	long := encode("u:" + strings.Repeat("x", 1500))
	for _, tc := range []struct {
		value, token string
		basic        bool
	}{
		{"Basic dTpw", "dTpw", true},
		{"basic dTpw", "dTpw", true},
		{"BASIC dTpw", "dTpw", true},
		{"Basic " + long, long, true},
		{"Basic", "", true},
		{"Basic ", "", true},
		{"Basic  dTpw", "", true},
		{"Basic\tdTpw", "", true},
		{"Basic dTpw ", "", true},
		{"Basic dTpw dTpw", "", true},
		{"Basic dT\x00pw", "", true},
		{"Basic dTp\xe4", "", true},
		{"Basic " + strings.Repeat("x", login.MaxField), "", true},
		{"", "", false},
		{"Bas", "", false},
		{"Bearer dTpw", "", false},
		{"BasicX dTpw", "", false},
		{"Basic,dTpw", "", false},
	} {
		if token, basic := login.Basic(tc.value); token != tc.token || basic != tc.basic {
			t.Errorf("%q: got %q, %v", tc.value, token, basic)
		}
	}
}

func TestParse(t *testing.T) {
	for _, tc := range []struct{ token, user, password string }{
		{encode("Aladdin:open sesame"), "Aladdin", "open sesame"},
		{encode("u:p:q:"), "u", "p:q:"},
		{encode("u:"), "u", ""},
		{encode("test:123£"), "test", "123£"}, // RFC 7617, section 2.1
		{encode("test:123\xa3"), "test", "123£"},
		{encode("jürgen@example.com:x"), "jürgen@example.com", "x"},
		{encode(" u :x"), " u ", "x"},
	} {
		c, ok := login.Parse(tc.token)
		if !ok || c.User != tc.user || c.Password != tc.password {
			t.Errorf("%s: got %q, %q, %v", tc.token, c.User, c.Password, ok)
		}
		if s := fmt.Sprintf("%v %+v %#v %s", c, c, c, c); strings.Contains(s, "sesame") {
			t.Errorf("credentials are printed: %s", s)
		}
	}
	for _, bad := range []string{
		"", "dTpw=", "dTp", "dTpw====", "dT=w", "dTp*", "dTpx\n", strings.TrimRight(encode("u:pas"), "="), "dTpwcQ==x",
		"dTpwcR==", // padding bits that are not zero: the same text in another encoding
		encode(":p"), encode("up"), encode("u\n:p"), encode("u:p\x00"), encode("u:p\x7f"), encode("u:p\u0085"), encode("u\x85:p"),
		base64.URLEncoding.EncodeToString([]byte("u:p\xfb\xff\xfe")), strings.Repeat("QUJD", 600),
	} {
		if c, ok := login.Parse(bad); ok {
			t.Errorf("%q: got %q, %q", bad, c.User, c.Password)
		}
	}
}

func FuzzOneAuthorizationIsOneUserAndPassword(f *testing.F) {
	for _, seed := range []string{"Basic dTpw", "basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", "Basic dTpwcR==", "Bearer x", "Basic  x", "Basic dGVzdDoxMjPCow==", "Basic dGVzdDoxMjOj"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		token, basic := login.Basic(value)
		if !basic || token == "" {
			return
		}
		if !strings.EqualFold(value, "basic "+token) || len(value) > login.MaxField {
			t.Fatalf("%q was read as %q", value, token)
		}
		c, ok := login.Parse(token)
		if !ok {
			return
		}
		raw, err := base64.StdEncoding.DecodeString(token)
		if err != nil || base64.StdEncoding.EncodeToString(raw) != token {
			t.Fatalf("%q has another encoding than the one that there is", token)
		}
		if c.User == "" || strings.Contains(c.User, ":") || !utf8.ValidString(c.User+c.Password) {
			t.Fatalf("got user %q", c.User)
		}
		if strings.ContainsFunc(c.User+c.Password, func(r rune) bool { return r < ' ' || r >= 0x7f && r < 0xa0 }) {
			t.Fatal("a control character passed")
		}
		if utf8.Valid(raw) && c.User+":"+c.Password != string(raw) {
			t.Fatalf("%q became %q", raw, c.User+":"+c.Password)
		}
	})
}
