package main

import (
	"bytes"
	"context"
	"crypto/x509"
	"database/sql"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/internal/backup"
	"github.com/tenantgate/tenantgate/internal/database"
	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/proxy/record"
)

// restorePlace is where a backup goes: what will be written, and what was found out about it before.
type restorePlace struct {
	config string // path of the configuration
	cfg    *Config
	files  []placedFile // in the order in which they are written, the configuration last

	sealer     identity.Sealer
	passphrase []byte // of the CA's keys
	next       []byte // the passphrase that it was being changed to, if that lies beside the place of the other
	authority  []*x509.Certificate
	crls       []*x509.RevocationList

	madeDir string // the directory that was made for an SQLite file; "" when it was there
}

// placedFile is one file to be written.
type placedFile struct {
	path    string
	mode    fs.FileMode
	content []byte
}

// restorePlace decides where everything goes: as the configuration says that is there, or the one in the backup.
func (p *program) restorePlace(o *restoreOptions, h *backup.Header) (*restorePlace, error) {
	path := p.configPath()
	switch {
	case o.dir != "":
		path = filepath.Join(o.dir, configFile)
	case p.config == "" && p.getenv("TENANTGATE_CONFIG") == "":
		path = configFile
	}
	path, err := absolute(path)
	if err != nil {
		return nil, err
	}
	place := &restorePlace{config: path}
	text, err := existing(path)
	if err != nil {
		return nil, err
	}
	if text != nil && p.config != "" { // the operator has named one that is to be kept
		if o.database != "" {
			return nil, hinted(fmt.Errorf("%s is there and names a database; --database names another", path), "leave --database out, or change the file")
		}
		place.cfg, err = loadConfig(path)
		return place, errors.Join(err, place.addCA(h))
	}
	i := slices.IndexFunc(h.Files, func(f backup.File) bool { return f.Name == "config" })
	if i < 0 {
		return nil, hinted(errors.New("the backup holds no configuration"), "make one (tenantgate config example) and name it with -c")
	}
	content := h.Files[i].Content
	if o.database != "" {
		if content, err = withDatabase(path, content, o.database); err != nil {
			return nil, err
		}
	}
	if place.cfg, err = decodeConfig(path, content); err != nil {
		return nil, err
	}
	place.cfg.resolve(filepath.Dir(path))
	if err := place.addCA(h); err != nil {
		return nil, err
	}
	place.files = append(place.files, placedFile{path, 0o600, content})
	return place, nil
}

// addCA places the CA's files.
func (r *restorePlace) addCA(h *backup.Header) error {
	if r.cfg == nil {
		return nil
	}
	for _, f := range h.Files {
		name, ok := strings.CutPrefix(f.Name, "ca/")
		if !ok {
			continue
		}
		r.files = append(r.files, placedFile{filepath.Join(r.cfg.CA.Dir, name), f.Mode & 0o755, f.Content})
		if strings.HasSuffix(name, ".crt") {
			certs, err := pki.ParseCertificates(f.Content)
			if err != nil {
				return fmt.Errorf("reading the CA's certificates in the backup: %s: %w", name, err)
			}
			r.authority = append(r.authority, certs...)
		}
	}
	return nil
}

// findKeys finds the keys: in the backup, in the files that flags name, or already in their places. All that are missing are named at once.
func (r *restorePlace) findKeys(p *program, cmd *cobra.Command, o *restoreOptions, h *backup.Header) error {
	sealed, err := p.keysOf(cmd, o.passphraseFile, h)
	if err != nil {
		return err
	}
	var missing []string
	for _, f := range r.cfg.secretFiles() {
		if f.path == "" || f.key == "ca.key_pin_file" && strings.HasPrefix(f.path, credentialPrefix) { // a PIN proves nothing here
			continue
		}
		flag, given := ", or --master-key FILE", o.masterKey
		switch f.key {
		case "ca.passphrase_file":
			flag, given = ", or --ca-passphrase FILE", o.caPassphrase
		case "ca.key_pin_file":
			flag, given = "", ""
		}
		content, err := r.findKey(f, given, sealed[keyName(f.key)])
		if err != nil {
			return err
		}
		if content == nil {
			missing = append(missing, fmt.Sprintf("%s (%s%s)", f.path, f.key, flag))
			continue
		}
		if f.key == "key_file" {
			if r.sealer, err = identity.NewSealer(content); err != nil {
				return fmt.Errorf("%s: %w", f.key, err)
			}
		} else if f.key == "ca.passphrase_file" {
			r.passphrase = trimLine(content)
			if r.next, err = readOptionalSecret(r.cfg.CA.nextPassphraseFile()); err != nil {
				return fmt.Errorf("%s: %w", f.key, err)
			}
			r.next = trimLine(r.next)
		}
	}
	if len(missing) > 0 && h.Keys != nil && sealed == nil {
		return hinted(errors.New("the keys in the backup are encrypted, and no passphrase is given"),
			"--passphrase-file FILE, or - for standard input; or name the keys: %s",
			strings.Join(missing, ", "))
	}
	if len(missing) > 0 {
		return hinted(fmt.Errorf("keys are missing, which are not in the backup: %s", strings.Join(missing, ", ")),
			"put the copies that were kept apart from the backups into these places, or name them")
	}
	return nil
}

// findKey returns one key, nil when there is none, and places it where it is not yet. One that is a systemd credential has no place: it is tried, and what
// the unit hands out is the operator's to put there.
func (r *restorePlace) findKey(f secretFile, given string, sealed []byte) ([]byte, error) {
	if strings.HasPrefix(f.path, credentialPrefix) {
		switch {
		case given != "":
			return readSecretFile(given)
		case sealed != nil:
			return sealed, nil
		case os.Getenv("CREDENTIALS_DIRECTORY") == "":
			return nil, nil
		}
		return readOptionalSecret(f.path)
	}
	there, err := existing(f.path)
	if err != nil {
		return nil, err
	}
	content := sealed
	switch {
	case given != "":
		if content, err = readSecretFile(given); err != nil {
			return nil, err
		}
	case content == nil && there != nil:
		return readSecretFile(f.path)
	}
	if content != nil {
		r.files = slices.Insert(r.files, 0, placedFile{f.path, 0o600, content})
	}
	return content, nil
}

// keysOf opens the keys in a backup; none are in most.
func (p *program) keysOf(cmd *cobra.Command, passphraseFile string, h *backup.Header) (map[string][]byte, error) {
	if h.Keys == nil {
		if passphraseFile != "" {
			return nil, hinted(errors.New("--passphrase-file is given, and the backup holds no keys"),
				"leave it out; the keys are files that were kept elsewhere")
		}
		return nil, nil
	}
	if _, ok := p.terminal(); passphraseFile == "" && !ok {
		return nil, nil // the keys may be there otherwise
	}
	passphrase, err := p.password(cmd, "--passphrase-file", passphraseFile, "passphrase of the keys in the backup: ")
	if err != nil {
		return nil, err
	}
	files, err := h.Decrypt(passphrase)
	if err != nil {
		return nil, err
	}
	keys := map[string][]byte{}
	for _, f := range files {
		keys[f.Name] = f.Content
	}
	return keys, nil
}

// prove tries the keys: the backup is sealed with one, and the other opens the key of the CA that signs.
func (r *restorePlace) prove(b *backup.Reader) error {
	if err := identity.OpenKeyCheck(r.sealer, b.Header.KeyCheck); err != nil {
		return hinted(fmt.Errorf("key_file: %w", err), "give the master key that this backup was made with")
	}
	if err := b.Proven(r.sealer); err != nil {
		return hinted(err, "it was altered by somebody who has not got the key: take another backup")
	}
	for _, f := range r.files {
		if filepath.Base(f.path) != filepath.Base(r.cfg.CA.intermediateKeyFile()) || !bytes.Contains(f.content, []byte("PRIVATE KEY")) {
			continue
		}
		if err := pki.CheckPassphrase(filepath.Base(f.path), f.content, r.passphrase, r.next); err != nil {
			return wrongPassphrase(err)
		}
	}
	return nil
}

func wrongPassphrase(err error) error {
	return hinted(fmt.Errorf("ca.passphrase_file: %w", err), "give the passphrase file that belongs to this CA")
}

// readCRLs reads revocation lists. That the CA of the backup has signed them is seen when its tables are read: its intermediates are there.
func (r *restorePlace) readCRLs(paths []string) error {
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("reading the revocation list: %w", err)
		}
		if block, _ := pem.Decode(b); block != nil {
			b = block.Bytes
		}
		list, err := x509.ParseRevocationList(b)
		if err != nil {
			return hinted(fmt.Errorf("reading the revocation list %s: it is none", path), "tenantgate ca crl prints one; the publish listener serves it")
		}
		r.crls = append(r.crls, list)
	}
	return nil
}

// refuseExisting names what is in the way. A file that is there as it would be written is not, so that a restore which was killed can be run again.
func (r *restorePlace) refuseExisting() error {
	var way []string
	for _, f := range r.files {
		there, err := existing(f.path)
		if err != nil {
			return err
		}
		if there != nil && !bytes.Equal(there, f.content) {
			way = append(way, f.path)
		}
	}
	others, err := r.otherAuthorities()
	if err != nil {
		return err
	}
	way = append(way, others...)
	if !r.cfg.sharedDatabase() {
		for _, suffix := range []string{"", "-wal", "-journal"} {
			path := sqlitePath(r.cfg.Database) + suffix
			if _, err := os.Lstat(path); err == nil {
				way = append(way, path)
			} else if !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("looking for %s: %w", path, err)
			}
		}
	}
	if len(way) == 0 {
		return nil
	}
	return hinted(fmt.Errorf("%s: there already, nothing was changed", strings.Join(way, ", ")),
		"restore overwrites nothing: choose another directory, or move these away if they are to be given up")
}

// otherAuthorities lists what is in the CA's directory and not in the backup: a root of something else there would be trusted.
func (r *restorePlace) otherAuthorities() (others []string, err error) {
	err = filepath.WalkDir(r.cfg.CA.Dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist) && path == r.cfg.CA.Dir:
			return nil
		case err != nil:
			return fmt.Errorf("looking into ca.dir: %w", err)
		case d.IsDir(), strings.HasPrefix(d.Name(), "."):
			return nil
		}
		if !slices.ContainsFunc(r.files, func(f placedFile) bool { return f.path == path }) {
			others = append(others, path)
		}
		return nil
	})
	return others, err
}

// sqlitePath is the file that the configuration names as the database.
func sqlitePath(url string) string { return strings.TrimPrefix(url, "sqlite://") }

// restore writes: the database under another name, the files, and at last the database's name. Each step before the last leaves a place that serve refuses.
func (r *restorePlace) restore(ctx context.Context, b *backup.Reader, o *restoreOptions, said *progress) (_ *restoreResult, err error) {
	result := &restoreResult{Config: r.config, Database: database.WithoutPassword(r.cfg.Database), Time: b.Header.Time, Head: b.Header.Head}
	url, release, err := r.openPlace()
	if err != nil {
		return nil, err
	}
	defer release()
	db, err := database.Open(ctx, url)
	if err != nil {
		return nil, hinted(err, "database is %s; a PostgreSQL database must be there, and be empty", result.Database)
	}
	var made []string
	defer func() {
		err = errors.Join(err, db.Close())
		if err == nil {
			err = r.nameDatabase(url)
		}
		if err != nil {
			r.undo(url, made)
		}
	}()
	if err := backup.Empty(ctx, db, owners()); err != nil {
		return nil, hinted(err, "restore overwrites nothing: name an empty database")
	}
	contents, err := b.Load(ctx, db, owners(), said.table, func(tx *sql.Tx) error {
		if err := r.settle(ctx, tx, b, o, result); err != nil {
			return err
		}
		made, err = r.write()
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("restoring: %w", err)
	}
	for _, t := range contents.Tables {
		result.Rows += t.Rows
	}
	for _, f := range r.files {
		result.Files = append(result.Files, f.path)
	}
	return result, nil
}

// settle brings into order what cannot be as it was at the backup's time, and records the restore as the first change after it.
func (r *restorePlace) settle(ctx context.Context, tx *sql.Tx, b *backup.Reader, o *restoreOptions, result *restoreResult) (err error) {
	now := time.Now()
	if result.Withdrawn, err = pki.Restored(ctx, tx, b.Header.Time, now, !o.keepTokens); err != nil {
		return err
	}
	if err := identity.Restored(ctx, tx); err != nil {
		return err
	}
	if err := pki.CheckStoredKeys(ctx, tx, r.sealer, r.passphrase, r.next); err != nil {
		return wrongPassphrase(err)
	}
	for _, list := range r.crls {
		revoked, err := pki.RevokeListed(ctx, tx, list, r.authority)
		if err != nil {
			return err
		}
		for _, c := range revoked {
			if err := identity.RevokeRestored(ctx, tx, c.Fingerprint, c.RevocationReason, c.RevokedAt); err != nil {
				return err
			}
		}
		result.Revoked += len(revoked)
	}
	detail, err := result.detail(&b.Header, o)
	if err != nil {
		return err
	}
	_, err = record.AppendChange(ctx, tx, record.Change{Actor: processActor(), Action: "backup.restore", Object: "backup", Detail: detail})
	return err
}

// restoringSuffix is added to an SQLite file's name until everything is in it.
const restoringSuffix = ".restoring"

// openPlace makes the directory of an SQLite file and keeps other restores out of it. url is where the tables are put.
func (r *restorePlace) openPlace() (url string, release func(), err error) {
	if r.cfg.sharedDatabase() {
		return r.cfg.Database, func() {}, nil
	}
	path := sqlitePath(r.cfg.Database)
	if made, err := makeDir(filepath.Dir(path)); err != nil {
		return "", nil, err
	} else if made {
		r.madeDir = filepath.Dir(path)
	}
	release, err = exclusive(filepath.Dir(path))
	if err != nil {
		return "", nil, err
	}
	removeDatabase(path + restoringSuffix) // of one that was killed
	return path + restoringSuffix, release, nil
}

func removeDatabase(path string) {
	for _, suffix := range []string{"", "-wal", "-shm", "-journal", ".lock"} {
		os.Remove(path + suffix)
	}
}

// nameDatabase gives the SQLite file its name, which is the moment from which there is a state.
func (r *restorePlace) nameDatabase(url string) error {
	if r.cfg.sharedDatabase() {
		return nil
	}
	path := sqlitePath(r.cfg.Database)
	if _, err := os.Lstat(path); err == nil { // a rename would replace it
		return fmt.Errorf("naming the database: %s has come meanwhile", path)
	}
	if err := os.Rename(url, path); err != nil {
		return fmt.Errorf("naming the database: %w", err)
	}
	removeDatabase(url) // its lock
	if err := syncDirectory(filepath.Dir(path)); err != nil {
		return fmt.Errorf("naming the database: %w", err)
	}
	return nil
}

// undo removes what a restore that failed has made.
func (r *restorePlace) undo(url string, made []string) {
	if !r.cfg.sharedDatabase() {
		removeDatabase(url)
	}
	for _, path := range slices.Backward(made) {
		os.Remove(path) // of a directory, works only while it is empty
	}
	if r.madeDir != "" {
		os.Remove(r.madeDir)
	}
}

// write writes the files that are not there yet, on disk when it returns, and says what it has made.
func (r *restorePlace) write() (made []string, err error) {
	for _, f := range r.files {
		there, err := existing(f.path)
		if err != nil {
			return made, err
		}
		if there != nil {
			continue // compared before
		}
		if _, err := os.Stat(filepath.Dir(f.path)); errors.Is(err, fs.ErrNotExist) {
			if err := os.MkdirAll(filepath.Dir(f.path), 0o700); err != nil {
				return made, fmt.Errorf("making a directory: %w", err)
			}
			made = append(made, filepath.Dir(f.path))
		}
		if err := replaceFile(f.path, f.content, f.mode); err != nil {
			return made, err
		}
		made = append(made, f.path)
		if err := syncDirectory(filepath.Dir(f.path)); err != nil {
			return made, fmt.Errorf("writing %s: %w", f.path, err)
		}
	}
	return made, nil
}
