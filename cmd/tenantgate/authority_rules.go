package main

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/proxy/admin"
)

// newAuthorityMapCommand is `authority map` or `authority unmap`.
func newAuthorityMapCommand(p *program, verb, short string) *cobra.Command {
	cmd := &cobra.Command{
		Use:   verb + " NAME IDENTITY (--fingerprint HEX | --spiffe ID | --dns NAME | --subject NAME)",
		Short: short,
		Long: `A mapping compares one thing of a certificate, exactly:

  --fingerprint  SHA-256 of the whole certificate
  --spiffe       the one URI alternative name, a SPIFFE ID
  --dns          one of the DNS alternative names; wildcards in certificates match nothing
  --subject      the whole subject as RFC 4514 writes it, the most special part first: CN=erp,OU=Systems,O=Example,C=DE
                 (openssl x509 -noout -subject -nameopt RFC2253,-esc_msb,utf8)

In --spiffe and --subject, {identity} stands once for the name of the identity: for a whole segment of the path, or
a whole value. With the IDENTITY * such a mapping is for whichever identity stands there. A certificate that two
mappings give to different identities is refused.`,
		Example: `  tenantgate authority ` + verb + ` corp erp --dns erp.example.com
  tenantgate authority ` + verb + ` corp '*' --subject 'CN={identity},OU=Systems,O=Example,C=DE'
  tenantgate authority ` + verb + ` spire erp --spiffe spiffe://prod.example.com/ns/backend/sa/erp`,
		Args: exactArgs("NAME", "IDENTITY"),
	}
	values := map[string]*string{}
	kinds := []string{identity.MapFingerprint, identity.MapSPIFFE, identity.MapDNS, identity.MapSubject}
	for _, kind := range kinds {
		values[kind] = cmd.Flags().String(kind, "", "`value` that the certificate must have")
	}
	cmd.MarkFlagsMutuallyExclusive(kinds...)
	cmd.MarkFlagsOneRequired(kinds...)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		m := identity.Mapping{Identity: args[1]}
		for _, kind := range kinds {
			if cmd.Flags().Changed(kind) {
				m.Kind, m.Value = kind, *values[kind]
			}
		}
		act, done := (*admin.Client).Map, "certificates of %s with %s %s stand for %s\n"
		if verb == "unmap" {
			act, done = (*admin.Client).Unmap, "certificates of %s with %s %s no longer stand for %s\n"
		}
		return p.call(func(c *admin.Client) error {
			stored, err := act(c, cmd.Context(), args[0], m)
			if err != nil {
				return err
			}
			return p.show(stored, func(w io.Writer) {
				fmt.Fprintf(w, done, args[0], stored.Kind, printable(stored.Value), stored.Identity)
			})
		})
	}
	return cmd
}

// newAuthorityBlockCommand is `authority block` or `authority unblock`.
func newAuthorityBlockCommand(p *program, verb, short string) *cobra.Command {
	cmd := &cobra.Command{
		Use:     verb + " NAME SERIAL|FINGERPRINT",
		Short:   short,
		Long:    "A certificate is named by its serial number or its SHA-256 fingerprint, in hexadecimal digits. An intermediate can be blocked, too.",
		Example: "  tenantgate authority " + verb + " corp 6f3a12c4",
		Args:    exactArgs("NAME", "SERIAL|FINGERPRINT"),
	}
	reason := new(string)
	if verb == "block" {
		reason = cmd.Flags().String("reason", "", "why, as free text")
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		act := (*admin.Client).Block
		if verb == "unblock" {
			act = (*admin.Client).Unblock
		}
		return p.call(func(c *admin.Client) error {
			b, err := act(c, cmd.Context(), args[0], admin.BlockRequest{Certificate: args[1], Reason: *reason})
			if err != nil {
				return err
			}
			return p.show(b, func(w io.Writer) { fmt.Fprintf(w, "%sed %s %s of %s\n", verb, b.Kind, b.Value, args[0]) })
		})
	}
	return cmd
}

func newAuthorityCRLCommand(p *program) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "crl NAME (FILE | --remove SOURCE)",
		Short: "Upload a revocation list, or forget one",
		Long: `crl uploads a list that cannot be fetched, PEM or DER. It must be current, whole, and signed by a CA among the
authority's certificates; its number must not be lower than that of the list it replaces. From then on the
authority requires lists.`,
		Example: `  tenantgate authority crl corp issuing.crl
  tenantgate authority crl corp --remove http://pki.example.com/old.crl`,
		Args: maxArgs(2),
	}
	source := cmd.Flags().String("remove", "", "forget the list that came from this `source`, as authority show prints it")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) == 2 && *source == "":
			text, err := p.readList(args[1])
			if err != nil {
				return err
			}
			return p.call(func(c *admin.Client) error {
				l, err := c.PutCRL(cmd.Context(), args[0], text)
				if err != nil {
					return err
				}
				return p.show(l, func(w io.Writer) {
					fmt.Fprintf(w, "list %s of %s is in force: %d entries, until %s\n", l.Number, printable(l.Issuer), l.Entries, moment(l.NextUpdate))
				})
			})
		case len(args) == 1 && *source != "":
			return p.call(func(c *admin.Client) error {
				if err := c.RemoveCRL(cmd.Context(), args[0], *source); err != nil {
					return err
				}
				return p.removed("revocation list", *source)
			})
		}
		return usageError(cmd, "give NAME and FILE, or NAME and --remove SOURCE")
	}
	return cmd
}

// maxListFile bounds a revocation list that is uploaded.
const maxListFile = 32 << 20

// readList reads a revocation list, PEM or DER, and returns it as PEM.
func (p *program) readList(name string) (string, error) {
	in := p.stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return "", hinted(fmt.Errorf("reading the revocation list: %w", err), "give a file, or an address that begins with http:// or https://")
		}
		defer f.Close()
		in = f
	}
	b, err := readAtMost(in, maxListFile)
	if err != nil {
		return "", fmt.Errorf("reading the revocation list from %s: %w", name, err)
	}
	lists, err := pki.ParseCRLs(b)
	if err != nil {
		return "", fmt.Errorf("reading the revocation list from %s: %w", name, err)
	}
	if len(lists) != 1 {
		return "", fmt.Errorf("reading the revocation list from %s: there are %d in it, not one", name, len(lists))
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: lists[0].Raw})), nil
}

func newAuthorityCheckCommand(p *program) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check NAME [--leaf FILE]",
		Short: "Fetch an authority's revocation lists now, and judge a certificate",
		Long: `check fetches all lists of an authority and says what wants an operator. With --leaf it says what the
callers' listener makes of a certificate now: by which mapping it stands for which identity, and whether it was
revoked. The exit status is 1 unless all is well.`,
		Example: `  tenantgate authority check corp
  tenantgate authority check corp --leaf erp-chain.pem`,
		Args: exactArgs("NAME"),
	}
	leaf := cmd.Flags().String("leaf", "", "`file` with a caller's certificate, PEM or DER, followed by the chain it is sent with")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		chain := ""
		if *leaf != "" {
			certificates, err := readBundle(p, *leaf, "certificate", pki.ParseCertificates)
			if err != nil {
				return err
			}
			chain = string(pki.EncodeCertificates(certificates...))
		}
		return p.calling("fetching revocation lists", func(c *admin.Client) error {
			checked, err := c.CheckAuthority(cmd.Context(), args[0], chain)
			if err != nil {
				return err
			}
			if err := p.show(checked, func(w io.Writer) { printAuthorityCheck(w, &checked) }); err != nil {
				return err
			}
			if !checked.OK {
				return errors.New("authority " + args[0] + " wants an operator")
			}
			return nil
		})
	}
	return cmd
}

func printAuthorityCheck(w io.Writer, c *admin.AuthorityCheck) {
	for _, f := range c.Fetches {
		state := "in force"
		if !f.OK {
			state = "FAILED: " + printable(f.Detail)
		}
		fmt.Fprintf(w, "list of %s: %s\n", f.Source, state)
	}
	for _, warning := range c.Warnings {
		fmt.Fprintln(w, "warning: "+printable(warning))
	}
	if c.Verdict != nil {
		printVerdict(w, c.Verdict)
	}
	if c.OK {
		fmt.Fprintln(w, "all is well")
	}
}

// printVerdict says what the listener makes of a certificate.
func printVerdict(w io.Writer, v *admin.CertificateVerdict) {
	state := "acceptable"
	if !v.OK {
		state = "REFUSED: " + v.Detail
	}
	rule := ""
	if v.Mapping != nil {
		rule = v.Mapping.Kind + " " + v.Mapping.Value
	}
	authority := v.Authority
	if authority == "" && v.OK {
		authority = "our own CA"
	}
	fields(w,
		field{"certificate", state},
		field{"authority", authority},
		field{"mapping", rule},
		field{"identity", v.Identity},
		field{"revocation", v.Revocation},
		field{"subject", v.Subject},
		field{"spiffe", v.SPIFFE},
		field{"dns", strings.Join(v.DNS, ",")},
		field{"serial", v.Serial},
		field{"fingerprint", v.Fingerprint.String()},
		field{"until", moment(v.NotAfter)},
	)
}

func printAuthority(w io.Writer, a *admin.Authority) {
	fields(w,
		field{"name", a.Name},
		field{"description", a.Description},
		field{"state", authorityState(a)},
		field{"revocation", revocationOf(&a.Authority)},
		field{"crl urls", strings.Join(a.CRLURLs, " ")},
		field{"ocsp", a.OCSPURL},
		field{"created", moment(a.Created)},
		field{"updated", moment(a.Updated)},
	)
	section := func(name string, header []string, rows [][]string) {
		fmt.Fprintf(w, "\n%s: %d\n", name, len(rows))
		if len(rows) > 0 {
			table(w, header, rows)
		}
	}
	var rows [][]string
	for _, c := range a.Certificates {
		kind := "intermediate"
		if c.Anchor {
			kind = "anchor"
		}
		rows = append(rows, []string{kind, c.Subject, c.Fingerprint.String()[:16], moment(c.NotAfter)})
	}
	section("certificates", []string{"KIND", "SUBJECT", "FINGERPRINT", "UNTIL"}, rows)
	rows = nil
	for _, m := range a.Mappings {
		rows = append(rows, []string{m.Identity, m.Kind, m.Value})
	}
	section("mappings", []string{"IDENTITY", "KIND", "VALUE"}, rows)
	rows = nil
	for _, b := range a.Blocks {
		rows = append(rows, []string{b.Kind, b.Value, orDash(b.Reason), moment(b.Created)})
	}
	section("blocks", []string{"KIND", "VALUE", "REASON", "SINCE"}, rows)
	rows = nil
	for _, l := range a.Lists {
		rows = append(rows, []string{l.Source, l.Issuer, l.Number, strconv.Itoa(l.Entries), moment(l.NextUpdate)})
	}
	section("revocation lists", []string{"SOURCE", "ISSUER", "NUMBER", "ENTRIES", "UNTIL"}, rows)
	rows = nil
	for _, s := range a.Seen {
		rows = append(rows, []string{s.Serial, orDash(s.Identity), s.Subject, moment(s.NotAfter), moment(s.Last), orDash(s.Refused)})
	}
	section("certificates that came to this node", []string{"SERIAL", "IDENTITY", "SUBJECT", "UNTIL", "LAST SEEN", "REFUSED"}, rows)
	for _, warning := range a.Warnings {
		fmt.Fprintln(w, "\nwarning: "+printable(warning))
	}
}

// verifyLive asks the running server what its listener makes of a chain.
func (p *program) verifyLive(ctx context.Context, name string) error {
	certificates, err := readBundle(p, name, "certificate", pki.ParseCertificates)
	if err != nil {
		return err
	}
	return p.call(func(c *admin.Client) error {
		v, err := c.Verify(ctx, string(pki.EncodeCertificates(certificates...)))
		if err != nil {
			return err
		}
		if err := p.show(v, func(w io.Writer) { printVerdict(w, &v) }); err != nil {
			return err
		}
		if !v.OK {
			return errors.New("refused: " + v.Detail)
		}
		return nil
	})
}
