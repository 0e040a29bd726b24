package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/internal/backup"
	"github.com/tenantgate/tenantgate/internal/database"
	"github.com/tenantgate/tenantgate/proxy/admin"
)

const backupLong = `backup writes the whole state of a server into one file: every table of the database as it is at one moment,
the files of the CA (keys as they lie there, encrypted) and the configuration. The server goes on working
meanwhile. Without a running server the database of --config is read directly; one that is in use by another
program is not.

The keys (key_file, ca.passphrase_file) are not in it, so that whoever finds the file has no secret. Keep a
copy of them elsewhere: a backup is worthless without them. --with-keys puts them in, encrypted with age under
a passphrase of 16 octets or more; then the passphrase is what must not be lost, and must not be kept beside
the file. A password in the database's address is left out in either case.

FILE must not exist. It is written under another name, read back, and named when it is whole; only its owner
may read it.`

// backupResult is what `backup` says about the file it has made.
type backupResult struct {
	File  string    `json:"file"`
	Bytes int64     `json:"bytes"`
	Time  time.Time `json:"time"`
	Head  string    `json:"audit_head"`
	Keys  bool      `json:"keys"`
}

func newBackupCommand(p *program) *cobra.Command {
	var withKeys bool
	var passphraseFile string
	cmd := &cobra.Command{
		Use:   "backup FILE",
		Short: "Write the whole state of a server into one file",
		Long:  backupLong,
		Example: `  tenantgate backup /backup/tenantgate-$(date +%F).backup
  tenantgate backup all.backup --with-keys --passphrase-file /root/backup-passphrase
  tenantgate backup verify all.backup
  tenantgate restore all.backup /var/lib/tenantgate`,
		Args: exactArgs("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if passphraseFile != "" && !withKeys {
				return usageError(cmd, "--passphrase-file is given without --with-keys")
			}
			passphrase := ""
			if withKeys {
				var err error
				if passphrase, err = p.backupPassphrase(cmd, passphraseFile); err != nil {
					return err
				}
				if len(passphrase) < backup.MinPassphrase {
					return usageError(cmd, "the passphrase has %d octets, and %d are the least: the keys of every tenant are behind it",
						len(passphrase), backup.MinPassphrase)
				}
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
			defer stop()
			result, err := p.backup(ctx, args[0], passphrase)
			if err != nil {
				return err
			}
			return p.show(result, func(w io.Writer) {
				fields(w, field{"file", result.File}, field{"size", strconv.FormatInt(result.Bytes, 10) + " bytes"}, field{"state of", moment(result.Time)},
					field{"audit head", result.Head}, field{"keys", map[bool]string{true: "in it, encrypted",
						false: "not in it: keep copies of them elsewhere"}[result.Keys]})
			})
		},
	}
	cmd.Flags().BoolVar(&withKeys, "with-keys", false, "put the keys into the file, too, encrypted under a passphrase")
	cmd.Flags().StringVar(&passphraseFile, "passphrase-file", "", "`file` that holds the passphrase, - for standard input; asked for at a terminal otherwise")
	cmd.AddCommand(newBackupVerifyCommand(p))
	return cmd
}

// backupPassphrase reads the passphrase of a new backup.
func (p *program) backupPassphrase(cmd *cobra.Command, file string) (string, error) {
	passphrase, err := p.password(cmd, "--passphrase-file", file, "passphrase of the keys in the backup: ")
	if err != nil || file != "" {
		return passphrase, err
	}
	again, err := p.ask("the same again: ")
	if err == nil && again != passphrase {
		err = errors.New("reading the passphrase: it was not the same twice")
	}
	return passphrase, err
}

// backup makes the file: whole and readable, or not at all.
func (p *program) backup(ctx context.Context, path, passphrase string) (*backupResult, error) {
	if err := refuseExistingFile(path); err != nil {
		return nil, err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*") // mode 0600
	if err != nil {
		return nil, hinted(fmt.Errorf("writing the backup: %w", err), "name a file in a directory that is there and that this user may write")
	}
	defer os.Remove(tmp.Name())
	defer tmp.Close()
	if err := p.writeBackup(ctx, tmp, passphrase); err != nil {
		return nil, writingBackup(path, err)
	}
	if err := tmp.Sync(); err != nil {
		return nil, writingBackup(path, err)
	}
	done := p.slow("reading the backup back")
	r, err := backup.Open(tmp.Name())
	done()
	if err != nil {
		return nil, hinted(err, "the server broke it off: its log says why")
	}
	defer r.Close()
	info, err := tmp.Stat()
	if err != nil {
		return nil, writingBackup(path, err)
	}
	if err := os.Link(tmp.Name(), path); err != nil { // a rename would replace a file that came meanwhile
		if errors.Is(err, os.ErrExist) {
			return nil, refuseExistingFile(path)
		}
		return nil, writingBackup(path, err)
	}
	if err := syncDirectory(filepath.Dir(path)); err != nil {
		return nil, writingBackup(path, err)
	}
	return &backupResult{File: path, Bytes: info.Size(), Time: r.Header.Time, Head: r.Header.Head, Keys: r.Header.Keys != nil}, nil
}

func refuseExistingFile(path string) error {
	_, err := os.Lstat(path)
	if err == nil {
		return hinted(fmt.Errorf("writing %s: it exists and is not overwritten", path), "choose another name, or move it away")
	}
	if !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("writing the backup: %w", err)
	}
	return nil
}

func writingBackup(path string, err error) error {
	err = fmt.Errorf("writing %s: %w", path, err)
	if errors.Is(err, syscall.ENOSPC) {
		return hinted(err, "free space there, or name another place; nothing was left behind")
	}
	return err
}

// syncDirectory has the names in a directory on disk.
func syncDirectory(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// writeBackup asks the running server or, where none is, reads the database itself.
func (p *program) writeBackup(ctx context.Context, w io.Writer, passphrase string) error {
	said := p.progress("backing up")
	client, err := p.client()
	if err != nil {
		return err
	}
	client.HTTP = &http.Client{Transport: client.HTTP.Transport} // no time limit: it takes as long as there are octets
	err = client.Backup(ctx, admin.BackupRequest{KeysPassphrase: passphrase}, io.MultiWriter(w, &counting{to: said}))
	if _, none := errors.AsType[*noServer](err); !none || p.target.server != "" {
		return explain(err)
	}
	if _, statErr := os.Stat(p.configPath()); statErr != nil {
		return err
	}
	fmt.Fprintln(p.stderr, "no server is running: reading the database itself")
	return p.backupStopped(ctx, w, passphrase, said)
}

// backupStopped writes a backup of a node that stands. It changes nothing in the database but the record of the act, and brings no table up to date.
func (p *program) backupStopped(ctx context.Context, w io.Writer, passphrase string, said *progress) (err error) {
	path := p.configPath()
	cfg, err := loadConfig(path)
	if err != nil {
		return err
	}
	if err := checkKeyFiles(cfg); err != nil {
		return err
	}
	key, err := readSecretFile(cfg.KeyFile)
	if err != nil {
		return err
	}
	sealer, err := identity.NewSealer(key)
	if err != nil {
		return fmt.Errorf("key_file %s: %w", cfg.KeyFile, err)
	}
	db, err := database.OpenExisting(ctx, cfg.Database)
	if err != nil {
		return hinted(err, "database is %s", database.WithoutPassword(cfg.Database))
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := backup.Interrupted(ctx, db); err != nil {
		return err
	}
	source := &backupSource{db: db, sealer: sealer, cfg: cfg, config: path}
	prepared, err := source.prepare(processActor(), passphrase != "")
	if err != nil {
		return err
	}
	return prepared.write(ctx, w, passphrase, said.table)
}

// processActor names the user of this process, for records of acts without a server, as the admin socket names users.
func processActor() string {
	id, name := strconv.Itoa(os.Geteuid()), "?"
	if u, err := user.LookupId(id); err == nil {
		name = u.Username
	}
	return "unix:uid=" + id + "(" + name + ")"
}
