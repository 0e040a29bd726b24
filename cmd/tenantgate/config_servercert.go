package main

import (
	"fmt"
	"net/mail"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/pki/servercert"
)

// The values of server_certificate.source.
const (
	sourceInternal = "internal"
	sourceACME     = "acme"
	sourceFiles    = "files"
)

// serverCertificateProblems are what is wrong with the section server_certificate. What another source needs is looked at, too, as far as it is given: who
// switches to it later finds nothing new.
func (c *Config) serverCertificateProblems() []invalidKey {
	s := &c.ServerCertificate
	checks := []invalidKey{
		{"server_certificate.source", choiceProblem(s.Source, sourceInternal, sourceACME, sourceFiles)},
		{"server_certificate.names", c.callerNamesProblem()},
		{"server_certificate.acme.directory", directoryProblem(s.ACME.Directory, s.Source == sourceACME)},
		{"server_certificate.acme.email", emailProblem(s.ACME.Email)},
		{"server_certificate.acme.challenges", challengesProblem(s.ACME.Challenges)},
		{"server_certificate.acme.key_type", choiceProblem(s.ACME.KeyType, pki.P256, pki.P384, pki.RSA2048, pki.RSA4096)},
		{"server_certificate.acme.eab_hmac_file", bothProblem(s.ACME.EABKeyID, s.ACME.EABHMACFile, "eab_key_id and eab_hmac_file belong together: one is missing")},
	}
	if s.ACME.HTTPListen != "" {
		checks = append(checks, invalidKey{"server_certificate.acme.http_listen", addressProblem(s.ACME.HTTPListen)})
	}
	for i, f := range s.Files {
		checks = append(checks, invalidKey{fmt.Sprintf("server_certificate.files[%d]", i), fileProblem(&f)})
	}
	switch {
	case s.Source == sourceACME && !s.ACME.AgreeTerms:
		checks = append(checks, invalidKey{"server_certificate.acme.agree_terms",
			"read the terms of service of the CA that runs the directory; true says that you agree with them"})
	case s.Source == sourceACME && slices.Contains(s.ACME.Challenges, servercert.HTTP01) && s.ACME.HTTPListen == "" && c.Publish.Listen == "":
		checks = append(checks, invalidKey{"server_certificate.acme.http_listen",
			"http-01 needs a listener that is reached on port 80, such as :80 (or publish.listen)"})
	case s.Source == sourceFiles && len(s.Files) == 0:
		checks = append(checks, invalidKey{"server_certificate.files", "the source is files, and there are none"})
	}
	return checks
}

// callerNames are the names for which callers see a certificate of the source, the default first.
func (c *Config) callerNames() []string {
	if c.ServerCertificate.Source != sourceInternal && len(c.ServerCertificate.Names) > 0 {
		return c.ServerCertificate.Names
	}
	return c.ServerNames
}

// callerNamesProblem wants names for which the CA has a certificate, too, to serve while there is no other.
func (c *Config) callerNamesProblem() string {
	for _, name := range c.ServerCertificate.Names {
		if !slices.ContainsFunc(c.ServerNames, func(n string) bool { return pki.NormalServerName(n) == pki.NormalServerName(name) }) {
			return strconv.Quote(name) + " is not one of server_names: add it there"
		}
	}
	return ""
}

// directoryProblem wants https: whoever is in the middle could have certificates for names of his.
func directoryProblem(s string, required bool) string {
	if s == "" {
		if required {
			return "the source is acme: name the CA's directory, such as https://acme-v02.api.letsencrypt.org/directory"
		}
		return ""
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.Fragment != "" {
		return strconv.Quote(s) + " is not https://HOST[:PORT]/PATH"
	}
	return ""
}

func emailProblem(s string) string {
	if s == "" {
		return ""
	}
	if a, err := mail.ParseAddress(s); err != nil || a.Address != s {
		return strconv.Quote(s) + " is not an address such as operators@example.com"
	}
	return ""
}

func challengesProblem(challenges []string) string {
	if len(challenges) == 0 {
		return "at least one of " + servercert.TLSALPN01 + " and " + servercert.HTTP01 + " is required"
	}
	for _, challenge := range challenges {
		if challenge == "dns-01" {
			return "dns-01 is not known here: have an ACME client with access to the DNS keep the certificate in files (source: files)"
		}
		if problem := choiceProblem(challenge, servercert.TLSALPN01, servercert.HTTP01); problem != "" {
			return problem
		}
	}
	return ""
}

func bothProblem(a, b, problem string) string {
	if (a == "") != (b == "") {
		return problem
	}
	return ""
}

func fileProblem(f *CertificateFile) string {
	var has []string
	for _, key := range []struct{ name, value string }{{"certificate", f.Certificate}, {"key", f.Key}, {"pkcs12", f.PKCS12}, {"password_file", f.PasswordFile}} {
		if key.value != "" {
			has = append(has, key.name)
		}
	}
	switch strings.Join(has, " ") {
	case "certificate", "certificate key", "certificate key password_file", "certificate password_file", "pkcs12 password_file":
		return ""
	case "pkcs12":
		return "pkcs12 needs a password_file"
	}
	return "give certificate and key (or certificate alone, with the key in the same file), or pkcs12 and password_file"
}
