package token_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"unicode"

	"github.com/tenantgate/tenantgate/proxy/token"
)

// shown renders v in every way that could end up in a log.
func shown(t *testing.T, v any) string {
	t.Helper()
	var b bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&b, verb+"\n", v)
	}
	encoded, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	b.Write(encoded)
	slog.New(slog.NewJSONHandler(&b, nil)).Info("x", "v", v)
	slog.New(slog.NewTextHandler(&b, nil)).Info("x", "v", v)
	return b.String()
}

func TestSecretsAreNeverShown(t *testing.T) {
	hidden := token.NewSecret("hunter2hunter2")
	tok := func() token.Token {
		cred := tlsServer(t, func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `{"access_token":"hunter2hunter2","token_type":"bearer"}`)
		})
		e := &token.Engine{}
		defer e.Close()
		return mustToken(t, e.Source(cred))
	}()
	for name, v := range map[string]any{
		"secret": hidden, "pointer": &hidden, "token": tok, "token pointer": &tok,
		"in an unexported field": struct{ s token.Secret }{hidden},
		"token in an unexported": struct{ s token.Token }{tok},
		"in a map":               map[string]any{"a": hidden, "b": tok},
		"credential":             struct{ C token.Credential }{token.Credential{Secret: hidden}},
		"service key":            token.ServiceKey{Secret: hidden, KeyPEM: hidden},
	} {
		if got := shown(t, v); strings.Contains(got, "hunter2") || strings.Contains(got, fmt.Sprintf("%x", "hunter2")) {
			t.Errorf("%s: the secret is shown: %s", name, got)
		}
	}
	for name, got := range map[string]string{"%v": fmt.Sprint(hidden), "%q": fmt.Sprintf("%q", hidden), "String": hidden.String()} {
		if got != "[redacted]" {
			t.Errorf("%s: got %q, want [redacted]", name, got)
		}
	}
	if got, _ := json.Marshal(struct{ S token.Secret }{hidden}); string(got) != `{"S":"[redacted]"}` {
		t.Errorf("JSON: got %s", got)
	}
}

func TestAnErrorThatEchoesTheSecretIsMasked(t *testing.T) {
	id := credential().ClientID
	forms := map[string]string{
		"plain":           secret,
		"form-urlencoded": url.QueryEscape(secret),
		"path-escaped":    url.PathEscape(secret),
		"basic":           base64.StdEncoding.EncodeToString([]byte(id + ":" + secret)),
		"encoded basic":   base64.StdEncoding.EncodeToString([]byte(url.QueryEscape(id) + ":" + url.QueryEscape(secret))),
	}
	for name, form := range forms {
		for _, member := range []string{"error", "error_description"} {
			t.Run(name+" in "+member, func(t *testing.T) {
				body, _ := json.Marshal(map[string]string{member: "you sent " + form + " \r\nX: y \x1b[31m" + strings.Repeat("z", 5000)})
				cred := tlsServer(t, status(400, string(body)))
				var log bytes.Buffer
				e := &token.Engine{Logger: slog.New(slog.NewJSONHandler(&log, nil))}
				got := mustFail(t, e.Source(cred))
				text := shown(t, got) + shown(t, e.States())
				e.Close()
				if strings.Contains(text, form) || strings.Contains(got.Error()+got.Code+got.Description, secret) {
					t.Errorf("the secret is shown: %v", got)
				}
				if strings.ContainsFunc(got.Error(), unicode.IsControl) || len(got.Error()) > 600 {
					t.Errorf("got %d bytes, or control characters: %q", len(got.Error()), got)
				}
			})
		}
	}
}

func TestAMalformedAnswerThatEchoesTheSecretIsMasked(t *testing.T) {
	cred := tlsServer(t, func(w http.ResponseWriter, _ *http.Request) {
		c, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		_, _ = io.WriteString(c, "HTTP/1.1 "+secret+"\r\n\r\n")
	})
	e := &token.Engine{}
	defer e.Close()
	if got := mustFail(t, e.Source(cred)); strings.Contains(got.Error(), secret) || got.Step != token.StepRequest {
		t.Errorf("got %v", got)
	}
}

// The letters that are missing in ordinary words would tell a short secret.
func TestAShortSecretIsNotToldByWhatIsMasked(t *testing.T) {
	cred := tlsServer(t, status(500, `{"error":"server_error","error_description":"something is not as it should be"}`))
	cred.Secret = token.NewSecret("s")
	e := &token.Engine{}
	defer e.Close()
	if got := mustFail(t, e.Source(cred)); got.Description != "something is not as it should be" {
		t.Errorf("got %q", got.Description)
	}
}
