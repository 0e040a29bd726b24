package acme_test

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/proxy/record"
)

const joseType = "application/jose+json"

// send sends a JWS with the header changed.
func (c *client) send(url string, payload any, change map[jose.HeaderKey]any) *reply {
	c.h.t.Helper()
	return c.do("POST", url, joseType, c.sign(url, payload, change))
}

func TestMessagesThatAreNoneAreRefused(t *testing.T) {
	h := build(t)
	c := h.registered(nil)
	order := h.url + "/acme/new-order"
	flat := func(change func(map[string]any)) []byte {
		t.Helper()
		var m map[string]any
		if err := json.Unmarshal(c.sign(order, identifiers(host), nil), &m); err != nil {
			t.Fatal(err)
		}
		change(m)
		b, _ := json.Marshal(m)
		return b
	}
	for name, body := range map[string][]byte{
		"nothing":               nil,
		"no JSON":               []byte("x"),
		"a list":                []byte("[]"),
		"deep":                  bytes.Repeat([]byte("["), 60000),
		"an unprotected header": flat(func(m map[string]any) { m["header"] = object{"alg": "ES256"} }),
		"signatures":            flat(func(m map[string]any) { m["signatures"] = []any{} }),
		"a compact JWS":         []byte("eyJhbGciOiJFUzI1NiJ9.e30.AAAA"),
		"alg none":              flat(func(m map[string]any) { m["protected"] = "eyJhbGciOiJub25lIn0" }),
	} {
		t.Run(name, func(t *testing.T) {
			r := c.do("POST", order, joseType, body)
			h.refused(r, "malformed", record.Malformed, 0)
			if r.header.Get("Replay-Nonce") == "" {
				t.Error("there is no nonce for the next try")
			}
		})
	}
	h.refused(c.do("POST", order, joseType, flat(func(m map[string]any) { m["payload"] = "e30" })), "unauthorized", record.Unidentified, 0)
	h.refused(c.do("POST", order, joseType, flat(func(m map[string]any) { delete(m, "signature") })), "unauthorized", record.Unidentified, 0)
	h.refused(c.do("POST", order, joseType, bytes.Repeat([]byte(" "), 100<<10)), "malformed", record.BodyTooLarge, 0)
	h.refused(c.do("POST", order, "application/json", c.sign(order, identifiers(host), nil)), "malformed", record.Malformed, 0)
	h.refused(c.send(order, identifiers(host), map[jose.HeaderKey]any{"url": "https://other.example.com/acme/new-order"}), "unauthorized", record.Unidentified, 0)
	h.refused(c.send(order, identifiers(host), map[jose.HeaderKey]any{"url": nil}), "unauthorized", record.Unidentified, 0)
	h.refused(c.send(order, identifiers(host), map[jose.HeaderKey]any{"nonce": "AAAA"}), "badNonce", record.Malformed, 0)
	h.refused(c.send(order, identifiers(host), map[jose.HeaderKey]any{"nonce": nil}), "badNonce", record.Malformed, 0)
	h.refused(c.do("POST", h.url+"/acme/nosuch", joseType, nil), "malformed", record.NoRoute, 0)
	h.refused(c.do("GET", order, "", nil), "malformed", record.MethodNotAllowed, 0)
	if r := c.order(host); r.status != http.StatusCreated {
		t.Errorf("after all that: %d %s", r.status, r.body)
	}
}

func TestKeysThatNoAccountMayHave(t *testing.T) {
	h := build(t)
	k, secret := h.key(nil)
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	c := h.client()
	c.signer = weak
	h.refused(c.register(k.ID, secret), "badPublicKey", record.Malformed, 0)
	for _, kind := range []string{pki.P384, pki.Ed25519, pki.RSA2048} {
		c, k, secret := h.client(), pki.ACMEKey{}, []byte(nil)
		k, secret = h.key(nil)
		c.signer = h.pki.Key(kind)
		if r := c.register(k.ID, secret); r.status != http.StatusCreated {
			t.Errorf("%s: got %d %s", kind, r.status, r.body)
		}
	}
	// A private key in the header is a mistake that must not pass in silence.
	jwk, _ := (&jose.JSONWebKey{Key: h.pki.Key(pki.P256)}).MarshalJSON()
	header, _ := json.Marshal(object{"alg": "ES256", "url": h.url + "/acme/new-account", "nonce": "x", "jwk": json.RawMessage(jwk)})
	body, _ := json.Marshal(object{"protected": base64.RawURLEncoding.EncodeToString(header), "payload": "e30", "signature": strings.Repeat("A", 86)})
	if r := h.client().do("POST", h.url+"/acme/new-account", joseType, body); r.status != http.StatusBadRequest {
		t.Errorf("got %d %s", r.status, r.body)
	}
}

func TestAnAccountSeesItsOwnAlone(t *testing.T) {
	h := build(t)
	c, other := h.registered(nil), h.registered(nil)
	o := c.ready(host)
	key := h.pki.Key(pki.P256)
	h.refused(other.post(o.header.Get("Location"), nil), "malformed", record.NoRoute, 0)
	h.refused(other.post(o.object.Authorizations[0], nil), "malformed", record.NoRoute, 0)
	h.refused(other.post(strings.Replace(o.object.Authorizations[0], "/authorization/", "/challenge/", 1)+"/http-01", object{}), "malformed", record.NoRoute, 0)
	h.refused(other.finalize(o, key, host), "malformed", record.NoRoute, 0)
	h.refused(other.post(c.kid, object{"status": "deactivated"}), "malformed", record.NoRoute, 0)
	done := c.finalize(o, key, host)
	h.refused(other.post(done.object.Certificate, nil), "malformed", record.NoRoute, 1)
	unknown := *c
	unknown.kid = h.url + "/acme/account/nosuchaccount"
	h.refused(unknown.order(host), "accountDoesNotExist", record.Unidentified, 1)
	unknown.kid = h.url + "/acme/account/../../x%00"
	h.refused(unknown.order(host), "accountDoesNotExist", record.Unidentified, 1)
	list := c.post(c.kid+"/orders", nil)
	if list.status != http.StatusOK || len(list.object.Orders) != 0 { // it is valid
		t.Errorf("got %s", list.body)
	}
}

func TestAnAccountMayGiveUp(t *testing.T) {
	h := build(t)
	c := h.registered(nil)
	o := c.ready(host)
	if r := c.post(o.object.Authorizations[0], object{"status": "deactivated"}); r.object.Status != "deactivated" {
		t.Errorf("got %s", r.body)
	}
	h.refused(c.finalize(o, h.pki.Key(pki.P256), host), "orderNotReady", record.Denied, 0)
	if r := c.post(c.kid, object{"status": "deactivated"}); r.object.Status != "deactivated" {
		t.Errorf("got %d %s", r.status, r.body)
	}
	h.refused(c.order(host), "unauthorized", record.Unidentified, 0)
	kid := c.kid
	c.kid = ""
	h.refused(c.post(h.url+"/acme/new-account", object{"onlyReturnExisting": true}), "unauthorized", record.Unidentified, 0)
	c.kid = kid
}

func TestAnAccountChangesItsKey(t *testing.T) {
	h := build(t)
	c, other := h.registered(nil), h.registered(nil)
	url := h.url + "/acme/key-change"
	old, _ := (&jose.JSONWebKey{Key: c.signer.Public()}).MarshalJSON()
	inner := func(next *client, account string) []byte {
		return next.signWith(next.signer, "", object{"account": account, "oldKey": json.RawMessage(old)}, map[jose.HeaderKey]any{"url": url})
	}
	next := h.client()
	h.refused(c.post(url, inner(next, other.kid)), "malformed", record.Malformed, 0)
	h.refused(c.post(url, inner(other, c.kid)), "malformed", record.Malformed, 0) // that key is taken
	h.refused(c.post(url, object{}), "malformed", record.Malformed, 0)
	h.refused(other.post(url, inner(next, c.kid)), "malformed", record.Malformed, 0)
	if r := c.post(url, inner(next, c.kid)); r.status != http.StatusOK {
		t.Fatalf("got %d %s", r.status, r.body)
	}
	h.refused(c.order(host), "unauthorized", record.Unidentified, 0)
	next.kid = c.kid
	if r := next.order(host); r.status != http.StatusCreated {
		t.Errorf("got %d %s", r.status, r.body)
	}
}

func TestAnAddressAsksSoOftenAndNoMore(t *testing.T) {
	h := build(t)
	c := h.client()
	for range 400 {
		if r := c.do("HEAD", h.url+"/acme/new-nonce", "", nil); r.status == http.StatusTooManyRequests {
			r = c.do("GET", h.url+"/acme/directory", "", nil)
			if r.object.Type != "urn:ietf:params:acme:error:rateLimited" || r.header.Get("Retry-After") == "" || r.object.RequestID == "" {
				t.Errorf("got %d %s", r.status, r.body)
			}
			return
		}
	}
	t.Error("400 requests in a moment")
}

func TestWebPagesAreRefused(t *testing.T) {
	h := build(t)
	q, _ := http.NewRequestWithContext(t.Context(), "GET", h.url+"/acme/directory", nil)
	q.Header.Set("Origin", "https://evil.example.com")
	r, err := h.client().http.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	r.Body.Close()
	if r.StatusCode != http.StatusForbidden {
		t.Errorf("got %d", r.StatusCode)
	}
}

// A server that an account has been led to cannot use here what the account has signed for it.
func TestWhatWasSignedForAnotherServerIsRefused(t *testing.T) {
	h := build(t)
	c := h.registered(nil)
	there := "https://acme.example.net/acme/new-order"
	request, err := http.NewRequestWithContext(t.Context(), "POST", h.url+"/acme/new-order", bytes.NewReader(c.sign(there, identifiers(host), nil)))
	if err != nil {
		t.Fatal(err)
	}
	request.Host = "acme.example.net"
	request.Header.Set("Content-Type", joseType)
	response, err := c.http.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if body, _ := io.ReadAll(response.Body); response.StatusCode != http.StatusMisdirectedRequest || !strings.Contains(string(body), "not a name of this server") {
		t.Errorf("got %d %s", response.StatusCode, body)
	}
}
