package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/internal/backup"
	"github.com/tenantgate/tenantgate/internal/database"
	"github.com/tenantgate/tenantgate/proxy/record"
)

// verifyResult is what `backup verify` says.
type verifyResult struct {
	Version  string                 `json:"version"`
	Time     time.Time              `json:"time"`
	Database string                 `json:"database"`
	Schemas  map[string]int64       `json:"schemas"`
	Head     string                 `json:"audit_head"`
	Keys     bool                   `json:"keys"`
	Proven   bool                   `json:"proven"` // sealed with the key that was given
	Tables   []backup.TableContents `json:"tables"`
	Files    []string               `json:"files"`
}

func newBackupVerifyCommand(p *program) *cobra.Command {
	var masterKey, passphraseFile string
	cmd := &cobra.Command{
		Use:   "verify FILE",
		Short: "Check a backup without restoring it",
		Long: `verify reads the whole file and checks that each octet is as it was written, that its tables are those that this program restores, and that
the chain of change records is whole. With the master key (--master-key, or from the keys in the backup with --passphrase-file) it also
checks that the backup was sealed with it: without, it shows that the file is whole, and not who wrote it.

It writes nothing, and needs no server.`,
		Example: `  tenantgate backup verify all.backup
  tenantgate backup verify all.backup --master-key keys/master.key
  tenantgate backup verify all.backup --passphrase-file /root/backup-passphrase --json`,
		Args: exactArgs("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			result, err := p.verifyBackup(cmd, args[0], masterKey, passphraseFile)
			if err != nil {
				return hinted(err, "keep it for a look, and take another backup")
			}
			return p.show(result, func(w io.Writer) { printVerified(w, result) })
		},
	}
	cmd.Flags().StringVar(&masterKey, "master-key", "", "`file` with the master key: is the backup sealed with it?")
	cmd.Flags().StringVar(&passphraseFile, "passphrase-file", "", "`file` with the passphrase of the keys in the backup, - for standard input")
	return cmd
}

func (p *program) verifyBackup(cmd *cobra.Command, path, masterKey, passphraseFile string) (*verifyResult, error) {
	said := p.progress("verifying")
	r, err := backup.Open(path)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	h := &r.Header
	v := &verifyResult{Version: h.Version, Time: h.Time, Database: h.Database, Schemas: h.Schemas, Head: h.Head, Keys: h.Keys != nil}
	for _, f := range h.Files {
		v.Files = append(v.Files, f.Name)
	}
	key, err := p.verifyKey(cmd, h, masterKey, passphraseFile)
	if err != nil {
		return nil, err
	}
	if key != nil {
		sealer, err := identity.NewSealer(key)
		if err != nil {
			return nil, err
		}
		if err := r.Proven(sealer); err != nil {
			return nil, err
		}
		if err := identity.OpenKeyCheck(sealer, h.KeyCheck); err != nil {
			return nil, err
		}
		v.Proven = true
	}
	contents, err := verifyTables(cmd.Context(), r, said)
	if err != nil {
		return nil, err
	}
	v.Tables = contents.Tables
	return v, nil
}

// verifyKey returns the master key, nil when none is given.
func (p *program) verifyKey(cmd *cobra.Command, h *backup.Header, masterKey, passphraseFile string) ([]byte, error) {
	if masterKey != "" {
		return readSecretFile(masterKey)
	}
	if passphraseFile == "" {
		return nil, nil
	}
	keys, err := p.keysOf(cmd, passphraseFile, h)
	if err != nil {
		return nil, err
	}
	return keys[keyName("key_file")], nil
}

// verifyTables reads all rows: they are those of tables that this program makes, and the change records among them are a whole chain with the head that
// the header has.
func verifyTables(ctx context.Context, r *backup.Reader, said *progress) (backup.Contents, error) {
	made, err := database.Tables(ctx, owners(), r.Header.Schemas)
	if err != nil {
		return backup.Contents{}, err
	}
	missing := map[string]bool{}
	for _, t := range made {
		missing[t.Name] = true
	}
	var chain record.Chain
	contents, err := r.Each(ctx, said.table, func(t database.Table) (func([]any) error, error) {
		if !missing[t.Name] {
			return nil, fmt.Errorf("the backup holds a table %s, which this program does not know or holds twice", t.Name)
		}
		delete(missing, t.Name)
		if t.Name != "change_records" {
			return func([]any) error { return nil }, nil
		}
		return func(row []any) error {
			named := map[string]any{}
			for i, c := range t.Columns {
				named[c.Name] = row[i]
			}
			c, err := record.FromRow(named)
			if err != nil {
				return err
			}
			if broken := chain.Add(c); broken != nil {
				return fmt.Errorf("change record %d: %s", broken.Seq, broken.Reason)
			}
			return nil
		}, nil
	})
	if err != nil {
		return contents, err
	}
	for name := range missing {
		return contents, fmt.Errorf("the backup has no table %s, and should", name)
	}
	if chain.Head().String() != r.Header.Head {
		return contents, fmt.Errorf("the change records end at %s and not at %s", chain.Head(), r.Header.Head)
	}
	return contents, nil
}

func printVerified(w io.Writer, v *verifyResult) {
	var rows int64
	for _, t := range v.Tables {
		rows += t.Rows
	}
	proven := "yes"
	if !v.Proven {
		proven = "not tried: no key was given"
	}
	fields(w,
		field{"whole", "yes"},
		field{"sealed with the key", proven},
		field{"state of", moment(v.Time)},
		field{"version", v.Version},
		field{"database", v.Database},
		field{"audit head", v.Head},
		field{"keys", map[bool]string{true: "in it, encrypted", false: "not in it"}[v.Keys]},
		field{"files", list(v.Files)},
		field{"rows", fmt.Sprint(rows)},
	)
	fmt.Fprintln(w)
	cells := make([][]string, 0, len(v.Tables))
	for _, t := range v.Tables {
		cells = append(cells, []string{t.Table, fmt.Sprint(t.Rows)})
	}
	table(w, []string{"TABLE", "ROWS"}, cells)
}
