package admin_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/tenantgate/tenantgate/proxy/admin"
)

func TestABackupIsStreamedOneAtATime(t *testing.T) {
	h := build(t)
	enter, leave := make(chan struct{}), make(chan struct{})
	h.backup = func(_ context.Context, actor string, q admin.BackupRequest) (func(io.Writer) error, error) {
		if actor == "" {
			t.Error("nobody makes the backup")
		}
		return func(w io.Writer) error {
			if q.KeysPassphrase != "" {
				return errors.New("the disk is broken")
			}
			io.WriteString(w, "first ")
			enter <- struct{}{}
			<-leave
			_, err := io.WriteString(w, "last")
			return err
		}, nil
	}
	var got bytes.Buffer
	done := make(chan error, 1)
	go func() { done <- h.client.Backup(t.Context(), admin.BackupRequest{}, &got) }()
	<-enter
	if e := wantError(t, h.client.Backup(t.Context(), admin.BackupRequest{}, io.Discard), 409); e.Code != "busy" {
		t.Errorf("a second one: %+v", e)
	}
	close(leave)
	if err := <-done; err != nil || got.String() != "first last" {
		t.Errorf("got %q, %v", got.String(), err)
	}
	// An error before the first octet has a status; it ends the turn, too.
	e := wantError(t, h.client.Backup(t.Context(), admin.BackupRequest{KeysPassphrase: "sixteen octets.."}, io.Discard), 500)
	if !strings.Contains(e.Detail, "broken") {
		t.Errorf("it does not say why: %+v", e)
	}
	if e := wantError(t, h.client.Backup(t.Context(), admin.BackupRequest{KeysPassphrase: "fifteen octets."}, io.Discard),
		422); e.Field != "keys_passphrase" || strings.Contains(e.Detail, "fifteen") {
		t.Errorf("a short passphrase: %+v", e)
	}
}

func TestABackupThatFailsOnTheWayBreaksOff(t *testing.T) {
	h := build(t)
	h.backup = func(context.Context, string, admin.BackupRequest) (func(io.Writer) error, error) {
		return func(w io.Writer) error {
			if _, err := io.WriteString(w, strings.Repeat("x", 1<<20)); err != nil {
				return err
			}
			return errors.New("the disk is broken")
		}, nil
	}
	err := h.client.Backup(t.Context(), admin.BackupRequest{}, io.Discard)
	if _, ok := errors.AsType[*admin.BrokenOff](err); !ok {
		t.Errorf("half a backup is taken for a whole one: %v", err)
	}
	if !strings.Contains(h.log.String(), "the disk is broken") {
		t.Error("the log does not say why")
	}
}

func TestExplainRefusesWhatCannotBeARequest(t *testing.T) {
	h := build(t)
	h.explain = func(admin.ExplainQuestion) admin.Explanation { t.Error("it is explained"); return admin.Explanation{} }
	for field, q := range map[string]admin.ExplainRequest{
		"identity":    {Method: "GET", URL: "/"},
		"method":      {Identity: "erp", URL: "/"},
		"url":         {Identity: "erp", Method: "GET", URL: "ftp://x/"},
		"from":        {Identity: "erp", Method: "GET", URL: "/", From: "10.0.0.0/8"},
		"certificate": {Identity: "erp", Method: "GET", URL: "/", Certificate: "x"},
		"login":       {Identity: "erp", Method: "GET", URL: "/", Login: "P1", Certificate: "x"},
		"body_size":   {Identity: "erp", Method: "GET", URL: "/", BodySize: -1},
	} {
		_, err := h.client.Explain(t.Context(), q)
		if e := wantError(t, err, 422); e.Field != field {
			t.Errorf("%s: %+v", field, e)
		}
	}
	_, err := h.client.Explain(t.Context(), admin.ExplainRequest{Identity: "nobody", Method: "GET", URL: "/"})
	wantError(t, err, 404)
	if n := len(h.changes()); n != 0 {
		t.Errorf("%d change records", n)
	}
}
