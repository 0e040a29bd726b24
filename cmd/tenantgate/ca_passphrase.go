package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/internal/database"
	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/proxy/record"
)

// passphraseFlags are the flags of `ca passphrase`.
type passphraseFlags struct{ oldFile, newFile string }

func newCAPassphraseCommand(p *program) *cobra.Command {
	var f passphraseFlags
	cmd := &cobra.Command{
		Use:   "passphrase",
		Short: "Change the passphrase of the CA's keys",
		Long: `passphrase encrypts the CA's keys anew, those in ca.dir and those in the database, and puts the new passphrase into ca.passphrase_file. It is made here,
unless --new-passphrase-file names one. Stop the server before, if its database is SQLite; one that runs on PostgreSQL does not notice.

While it works, the new passphrase is beside the old one, in ca.passphrase_file with .new at its end, and a server tries both: broken off at any moment, a
server starts, and the command given again goes on. With several nodes copy that file to each before, and give the command on each.

Where ca.passphrase_file is a systemd credential, both passphrases are given in files, and the credential is replaced by hand afterwards.`,
		Example: `  tenantgate ca passphrase
  tenantgate ca passphrase --old-passphrase-file old --new-passphrase-file new`,
		Args: exactArgs(),
	}
	cmd.Flags().StringVar(&f.oldFile, "old-passphrase-file", "", "`file` with the passphrase that opens the keys now (default ca.passphrase_file)")
	cmd.Flags().StringVar(&f.newFile, "new-passphrase-file", "", "`file` with the new one (default: a random one is made)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, err := loadConfig(p.configPath())
		if err != nil {
			return err
		}
		return p.changePassphrase(cmd, cfg, &f)
	}
	return cmd
}

func (p *program) changePassphrase(cmd *cobra.Command, cfg *Config, f *passphraseFlags) error {
	next := cfg.CA.nextPassphraseFile()
	if next == "" && (f.oldFile == "" || f.newFile == "") {
		return usageError(cmd, "ca.passphrase_file is no file of this server: give --old-passphrase-file and --new-passphrase-file")
	}
	from, to, err := f.read(cfg, next)
	if err != nil {
		return err
	}
	defer p.slow("encrypting keys")()
	changed, err := rekey(cmd.Context(), cfg, from, to)
	if err != nil {
		if errors.Is(err, pki.ErrPassphrase) {
			return hinted(err, "neither passphrase opens this key; nothing was changed. --old-passphrase-file names the one that does")
		}
		return err
	}
	if next != "" {
		if err := os.Rename(next, cfg.CA.PassphraseFile); err != nil {
			return hinted(fmt.Errorf("putting the new passphrase in place: %w", err), "move %s to %s", next, cfg.CA.PassphraseFile)
		}
	}
	return p.show(map[string]any{"keys": changed, "passphrase_file": cfg.CA.PassphraseFile}, func(w io.Writer) {
		fmt.Fprintf(w, "encrypted anew: %s\n", strings.Join(changed, ", "))
		if next == "" {
			fmt.Fprintf(w, "put the new passphrase where %s comes from before the server is started again\n", cfg.CA.PassphraseFile)
		}
	})
}

// read reads the old passphrase, and reads or makes the new one, which is on disk when it returns.
func (f *passphraseFlags) read(cfg *Config, next string) (from, to []byte, err error) {
	oldFile := f.oldFile
	if oldFile == "" {
		oldFile = cfg.CA.PassphraseFile
	}
	if from, err = readSecretFile(oldFile); err != nil {
		return nil, nil, err
	}
	from = trimLine(from)
	if f.newFile != "" {
		if to, err = readSecretFile(f.newFile); err != nil {
			return nil, nil, err
		}
		to = trimLine(to)
	}
	if next == "" {
		return from, to, nil
	}
	begun, err := readOptionalSecret(next)
	if err != nil {
		return nil, nil, err
	}
	begun = trimLine(begun)
	switch {
	case len(begun) > 0 && len(to) > 0 && !bytes.Equal(begun, to):
		return nil, nil, hinted(fmt.Errorf("a change to another passphrase was begun: %s", next), "leave --new-passphrase-file out to go on with it")
	case len(begun) > 0:
		return from, begun, nil
	case len(to) == 0:
		var random [32]byte
		rand.Read(random[:]) // never fails (crypto/rand)
		to = []byte(base64.RawURLEncoding.EncodeToString(random[:]))
	}
	if err := checkOpens(cfg, from); err != nil { // before anything is written
		return nil, nil, err
	}
	return from, to, replaceFile(next, append(bytes.Clone(to), '\n'), 0o600)
}

// checkOpens says whether the passphrase opens the keys in the directory.
func checkOpens(cfg *Config, passphrase []byte) error {
	_, err := pki.Rekey(cfg.CA.Dir, passphrase, passphrase) // changes nothing
	if errors.Is(err, pki.ErrPassphrase) {
		return &failure{err: err, hint: "--old-passphrase-file names the passphrase that opens it; nothing was changed"}
	}
	return err
}

// rekey encrypts every key anew and returns where they are.
func rekey(ctx context.Context, cfg *Config, from, to []byte) (changed []string, err error) {
	master, err := readSecretFile(cfg.KeyFile)
	if err != nil {
		return nil, err
	}
	sealer, err := identity.NewSealer(master)
	if err != nil {
		return nil, err
	}
	db, err := openDatabase(ctx, database.OpenExisting, cfg.Database)
	if err != nil {
		return nil, hinted(err, "stop the server before")
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return nil, err
	}
	defer func() { _ = tx.Rollback() }() // without effect after the commit
	stored, err := pki.RekeyStored(ctx, tx, sealer, from, to)
	if err != nil {
		return nil, err
	}
	files, err := pki.Rekey(cfg.CA.Dir, from, to)
	if err != nil {
		return nil, err
	}
	for _, name := range files {
		changed = append(changed, filepath.Join(cfg.CA.Dir, name))
	}
	if stored > 0 {
		changed = append(changed, fmt.Sprintf("%d in the database", stored))
	}
	if err := recordPassphrase(ctx, tx, len(changed)); err != nil {
		return nil, err
	}
	return changed, tx.Commit()
}

func recordPassphrase(ctx context.Context, tx *sql.Tx, keys int) error {
	detail, err := json.Marshal(map[string]int{"keys": keys})
	if err != nil {
		return err
	}
	_, err = record.AppendChange(ctx, tx, record.Change{Actor: fmt.Sprintf("uid:%d", os.Getuid()), Action: "ca.passphrase", Object: "ca", Name: "passphrase", Detail: detail})
	return err
}
