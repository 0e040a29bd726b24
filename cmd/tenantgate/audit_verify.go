package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/tenantgate/tenantgate/proxy/admin"
)

func newAuditVerifyCommand(p *program) *cobra.Command {
	return &cobra.Command{
		Use:   "verify",
		Short: "Check that no change record was altered, removed or moved",
		Long: `verify walks the chain of change records and exits 1, naming the first record that does not fit. It prints
the last record's number and hash: keep them elsewhere, because somebody who can write the database could
also make the whole chain anew.`,
		Example: "  tenantgate audit verify",
		Args:    exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.call(func(c *admin.Client) error {
				report, err := c.VerifyChanges(cmd.Context())
				if err != nil {
					return err
				}
				if err := p.show(report, func(w io.Writer) {
					if report.Broken == nil {
						fmt.Fprintf(w, "%d records, none altered; the last is %s\n", report.Records, report.Head)
					}
				}); err != nil {
					return err
				}
				if report.Broken != nil {
					return hinted(fmt.Errorf("record %d: %s", report.Broken.Seq, report.Broken.Reason),
						"the records before it are whole; compare the database with a backup")
				}
				return nil
			})
		},
	}
}
