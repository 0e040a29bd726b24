package usage

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"fmt"
	"strings"
)

// form is how addresses are written.
type form struct {
	generation int64
	key        []byte   // of pseudonyms; nil: addresses are written as they are
	networks   Networks // only with a key: a pseudonym cannot be looked up later
}

// pseudonymPrefix marks what is no address.
const pseudonymPrefix = "anon-"

func isPseudonym(source string) bool { return strings.HasPrefix(source, pseudonymPrefix) }

// source writes what [SourceOf] says.
func (f *form) source(s string) string {
	if f.key == nil || s == Other || isPseudonym(s) {
		return s
	}
	mac := hmac.New(sha256.New, f.key)
	mac.Write([]byte("tenantgate source 1\n" + s))
	return pseudonymPrefix + hex.EncodeToString(mac.Sum(nil)[:8])
}

const (
	formColumns = `pseudonymous, key_generation, sealed_key`
	selectForm  = `SELECT ` + formColumns + ` FROM usage_settings WHERE id = 1`
	takeForm    = `UPDATE usage_settings SET batches = batches + 1 WHERE id = 1 RETURNING ` + formColumns
)

// keyContext binds the sealed key to its place.
var keyContext = []byte("tenantgate usage pseudonyms")

type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

func readForm(ctx context.Context, q querier, s Sealer) (*form, error) {
	return scanForm(ctx, q, s, selectForm, nil)
}

// currentForm reads the settings by a statement; they are decrypted when they are others than before.
func (r *Recorder) currentForm(ctx context.Context, q querier, statement string) (*form, error) {
	return scanForm(ctx, q, r.o.Sealer, statement, r.form.Load())
}

func scanForm(ctx context.Context, q querier, s Sealer, statement string, known *form) (*form, error) {
	f := &form{}
	var pseudonymous int64
	var sealed []byte
	if err := q.QueryRowContext(ctx, statement).Scan(&pseudonymous, &f.generation, &sealed); err != nil {
		return nil, fmt.Errorf("reading the settings of usage: %w", err)
	}
	if pseudonymous == 0 {
		return f, nil
	}
	if known != nil && known.generation == f.generation && known.key != nil {
		f.key = known.key
	} else {
		key, err := s.Open(sealed, keyContext)
		if err != nil {
			return nil, fmt.Errorf("opening the key of pseudonyms: %w", err)
		}
		f.key = key
	}
	var err error
	f.networks, err = ReadNetworks(ctx, q)
	return f, err
}

// Settings say how addresses are kept.
type Settings struct {
	// Pseudonymous says that addresses are kept as pseudonyms, which only the key can tell the address of.
	Pseudonymous bool `json:"pseudonymous"`
	// KeyGeneration counts the keys that there were.
	KeyGeneration int64 `json:"key_generation"`
	// Callers is how many callers the history has, Days how many days of them on routes.
	Callers int64 `json:"callers"`
	Days    int64 `json:"days"`
}

// ReadSettings reads them.
func ReadSettings(ctx context.Context, q querier) (Settings, error) {
	var s Settings
	var pseudonymous int64
	err := q.QueryRowContext(ctx, `SELECT pseudonymous, key_generation, (SELECT count(*) FROM usage_callers), (SELECT count(*) FROM usage_days)
		FROM usage_settings WHERE id = 1`).Scan(&pseudonymous, &s.KeyGeneration, &s.Callers, &s.Days)
	s.Pseudonymous = pseudonymous != 0
	if err != nil {
		return s, fmt.Errorf("reading the settings of usage: %w", err)
	}
	return s, nil
}

// Pseudonymise has addresses kept as pseudonyms from now on, those that the history has included; or, when they are already, has a new key made and the old one
// destroyed, so that nobody can find out any more which addresses the old pseudonyms were. Nodes follow with their next batch. It returns how many callers were rewritten.
func Pseudonymise(ctx context.Context, tx *sql.Tx, s Sealer) (int, error) {
	now, err := scanForm(ctx, tx, s, takeForm, nil)
	if err != nil {
		return 0, err
	}
	key := make([]byte, 32)
	rand.Read(key)
	sealed, err := s.Seal(key, keyContext)
	if err != nil {
		return 0, fmt.Errorf("sealing the key of pseudonyms: %w", err)
	}
	_, err = tx.ExecContext(ctx, `UPDATE usage_settings SET pseudonymous = 1, key_generation = key_generation + 1, sealed_key = $1 WHERE id = 1`, sealed)
	if err != nil {
		return 0, fmt.Errorf("storing the key of pseudonyms: %w", err)
	}
	if now.key != nil {
		return 0, nil
	}
	networks, err := ReadNetworks(ctx, tx)
	if err != nil {
		return 0, err
	}
	return rewrite(ctx, tx, &form{key: key}, networks)
}

// rewrite replaces every address that is in the clear.
func rewrite(ctx context.Context, tx *sql.Tx, f *form, networks Networks) (int, error) {
	rows, err := tx.QueryContext(ctx, `SELECT DISTINCT source FROM usage_callers`)
	if err != nil {
		return 0, fmt.Errorf("reading addresses: %w", err)
	}
	defer func() { _ = rows.Close() }()
	var sources []string
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			return 0, fmt.Errorf("reading addresses: %w", err)
		}
		sources = append(sources, s)
	}
	if err := rows.Err(); err != nil {
		return 0, fmt.Errorf("reading addresses: %w", err)
	}
	total := 0
	for _, s := range sources {
		if s == Other || isPseudonym(s) {
			continue
		}
		result, err := tx.ExecContext(ctx, `UPDATE usage_callers SET source = $1, network = $2 WHERE source = $3`, f.source(s), networks.OfSource(s), s)
		if err != nil {
			return 0, fmt.Errorf("replacing an address: %w", err)
		}
		n, err := result.RowsAffected()
		if err != nil {
			return 0, fmt.Errorf("replacing an address: %w", err)
		}
		total += int(n)
	}
	return total, nil
}

// KeepAddresses undoes [Pseudonymise] for what is seen from now on, and destroys the key: what is a pseudonym stays one.
func KeepAddresses(ctx context.Context, tx *sql.Tx) error {
	_, err := tx.ExecContext(ctx, `UPDATE usage_settings SET pseudonymous = 0, sealed_key = NULL, batches = batches + 1 WHERE id = 1`)
	if err != nil {
		return fmt.Errorf("destroying the key of pseudonyms: %w", err)
	}
	return nil
}

// Matcher says how addresses are written now, so that a known address can be compared with what the history has.
func Matcher(ctx context.Context, q querier, s Sealer) (func(source string) string, error) {
	f, err := readForm(ctx, q, s)
	if err != nil {
		return nil, err
	}
	return f.source, nil
}
