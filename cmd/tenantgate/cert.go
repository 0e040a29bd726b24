package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/proxy/admin"
)

func newCertCommand(p *program) *cobra.Command {
	return group(&cobra.Command{
		Use:   "cert",
		Short: "Client certificates: what callers show to prove an identity",
		Long: `Certificates come from tenantgate's own CA, in one profile: for client authentication only, with the
identity's name (CN and spiffe://TRUST-DOMAIN/identity/NAME) and no e-mail address. A certificate is bound
to its identity when it is signed, in one act. An identity may hold several, so that renewals overlap.

Prefer token or sign over issue, where the caller can make its own key: then the key never travels. What was
enrolled with a token can be renewed by the caller itself (tenantgate renew).`,
		Example: `  tenantgate cert token erp
  tenantgate cert sign erp erp.csr > erp.pem
  tenantgate cert issue erp --out erp-files
  tenantgate cert issue erp --pkcs12 erp.p12 --password-file password
  tenantgate cert list --identity erp
  tenantgate cert revoke 6f3a... --reason keyCompromise
  tenantgate cert convert --chain erp.pem --key erp.key --ca ca.pem --to jks --out erp.jks --password-file password`,
	},
		newCertIssueCommand(p), newCertSignCommand(p), newCertListCommand(p), newCertShowCommand(p),
		newCertRevokeCommand(p), newCertVerifyCommand(p), newCertConvertCommand(p), newCertTokenCommand(p), newCertTokensCommand(p))
}

func newCertListCommand(p *program) *cobra.Command {
	var filter admin.CertificateFilter
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List certificates",
		Example: `  tenantgate cert list
  tenantgate cert list --identity erp --state valid --json
  tenantgate cert list --admin`,
		Args: exactArgs(),
	}
	cmd.Flags().StringVar(&filter.Identity, "identity", "", "only those of this identity")
	cmd.Flags().StringVar(&filter.State, "state", "", "only those in this state: valid, expired or revoked")
	administrators := cmd.Flags().Bool("admin", false, "those of administrators that have not expired, instead")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *administrators && filter != (admin.CertificateFilter{}) {
			return usageError(cmd, "--admin goes with no other filter")
		}
		return p.call(func(c *admin.Client) error {
			if *administrators {
				return p.listAdministrators(cmd.Context(), c)
			}
			certificates, err := c.Certificates(cmd.Context(), filter)
			if err != nil {
				return err
			}
			return p.show(certificates, func(w io.Writer) { printCertificates(w, certificates) })
		})
	}
	return cmd
}

func (p *program) listAdministrators(ctx context.Context, c *admin.Client) error {
	certificates, err := c.Administrators(ctx)
	if err != nil {
		return err
	}
	return p.show(certificates, func(w io.Writer) {
		now := time.Now()
		rows := make([][]string, 0, len(certificates))
		for _, one := range certificates {
			rows = append(rows, []string{one.Serial, one.Name, certificateState(&one.Certificate, now), moment(one.NotBefore), moment(one.NotAfter)})
		}
		table(w, []string{"SERIAL", "ADMINISTRATOR", "STATE", "NOT BEFORE", "NOT AFTER"}, rows)
	})
}

func printCertificates(w io.Writer, certificates []identity.Certificate) {
	now := time.Now()
	rows := make([][]string, 0, len(certificates))
	for _, c := range certificates {
		rows = append(rows, []string{c.Serial, c.Identity, certificateState(&c, now), moment(c.NotBefore), moment(c.NotAfter)})
	}
	table(w, []string{"SERIAL", "IDENTITY", "STATE", "NOT BEFORE", "NOT AFTER"}, rows)
}

// certificateState is the certificate's state in one word, with the days it has left.
func certificateState(c *identity.Certificate, now time.Time) string {
	switch {
	case c.Revoked():
		return "revoked"
	case c.Expired(now):
		return "expired"
	case now.Before(c.NotBefore):
		return "not yet valid"
	}
	return fmt.Sprintf("valid, %d days", int(c.NotAfter.Sub(now).Hours()/24))
}

func newCertShowCommand(p *program) *cobra.Command {
	return &cobra.Command{
		Use:     "show SERIAL",
		Short:   "Show a certificate",
		Example: "  tenantgate cert show 6f3a12c4...",
		Args:    exactArgs("SERIAL"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.call(func(c *admin.Client) error {
				certificate, err := c.Certificate(cmd.Context(), normalSerial(args[0]))
				if err != nil {
					return err
				}
				return p.show(certificate, func(w io.Writer) { printCertificate(w, &certificate) })
			})
		},
	}
}

func printCertificate(w io.Writer, c *identity.Certificate) {
	fields(w,
		field{"serial", c.Serial},
		field{"identity", c.Identity},
		field{"state", certificateState(c, time.Now())},
		field{"subject", c.Subject},
		field{"fingerprint", c.Fingerprint.String()},
		field{"not before", moment(c.NotBefore)},
		field{"not after", moment(c.NotAfter)},
		field{"bound", moment(c.Created)},
		field{"revoked", moment(c.RevokedAt)},
		field{"reason", c.RevocationReason},
	)
}

// normalSerial takes a serial number as openssl and browsers show it: upper case, colons, spaces, 0x.
func normalSerial(s string) string {
	out := make([]byte, 0, len(s))
	for i := range len(s) {
		switch c := s[i]; {
		case c == ':' || c == ' ':
		case c >= 'A' && c <= 'Z':
			out = append(out, c+'a'-'A')
		default:
			out = append(out, c)
		}
	}
	if len(out) > 2 && out[0] == '0' && out[1] == 'x' {
		out = out[2:]
	}
	for len(out) > 1 && out[0] == '0' {
		out = out[1:]
	}
	return string(out)
}
