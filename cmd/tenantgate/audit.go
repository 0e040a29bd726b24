package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/tenantgate/tenantgate/proxy/admin"
)

func newAuditCommand(p *program) *cobra.Command {
	return group(&cobra.Command{
		Use:   "audit",
		Short: "Change records: who changed what, and that nobody changed the records",
		Long: `Every administrative act leaves a change record, written in the same transaction as the change. Each record
holds the hash of the one before it, so that one which was altered or removed is found.`,
		Example: `  tenantgate audit list
  tenantgate audit verify`,
	}, newAuditListCommand(p), newAuditVerifyCommand(p))
}

func newAuditListCommand(p *program) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List change records, oldest first",
		Example: `  tenantgate audit list --after 100 --limit 20
  tenantgate audit list --json`,
		Args: exactArgs(),
	}
	after := cmd.Flags().Int64("after", 0, "only records after this sequence `number`")
	limit := cmd.Flags().Int("limit", 100, "at most this many")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return p.call(func(c *admin.Client) error {
			changes, err := c.Changes(cmd.Context(), *after, *limit)
			if err != nil {
				return err
			}
			return p.show(changes, func(w io.Writer) {
				rows := make([][]string, 0, len(changes))
				for _, ch := range changes {
					rows = append(rows, []string{fmt.Sprint(ch.Seq), moment(ch.Time), ch.Actor, ch.Action, ch.Object, ch.Name, string(ch.Detail)})
				}
				table(w, []string{"SEQ", "TIME", "ACTOR", "ACTION", "OBJECT", "NAME", "DETAIL"}, rows)
			})
		})
	}
	return cmd
}
