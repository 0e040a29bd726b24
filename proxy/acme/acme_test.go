package acme_test

import (
	"context"
	"crypto/x509"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	smallstep "github.com/smallstep/certificates/acme"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/internal/database/databasetest"
	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/proxy/record"
)

func TestOnEachDatabase(t *testing.T) {
	databasetest.Each(t, func(t *testing.T, create func(testing.TB) string) {
		for name, test := range map[string]func(*testing.T, *house){
			"an account gets certificates of its identity": accountGetsCertificates,
			"one order is one certificate":                 oneOrderIsOneCertificate,
			"one binding is one account":                   oneBindingIsOneAccount,
			"a nonce is good once":                         nonceIsGoodOnce,
			"what has ended is forgotten":                  whatHasEndedIsForgotten,
		} {
			t.Run(name, func(t *testing.T) { test(t, buildOn(t, create(t))) })
		}
	})
}

func accountGetsCertificates(t *testing.T, h *house) {
	c := h.registered(func(k *pki.ACMEKey) { k.Hosts, k.Lifetime = []string{"b.example.com", host}, 48*time.Hour })
	h.hosts["b.example.com"] = "127.0.0.1"
	key := h.pki.Key(pki.P384)
	o := c.finalize(c.ready(host, "b.example.com"), key, "b.example.com", host)
	if o.status != http.StatusOK || o.object.Status != "valid" {
		t.Fatalf("got %d %s", o.status, o.body)
	}
	r := c.post(o.object.Certificate, nil)
	chain, err := pki.ParseCertificates(r.body)
	if err != nil || len(chain) != 2 {
		t.Fatalf("got %d certificates, %v", len(chain), err)
	}
	leaf := chain[0]
	if err := h.pki.CA.Trust().VerifyClient(chain, time.Now()); err != nil {
		t.Error(err)
	}
	if profile, name, ok := pki.Subject(leaf, "test.internal"); !ok || profile != "client" || name != "erp" {
		t.Errorf("the certificate is for %s %s", profile, name)
	}
	if leaf.Subject.CommonName != "" || leaf.Subject.String() != "OU=erp" {
		t.Errorf("got the subject %s", leaf.Subject)
	}
	if !slices.Equal(leaf.DNSNames, []string{host, "b.example.com"}) || !slices.Equal(leaf.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}) {
		t.Errorf("got names %v and usages %v", leaf.DNSNames, leaf.ExtKeyUsage)
	}
	if life := leaf.NotAfter.Sub(leaf.NotBefore); life > 49*time.Hour || life < 48*time.Hour {
		t.Errorf("got a lifetime of %v", life)
	}
	if h.certificates() != 1 {
		t.Error("the certificate is not bound")
	}
	actions := h.changes()
	if !slices.Contains(actions, "acme_account.register") || !slices.Contains(actions, "certificate.acme") {
		t.Errorf("got the change records %v", actions)
	}
}

// changes are the actions on record.
func (h *house) changes() (actions []string) {
	h.t.Helper()
	rows, err := h.db.QueryContext(h.t.Context(), `SELECT action, detail FROM change_records ORDER BY seq`)
	if err != nil {
		h.t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var action, detail string
		if err := rows.Scan(&action, &detail); err != nil {
			h.t.Fatal(err)
		}
		if strings.Contains(detail, "anna") {
			h.t.Errorf("a person is on record: %s", detail)
		}
		actions = append(actions, action)
	}
	return actions
}

func TestWithoutABindingThereIsNoAccount(t *testing.T) {
	h := build(t)
	url := h.url + "/acme/new-account"
	c := h.client()
	h.refused(c.post(url, object{"termsOfServiceAgreed": true}), "externalAccountRequired", record.Unidentified, 0)
	h.refused(c.post(url, object{"onlyReturnExisting": true}), "accountDoesNotExist", record.Unidentified, 0)

	k, secret := h.key(nil)
	altered := slices.Clone(secret)
	altered[0] ^= 1
	h.refused(c.register(k.ID, altered), "unauthorized", record.Unidentified, 0)
	h.refused(c.register("nosuchkey", secret), "unauthorized", record.Unidentified, 0)
	h.refused(c.register("\x00\xff", secret), "unauthorized", record.Unidentified, 0)
	h.refused(c.post(url, object{"externalAccountBinding": c.binding(k.ID, secret, h.url+"/acme/new-order")}), "malformed", record.Malformed, 0)
	foreign := h.client()
	h.refused(c.post(url, object{"externalAccountBinding": foreign.binding(k.ID, secret, url)}), "unauthorized", record.Unidentified, 0)
	none := c.binding(k.ID, secret, url)
	none["protected"] = "eyJhbGciOiJub25lIiwia2lkIjoieCJ9"
	h.refused(c.post(url, object{"externalAccountBinding": none}), "malformed", record.Malformed, 0)

	removed, removedSecret := h.key(nil)
	h.change(func(ctx context.Context, tx *identity.Tx) error {
		_, err := h.pki.CA.RemoveACMEKey(ctx, tx.SQL(), removed.ID)
		return err
	})
	h.refused(c.register(removed.ID, removedSecret), "unauthorized", record.Unidentified, 0)
	late, lateSecret := h.key(func(k *pki.ACMEKey) { k.Expires = h.now().Add(-time.Second) })
	h.refused(c.register(late.ID, lateSecret), "unauthorized", record.Unidentified, 0)

	if r := c.register(k.ID, secret); r.status != http.StatusCreated {
		t.Fatalf("got %d %s", r.status, r.body)
	}
	if strings.Contains(string(c.post(c.kid, object{}).body), "anna") {
		t.Error("the contact is kept")
	}
	kid := c.kid
	c.kid = ""
	if r := c.register(k.ID, secret); r.status != http.StatusOK || r.header.Get("Location") != kid {
		t.Errorf("whoever has lost the answer got %d %s", r.status, r.body)
	}
	h.refused(h.client().register(k.ID, secret), "unauthorized", record.Unidentified, 0)
	h.disable("erp")
	other, otherSecret := h.key(nil)
	h.refused(h.client().register(other.ID, otherSecret), "unauthorized", record.Unidentified, 0)
}

func TestAnAccountMayAskForItsNamesOnly(t *testing.T) {
	h := build(t)
	c := h.registered(nil)
	for _, one := range []struct{ kind, value, problem string }{
		{"dns", "other.example.com", "rejectedIdentifier"},
		{"dns", "x." + host, "rejectedIdentifier"},
		{"dns", "*." + host, "rejectedIdentifier"},
		{"dns", host + ".", "rejectedIdentifier"},
		{"dns", "10.1.2.3", "rejectedIdentifier"},
		{"dns", "", "rejectedIdentifier"},
		{"dns", "erp.example.com\x00", "rejectedIdentifier"},
		{"ip", "10.1.2.3", "unsupportedIdentifier"},
		{"permanent-identifier", "x", "unsupportedIdentifier"},
		{"wireapp-user", "x", "unsupportedIdentifier"},
	} {
		want := record.Denied
		if one.problem == "unsupportedIdentifier" {
			want = record.Malformed
		}
		h.refused(c.post(h.url+"/acme/new-order", object{"identifiers": []object{{"type": one.kind, "value": one.value}}}), one.problem, want, 0)
	}
	h.refused(c.order(), "malformed", record.Malformed, 0)
	h.refused(c.order(host, strings.ToUpper(host)), "malformed", record.Malformed, 0)
	h.refused(c.order(slices.Repeat([]string{host}, 40)...), "malformed", record.Malformed, 0)
	long := identifiers(host)
	long["notAfter"] = "2099-01-01T00:00:00Z"
	h.refused(c.post(h.url+"/acme/new-order", long), "malformed", record.Malformed, 0)
	if r := c.order(strings.ToUpper(host)); r.status != http.StatusCreated {
		t.Errorf("upper case: got %d %s", r.status, r.body)
	}
	for range 19 {
		c.order(host)
	}
	h.refused(c.order(host), "rateLimited", record.Limited, 0)
}

func TestAnAccountBeginsOnlySoManyOrders(t *testing.T) {
	h := build(t)
	c := h.registered(nil)
	err := h.pki.CA.ChangeACMEState(t.Context(), func(s *pki.ACMEState) error {
		for range 100 { // all of which have ended
			o := &smallstep.Order{AccountID: c.kid[strings.LastIndexByte(c.kid, '/')+1:], ExpiresAt: h.now().Add(time.Hour)}
			if err := s.CreateOrder(t.Context(), o); err != nil {
				return err
			}
			o.Status = smallstep.StatusInvalid
			if err := s.UpdateOrder(t.Context(), o); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	h.refused(c.order(host), "rateLimited", record.Limited, 0)
	h.jump(61 * time.Minute)
	c.nonce = ""
	if r := c.order(host); r.status != http.StatusCreated {
		t.Errorf("after an hour: %d %s", r.status, r.body)
	}
}

func TestARequestMustFitItsOrder(t *testing.T) {
	h := build(t)
	c := h.registered(nil)
	o := c.ready(host)
	key := h.pki.Key(pki.P256)
	for name, payload := range map[string]object{
		"another name":         h.csr(key, &x509.CertificateRequest{DNSNames: []string{"other.example.com"}}),
		"a name more":          h.csr(key, &x509.CertificateRequest{DNSNames: []string{host, "other.example.com"}}),
		"no name":              h.csr(key, &x509.CertificateRequest{}),
		"a person":             h.csr(key, &x509.CertificateRequest{DNSNames: []string{host}, EmailAddresses: []string{"anna@example.com"}}),
		"the account's key":    h.csr(c.signer, &x509.CertificateRequest{DNSNames: []string{host}}),
		"nothing":              {},
		"no request":           {"csr": "MAA"},
		"another key's weight": {"csr": "e30"},
	} {
		t.Run(name, func(t *testing.T) {
			h.refused(c.post(o.object.Finalize, payload), "badCSR", record.Malformed, 0)
		})
	}
	h.change(func(ctx context.Context, tx *identity.Tx) error {
		erp, err := tx.Identity("erp")
		if err == nil {
			erp.KeyTypes = []string{"P-384"}
			_, err = tx.SetIdentity(ctx, erp)
		}
		return err
	})
	h.refused(c.finalize(o, key, host), "badCSR", record.Malformed, 0)
	if r := c.finalize(o, h.pki.Key(pki.P384), host); r.object.Status != "valid" {
		t.Errorf("after all that the order is %s", r.body)
	}
}

func TestAnOrderIsReadyWhenItsNamesAreProved(t *testing.T) {
	h := build(t)
	c := h.registered(nil)
	o := c.order(host)
	h.refused(c.finalize(o, h.pki.Key(pki.P256), host), "orderNotReady", record.Denied, 0)

	h.mu.Lock()
	h.answer = func(w http.ResponseWriter, _ *http.Request) bool {
		_, _ = w.Write([]byte("secret of an inner server"))
		return true
	}
	h.mu.Unlock()
	ch := c.respond(o, "http-01")
	if ch.object.Status != "invalid" || ch.object.Error.Type != "urn:ietf:params:acme:error:incorrectResponse" || strings.Contains(string(ch.body), "secret") {
		t.Errorf("got %s", ch.body)
	}
	if r := c.post(o.header.Get("Location"), nil); r.object.Status != "invalid" || r.object.Error.Detail == "" {
		t.Errorf("got the order %s", r.body)
	}
	h.refused(c.finalize(o, h.pki.Key(pki.P256), host), "orderNotReady", record.Denied, 0)
}

func TestRemovingAKeyEndsItsAccount(t *testing.T) {
	h := build(t)
	c := h.registered(nil)
	o := c.ready(host)
	account, err := h.pki.CA.ACMEAccount(t.Context(), nil, c.kid[strings.LastIndexByte(c.kid, '/')+1:])
	if err != nil {
		t.Fatal(err)
	}
	h.change(func(ctx context.Context, tx *identity.Tx) error {
		_, err := h.pki.CA.RemoveACMEKey(ctx, tx.SQL(), account.Binding)
		return err
	})
	h.refused(c.finalize(o, h.pki.Key(pki.P256), host), "unauthorized", record.Unidentified, 0)
	h.refused(c.order(host), "unauthorized", record.Unidentified, 0)
}

func TestADisabledIdentityGetsNothing(t *testing.T) {
	h := build(t)
	c := h.registered(nil)
	o := c.ready(host)
	h.disable("erp")
	h.refused(c.finalize(o, h.pki.Key(pki.P256), host), "unauthorized", record.Unidentified, 0)
	h.refused(c.order(host), "unauthorized", record.Unidentified, 0)
}

// The policy lets callers that run go on, and an ACME client renews by a new order for the same names.
func TestAnOrderForTheSameNamesIsARenewalToThePolicy(t *testing.T) {
	const other = "erp2.example.com"
	h := build(t)
	h.hosts[other] = "127.0.0.1"
	c := h.registered(func(k *pki.ACMEKey) { k.Hosts = append(k.Hosts, other) })
	first := c.obtain(h.pki.Key(pki.P256))
	h.change(func(ctx context.Context, tx *identity.Tx) error {
		i, err := tx.Identity("erp")
		if err == nil {
			i.ReviewDate = "2020-01-31"
			_, err = tx.SetIdentity(ctx, i)
		}
		return err
	})
	second := c.obtain(h.pki.Key(pki.P256))
	if second == nil || h.certificates() != 2 {
		t.Fatalf("a caller that runs is cut by a review that was missed: %d certificates", h.certificates())
	}
	if r := c.finalize(c.ready(host, other), h.pki.Key(pki.P256), host, other); r.status < 400 || h.certificates() != 2 {
		t.Errorf("another name is no renewal, and was answered with %d", r.status)
	}
	stranger := h.registered(nil)
	if r := stranger.finalize(stranger.ready(host), h.pki.Key(pki.P256), host); r.status < 400 || h.certificates() != 2 {
		t.Errorf("another account renews nothing, and was answered with %d", r.status)
	}
	for _, old := range []*x509.Certificate{first, second} {
		h.change(func(ctx context.Context, tx *identity.Tx) error {
			if err := h.pki.CA.Revoke(ctx, tx.SQL(), pki.FormatSerial(old.SerialNumber), "superseded", h.now()); err != nil {
				return err
			}
			_, err := tx.RevokeCertificate(ctx, identity.FingerprintOf(old.Raw), "superseded", h.now())
			return err
		})
	}
	if r := c.finalize(c.ready(host), h.pki.Key(pki.P256), host); r.status < 400 || h.certificates() != 2 {
		t.Errorf("what was revoked is not renewed, and was answered with %d", r.status)
	}
}

// Past its review an identity gets no new certificate, and renewals are what the policy says of renewals.
func TestThePolicyTellsRenewalsFromNewCertificates(t *testing.T) {
	h := build(t)
	runs, fresh := h.registered(nil), h.registered(nil)
	first := runs.obtain(h.pki.Key(pki.P256))
	policy := func(past string) {
		t.Helper()
		h.change(func(ctx context.Context, tx *identity.Tx) error {
			p := identity.DefaultPolicy()
			p.RefusePastReview = past
			_, err := tx.SetPolicy(ctx, p)
			return err
		})
	}
	h.change(func(ctx context.Context, tx *identity.Tx) error {
		i, err := tx.Identity("erp")
		if err != nil {
			return err
		}
		i.ReviewDate = "2020-01-31"
		_, err = tx.SetIdentity(ctx, i)
		return err
	})
	policy(identity.RefuseNew)
	h.refused(fresh.finalize(fresh.ready(host), h.pki.Key(pki.P256), host), "unauthorized", record.Unidentified, 1)
	if second := runs.obtain(h.pki.Key(pki.P256)); second.Equal(first) || h.certificates() != 2 {
		t.Error("it was not renewed")
	}
	policy(identity.RefuseAll)
	h.refused(runs.finalize(runs.ready(host), h.pki.Key(pki.P256), host), "unauthorized", record.Unidentified, 2)

	policy(identity.RefuseNew)
	h.change(func(ctx context.Context, tx *identity.Tx) error { // whoever has none that is good begins anew
		list, err := tx.Certificates("erp")
		if err != nil {
			return err
		}
		for _, c := range list {
			if _, err := tx.RevokeCertificate(ctx, c.Fingerprint, "superseded", h.now()); err != nil {
				return err
			}
			if err := h.pki.CA.Revoke(ctx, tx.SQL(), c.Serial, "superseded", h.now()); err != nil {
				return err
			}
		}
		return nil
	})
	h.refused(runs.finalize(runs.ready(host), h.pki.Key(pki.P256), host), "unauthorized", record.Unidentified, 2)
}

func TestANodeThatHasNotHeardJudgesInTheTransaction(t *testing.T) {
	h := build(t)
	_, other := h.node() // whose snapshot nobody refreshes
	c := h.registered(nil)
	o := c.ready(host)
	h.disable("erp")
	c.url, o.object.Finalize, c.nonce = other, strings.Replace(o.object.Finalize, h.url, other, 1), ""
	h.refused(c.finalize(o, h.pki.Key(pki.P256), host), "unauthorized", record.Unidentified, 0)
}

func oneOrderIsOneCertificate(t *testing.T, h *house) {
	_, other := h.node()
	c := h.registered(nil)
	o := c.ready(host)
	key := h.pki.Key(pki.P256)
	const rounds = 8
	replies := make(chan *reply, rounds)
	for i := range rounds {
		one, finalize := *c, o.object.Finalize
		if one.nonce = ""; i%2 == 1 {
			one.url, finalize = other, strings.Replace(finalize, h.url, other, 1)
		}
		own := key
		if i >= rounds/2 {
			own = h.pki.Key(pki.P256)
		}
		body := one.sign(finalize, h.csr(own, &x509.CertificateRequest{DNSNames: []string{host}}), nil)
		go func() { replies <- one.do("POST", finalize, "application/jose+json", body) }()
	}
	valid := 0
	for range rounds {
		switch r := <-replies; {
		case r.object.Status == "valid":
			valid++
		case r.object.Type != "urn:ietf:params:acme:error:orderNotReady":
			t.Errorf("got %d %s", r.status, r.body)
		}
	}
	if n := h.certificates(); n != 1 || valid != 1 && valid != rounds/2 {
		t.Errorf("%d certificates, %d answers with one", n, valid)
	}
}

func oneBindingIsOneAccount(t *testing.T, h *house) {
	_, other := h.node()
	k, secret := h.key(nil)
	replies := make(chan *reply, 8)
	for i := range cap(replies) {
		c := h.clientAt([]string{h.url, other}[i%2])
		url := c.url + "/acme/new-account"
		body := c.sign(url, object{"externalAccountBinding": c.binding(k.ID, secret, url)}, nil)
		go func() { replies <- c.do("POST", url, "application/jose+json", body) }()
	}
	made := 0
	for range cap(replies) {
		if r := <-replies; r.status == http.StatusCreated {
			made++
		} else if r.object.Type != "urn:ietf:params:acme:error:unauthorized" {
			t.Errorf("got %d %s", r.status, r.body)
		}
	}
	if made != 1 {
		t.Errorf("%d accounts", made)
	}
}

func nonceIsGoodOnce(t *testing.T, h *house) {
	_, other := h.node()
	c := h.registered(nil)
	c.nonce = ""
	url := h.url + "/acme/new-order"
	body := c.sign(url, identifiers(host), nil)
	replies := make(chan *reply, 8)
	for range cap(replies) {
		one := *c
		go func() { replies <- one.do("POST", url, "application/jose+json", body) }()
	}
	made := 0
	for range cap(replies) {
		if r := <-replies; r.status == http.StatusCreated {
			made++
		} else if r.object.Type != "urn:ietf:params:acme:error:badNonce" || r.header.Get("Replay-Nonce") == "" {
			t.Errorf("got %d %s", r.status, r.body)
		}
	}
	if made != 1 {
		t.Errorf("one nonce made %d orders", made)
	}
	// Another node's nonce is good here, once.
	o := h.clientAt(other)
	o.do("HEAD", other+"/acme/new-nonce", "", nil)
	c.nonce = o.nonce
	if r := c.order(host); r.status != http.StatusCreated {
		t.Errorf("got %d %s", r.status, r.body)
	}
}

func TestWhatCannotBeRecordedIsNotIssued(t *testing.T) {
	h := build(t)
	c := h.registered(nil)
	o := c.ready(host)
	key := h.pki.Key(pki.P256)
	exec := func(statement string) {
		t.Helper()
		if _, err := h.db.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	exec(`ALTER TABLE change_records RENAME TO gone`)
	h.refused(c.finalize(o, key, host), "serverInternal", record.Internal, 0)
	exec(`ALTER TABLE gone RENAME TO change_records`)
	if r := c.post(o.header.Get("Location"), nil); r.object.Status != "ready" {
		t.Errorf("the order is %s", r.body)
	}
	if r := c.finalize(o, key, host); r.object.Status != "valid" || h.certificates() != 1 {
		t.Errorf("got %s", r.body)
	}
}

func TestRequestsAreCounted(t *testing.T) {
	h := build(t)
	c := h.registered(nil)
	c.obtain(h.pki.Key(pki.P256))
	c.order("other.example.com")
	families, err := h.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			for _, l := range m.GetLabel() {
				if family.GetName() == "tenantgate_enrolment_requests_total" && l.GetName() == "result" {
					got[l.GetValue()] += m.GetCounter().GetValue()
				}
			}
		}
	}
	if got["issued"] != 1 || got["refused"] != 1 || got["served"] < 5 {
		t.Errorf("got %v", got)
	}
}

func TestTheCAsKeyTypesHold(t *testing.T) {
	h := buildWith(t, databasetest.SQLite(t), func(o *pki.Options) { o.KeyTypes = []string{pki.P384} })
	c := h.registered(nil)
	o := c.ready(host)
	h.refused(c.finalize(o, h.pki.Key(pki.P256), host), "badCSR", record.Malformed, 0)
	if r := c.finalize(o, h.pki.Key(pki.P384), host); r.object.Status != "valid" {
		t.Errorf("got %s", r.body)
	}
}

func TestClockJumps(t *testing.T) {
	h := build(t)
	c := h.registered(nil)
	c.nonce = ""
	url := h.url + "/acme/new-order"
	used := c.sign(url, identifiers(host), nil)
	c.do("POST", url, "application/jose+json", used)
	o := c.ready(host)
	unused := c.sign(url, identifiers(host), nil)

	h.jump(3 * time.Hour)
	h.refused(c.do("POST", url, "application/jose+json", unused), "badNonce", record.Malformed, 0)
	h.refused(c.finalize(o, h.pki.Key(pki.P256), host), "orderNotReady", record.Denied, 0)
	if err := h.pki.CA.ChangeACMEState(t.Context(), func(s *pki.ACMEState) error { return s.Forget(t.Context()) }); err != nil {
		t.Fatal(err)
	}
	h.jump(0) // back again: what was used stays used
	h.refused(c.do("POST", url, "application/jose+json", used), "badNonce", record.Malformed, 0)
	h.jump(-3 * time.Hour)
	h.refused(c.do("POST", url, "application/jose+json", unused), "badNonce", record.Malformed, 0)
	h.jump(0)
	c.nonce = ""
	if r := c.finalize(o, h.pki.Key(pki.P256), host); r.object.Status != "valid" {
		t.Errorf("got %s", r.body)
	}
}

func whatHasEndedIsForgotten(t *testing.T, h *house) {
	c := h.registered(nil)
	c.order(host)
	leaf := c.obtain(h.pki.Key(pki.P256))
	forget := func(after time.Duration) (counts [3]int) {
		h.jump(after)
		if err := h.pki.CA.ChangeACMEState(t.Context(), func(s *pki.ACMEState) error { return s.Forget(t.Context()) }); err != nil {
			t.Fatal(err)
		}
		for i, table := range []string{"nonces", "orders", "challenges"} {
			if err := h.db.QueryRowContext(t.Context(), `SELECT COUNT(*) FROM pki_acme_`+table).Scan(&counts[i]); err != nil {
				t.Fatal(err)
			}
		}
		return counts
	}
	if got := forget(0); got[0] == 0 || got[1] != 2 || got[2] != 4 {
		t.Errorf("at first there are %v nonces, orders and challenges", got)
	}
	if got := forget(10 * 24 * time.Hour); got != [3]int{0, 1, 0} {
		t.Errorf("after ten days there are %v, want the order of the certificate alone", got)
	}
	h.jump(0)
	if r := c.revoke(leaf, nil); r.status != http.StatusOK {
		t.Errorf("revoking got %d %s", r.status, r.body)
	}
	if got := forget(120 * 24 * time.Hour); got != [3]int{} {
		t.Errorf("after the certificate's end there are %v", got)
	}
}
