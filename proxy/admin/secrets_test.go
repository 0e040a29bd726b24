package admin_test

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"github.com/tenantgate/tenantgate/proxy/admin"
)

// TestNoAnswerRecordOrLogHoldsASecret looks at everything that can be had from the API after a secret went in by every way.
func TestNoAnswerRecordOrLogHoldsASecret(t *testing.T) {
	h := build(t)
	h.furnish()
	const secret = "Zq8-very-secret-Zq8"
	var said []string
	say := func(method, path, body string) {
		_, answer := h.send(method, path, body)
		said = append(said, method+" "+path+" -> "+answer)
	}
	credentials := "/v1/identities/erp/credentials"
	say("POST", credentials, `{"tenant":"acme","kind":"secret","client_id":"c","secret":"`+secret+`"}`)
	say("POST", credentials, `{"tenant":"acme","service_key":{"oauth":{"clientid":"c","clientsecret":"`+secret+`","tokenurl":"https://a.example.com/t","url":"https://b.example.com"}}}`)
	// Every way to get it wrong.
	say("POST", credentials, `{"tenant":"acme","kind":"certificate","client_id":"c","secret":"`+secret+`"}`)
	say("POST", credentials, `{"tenant":"acme","kind":"assertion","auth_style":"private_key_jwt","client_id":"c","secret":"`+secret+`"}`)
	say("POST", credentials, `{"tenant":"acme","kind":"assertion","auth_style":"private_key_jwt","client_id":"c","secret":"-----BEGIN PRIVATE KEY-----\n`+secret+`\n-----END PRIVATE KEY-----\n"}`)
	say("POST", credentials, `{"tenant":"acme","kind":"secret","client_id":"c","secret":"`+secret+`","keyless":true}`)
	say("POST", credentials, `{"tenant":"acme","kind":"secret","client_id":"c","secret":"`+secret+`","token_parameters":{"client_secret":"`+secret+`"}}`)
	say("POST", credentials, `{"tenant":"none","kind":"secret","client_id":"c","secret":"`+secret+`"}`)
	say("POST", credentials, `{"tenant":"acme","kind":"secret","client_id":"c","secret":["`+secret+`"]}`)
	say("POST", credentials, `{"tenant":"acme","kind":"secret","client_id":"c","secret":"`+secret+`\n"}`)
	say("POST", credentials, `{"tenant":"acme","kind":"secret","client_id":"c","secret":"`+secret)
	say("POST", credentials, `{"tenant":"acme","service_key":"`+secret+`"}`)
	say("POST", credentials, `{"tenant":"acme","service_key":{"oauth":{"clientsecret":"`+secret+`"}}}`)
	say("GET", credentials, "")
	list, err := h.client.Credentials(t.Context(), "erp")
	if err != nil || len(list) != 2 {
		t.Fatalf("%d credentials %v, want 2", len(list), err)
	}
	say("GET", "/v1/credentials/"+list[0].ID, "")
	say("GET", "/v1/changes", "")
	say("GET", "/v1/status", "")
	say("DELETE", "/v1/credentials/"+list[0].ID, "")
	said = append(said, "log: "+h.log.String(), fmt.Sprintf("%+v", h.changes()))
	for _, s := range said {
		for _, form := range []string{secret, base64.StdEncoding.EncodeToString([]byte(secret)), "very-secret"} {
			if strings.Contains(s, form) {
				t.Errorf("the secret is in: %s", s)
			}
		}
	}
	if _, err := h.client.AddCredential(t.Context(), "erp", admin.CredentialRequest{Tenant: "acme", Kind: "secret", ClientID: "c"}); err == nil {
		t.Error("a credential without a secret was taken")
	}
}
