package proxy

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestAJarObeysTheAttributesOfCookies(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		name string
		set  []string // in answers to /api/v1/x
		path string
		want string
	}{
		{"one", []string{"a=1"}, "/api/v1/y", "a=1"},
		{"those of a tenant", []string{"JSESSIONID=3E4F; Path=/api; Secure; HttpOnly", "JTENANTSESSIONID_w1=a%2Bg%3D; Domain=.hana.example.com; Path=/; Secure",
			"BIGipServer=!twya==; Path=/"}, "/api/v1/", "JSESSIONID=3E4F; JTENANTSESSIONID_w1=a%2Bg%3D; BIGipServer=!twya=="},
		{"quoted value", []string{`a="1 2"; Path=/`}, "/", `a="1 2"`},
		{"empty value", []string{"a=; Path=/"}, "/", "a="},

		{"default path is the directory", []string{"a=1"}, "/api/v2", ""},
		{"default path matches below", []string{"a=1"}, "/api/v1/b/c", "a=1"},
		{"path that is none", []string{"a=1; Path=api"}, "/api/v1/b", "a=1"},
		{"path is no prefix of a segment", []string{"a=1; Path=/api"}, "/apis", ""},
		{"path itself", []string{"a=1; Path=/api"}, "/api", "a=1"},
		{"path that ends in a slash", []string{"a=1; Path=/api/"}, "/api/x", "a=1"},
		{"path that ends in a slash, without it", []string{"a=1; Path=/api/"}, "/api", ""},
		{"case of the path", []string{"a=1; Path=/API"}, "/api/x", ""},
		{"longer paths first", []string{"a=1; Path=/", "b=2; Path=/api/v1", "c=3; Path=/api", "d=4; Path=/"}, "/api/v1/x", "b=2; c=3; a=1; d=4"},
		{"one name, two paths", []string{"a=1; Path=/", "a=2; Path=/api"}, "/api", "a=2; a=1"},

		{"domain of the host", []string{"a=1; Domain=cpi.hana.example.com"}, "/api/v1/", "a=1"},
		{"domain in capitals", []string{"a=1; Domain=.HANA.Example.com"}, "/api/v1/", "a=1"},
		{"domain of another", []string{"a=1; Domain=other.example.com"}, "/api/v1/", ""},
		{"domain below the host", []string{"a=1; Domain=x.cpi.hana.example.com"}, "/api/v1/", ""},
		{"domain that ends alike", []string{"a=1; Domain=ana.example.com"}, "/api/v1/", ""},

		{"replaced", []string{"a=1; Path=/", "b=2; Path=/", "a=3; Path=/"}, "/", "a=3; b=2"},
		{"removed by age", []string{"a=1; Path=/", "a=1; Path=/; Max-Age=0"}, "/", ""},
		{"removed by date", []string{"a=1; Path=/", "a=1; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT"}, "/", ""},
		{"expired before it came", []string{"a=1; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT"}, "/", ""},
		{"expires later", []string{"a=1; Path=/; Expires=Wed, 25 Nov 2026 12:00:00 GMT"}, "/", "a=1"},
		{"age goes before date", []string{"a=1; Path=/; Max-Age=60; Expires=Thu, 01 Jan 1970 00:00:00 GMT"}, "/", "a=1"},

		{"no name", []string{"=1; Path=/", "1; Path=/"}, "/", ""},
		{"control character", []string{"a=1\x01; Path=/"}, "/", ""},
		{"line end", []string{"a=1\r\nX: y; Path=/"}, "/", ""},
		{"too large", []string{"a=" + strings.Repeat("x", maxCookieOctets) + "; Path=/"}, "/", ""},
		{"nothing", []string{""}, "/", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			j := jar{host: "cpi.hana.example.com", secure: true}
			for _, s := range tt.set {
				j.set(s, "/api/v1/x", now)
			}
			if got := j.value(tt.path, now); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestACookieExpires(t *testing.T) {
	now := time.Now()
	j := jar{host: "a.example"}
	j.set("a=1; Max-Age=60", "/", now)
	for after, want := range map[time.Duration]string{59 * time.Second: "a=1", 60 * time.Second: ""} {
		if got := j.value("/", now.Add(after)); got != want {
			t.Errorf("after %v: got %q, want %q", after, got, want)
		}
	}
}

func TestASecureCookieGoesOverTLSOnly(t *testing.T) {
	j := jar{host: "localhost"}
	j.set("a=1; Secure", "/", time.Now())
	j.set("b=2", "/", time.Now())
	if got := j.value("/", time.Now()); got != "b=2" {
		t.Errorf("got %q, want b=2", got)
	}
}

func TestAnAddressHasNoDomain(t *testing.T) {
	for host, domain := range map[string]string{"10.0.0.1": "0.0.1", "[::1]": "1]", "localhost": "", "a.example": "."} {
		if domainMatches(host, domain) {
			t.Errorf("%s belongs to %q", host, domain)
		}
	}
	if !domainMatches("10.0.0.1", "10.0.0.1") {
		t.Error("an address does not belong to itself")
	}
}

func TestAJarIsBounded(t *testing.T) {
	now := time.Now()
	j := jar{host: "a.example"}
	for i := range 10_000 {
		j.set(fmt.Sprintf("c%d=%s; Path=/", i, strings.Repeat("x", i%200)), "/", now)
	}
	if n := len(j.cookies); n != maxCookies {
		t.Errorf("%d cookies, want %d", n, maxCookies)
	}
	j = jar{host: "a.example"}
	for i := range 10 {
		j.set(fmt.Sprintf("c%d=%s; Path=/", i, strings.Repeat("x", 1500)), "/", now)
	}
	if n := len(j.value("/", now)); n > maxJarOctets+10 || n < maxJarOctets-1600 {
		t.Errorf("%d octets would be sent", n)
	}
	for i := range 10 { // those that are there may grow, but not together beyond the bound
		j.set(fmt.Sprintf("c%d=%s; Path=/", i, strings.Repeat("x", 4000)), "/", now)
	}
	size := 0
	for _, c := range j.cookies {
		size += c.size
	}
	if size != j.size || size > maxJarOctets {
		t.Errorf("%d octets are kept, %d counted", size, j.size)
	}
}
