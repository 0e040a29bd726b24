// Package usage keeps who uses what: for each login and each identity the callers that were seen, on which routes, how often, and when first and last, day by
// day. It is the map by which a shared password is retired.
//
// A request costs a few atomic additions ([Recorder.Observe]); what has gathered is written in one batch every few seconds, and several nodes add up. What one
// login or one address can make the history hold is bounded, so that a hostile caller fills a bucket called "other" and nothing else.
//
// It does not know who may do what, what a login or an identity is beyond its name, or how a request was decided. It holds addresses, which may be personal data:
// they can be kept as pseudonyms and forgotten.
package usage

import (
	"crypto/rand"
	"embed"
	"encoding/base32"
	"encoding/binary"
	"io/fs"
	"strings"
	"time"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Migrations is the schema in goose's format: the tables usage_settings, usage_callers, usage_days and usage_networks. The same statements run on SQLite and
// PostgreSQL.
func Migrations() fs.FS {
	sub, err := fs.Sub(migrations, "migrations")
	if err != nil {
		panic(err) // the directory is embedded above: a broken build, not a state
	}
	return sub
}

// Kind says by what a caller was recognised.
type Kind string

// The kinds.
const (
	Login    Kind = "login"    // by a login's user name and password; the subject is the login's name
	Identity Kind = "identity" // by a certificate; the subject is the identity's name
)

// Other stands in place of an address or a client where there were too many of them to keep each.
const Other = "other"

// ID names a caller. It is random and says nothing.
type ID int64

var idText = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// newID makes an ID of 63 random bits; 0 is none.
func newID() ID {
	var b [8]byte
	rand.Read(b[:])
	return ID(binary.BigEndian.Uint64(b[:])>>1 | 1)
}

// String is the ID as commands take it: 13 letters and digits; "" for none.
func (id ID) String() string {
	if id == 0 {
		return ""
	}
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(id))
	return idText.EncodeToString(b[:])
}

// MarshalText is String.
func (id ID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText reads what String wrote, and "" as none.
func (id *ID) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*id = 0
		return nil
	}
	parsed, ok := ParseID(string(b))
	if !ok {
		return &Error{Code: "invalid", Message: "this is not the id of a caller", Hint: "caller list shows the ids: 13 letters and digits"}
	}
	*id = parsed
	return nil
}

// ParseID reads what String wrote; false for anything else.
func ParseID(s string) (ID, bool) {
	raw, err := idText.DecodeString(strings.ToLower(s))
	if err != nil || len(raw) != 8 {
		return 0, false
	}
	id := ID(binary.BigEndian.Uint64(raw))
	return id, id > 0
}

// Error is a refusal: nothing was changed.
type Error struct {
	Code    string // "invalid", "not_found" or "conflict"
	Field   string // the JSON name of the member at fault; "" for none
	Message string // what is wrong
	Hint    string // what to do
}

// Error returns the message and the hint.
func (e *Error) Error() string {
	if e.Hint == "" {
		return e.Message
	}
	return e.Message + " (" + e.Hint + ")"
}

// day is the number of days from 1970-01-01 to an instant, in UTC.
func day(micros int64) int64 { return micros / (24 * time.Hour).Microseconds() }

// second is the second of its day.
func second(micros int64) int64 {
	return micros % (24 * time.Hour).Microseconds() / 1_000_000
}

// Midnight is the beginning of a day as the history counts them.
func midnight(day int64) time.Time { return time.Unix(day*86400, 0).UTC() }
