package identity_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/internal/database/databasetest"
)

func TestSecretNeverShowsItself(t *testing.T) {
	const text = "hunter2-hunter2"
	s := identity.NewSecret(text)
	type hidden struct{ inner identity.SecretMaterial } // fmt reaches unexported fields without asking their methods
	values := []any{s, &s, []identity.SecretMaterial{s}, map[string]identity.SecretMaterial{"k": s}, hidden{s}, &hidden{s},
		identity.Credential{ClientID: "sb", Secret: s}, &identity.Credential{Secret: s}}
	for _, v := range values {
		for _, verb := range []string{"%v", "%+v", "%#v", "%q", "%s", "%x", "%d", "%t"} {
			if got := fmt.Sprintf(verb, v); strings.Contains(got, text) || strings.Contains(got, fmt.Sprintf("%x", text)) {
				t.Errorf("%s of %T shows the secret: %s", verb, v, got)
			}
		}
		got, err := json.Marshal(v)
		if err != nil || bytes.Contains(got, []byte(text)) {
			t.Errorf("JSON of %T: %s, %v", v, got, err)
		}
		for name, handler := range map[string]func(*bytes.Buffer) slog.Handler{
			"text": func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) },
			"json": func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) },
		} {
			var log bytes.Buffer
			slog.New(handler(&log)).Info("x", "secret", v)
			if strings.Contains(log.String(), text) {
				t.Errorf("slog %s of %T shows the secret: %s", name, v, log.String())
			}
		}
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if got := fmt.Sprintf(verb, s); got != "[redacted]" {
			t.Errorf("%s: got %s", verb, got)
		}
	}
	if got := fmt.Sprintf("%q", s); got != `"[redacted]"` {
		t.Errorf("%%q: got %s", got)
	}
	if got := s.Reveal(); got != text {
		t.Errorf("Reveal: got %q", got)
	}
	if !identity.NewSecret("").IsZero() || s.IsZero() || !s.Equal(identity.NewSecret(text)) || s.Equal(identity.NewSecret("x")) {
		t.Error("IsZero or Equal is wrong")
	}
}

func TestSecretsAreNotInTheDatabaseFile(t *testing.T) {
	path := databasetest.SQLite(t)
	db := openDatabase(t, path)
	r := openRegistry(t, db, newSealer(t))
	const text = "a-secret-that-must-not-be-found"
	var id string
	change(t, r, func(ctx context.Context, tx *identity.Tx) error {
		if _, err := tx.AddTenant(ctx, tenant("cpi")); err != nil {
			return err
		}
		if _, err := tx.AddIdentity(ctx, person("erp")); err != nil {
			return err
		}
		c := secret("erp", "cpi")
		c.Secret = identity.NewSecret(text)
		stored, err := tx.AddCredential(ctx, c)
		id = stored.ID
		return err
	})
	look := func(when string) {
		t.Helper()
		var all []byte
		for _, suffix := range []string{"", "-wal"} {
			b, err := os.ReadFile(path + suffix)
			if err != nil && !os.IsNotExist(err) {
				t.Fatal(err)
			}
			all = append(all, b...)
		}
		if !bytes.Contains(all, []byte(id)) {
			t.Errorf("%s: the credential is not in the files that were searched", when)
		}
		if bytes.Contains(all, []byte(text)) {
			t.Errorf("%s: the secret is in the file", when)
		}
	}
	look("after the commit")
	if _, err := db.Exec(`PRAGMA wal_checkpoint(TRUNCATE)`); err != nil {
		t.Fatal(err)
	}
	look("after a checkpoint")
}

func TestNewSealerRefusesWhatIsNoKey(t *testing.T) {
	for _, key := range []string{"", "secret-passphrase", "{}", `{"primaryKeyId":1,"key":[]}`} {
		_, err := identity.NewSealer([]byte(key))
		if err == nil {
			t.Errorf("%q was taken for a key", key)
		} else if key != "" && len(key) > 2 && strings.Contains(err.Error(), key) {
			t.Errorf("the message quotes the key: %v", err)
		}
	}
}

func TestSealerBindsToContext(t *testing.T) {
	s := newSealer(t)
	sealed, err := s.Seal([]byte("text"), []byte("here"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := s.Open(sealed, []byte("here")); err != nil || string(got) != "text" {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := s.Open(sealed, []byte("there")); err == nil {
		t.Error("it opens under another context")
	}
	sealed[len(sealed)-1] ^= 1
	if _, err := s.Open(sealed, []byte("here")); err == nil {
		t.Error("it opens after it was altered")
	}
}
