package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/proxy/admin"
)

// revokeFlags say what `cert revoke` revokes, besides a serial number, and why.
type revokeFlags struct {
	reason, identity, ca string
	all, yes             bool
}

func newCertRevokeCommand(p *program) *cobra.Command {
	var f revokeFlags
	cmd := &cobra.Command{
		Use:   "revoke (SERIAL | --identity NAME | --ca ID --yes | --all-of-ca --yes)",
		Short: "Revoke certificates, at once and for good",
		Long: `revoke refuses the next request with a certificate within a second, on open connections and resumed sessions too, and cuts
transfers in flight. It cannot be undone: issue another certificate. (To stop an identity for a while: identity disable.)

  SERIAL           one certificate: of an identity, an administrator, this server, or a keyless credential (which goes on using it:
                   replace it with credential rotate)
  --identity NAME  all certificates of an identity that could still be used or renewed; the identity stays as it is
  --ca ID          what one intermediate has issued to identities and administrators, or those of a root; ID is of ca list. To believe in
                   the intermediate no more either: ca retire
  --all-of-ca      everything that the CA has issued to identities and administrators, for the day on which its key is lost. No
                   caller is served until it has another certificate; administrators are left with the admin socket

Several certificates are revoked in one transaction, with a change record for each; expired ones among them, as long as a
renewal grace could bring them back. Enrolment tokens that are open stay good: cert tokens lists them.

Reasons are those of RFC 5280: ` + strings.Join(pki.RevocationReasons(), ", ") + `.
certificateHold is not among them, because it could be undone.`,
		Example: `  tenantgate cert revoke 6f3a12c4... --reason superseded
  tenantgate cert revoke --identity erp --reason keyCompromise
  tenantgate cert revoke --all-of-ca --reason cACompromise --yes`,
		Args: maxArgs(1),
	}
	flags := cmd.Flags()
	flags.StringVar(&f.reason, "reason", "unspecified", "why")
	flags.StringVar(&f.identity, "identity", "", "all certificates of this identity")
	flags.StringVar(&f.ca, "ca", "", "all certificates of this intermediate, or of the intermediates of this root: an `ID` of ca list")
	flags.BoolVar(&f.all, "all-of-ca", false, "all certificates of identities and administrators")
	flags.BoolVar(&f.yes, "yes", false, "yes, all of them (for --all-of-ca and --ca)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if cmd.Flags().Changed("ca") {
			if len(args) > 0 || cmd.Flags().Changed("identity") || f.all || f.ca == "" {
				return usageError(cmd, "give one of SERIAL, --identity NAME, --ca ID and --all-of-ca")
			}
			return p.revokeOfCA(cmd, &f)
		}
		switch {
		case len(args) == 1 && !cmd.Flags().Changed("identity") && !f.all:
			return p.revokeOne(cmd, normalSerial(args[0]), f.reason)
		case len(args) == 0 && f.identity != "" && !f.all:
			return p.revokeSeveral("of identity "+f.identity, func(c *admin.Client) (admin.Revocations, error) {
				return c.RevokeIdentity(cmd.Context(), f.identity, f.reason)
			})
		case len(args) == 0 && !cmd.Flags().Changed("identity") && f.all:
			return p.revokeAll(cmd, &f)
		}
		return usageError(cmd, "give one of SERIAL, --identity NAME, --ca ID and --all-of-ca")
	}
	return cmd
}

func (p *program) revokeOne(cmd *cobra.Command, serial, reason string) error {
	return p.call(func(c *admin.Client) error {
		certificate, err := c.RevokeCertificate(cmd.Context(), serial, reason)
		if err != nil {
			return err
		}
		return p.show(certificate, func(w io.Writer) {
			whose := "identity " + certificate.Identity
			if certificate.Identity == "" { // an administrator's, this server's, or one that a credential shows to a tenant
				whose = certificate.Subject
			}
			fmt.Fprintf(w, "revoked certificate %s of %s\n", certificate.Serial, whose)
		})
	})
}

// revokeAll wants to be told twice. Whoever has not said so learns what would happen.
func (p *program) revokeAll(cmd *cobra.Command, f *revokeFlags) error {
	if f.yes {
		return p.revokeSeveral("of the CA", func(c *admin.Client) (admin.Revocations, error) { return c.RevokeAll(cmd.Context(), f.reason) })
	}
	return p.call(func(c *admin.Client) error {
		valid, err := c.Certificates(cmd.Context(), admin.CertificateFilter{State: "valid"})
		if err != nil {
			return err
		}
		return hinted(fmt.Errorf("nothing was revoked: this would end %d certificates of identities, and those of administrators", len(valid)), "add --yes")
	})
}

// revokeOfCA revokes what one intermediate has signed. It wants to be told twice, as revokeAll does.
func (p *program) revokeOfCA(cmd *cobra.Command, f *revokeFlags) error {
	if f.yes {
		return p.revokeSeveral("of "+f.ca, func(c *admin.Client) (admin.Revocations, error) {
			return c.RevokeIssuedBy(cmd.Context(), f.ca, f.reason)
		})
	}
	return p.call(func(c *admin.Client) error {
		a, err := c.CACertificate(cmd.Context(), f.ca)
		if err != nil {
			return err
		}
		return hinted(fmt.Errorf("nothing was revoked: this would end up to %d certificates under %s", a.Live, a.Subject), "add --yes")
	})
}

func (p *program) revokeSeveral(of string, revoke func(*admin.Client) (admin.Revocations, error)) error {
	return p.call(func(c *admin.Client) error {
		done, err := revoke(c)
		if err != nil {
			return err
		}
		return p.show(done, func(w io.Writer) {
			for _, serial := range done.Serials {
				fmt.Fprintln(w, serial)
			}
			fmt.Fprintf(w, "revoked %d certificates %s\n", done.Revoked, of)
		})
	})
}
