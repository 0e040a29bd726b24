package main

import (
	"encoding/pem"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/tenantgate/tenantgate/proxy/admin"
)

func newCACommand(p *program) *cobra.Command {
	return group(&cobra.Command{
		Use:   "ca",
		Short: "The CA: its roots and intermediates, and what it publishes",
		Example: `  tenantgate ca status
  tenantgate ca rotate intermediate
  tenantgate ca crl --out intermediate.crl`,
	}, newCAListCommand(p), newCAShowCommand(p), newCAStatusCommand(p), newCABundleCommand(p), newCARotateCommand(p), newCACSRCommand(p), newCAInstallCommand(p),
		newCAActivateCommand(p), newCARetireCommand(p), newCAPassphraseCommand(p), newCACRLCommand(p))
}

func newCACRLCommand(p *program) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "crl",
		Short: "Print the current certificate revocation list",
		Long: `crl prints the certificate revocation list of the intermediate that signs, for servers that cannot fetch it. It is made anew when
something was revoked since the last one, or when half of its life is over; its number only grows. With publish.listen in the configuration, the
server serves it itself.

--out replaces the file in one step, so that whoever reads it finds a whole list.`,
		Example: `  tenantgate ca crl > intermediate.crl
  tenantgate ca crl --out /var/lib/nginx/intermediate.crl
  tenantgate ca crl --der --out intermediate.der && openssl crl -inform der -in intermediate.der -noout -text`,
		Args: exactArgs(),
	}
	out := cmd.Flags().String("out", "", "`file` for the list instead of standard output; replaced if it is there")
	der := cmd.Flags().Bool("der", false, "DER instead of PEM")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return p.call(func(c *admin.Client) error {
			list, err := c.CRL(cmd.Context())
			if err != nil {
				return err
			}
			content := []byte(list.CRL)
			if *der {
				block, _ := pem.Decode(content)
				if block == nil {
					return errors.New("reading the server's answer: there is no list in it")
				}
				content = block.Bytes
			}
			if *out != "" {
				if err := replaceFile(*out, content, 0o644); err != nil {
					return err
				}
				fmt.Fprintf(p.stderr, "wrote %s: number %d, %d entries, until %s\n", *out, list.Number, list.Entries, moment(list.NextUpdate))
				if !p.json {
					return nil
				}
			}
			return p.show(list, func(w io.Writer) { w.Write(content) }) // output remembers the error
		})
	}
	return cmd
}
