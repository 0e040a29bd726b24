// Package backup writes the whole state of an installation into one file, and reads it again: every table of the database as one transaction sees it, files
// beside the database, and, only if asked for, the keys, encrypted with age under a passphrase.
//
// The file is a gzip stream of lines of JSON, so that it can be read without this program (zcat FILE | less), and one line behind it that proves the
// rest: a digest of every octet before it, and that digest sealed under the installation's own key. Whoever has no key cannot make a file that is
// believed. A reader finds names of tables and columns, and never a path: where something goes is decided by who restores.
//
//	{"tenantgate_backup":1,"time":...,"schemas":{"identity":10,...},"files":[...],...}     the header
//	{"table":"identities","columns":[{"name":"name","kind":"text"},...]}                   for each table
//	["erp","team-logistics",...]                                                           a row; octets are in base64
//	{"tables":[{"table":"identities","rows":1,"sha256":"..."},...]}                        the contents, last
//
// The package knows no table, no key and no configuration: it is given what to write, and what to do with what it reads. Values are carried by kind (see
// database.Kind), so that what SQLite held goes into PostgreSQL and the other way round.
package backup

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"time"

	"github.com/tenantgate/tenantgate/internal/database"
)

// Format is the version of the file's form that this program writes and reads.
const Format = 1

// sealContext is what the seal is bound to.
const sealContext = "tenantgate backup 1"

// The bounds of what is read. A file comes from anywhere; nothing in it makes the reader hold more.
const (
	maxHeader = 32 << 20 // octets of the header line: files and keys are in it
	maxLine   = 64 << 20 // octets of any other line: one row
	maxTail   = 4096     // octets of the last line, which is outside of the gzip stream
)

// ErrDamaged is that a file is not what was written: cut off, altered or no backup. It is for errors.Is.
var ErrDamaged = errors.New("the backup is damaged")

func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrDamaged, fmt.Sprintf(format, args...))
}

// Sealer proves who wrote a file. It is the part of identity.Sealer that is needed here.
type Sealer interface {
	Seal(plaintext, context []byte) ([]byte, error)
	Open(ciphertext, context []byte) ([]byte, error)
}

// Header is what a backup says about itself before its tables.
type Header struct {
	// Format is [Format].
	Format int `json:"tenantgate_backup"`
	// Version is the program that wrote it, Time when, Database the kind of database: sqlite or postgresql.
	Version  string    `json:"version"`
	Time     time.Time `json:"time"`
	Database string    `json:"database"`
	// Schemas are the versions of the tables, by the name of the package that owns them.
	Schemas map[string]int64 `json:"schemas"`
	// Head is the last change record in the backup, "seq:hash".
	Head string `json:"audit_head"`
	// KeyCheck is a known text, sealed: whoever opens it has the right key.
	KeyCheck []byte `json:"key_check"`
	// Files are the files beside the database.
	Files []File `json:"files"`
	// Keys are the keys, encrypted; nil when they were not asked for.
	Keys []byte `json:"keys,omitempty"`
}

// File is one file of a backup. Name is what it is for, "config" or "ca/root_ca.crt", and no path.
type File struct {
	Name    string      `json:"name"`
	Mode    fs.FileMode `json:"mode"`
	Content []byte      `json:"content"`
	SHA256  string      `json:"sha256"`
}

// Contents is the last line of the stream: how much of what came before it.
type Contents struct {
	Tables []TableContents `json:"tables"`
}

// TableContents is one table of a backup. SHA256 is over its rows as they stand in the file, each with its line end.
type TableContents struct {
	Table  string `json:"table"`
	Rows   int64  `json:"rows"`
	SHA256 string `json:"sha256"`
}

// trailer is the line behind the stream. SHA256 is over everything before that line and the seal; the seal holds the SHA-256 of everything before
// the line. So each octet of the file counts, also for a reader without the key.
type trailer struct {
	SHA256 string `json:"sha256"`
	Seal   []byte `json:"seal"`
}

// plainName is the form of names in a backup that become part of a statement or of a file's name: no quotes, no empty parts, no leading dots.
var (
	plainName = regexp.MustCompile(`^[a-z][a-z0-9_]{0,62}$`)
	fileName  = regexp.MustCompile(`^(config|ca(/[A-Za-z0-9_][A-Za-z0-9._-]{0,99}){1,3})$`)
)

// check refuses a header that no [Write] has made.
func (h *Header) check() error {
	if h.Format != Format {
		return fmt.Errorf("the backup has format %d and this program reads %d: use the tenantgate that wrote it (%q)", h.Format, Format, h.Version)
	}
	seen := map[string]bool{}
	for i := range h.Files {
		f := &h.Files[i]
		switch {
		case !fileName.MatchString(f.Name), seen[f.Name], f.Mode&^fs.ModePerm != 0:
			return damaged("it holds a file %q with mode %v, which no backup does", f.Name, f.Mode)
		case sum(f.Content) != f.SHA256:
			return damaged("file %s is not as it was written", f.Name)
		}
		seen[f.Name] = true
	}
	for owner := range h.Schemas {
		if !plainName.MatchString(owner) {
			return damaged("it names tables of %q", owner)
		}
	}
	return nil
}

// TakesFile reports whether a file in a backup may have this name.
func TakesFile(name string) bool { return fileName.MatchString(name) }

// NewFile returns a file for a backup.
func NewFile(name string, mode fs.FileMode, content []byte) File {
	return File{Name: name, Mode: mode.Perm(), Content: content, SHA256: sum(content)}
}

func sum(b []byte) string { return fmt.Sprintf("%x", sha256.Sum256(b)) }

// Progress is told how far the work is: the table, and how many rows of it are done. nil tells nobody.
type Progress func(table string, rows int64)

func (p Progress) tell(table string, rows int64) {
	if p != nil && rows%1000 == 0 {
		p(table, rows)
	}
}

// sameTable compares a table of a file with the one that the migrations make.
func sameTable(read, made database.Table) error {
	if len(read.Columns) != len(made.Columns) {
		return fmt.Errorf("table %s has %d columns in the backup and %d in this program", read.Name, len(read.Columns), len(made.Columns))
	}
	for i, c := range read.Columns {
		if c != made.Columns[i] {
			return fmt.Errorf("column %q of table %s is not column %q of this program", c.Name, read.Name, made.Columns[i].Name)
		}
	}
	return nil
}
