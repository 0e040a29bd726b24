package main

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/proxy/admin"
)

func newAuthorityCommand(p *program) *cobra.Command {
	return group(&cobra.Command{
		Use:   "authority",
		Short: "CAs beside our own: a company PKI, or SPIRE",
		Long: `An authority is a CA whose certificates callers may show. By itself it gives nobody access: a mapping says
for which identity a certificate stands, and that identity has its roles as ever. What an authority says is
judged as strictly as what our own CA says, and it never speaks for our CA's names or for administrators.`,
		Example: `  tenantgate authority add corp --ca corp-root.pem --crl http://pki.example.com/corp.crl
  tenantgate authority map corp erp --subject "CN=erp.example.com,OU=Systems,O=Example,C=DE"
  tenantgate authority add spire --ca bundle.pem
  tenantgate authority map spire '*' --spiffe 'spiffe://prod.example.com/ns/backend/{identity}'`,
	},
		newAuthorityAddCommand(p), newAuthorityListCommand(p), newAuthorityShowCommand(p), newAuthoritySetCommand(p), newAuthorityRemoveCommand(p),
		newAuthorityMapCommand(p, "map", "Have certificates of an authority stand for an identity"),
		newAuthorityMapCommand(p, "unmap", "Remove a mapping; it acts on the next request, and cuts what is in flight"),
		newAuthorityBlockCommand(p, "block", "Refuse one certificate of an authority, at once, on open connections too"),
		newAuthorityBlockCommand(p, "unblock", "Undo a block"),
		newAuthorityCRLCommand(p), newAuthorityCheckCommand(p))
}

// authorityAttributes are the flags of `authority add` and `authority set`. The second result are the values of --crl.
func authorityAttributes(p *program, cmd *cobra.Command) (*attributes, *[]string) {
	a := &attributes{}
	a.file(p, cmd, "ca", "ca", "`file` with the CA's certificate, or several (a root and its successor), PEM")
	a.file(p, cmd, "intermediates", "intermediates", "`file` with intermediates, PEM, for callers that do not send them and for their revocation lists")
	a.truth(cmd, "intermediate-anchor", "intermediate_anchor", "the certificate given with --ca is an intermediate, and nothing above it is believed or asked")
	a.text(cmd, "description", "description", "free text")
	crl := cmd.Flags().StringArray("crl", nil, "`URL` where a revocation list is fetched, or file with one to upload; repeatable, replaces all URLs; \"\" is none")
	a.custom("crl", "crl_urls", func() (any, error) {
		return slices.DeleteFunc(slices.Clone(*crl), func(s string) bool { return !isURL(s) }), nil
	})
	a.truth(cmd, "crl-required", "crl_required", "certificates need a current revocation list of their issuer (implied by --crl)")
	a.duration(cmd, "crl-refresh", "crl_refresh", "how `often` lists are fetched, such as 10m (default 1h)")
	a.text(cmd, "crl-on-stale", "crl_on_stale", "refuse or unsafe_accept: what becomes of certificates while their list is stale or missing (default refuse)")
	a.text(cmd, "ocsp", "ocsp_url", "`URL` of the OCSP responder that is asked about callers' certificates; \"\" is none")
	a.truth(cmd, "ocsp-from-certificate", "ocsp_from_certificate", "ask the responder that the certificate itself names")
	a.text(cmd, "ocsp-on-failure", "ocsp_on_failure", "refuse or unsafe_accept: what becomes of certificates about which there is no answer (default refuse)")
	return a, crl
}

func isURL(s string) bool {
	return strings.HasPrefix(strings.ToLower(s), "http://") || strings.HasPrefix(strings.ToLower(s), "https://") || strings.Contains(s, "://")
}

// listFiles reads the lists among the values of --crl that are to be uploaded.
func (p *program) listFiles(values []string) ([]string, error) {
	var lists []string
	for _, name := range values {
		if name == "" || isURL(name) {
			continue
		}
		text, err := p.readList(name)
		if err != nil {
			return nil, err
		}
		lists = append(lists, text)
	}
	return lists, nil
}

func newAuthorityAddCommand(p *program) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "add NAME --ca FILE [--crl URL|FILE] [--ocsp URL]",
		Short: "Add an authority",
		Long: `add makes a CA known. Nobody gets in by that: authority map says for whom its certificates stand.

Revocation is checked as far as it is asked for: with --crl, --crl-required or --ocsp. What cannot be found out
then is refused, unless unsafe_accept is chosen, which lets a stolen key in for as long as somebody keeps this
server from reaching the CA.`,
		Example: `  tenantgate authority add corp --ca corp-root.pem --intermediates corp-issuing.pem --crl http://pki.example.com/issuing.crl
  tenantgate authority add corp --ca corp-issuing.pem --intermediate-anchor --crl issuing.crl
  tenantgate authority add corp --ca corp-root.pem --ocsp http://ocsp.example.com`,
		Args: exactArgs("NAME"),
	}
	attrs, crl := authorityAttributes(p, cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		a := identity.Authority{Name: args[0]}
		if err := attrs.fill(cmd, &a); err != nil {
			return err
		}
		if a.CA == "" {
			return usageError(cmd, "--ca is missing")
		}
		lists, err := p.listFiles(*crl)
		if err != nil {
			return err
		}
		a.CRLRequired = a.CRLRequired || len(lists) > 0 // before the lists are there: nothing is accepted in between
		return p.call(func(c *admin.Client) error {
			stored, err := c.AddAuthority(cmd.Context(), a)
			if err != nil {
				return err
			}
			for _, list := range lists {
				if _, err := c.PutCRL(cmd.Context(), stored.Name, list); err != nil {
					return hinted(explain(err), "authority %s was added, and accepts nothing until it has a list: tenantgate authority crl %s FILE", stored.Name, stored.Name)
				}
			}
			return p.show(stored, func(w io.Writer) {
				fmt.Fprintf(w, "added authority %s\nnext: tenantgate authority map %s IDENTITY --subject NAME\n", stored.Name, stored.Name)
			})
		})
	}
	return cmd
}

func newAuthoritySetCommand(p *program) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "set NAME [flags]",
		Short: "Change an authority",
		Long: `set changes what is named and leaves the rest. --disabled refuses all certificates of the authority at once and
keeps its mappings. A CA's successor is added by giving both certificates with --ca.`,
		Example: `  tenantgate authority set corp --disabled
  tenantgate authority set corp --ca both-roots.pem
  tenantgate authority set corp --crl-required=false --crl ""`,
		Args: exactArgs("NAME"),
	}
	attrs, crl := authorityAttributes(p, cmd)
	attrs.truth(cmd, "disabled", "disabled", "refuse all certificates of the authority; --disabled=false ends that")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		changes, err := attrs.changes(cmd)
		if err != nil {
			return err
		}
		lists, err := p.listFiles(*crl)
		if err != nil {
			return err
		}
		if len(lists) > 0 && len(lists) == len(*crl) {
			delete(changes, "crl_urls") // files only: the addresses stay
		}
		return p.call(func(c *admin.Client) error {
			for _, list := range lists {
				if _, err := c.PutCRL(cmd.Context(), args[0], list); err != nil {
					return err
				}
			}
			stored, err := c.SetAuthority(cmd.Context(), args[0], changes)
			if err != nil {
				return err
			}
			return p.show(stored, func(w io.Writer) { fmt.Fprintf(w, "changed authority %s\n", stored.Name) })
		})
	}
	return cmd
}

func newAuthorityListCommand(p *program) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the authorities",
		Example: "  tenantgate authority list",
		Args:    exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.call(func(c *admin.Client) error {
				authorities, err := c.Authorities(cmd.Context())
				if err != nil {
					return err
				}
				return p.show(authorities, func(w io.Writer) {
					rows := make([][]string, 0, len(authorities))
					for _, a := range authorities {
						rows = append(rows, []string{a.Name, authorityState(&a), strconv.Itoa(len(a.Mappings)), revocationOf(&a.Authority), moment(firstEnd(&a)), strconv.Itoa(len(a.Warnings))})
					}
					table(w, []string{"NAME", "STATE", "MAPPINGS", "REVOCATION", "CA UNTIL", "WARNINGS"}, rows)
				})
			})
		},
	}
}

func authorityState(a *admin.Authority) string {
	if a.Disabled {
		return "disabled"
	}
	return "enabled"
}

// revocationOf says in a word or two how it is found out whether certificates were revoked.
func revocationOf(a *identity.Authority) string {
	var how []string
	if a.ChecksCRL() {
		how = append(how, "crl")
		if a.CRLOnStale == identity.OnFaultAccept {
			how[len(how)-1] += "(" + a.CRLOnStale + ")"
		}
	}
	if a.ChecksOCSP() {
		how = append(how, "ocsp")
		if a.OCSPOnFailure == identity.OnFaultAccept {
			how[len(how)-1] += "(" + a.OCSPOnFailure + ")"
		}
	}
	return list(how)
}

// firstEnd is when the first of the authority's certificates expires.
func firstEnd(a *admin.Authority) time.Time {
	var first time.Time
	for _, c := range a.Certificates {
		if first.IsZero() || c.NotAfter.Before(first) {
			first = c.NotAfter
		}
	}
	return first
}

func newAuthorityShowCommand(p *program) *cobra.Command {
	return &cobra.Command{
		Use:     "show NAME",
		Short:   "Show an authority: mappings, blocks, revocation lists, and the certificates that came",
		Example: "  tenantgate authority show corp --json",
		Args:    exactArgs("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.call(func(c *admin.Client) error {
				a, err := c.Authority(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				return p.show(a, func(w io.Writer) { printAuthority(w, &a) })
			})
		},
	}
}

func newAuthorityRemoveCommand(p *program) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "remove NAME",
		Short: "Remove an authority; it acts on the next request, and cuts what is in flight",
		Example: `  tenantgate authority remove corp
  tenantgate authority remove corp --cascade`,
		Args: exactArgs("NAME"),
	}
	cascade := cmd.Flags().Bool("cascade", false, "remove its mappings too")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return p.call(func(c *admin.Client) error {
			if err := c.RemoveAuthority(cmd.Context(), args[0], *cascade); err != nil {
				return err
			}
			return p.removed("authority", args[0])
		})
	}
	return cmd
}
