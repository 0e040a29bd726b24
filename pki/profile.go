package pki

import (
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"strings"
	"time"
)

// A Profile says what a certificate is for and everything that goes into it: extensions come from here and from nowhere
// else. The zero Profile issues nothing; get one from [ClientProfile], [AdminProfile], [ServerProfile],
// [OutboundProfile] or [ParseProfile].
type Profile struct {
	kind             string
	tenant           string   // of an outbound profile
	hosts            []string // of a client profile with host names
	def, least, most time.Duration
}

// ClientProfile is for technical identities: clientAuth only, URI SAN spiffe://<trust domain>/identity/<name>,
// CN=<name>. Lifetime 90 days unless asked otherwise, from 5 minutes to 398 days.
func ClientProfile() Profile {
	return Profile{kind: "client", def: 90 * 24 * time.Hour, least: 5 * time.Minute, most: 398 * 24 * time.Hour}
}

// AdminProfile is for people and machines that administer tenantgate: clientAuth only, URI SAN
// spiffe://<trust domain>/admin/<name>, CN=<name>. Lifetimes as [ClientProfile].
func AdminProfile() Profile {
	return Profile{kind: "admin", def: 90 * 24 * time.Hour, least: 5 * time.Minute, most: 398 * 24 * time.Hour}
}

// ServerProfile is for our own listeners: serverAuth only, one DNS or IP SAN which is also the CN. Lifetimes as
// [ClientProfile].
func ServerProfile() Profile {
	return Profile{kind: "server", def: 90 * 24 * time.Hour, least: 5 * time.Minute, most: 398 * 24 * time.Hour}
}

// OutboundProfile is for the certificates that an identity shows to a tenant: clientAuth only, URI SAN
// spiffe://<trust domain>/outbound/<name>/<tenant>, OU=<tenant>, CN=<name>, so that at no token server two tenants' clients share a subject.
// It stands for nobody at our own listeners: [Subject] does not know it, and nobody binds it. Lifetimes as [ClientProfile].
func OutboundProfile(tenant string) Profile {
	return Profile{kind: "outbound", tenant: tenant, def: 90 * 24 * time.Hour, least: 5 * time.Minute, most: 398 * 24 * time.Hour}
}

// ParseProfile returns the profile of the given name: client, admin or server.
func ParseProfile(name string) (Profile, error) {
	for _, p := range []Profile{ClientProfile(), AdminProfile(), ServerProfile()} {
		if p.kind == name {
			return p, nil
		}
	}
	return Profile{}, &RequestError{Field: "profile", Problem: fmt.Sprintf("unknown profile %q", name), Hint: "use client, admin or server"}
}

// String returns client, admin, server or outbound; "" for the zero Profile.
func (p Profile) String() string { return p.kind }

// Lifetimes returns the default, the shortest and the longest lifetime a certificate of this profile may have.
func (p Profile) Lifetimes() (def, least, most time.Duration) { return p.def, p.least, p.most }

// WithLifetimes returns the profile with other bounds. They must be ordered, at least one minute, at most ten years.
func (p Profile) WithLifetimes(def, least, most time.Duration) (Profile, error) {
	if least < time.Minute || least > def || def > most || most > 10*365*24*time.Hour {
		return Profile{}, &RequestError{Field: "lifetime", Problem: fmt.Sprintf("bounds %v (default), %v (shortest), %v (longest) are not in order", def, least, most),
			Hint: "need 1m <= shortest <= default <= longest <= 87600h"}
	}
	p.def, p.least, p.most = def, least, most
	return p, nil
}

// lifetime applies the bounds to what was asked for; 0 asks for the default.
func (p Profile) lifetime(asked time.Duration) (time.Duration, error) {
	if asked == 0 {
		return p.def, nil
	}
	if asked < p.least || asked > p.most {
		return 0, &RequestError{Field: "lifetime", Problem: fmt.Sprintf("%v is outside what the %s profile allows", asked, p.kind),
			Hint: fmt.Sprintf("ask for %v to %v, or for none to get %v", p.least, p.most, p.def)}
	}
	return asked, nil
}

var (
	nameRE        = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`)
	trustDomainRE = regexp.MustCompile(`^[a-z0-9]([a-z0-9._-]{0,253}[a-z0-9])?$`)
	hostRE        = regexp.MustCompile(`^[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?)*$`)
)

// CheckName says whether name can stand in a certificate of this profile; if not, the error is a *[RequestError]. An '@' never can: no person in
// an identity.
func (p Profile) CheckName(name string) error {
	switch p.kind {
	case "outbound":
		if !nameRE.MatchString(p.tenant) {
			return &RequestError{Field: "tenant", Problem: fmt.Sprintf("%q is not a name a certificate can carry", p.tenant),
				Hint: "use 1 to 63 of a-z 0-9 . _ - and begin with a letter or digit"}
		}
		fallthrough
	case "client", "admin":
		if !nameRE.MatchString(name) {
			return &RequestError{Field: "name", Problem: fmt.Sprintf("%q is not a name a certificate can carry", name),
				Hint: "use 1 to 63 of a-z 0-9 . _ - and begin with a letter or digit; no e-mail address"}
		}
	case "server":
		if net.ParseIP(name) == nil && (len(name) > 253 || !hostRE.MatchString(name)) {
			return &RequestError{Field: "name", Problem: fmt.Sprintf("%q is not a host name or IP address", name),
				Hint: "use a lower-case DNS name without wildcard, or an IP address"}
		}
	default:
		return &RequestError{Field: "profile", Problem: "no profile given", Hint: "use client, admin or server"}
	}
	return nil
}

// uri returns the SPIFFE ID of name (SPIFFE-ID section 2), or nil for the server profile.
func (p Profile) uri(trustDomain, name string) *url.URL {
	switch p.kind {
	case "client":
		return &url.URL{Scheme: "spiffe", Host: trustDomain, Path: "/identity/" + name}
	case "admin":
		return &url.URL{Scheme: "spiffe", Host: trustDomain, Path: "/admin/" + name}
	case "outbound":
		return &url.URL{Scheme: "spiffe", Host: trustDomain, Path: "/outbound/" + name + "/" + p.tenant}
	}
	return nil
}

// template returns the whole certificate but for serial number, validity and issuer.
func (p Profile) template(trustDomain, name string, key crypto.PublicKey) *x509.Certificate {
	t := &x509.Certificate{
		PublicKey:             key,
		Subject:               pkix.Name{CommonName: name},
		KeyUsage:              x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true,
	}
	if p.kind == "server" {
		t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		if _, ok := key.(*rsa.PublicKey); ok {
			t.KeyUsage |= x509.KeyUsageKeyEncipherment // the TLS_RSA suites of old Java stacks
		}
		if ip := net.ParseIP(name); ip != nil {
			t.IPAddresses = []net.IP{ip}
		} else {
			t.DNSNames = []string{name}
		}
		if len(name) > 64 { // ub-common-name, RFC 5280 appendix A.1
			t.Subject.CommonName = ""
		}
		return t
	}
	if p.kind == "outbound" {
		t.Subject.OrganizationalUnit = []string{p.tenant}
	}
	if len(p.hosts) > 0 { // see WithHosts
		t.Subject, t.DNSNames = pkix.Name{OrganizationalUnit: []string{name}}, p.hosts
	}
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	t.URIs = []*url.URL{p.uri(trustDomain, name)}
	return t
}

// Subject reads the SPIFFE ID of a certificate that [Trust.VerifyClient] has accepted: which profile it was issued under
// (client or admin) and to which name. It reports false for anything that is not exactly one SPIFFE ID of trustDomain.
// It verifies nothing.
func Subject(cert *x509.Certificate, trustDomain string) (profile, name string, ok bool) {
	if cert == nil || len(cert.URIs) != 1 {
		return "", "", false
	}
	rest, ok := strings.CutPrefix(cert.URIs[0].String(), "spiffe://"+trustDomain+"/")
	if !ok {
		return "", "", false
	}
	kind, name, _ := strings.Cut(rest, "/")
	if !nameRE.MatchString(name) {
		return "", "", false
	}
	switch kind {
	case "identity":
		return "client", name, true
	case "admin":
		return "admin", name, true
	}
	return "", "", false
}
