package database

import (
	"errors"
	"io/fs"
	"strings"
	"syscall"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// What can be wrong with a database, for errors.Is.
var (
	ErrReadOnly = errors.New("the database is read-only")
	ErrFull     = errors.New("the disk is full")
	ErrCorrupt  = errors.New("the file is damaged or no database of ours")
	ErrInUse    = errors.New("the database is in use")
	ErrNewer    = errors.New("the database is newer than the program")
	ErrAbsent   = errors.New("the database cannot be reached")
)

// Error is what went wrong with a database as a whole, for the person who runs the server.
type Error struct {
	// Kind is one of the errors above.
	Kind error
	// Name is the file's path, or the URL without its password.
	Name string
	// Message says what is wrong, Hint what to do next.
	Message, Hint string
	// Err is the driver's or the system's error, or nil.
	Err error
}

// Error returns one line: name, message, hint and cause.
func (e *Error) Error() string {
	s := "database " + e.Name + ": " + e.Message + ": " + e.Hint
	if e.Err != nil {
		s += " (" + strings.Join(strings.Fields(e.Err.Error()), " ") + ")" // pgx's errors have several lines
	}
	return s
}

// Unwrap returns the kind and the cause.
func (e *Error) Unwrap() []error {
	if e.Err == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.Err}
}

// explained is a row of the table from result codes to sentences. The codes are https://sqlite.org/rescode.html.
type explained struct {
	kind          error
	message, hint string
}

func explanation(code int) (explained, bool) {
	switch code {
	case sqlite3.SQLITE_IOERR_SHMSIZE: // a full file system cannot take the WAL's index
		return explanation(sqlite3.SQLITE_FULL)
	}
	switch code & 0xff { // the low byte is the primary code
	case sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM:
		return explained{ErrReadOnly, "cannot be written",
			"make the file, its directory and the file system writable for the user that runs tenantgate"}, true
	case sqlite3.SQLITE_FULL:
		return explained{ErrFull, "the disk is full", "free space on the file system that holds the file, then try again; nothing was changed"}, true
	case sqlite3.SQLITE_CORRUPT:
		return explained{ErrCorrupt, "the file is damaged", "stop tenantgate, keep a copy of the file and its -wal, and restore the last backup"}, true
	case sqlite3.SQLITE_NOTADB:
		return explained{ErrCorrupt, "the file is not an SQLite database",
			"name another file, or restore the last backup if it once was one; the file was left as it is"}, true
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
		return explained{ErrInUse, "another program holds a lock on the file", "end the program that has it open (sqlite3, a copy job), then try again"}, true
	case sqlite3.SQLITE_CANTOPEN:
		return explained{ErrAbsent, "the file cannot be opened", "see that its directory exists and that the user who runs tenantgate may write there"}, true
	case sqlite3.SQLITE_IOERR:
		return explained{ErrAbsent, "reading or writing the file failed", "look in the system's log for a failing disk; nothing was changed"}, true
	}
	return explained{}, false
}

// explain turns an error of the SQLite driver that concerns the whole database into an *Error; others it returns as they are.
func explain(name string, err error) error {
	var e *sqlite.Error
	if err == nil || !errors.As(err, &e) {
		return err
	}
	row, ok := explanation(e.Code())
	if !ok {
		return err
	}
	return &Error{Kind: row.kind, Name: name, Message: row.message, Hint: row.hint, Err: err}
}

// explainFile does the same for an error of the file system.
func explainFile(name string, err error) error {
	code := sqlite3.SQLITE_IOERR
	switch {
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		code = sqlite3.SQLITE_READONLY
	case errors.Is(err, syscall.ENOSPC):
		code = sqlite3.SQLITE_FULL
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.EISDIR), errors.Is(err, syscall.ENOTDIR):
		code = sqlite3.SQLITE_CANTOPEN
	}
	row, _ := explanation(code)
	return &Error{Kind: row.kind, Name: name, Message: row.message, Hint: row.hint, Err: err}
}
