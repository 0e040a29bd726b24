package check

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"
)

// serverEnds is how long before its end a server's certificate is worth a word: two weeks, or a tenth of a shorter life.
func serverEnds(c *x509.Certificate) time.Duration {
	return min(14*24*time.Hour, c.NotAfter.Sub(c.NotBefore)/10)
}

// describeTLS says what was agreed on, and who vouches for the server.
func describeTLS(s *tls.ConnectionState, now time.Time) (State, string, string) {
	detail := tls.VersionName(s.Version)
	if s.NegotiatedProtocol != "" {
		detail += ", " + s.NegotiatedProtocol
	}
	if len(s.PeerCertificates) == 0 {
		return OK, detail, ""
	}
	leaf := s.PeerCertificates[0]
	detail += fmt.Sprintf("; certificate for %s, until %s", names(leaf), day(leaf.NotAfter))
	if len(s.VerifiedChains) > 0 {
		chain := s.VerifiedChains[0]
		detail += ", vouched for by " + holder(chain[len(chain)-1])
	}
	if leaf.NotAfter.Sub(now) < serverEnds(leaf) {
		return Warn, detail, "the server's certificate ends soon: its operator must renew it"
	}
	return OK, detail, ""
}

// explainTLS says why a handshake failed, and what to do. showed says that a client certificate was at hand; alertHint is for a server that wants one.
func explainTLS(err error, showed bool, alertHint string) (detail, hint string) {
	if e, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return explainChain(e)
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "remote error" {
		alert := clean(op.Err.Error(), 120)
		switch {
		case strings.Contains(alert, "certificate required"), strings.Contains(alert, "handshake failure") && !showed:
			return "the server wants a client certificate: " + alert, alertHint
		case showed:
			return "the server refuses the handshake: " + alert,
				"it may not know the authority of the client certificate, or want another one: is it the one that was registered, with its chain?"
		}
		return "the server refuses the handshake: " + alert, alertHint
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return "what answers does not speak TLS", "is the port right? a proxy in between may answer in the clear"
	}
	if errors.Is(err, errTimeout) || strings.Contains(err.Error(), "timeout") || strings.Contains(err.Error(), "deadline") {
		return "the handshake is not answered in time",
			"something in between lets connections through and nothing on them: a firewall, or a proxy that must be named (tenant set NAME --http-proxy URL)"
	}
	return clean(err.Error(), 200), ""
}

var errTimeout = errors.New("no answer in time")

// explainChain says what is wrong with a server's certificate.
func explainChain(e *tls.CertificateVerificationError) (detail, hint string) {
	who, by := "the certificate", ""
	var top *x509.Certificate
	if len(e.UnverifiedCertificates) > 0 {
		who = "the certificate for " + names(e.UnverifiedCertificates[0])
		top = e.UnverifiedCertificates[len(e.UnverifiedCertificates)-1]
		by = issuer(top)
	}
	if _, ok := errors.AsType[x509.HostnameError](e.Err); ok {
		return who + " is for another name", "the address may be misspelt, or something in between answers for it"
	}
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](e.Err); ok && invalid.Reason == x509.Expired {
		return who + " is not valid now (it says until " + day(invalid.Cert.NotAfter) + ")",
			"is this machine's clock right? else its operator must renew it"
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](e.Err); ok {
		return who + " comes from " + by + ", which is not trusted here",
			"where that is your company's authority (a proxy that looks into TLS), or the tenant's own: tenant set NAME --ca-bundle FILE; " +
				"where the tenant has a bundle, it lacks this one"
	}
	return who + ": " + clean(e.Err.Error(), 160), ""
}

// names lists what a certificate is for.
func names(c *x509.Certificate) string {
	list := append([]string{}, c.DNSNames...)
	for _, ip := range c.IPAddresses {
		list = append(list, ip.String())
	}
	if len(list) == 0 {
		return holder(c)
	}
	return clean(short(list, 3), 160)
}

func holder(c *x509.Certificate) string {
	if c.Subject.CommonName != "" {
		return "\"" + clean(c.Subject.CommonName, 80) + "\""
	}
	return "\"" + clean(c.Subject.String(), 120) + "\""
}

func issuer(c *x509.Certificate) string {
	if c.Issuer.CommonName != "" {
		return "\"" + clean(c.Issuer.CommonName, 80) + "\""
	}
	return "\"" + clean(c.Issuer.String(), 120) + "\""
}

func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }
