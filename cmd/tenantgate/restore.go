package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenantgate/tenantgate/internal/backup"
)

// restoreOptions are the flags of `restore`.
type restoreOptions struct {
	file, dir      string
	database       string
	masterKey      string
	caPassphrase   string
	passphraseFile string
	crls           []string
	keepTokens     bool
}

// restoreResult is what `restore` says about what it has done.
type restoreResult struct {
	Config    string    `json:"config"`
	Database  string    `json:"database"`
	Files     []string  `json:"files"`
	Time      time.Time `json:"time"`
	Head      string    `json:"audit_head"`
	Rows      int64     `json:"rows"`
	Withdrawn int       `json:"enrolment_tokens_withdrawn"`
	Revoked   int       `json:"certificates_revoked"`
	Warnings  []string  `json:"warnings"`
}

const restoreLong = `restore puts a backup back, on a machine where there is nothing of it: tenantgate.yaml into DIR, and the
database, the CA's files and the keys to where that configuration names them. When -c names a configuration
that is there, it is kept, and says where everything goes; so a backup of SQLite is restored into PostgreSQL
and the other way round. No server may run meanwhile. What is in the way is named, and nothing is overwritten.
It is all or nothing: when it is killed, the place is refused by serve, and the same restore again begins
anew. Run it as the server's user, to whom the files then belong.

The keys must be there before (at their places, or by --master-key and --ca-passphrase) unless they
are in the backup. They are tried, and the backup must be sealed with them, before anything is written.

What comes back is the state of the backup's time. What was done since is undone: certificates that were
issued since are unknown, and those that were REVOKED SINCE ARE GOOD AGAIN; --crl takes the last revocation
list that was published and revokes what is on it; each intermediate has its own. Enrolment tokens that look unused are withdrawn, because
they may have been used since (--keep-enrolment-tokens). Revocation lists go on with higher numbers. The
restore is on record.`

func newRestoreCommand(p *program) *cobra.Command {
	var o restoreOptions
	cmd := &cobra.Command{
		Use:   "restore FILE [DIR]",
		Short: "Put a backup back where there is nothing",
		Long:  restoreLong,
		Example: `  tenantgate restore all.backup /var/lib/tenantgate --master-key master.key --ca-passphrase ca-passphrase
  tenantgate restore all.backup /var/lib/tenantgate --passphrase-file /root/backup-passphrase
  tenantgate restore all.backup -c /etc/tenantgate/tenantgate.yaml --crl intermediate.crl
  tenantgate restore all.backup node --database postgres://tenantgate@db/tenantgate`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usageError(cmd, "FILE is missing")
			}
			return maxArgs(2)(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			o.file = args[0]
			if len(args) == 2 {
				o.dir = args[1]
			}
			if o.dir != "" && p.config != "" {
				return usageError(cmd, "DIR and --config are two places: name one")
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
			defer stop()
			result, err := p.restore(ctx, cmd, &o)
			if err != nil {
				return err
			}
			return p.explainRestore(&o, result)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.database, "database", "", "restore into this database and have the configuration name it: a `path` or postgres://...")
	flags.StringVar(&o.masterKey, "master-key", "", "`file` with the master key, for key_file")
	flags.StringVar(&o.caPassphrase, "ca-passphrase", "", "`file` with the passphrase of the CA's keys, for ca.passphrase_file")
	flags.StringVar(&o.passphraseFile, "passphrase-file", "", "`file` with the passphrase of the keys in the backup, - for standard input")
	flags.StringArrayVar(&o.crls, "crl", nil, "`file` with the newest revocation list of an intermediate: what is on it is revoked; repeatable")
	flags.BoolVar(&o.keepTokens, "keep-enrolment-tokens", false, "leave enrolment tokens open that look unused")
	return cmd
}

// restore is the whole act: look at everything, and only then write.
func (p *program) restore(ctx context.Context, cmd *cobra.Command, o *restoreOptions) (*restoreResult, error) {
	done := p.slow("checking the backup")
	r, err := backup.Open(o.file)
	done()
	if err != nil {
		return nil, hinted(err, "take another backup; tenantgate backup verify FILE says what is wrong with one")
	}
	defer r.Close()
	place, err := p.restorePlace(o, &r.Header)
	if err != nil {
		return nil, err
	}
	if err := place.findKeys(p, cmd, o, &r.Header); err != nil {
		return nil, err
	}
	if err := place.prove(r); err != nil {
		return nil, err
	}
	if err := place.readCRLs(o.crls); err != nil {
		return nil, err
	}
	if err := place.refuseExisting(); err != nil {
		return nil, err
	}
	return place.restore(ctx, r, o, p.progress("restoring"))
}

// explainRestore says what there is now, and what is not as it was.
func (p *program) explainRestore(o *restoreOptions, r *restoreResult) error {
	r.warn(o)
	if p.json {
		return writeJSON(p.stdout, r)
	}
	w := io.Writer(p.stdout)
	fields(w,
		field{"state of", moment(r.Time)},
		field{"audit head", r.Head},
		field{"rows", fmt.Sprint(r.Rows)},
		field{"configuration", r.Config},
		field{"database", r.Database},
		field{"enrolment tokens", fmt.Sprintf("%d withdrawn", r.Withdrawn)},
	)
	if len(o.crls) > 0 {
		fields(w, field{"certificates", fmt.Sprintf("%d revoked, as the list has it", r.Revoked)})
	}
	fmt.Fprintf(w, "\nThis is the state of %s. What was done since is undone. Before callers are let in:\n", moment(r.Time))
	for _, warning := range r.Warnings {
		fmt.Fprintln(w, "  - "+warning)
	}
	fmt.Fprintf(w, "\nNext:\n  tenantgate serve -c %s\n", r.Config)
	return nil
}

// warn says what is not as it was, and what to do about it.
func (r *restoreResult) warn(o *restoreOptions) {
	r.Warnings = []string{"compare the audit head with the last one that was noted: what is missing was lost"}
	if len(o.crls) == 0 {
		r.Warnings = append(r.Warnings, "certificates that were revoked since are good again: tenantgate cert revoke SERIAL, "+
			"or restore anew with --crl, the last revocation list that was published")
	} else {
		r.Warnings = append(r.Warnings, "certificates that were revoked after the revocation list was made are good again: tenantgate cert revoke SERIAL")
	}
	r.Warnings = append(r.Warnings,
		"identities that were disabled since are enabled, and roles that were taken are back: tenantgate identity disable NAME",
		"callers that were enrolled or renewed since need new certificates: tenantgate cert token IDENTITY")
	if o.keepTokens {
		r.Warnings = append(r.Warnings, "enrolment tokens that were used since are open again: tenantgate cert tokens, tenantgate cert token --withdraw ID")
	}
	if os.Geteuid() == 0 {
		r.Warnings = append(r.Warnings, "the files belong to root: give them to the server's user, if that is another one")
	}
}

// detail is what the change record of a restore says.
func (r *restoreResult) detail(h *backup.Header, o *restoreOptions) ([]byte, error) {
	return json.Marshal(map[string]any{
		"enrolment_tokens_withdrawn": r.Withdrawn, "certificates_revoked": r.Revoked, "crl": len(o.crls) > 0,
	})
}

// existing returns the content of a file, nil when there is none.
func existing(path string) ([]byte, error) {
	f, err := os.Open(path)
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("looking for %s: %w", path, err)
	}
	defer f.Close()
	b, err := readAtMost(f, maxInput)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	if b == nil {
		b = []byte{}
	}
	return b, nil
}

// absolute is path as it is seen from anywhere.
func absolute(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("finding %s: %w", path, err)
	}
	return abs, nil
}
