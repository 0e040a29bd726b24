package identity_test

import (
	"context"
	"crypto/x509/pkix"
	"encoding/asn1"
	"reflect"
	"testing"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/internal/database"
	"github.com/tenantgate/tenantgate/pki/pkitest"
)

func corp(t testing.TB, name string) identity.Authority {
	return identity.Authority{Name: name, CA: pkitest.NewCompany(t, "Example Root", nil).PEM(), CRLURLs: []string{"http://pki.example.com/root.crl"},
		CRLRefresh: identity.Duration(time.Minute), Description: "the company's", OCSPURL: "http://ocsp.example.com", OCSPOnFailure: identity.OnFaultAccept}
}

// testAuthorities: everything of an authority is kept over a restart, and followed by another node.
func testAuthorities(t *testing.T, db *database.DB) {
	sealer := newSealer(t)
	r, follower := openRegistry(t, db, sealer), openRegistry(t, db, sealer)
	if r.Snapshot().Authorities() != nil {
		t.Error("without authorities there is something to look at")
	}
	same := func(step string) {
		t.Helper()
		if err := follower.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		want := r.Snapshot().Authorities().All()
		for name, other := range map[string]*identity.Registry{"follower": follower, "restarted": openRegistry(t, db, sealer)} {
			if got := other.Snapshot().Authorities().All(); len(got) != len(want) || len(got) > 0 && !reflect.DeepEqual(got[0], want[0]) {
				t.Errorf("%s: %s has %+v, want %+v", step, name, got, want)
			}
		}
	}
	change(t, r, func(ctx context.Context, tx *identity.Tx) error {
		if _, err := tx.AddIdentity(ctx, person("erp")); err != nil {
			return err
		}
		_, err := tx.AddAuthority(ctx, corp(t, "corp"))
		return err
	})
	same("added")
	before := r.Snapshot().Authorities()
	change(t, r, func(ctx context.Context, tx *identity.Tx) error {
		_, err := tx.AddIdentity(ctx, person("stock"))
		return err
	})
	if r.Snapshot().Authorities() != before {
		t.Error("a change that touches no authority makes all of them anew")
	}
	change(t, r, func(ctx context.Context, tx *identity.Tx) error {
		if _, err := tx.AddMapping(ctx, "corp", identity.Mapping{Kind: identity.MapDNS, Value: "ERP.example.com", Identity: "erp"}); err != nil {
			return err
		}
		if _, err := tx.AddBlock(ctx, "corp", "00:AB:cd", "lost"); err != nil {
			return err
		}
		_, err := tx.PutRevocationList(ctx, "corp", identity.RevocationList{Source: "http://pki.example.com/root.crl", Issuer: "CN=x", Number: "7",
			ThisUpdate: time.Now(), NextUpdate: time.Now().Add(time.Hour), Entries: 3, DER: []byte{1, 2, 3}})
		return err
	})
	same("filled")
	e := r.Snapshot().Authorities().All()[0]
	if !e.Blocked("abcd", identity.Fingerprint{}) || e.Blocked("abce", identity.Fingerprint{}) {
		t.Error("the block is not what was asked for")
	}
	refuse(t, r, identity.ErrInvalid, func(ctx context.Context, tx *identity.Tx) error {
		_, err := tx.PutRevocationList(ctx, "corp", identity.RevocationList{Source: "http://pki.example.com/root.crl", Issuer: "CN=x", Number: "6", DER: []byte{1}})
		return err
	})
	refuse(t, r, identity.ErrInUse, func(ctx context.Context, tx *identity.Tx) error {
		_, err := tx.RemoveIdentity(ctx, "erp", false)
		return err
	})
	refuse(t, r, identity.ErrInUse, func(ctx context.Context, tx *identity.Tx) error { return tx.RemoveAuthority(ctx, "corp", false) })
	change(t, r, func(ctx context.Context, tx *identity.Tx) error {
		_, err := tx.RemoveIdentity(ctx, "erp", true)
		return err
	})
	same("identity removed")
	if m := r.Snapshot().Authorities().All()[0].Mappings; len(m) != 0 {
		t.Errorf("the mappings of a removed identity stay: %+v", m)
	}
	change(t, r, func(ctx context.Context, tx *identity.Tx) error {
		a, err := tx.Authority("corp")
		if err == nil {
			a.CRLURLs = nil
			a, err = tx.SetAuthority(ctx, a)
			if !a.CRLRequired {
				t.Error("without its addresses the authority requires no lists any more")
			}
		}
		return err
	})
	same("set")
	change(t, r, func(ctx context.Context, tx *identity.Tx) error { return tx.RemoveAuthority(ctx, "corp", false) })
	same("removed")
	if r.Snapshot().Authorities() != nil {
		t.Error("after the last authority there is something to look at")
	}
}

// testFetchTurns: of several nodes, one has the turn.
func testFetchTurns(t *testing.T, db *database.DB) {
	sealer := newSealer(t)
	one, two := openRegistry(t, db, sealer), openRegistry(t, db, sealer)
	now := time.Now()
	claim := func(r *identity.Registry, at time.Time) bool {
		t.Helper()
		ok, err := r.ClaimFetch(t.Context(), "corp", "http://x", at, at.Add(time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		return ok
	}
	if !claim(one, now) || claim(two, now.Add(time.Second)) {
		t.Error("not one node has the turn")
	}
	if !claim(two, now.Add(2*time.Minute)) {
		t.Error("the turn of a node that died is not free again")
	}
	for range 2 {
		if err := two.EndFetch(t.Context(), "corp", "http://x", "no answer", now.Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	stands, err := one.Fetches(t.Context())
	if err != nil || len(stands) != 1 || stands[0].Failures != 2 || stands[0].Error != "no answer" {
		t.Errorf("got %+v, %v", stands, err)
	}
	if err := two.EndFetch(t.Context(), "corp", "http://x", "", now); err != nil {
		t.Fatal(err)
	}
	if stands, _ = one.Fetches(t.Context()); stands[0].Failures != 0 || stands[0].Error != "" {
		t.Errorf("after success: %+v", stands)
	}
}

func TestAuthoritiesThatCannotBe(t *testing.T) {
	root := pkitest.NewCompany(t, "Example Root", nil)
	sub := root.Sub("Example Issuing", nil)
	for field, alter := range map[string]func(*identity.Authority){
		"name":                  func(a *identity.Authority) { a.Name = "Corp" },
		"ca":                    func(a *identity.Authority) { a.CA = sub.PEM() }, // no root, and it was not said that it is none
		"crl_urls":              func(a *identity.Authority) { a.CRLURLs = []string{"ldap://pki.example.com/root"} },
		"ocsp_url":              func(a *identity.Authority) { a.OCSPURL = "http://user:secret@ocsp.example.com" },
		"crl_on_stale":          func(a *identity.Authority) { a.CRLOnStale = "accept" },
		"ocsp_on_failure":       func(a *identity.Authority) { a.OCSPOnFailure = "ignore" },
		"crl_refresh":           func(a *identity.Authority) { a.CRLRefresh = 1 },
		"intermediates":         func(a *identity.Authority) { a.Intermediates = "x" },
		"ocsp_from_certificate": func(a *identity.Authority) { a.OCSPFromCertificate = true },
	} {
		a := corp(t, "corp")
		alter(&a)
		var e *identity.Error
		if err := a.Validate(); err == nil {
			t.Errorf("%s: valid", field)
		} else if e = err.(*identity.Error); e.Field != field || e.Hint == "" {
			t.Errorf("%s: got %+v", field, e)
		}
	}
	a := corp(t, "corp")
	a.CA, a.IntermediateAnchor = sub.PEM(), true
	if err := a.Validate(); err != nil {
		t.Errorf("an intermediate that is said to be one: %v", err)
	}
}

func TestOneCAIsOneAuthority(t *testing.T) {
	r := openRegistry(t, openDatabase(t, t.TempDir()+"/x.db"), newSealer(t))
	root, other := pkitest.NewCompany(t, "Example Root", nil), pkitest.NewCompany(t, "Other Root", nil)
	add := func(name, ca string) func(context.Context, *identity.Tx) error {
		return func(ctx context.Context, tx *identity.Tx) error {
			_, err := tx.AddAuthority(ctx, identity.Authority{Name: name, CA: ca, IntermediateAnchor: true})
			return err
		}
	}
	change(t, r, add("corp", root.PEM()))
	refuse(t, r, identity.ErrExists, add("again", root.PEM()))
	cross := pkitest.Company{Cert: root.Cross(other)}
	refuse(t, r, identity.ErrExists, add("cross", cross.PEM())) // the same key in another certificate
	refuse(t, r, identity.ErrExists, add("twice", other.PEM()+other.PEM()))
	change(t, r, add("namesake", pkitest.NewCompany(t, "Example Root", nil).PEM()))
}

func TestMappingsThatCannotBe(t *testing.T) {
	for _, tc := range []struct{ kind, value, who string }{
		{"cn", "erp", "erp"},
		{identity.MapFingerprint, "ab", "erp"},
		{identity.MapDNS, "*.example.com", "erp"},
		{identity.MapDNS, "erp.example.com:443", "erp"},
		{identity.MapDNS, "10.0.0.1", "erp"},
		{identity.MapDNS, "{identity}.example.com", "*"},
		{identity.MapDNS, "erp.example.com", "*"},
		{identity.MapSPIFFE, "https://example.com/erp", "erp"},
		{identity.MapSPIFFE, "spiffe://Example.com/erp", "erp"},
		{identity.MapSPIFFE, "spiffe://example.com", "erp"},
		{identity.MapSPIFFE, "spiffe://example.com/", "erp"},
		{identity.MapSPIFFE, "spiffe://example.com/a//b", "erp"},
		{identity.MapSPIFFE, "spiffe://example.com/../b", "erp"},
		{identity.MapSPIFFE, "spiffe://example.com/a%2fb", "erp"},
		{identity.MapSPIFFE, "spiffe://example.com:8080/a", "erp"},
		{identity.MapSPIFFE, "spiffe://{identity}/a", "*"},
		{identity.MapSPIFFE, "spiffe://example.com/x-{identity}", "*"},
		{identity.MapSPIFFE, "spiffe://example.com/{identity}/{identity}", "*"},
		{identity.MapSPIFFE, "spiffe://example.com/{name}", "*"},
		{identity.MapSPIFFE, "spiffe://example.com/erp", "*"},
		{identity.MapSubject, "", "erp"},
		{identity.MapSubject, "erp", "erp"},
		{identity.MapSubject, "CN=erp+OU=x", "erp"},
		{identity.MapSubject, "CN=a,CN=b", "erp"},
		{identity.MapSubject, "CN=#0c0161", "erp"},
		{identity.MapSubject, "CN=erp, O=Example", "erp"},
		{identity.MapSubject, "CN= erp", "erp"},
		{identity.MapSubject, "CN=erp ", "erp"},
		{identity.MapSubject, "CN=e\"p", "erp"},
		{identity.MapSubject, "CN=erp;O=x", "erp"},
		{identity.MapSubject, `CN=erp\`, "erp"},
		{identity.MapSubject, `CN=erp\zz`, "erp"},
		{identity.MapSubject, `CN=erp\0a`, "erp"},
		{identity.MapSubject, "NICK=erp", "erp"},
		{identity.MapSubject, "CN=x{identity}", "*"},
		{identity.MapSubject, "CN=erp,", "erp"},
		{identity.MapSubject, "CN=erp", "Some One"},
	} {
		if m, err := identity.NewMapping("corp", tc.kind, tc.value, tc.who); err == nil {
			t.Errorf("%s %q for %s became %+v", tc.kind, tc.value, tc.who, m)
		}
	}
	for in, want := range map[string]string{
		"cn=erp,o=Example,c=DE":                 "CN=erp,O=Example,C=DE",
		`CN=a\2c b,O=\C3\A4`:                    `CN=a\, b,O=ä`,
		`CN=\ erp\ `:                            `CN=\ erp\ `,
		"2.5.4.97=VATDE-1,DC=example,DC=com":    "2.5.4.97=VATDE-1,DC=example,DC=com",
		"2.5.4.3={identity},OU=Systems":         "CN=erp,OU=Systems",
		"SERIALNUMBER=4711,CN=erp,UID=x,ST=Bay": "SERIALNUMBER=4711,CN=erp,UID=x,ST=Bay",
	} {
		m, err := identity.NewMapping("corp", identity.MapSubject, in, "erp")
		if err != nil || m.Value != want {
			t.Errorf("%s became %q, %v; want %q", in, m.Value, err, want)
		}
	}
}

func TestMappingsThatNobodyCouldTellApartAreRefused(t *testing.T) {
	r := openRegistry(t, openDatabase(t, t.TempDir()+"/x.db"), newSealer(t))
	change(t, r, func(ctx context.Context, tx *identity.Tx) error {
		for _, name := range []string{"erp", "stock"} {
			if _, err := tx.AddIdentity(ctx, person(name)); err != nil {
				return err
			}
		}
		_, err := tx.AddAuthority(ctx, corp(t, "corp"))
		return err
	})
	add := func(kind, value, who string) func(context.Context, *identity.Tx) error {
		return func(ctx context.Context, tx *identity.Tx) error {
			_, err := tx.AddMapping(ctx, "corp", identity.Mapping{Kind: kind, Value: value, Identity: who})
			return err
		}
	}
	change(t, r, add(identity.MapSPIFFE, "spiffe://e.com/ns/{identity}", "*"))
	change(t, r, add(identity.MapSPIFFE, "spiffe://e.com/ns/erp", "erp")) // they agree
	change(t, r, add(identity.MapDNS, "erp.e.com", "erp"))
	change(t, r, add(identity.MapSubject, "CN={identity},O=E", "*"))
	refuse(t, r, identity.ErrOverlap, add(identity.MapDNS, "erp.e.com", "stock"))
	refuse(t, r, identity.ErrExists, add(identity.MapDNS, "ERP.e.com", "erp"))
	refuse(t, r, identity.ErrOverlap, add(identity.MapSPIFFE, "spiffe://e.com/ns/stock", "erp"))
	refuse(t, r, identity.ErrOverlap, add(identity.MapSPIFFE, "spiffe://e.com/{identity}/erp", "*"))
	refuse(t, r, identity.ErrOverlap, add(identity.MapSubject, "CN=stock,O=E", "erp"))
	refuse(t, r, identity.ErrOverlap, add(identity.MapSubject, "CN=erp,O={identity}", "*"))
	change(t, r, add(identity.MapSPIFFE, "spiffe://e.com/sa/{identity}", "*"))
	change(t, r, add(identity.MapSubject, "CN={identity},O=F", "*"))
	refuse(t, r, identity.ErrNotFound, add(identity.MapDNS, "x.e.com", "nobody"))
}

// A subject is compared only where it can be read in one way.
func TestSubjectsThatCanBeReadInTwoWays(t *testing.T) {
	type value struct {
		id  asn1.ObjectIdentifier
		tag int
		s   string
	}
	cn, o, dc := asn1.ObjectIdentifier{2, 5, 4, 3}, asn1.ObjectIdentifier{2, 5, 4, 10}, asn1.ObjectIdentifier{0, 9, 2342, 19200300, 100, 1, 25}
	encode := func(rdns ...[]value) []byte {
		var sequence []asn1.RawValue
		for _, rdn := range rdns {
			set := asn1.RawValue{Class: 0, Tag: 17, IsCompound: true}
			for _, v := range rdn {
				b, err := asn1.Marshal(struct {
					ID    asn1.ObjectIdentifier
					Value asn1.RawValue
				}{v.id, asn1.RawValue{Tag: v.tag, Bytes: []byte(v.s)}})
				if err != nil {
					t.Fatal(err)
				}
				set.Bytes = append(set.Bytes, b...)
			}
			sequence = append(sequence, set)
		}
		b, err := asn1.Marshal(sequence)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	const utf8, printable, t61, ia5, bmp = 12, 19, 20, 22, 30
	for _, tc := range []struct {
		name string
		raw  []byte
		want string // "" is refused
	}{
		{"UTF8String and PrintableString", encode([]value{{o, printable, "E"}}, []value{{cn, utf8, "ä"}}), "CN=ä,O=E"},
		{"DC as IA5String", encode([]value{{dc, ia5, "com"}}, []value{{dc, ia5, "e"}}, []value{{cn, utf8, "erp"}}), "CN=erp,DC=e,DC=com"},
		{"characters that are escaped", encode([]value{{cn, utf8, " a,b+c "}}), `CN=\ a\,b\+c\ `},
		{"two values in an RDN", encode([]value{{cn, utf8, "erp"}, {o, utf8, "E"}}), ""},
		{"an attribute twice", encode([]value{{cn, utf8, "a"}}, []value{{cn, utf8, "b"}}), ""},
		{"T61String", encode([]value{{cn, t61, "erp"}}), ""},
		{"BMPString", encode([]value{{cn, bmp, "\x00e"}}), ""},
		{"CN as IA5String", encode([]value{{cn, ia5, "erp"}}), ""},
		{"an '@' in a PrintableString", encode([]value{{cn, printable, "a@b"}}), ""},
		{"broken UTF-8", encode([]value{{cn, utf8, "\xff"}}), ""},
		{"a zero octet", encode([]value{{cn, utf8, "erp\x00x"}}), ""},
		{"an empty value", encode([]value{{cn, utf8, ""}}), ""},
		{"no value at all", encode(), ""},
		{"something behind it", append(encode([]value{{cn, utf8, "erp"}}), 0), ""},
	} {
		if got := identity.SubjectName(tc.raw).String(); got != tc.want {
			t.Errorf("%s: got %q, want %q", tc.name, got, tc.want)
		}
	}
	raw, _ := asn1.Marshal(pkix.Name{CommonName: "erp", Organization: []string{"E"}}.ToRDNSequence())
	if got := identity.SubjectName(raw).String(); got != "CN=erp,O=E" {
		t.Errorf("as Go writes it: %q", got)
	}
}

// What a name is written as reads as the same name.
func FuzzNamesReadAsTheyAreWritten(f *testing.F) {
	for _, s := range []string{"CN=erp,O=E", `CN=\ a\,`, `CN=a\2b,DC=x,DC=y`, "2.5.4.97=x", `CN=\C3\A4`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := identity.ParseName(s)
		if err != nil {
			return
		}
		again, err := identity.ParseName(n.String())
		if err != nil || !reflect.DeepEqual(n, again) {
			t.Errorf("%q is written %q and read as %+v, %v", s, n.String(), again, err)
		}
	})
}
