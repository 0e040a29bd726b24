package main

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/internal/backup"
	"github.com/tenantgate/tenantgate/internal/database"
	"github.com/tenantgate/tenantgate/proxy/record"
)

// backupSource is what a backup is made of: of a running node, or of one that stands.
type backupSource struct {
	db     *database.DB
	sealer identity.Sealer
	cfg    *Config
	config string // the configuration's file; "" where there is none
}

// preparedBackup is a backup of which everything but the database was read.
type preparedBackup struct {
	source *backupSource
	actor  string
	files  []backup.File
	keys   []backup.File
}

// prepare reads the files, so that what is wrong with them is told before anything is written. The keys are read only when they are asked for.
func (s *backupSource) prepare(actor string, withKeys bool) (*preparedBackup, error) {
	b := &preparedBackup{source: s, actor: actor}
	if s.config != "" {
		text, err := os.ReadFile(s.config)
		if err != nil {
			return nil, fmt.Errorf("reading the configuration: %w", err)
		}
		if text, err = withoutDatabasePassword(s.config, text); err != nil {
			return nil, err
		}
		b.files = append(b.files, backup.NewFile("config", 0o600, text))
	}
	if err := b.addCA(s.cfg.CA.Dir); err != nil {
		return nil, err
	}
	if !withKeys {
		return b, nil
	}
	for _, f := range s.cfg.secretFiles() {
		if f.path == "" {
			continue
		}
		content, err := readSecretFile(f.path)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.key, err)
		}
		b.keys = append(b.keys, backup.NewFile(keyName(f.key), 0o600, content))
	}
	return b, nil
}

// keyName is how a backup calls a key: its place in the configuration.
func keyName(key string) string { return strings.ReplaceAll(key, ".", "_") }

// unsealedKey finds private keys that lie in the clear. They do not belong into a backup without keys.
var unsealedKey = regexp.MustCompile(`-----BEGIN (RSA |EC |DSA )?PRIVATE KEY-----`)

// addCA adds the files of the CA's directory and of those in it: certificates, and keys as they are there, encrypted. Names that begin with a dot are
// left out; what else is there and no file, is an error: a backup that leaves out half of a CA is found out too late.
func (b *preparedBackup) addCA(dir string) error {
	return b.addDirectory(dir, "ca/")
}

func (b *preparedBackup) addDirectory(dir, prefix string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("reading the CA's files: %w", err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			continue
		}
		path := filepath.Join(dir, e.Name())
		info, err := os.Stat(path) // of what a link leads to: secrets are mounted so in containers
		switch {
		case err != nil:
			return fmt.Errorf("reading the CA's files: %w", err)
		case info.IsDir():
			err = b.addDirectory(path, prefix+e.Name()+"/")
		default:
			err = b.addFile(path, prefix+e.Name(), info)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (b *preparedBackup) addFile(path, name string, info fs.FileInfo) error {
	if !info.Mode().IsRegular() || !backup.TakesFile(name) {
		return hinted(fmt.Errorf("%s is no file that a backup takes", path),
			"move it out of ca.dir: names have letters, digits, '.', '_' and '-', three directories deep at most")
	}
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("reading the CA's files: %w", err)
	}
	defer f.Close()
	content, err := readAtMost(f, maxInput)
	if err != nil {
		return fmt.Errorf("reading %s: %w", path, err)
	}
	if unsealedKey.Match(content) && !bytes.Contains(content, []byte("Proc-Type: 4,ENCRYPTED")) {
		return hinted(fmt.Errorf("%s is a private key that is not encrypted: it goes into no backup", path), "encrypt it, or move it out of ca.dir")
	}
	b.files = append(b.files, backup.NewFile(name, info.Mode(), content))
	return nil
}

// write records the act, because it reads secrets, and then writes the backup, in which that record is the last or one of the last.
func (b *preparedBackup) write(ctx context.Context, w io.Writer, passphrase string, p backup.Progress) error {
	return b.writeAs(ctx, w, passphrase, owners(), p)
}

// writeAs is write for a program whose tables are those of other owners.
func (b *preparedBackup) writeAs(ctx context.Context, w io.Writer, passphrase string, owners []database.Owner, p backup.Progress) error {
	s := b.source
	var keys []byte
	if len(b.keys) > 0 {
		var err error
		if keys, err = backup.Encrypt(b.keys, passphrase); err != nil {
			return err
		}
	}
	if err := b.record(ctx); err != nil {
		return err
	}
	return backup.Write(ctx, w, backup.Source{
		DB: s.db, Owners: owners, Sealer: s.sealer, Version: readVersion().Version, Files: b.files, Keys: keys, Progress: p,
		Describe: func(ctx context.Context, tx *sql.Tx, h *backup.Header) error {
			check, err := identity.KeyCheck(ctx, tx)
			if err != nil {
				return err
			}
			// A backup whose keys nobody has would be found out too late.
			if err := identity.OpenKeyCheck(s.sealer, check); err != nil {
				return err
			}
			head, err := record.ReadHead(ctx, tx)
			h.KeyCheck, h.Head = check, head.String()
			return err
		},
	})
}

func (b *preparedBackup) record(ctx context.Context) error {
	tx, err := b.source.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("recording the backup: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // without effect after the commit
	detail, err := json.Marshal(map[string]any{"keys": len(b.keys) > 0, "files": len(b.files)})
	if err != nil {
		return fmt.Errorf("recording the backup: %w", err)
	}
	if _, err := record.AppendChange(ctx, tx, record.Change{Actor: b.actor, Action: "backup.make", Object: "backup", Detail: detail}); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("recording the backup: %w", err)
	}
	return nil
}

// databaseLine is the key of the configuration that names the database.
var databaseLine = regexp.MustCompile(`(?m)^database[ \t]*:.*$`)

// withDatabase returns the text of a configuration with another database, everything else as it is.
func withDatabase(name string, text []byte, url string) ([]byte, error) {
	line := []byte("database: " + strconv.Quote(url))
	next := databaseLine.ReplaceAllLiteral(text, line)
	if !databaseLine.Match(text) {
		next = append(append(bytes.TrimRight(bytes.Clone(text), "\n"), '\n'), append(line, '\n')...)
	}
	before, err := decodeConfig(name, text)
	if err != nil {
		return nil, err
	}
	after, err := decodeConfig(name, next)
	if err == nil && after.Database == url {
		before.Database = url
		a, _ := json.Marshal(before)
		b, _ := json.Marshal(after)
		if bytes.Equal(a, b) {
			return next, nil
		}
	}
	return nil, hinted(errors.New("the configuration names its database in a way that cannot be changed here"), "write it as one line: database: %s", url)
}

// withoutDatabasePassword takes the password of the database out of a configuration: a backup holds no secret in the clear.
func withoutDatabasePassword(name string, text []byte) ([]byte, error) {
	cfg, err := decodeConfig(name, text)
	if err != nil {
		return nil, err
	}
	if !cfg.sharedDatabase() {
		return text, nil
	}
	if !holdsPassword(cfg.Database) {
		return text, nil
	}
	return withDatabase(name, text, database.WithoutPassword(cfg.Database))
}

// holdsPassword reports whether a database's address has a password in it, or cannot be read.
func holdsPassword(address string) bool {
	u, err := url.Parse(address)
	if err != nil {
		return true
	}
	_, given := u.User.Password()
	return given || u.Query().Has("password") || u.Query().Has("sslpassword")
}
