package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/tenantgate/tenantgate/proxy/admin"
	"github.com/tenantgate/tenantgate/proxy/record"
)

func newAuditVerifyCommand(p *program) *cobra.Command {
	var heads []string
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Check that no change record was altered, removed or moved",
		Long: `verify walks the chain of change records and exits 1, naming the first record that does not fit. It prints
the last record's number and hash: keep them elsewhere, because somebody who can write the database could
also make the whole chain anew. --head checks that a head which was kept is still in the chain.`,
		Example: `  tenantgate audit verify
  tenantgate audit verify --head 4711:9f2c...`,
		Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			noted := make([]record.Head, 0, len(heads))
			for _, h := range heads {
				head, err := record.ParseHead(h)
				if err != nil {
					return usageError(cmd, "--head: %v", err)
				}
				noted = append(noted, head)
			}
			return p.call(func(c *admin.Client) error {
				report, err := c.VerifyChanges(cmd.Context(), noted...)
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
	cmd.Flags().StringArrayVar(&heads, "head", nil, "`seq:hash` that an earlier verify printed; repeatable")
	return cmd
}
