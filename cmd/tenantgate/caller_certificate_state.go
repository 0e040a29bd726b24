package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/tenantgate/tenantgate/proxy/admin"
	"github.com/tenantgate/tenantgate/proxy/record"
)

// callerCertificateCheck says how the certificates stand that callers see, where they come from elsewhere than the CA. While there is none that is valid the
// CA's own is served, so that the node stays ready: callers that trust its root notice nothing, and taking the node out of service would help no other.
func (n *node) callerCertificateCheck() admin.Check {
	c := admin.Check{Name: "caller_certificate", OK: true}
	source := n.source.Load()
	if source.certificateSource == nil {
		c.Detail = "of the CA of this server"
		return c
	}
	now := time.Now()
	var said []string
	for _, s := range source.States() {
		what := fmt.Sprintf("%s from %s", s.Name, s.Source)
		if s.Valid(now) {
			what += ", until " + moment(s.NotAfter)
		} else {
			what += ": there is none that is valid, callers see one of the CA of this server"
		}
		if s.Problem != "" {
			what += "; " + s.Problem + " (since " + moment(s.Since)
			if !s.Next.IsZero() {
				what += ", tried again at " + moment(s.Next)
			}
			what += ")"
		}
		if left := s.NotAfter.Sub(now); s.Source == sourceFiles && s.Valid(now) && left < s.NotAfter.Sub(s.NotBefore)/6 {
			s.Warnings = append(s.Warnings, "it ends soon, and nobody has replaced the files")
		}
		for _, warning := range s.Warnings {
			what += "; " + warning
		}
		c.Warning = c.Warning || !s.Valid(now) || s.Problem != "" || len(s.Warnings) > 0
		said = append(said, strings.ReplaceAll(what, "\n", "; "))
	}
	c.Detail = strings.Join(said, " | ")
	return c
}

// serverCertificates are those of callers' listener, for the metrics.
func (n *node) serverCertificates() []record.ServerCertificate {
	var all []record.ServerCertificate
	own := n.certs.Load()
	for _, name := range own.Names() {
		if c, err := own.Certificate(name); err == nil {
			all = append(all, record.ServerCertificate{Source: sourceInternal, Name: name, NotBefore: c.Leaf.NotBefore, NotAfter: c.Leaf.NotAfter})
		}
	}
	if source := n.source.Load(); source.certificateSource != nil {
		for _, s := range source.States() {
			all = append(all, record.ServerCertificate{Source: s.Source, Name: s.Name, NotBefore: s.NotBefore, NotAfter: s.NotAfter, Failing: s.Problem != ""})
		}
	}
	return all
}
