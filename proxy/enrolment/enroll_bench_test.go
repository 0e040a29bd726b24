package enrolment_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/internal/database"
	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/pki/pkitest"
	"github.com/tenantgate/tenantgate/proxy/enrolment"
	"github.com/tenantgate/tenantgate/proxy/record"
)

// BenchmarkEnroll is a certificate from token and request to answer, without TLS: judging, signing, binding, change record and a durable commit.
func BenchmarkEnroll(b *testing.B) {
	db, err := database.Open(b.Context(), filepath.Join(b.TempDir(), "tenantgate.db"))
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	for _, err := range []error{
		database.Migrate(b.Context(), db, "identity", identity.Migrations()),
		database.Migrate(b.Context(), db, "pki", pki.Migrations()),
		database.Migrate(b.Context(), db, "record", record.Migrations()),
	} {
		if err != nil {
			b.Fatal(err)
		}
	}
	registry, err := identity.Open(b.Context(), db.DB, new(pkitest.Sealer))
	if err != nil {
		b.Fatal(err)
	}
	env := pkitest.With(b, pkitest.Options{DB: db.DB})
	server := &enrolment.Server{Registry: registry, CA: env.CA, Trust: env.CA.Trust}
	csr := env.Request(env.Key(pki.P256), &x509.CertificateRequest{Subject: pkix.Name{}})
	root := sha256.Sum256(env.CA.SigningRoot().Raw)
	next := func(n int) []string { // so many tokens, each for an identity of its own
		tokens := make([]string, n)
		err := registry.Change(b.Context(), func(tx *identity.Tx) error {
			for i := range tokens {
				name := strings.ToLower(rand.Text())
				if _, err := tx.AddIdentity(context.Background(), identity.Identity{Name: name, Owner: "team"}); err != nil {
					return err
				}
				token := enrolment.NewToken("https://gate.example.com", root, name)
				_, err := env.CA.AddEnrolmentToken(context.Background(), tx.SQL(), pki.EnrolmentToken{ID: name, Name: name, Expires: time.Now().Add(time.Hour)}, token.Hash())
				if err != nil {
					return err
				}
				tokens[i] = token.Reveal()
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
		return tokens
	}
	tokens := next(b.N)
	b.ResetTimer()
	for i := range b.N {
		request := httptest.NewRequest("POST", "/v1/enroll", bytes.NewReader(csr))
		request.RemoteAddr = "[2001:db8:" + hexWord(i>>16) + ":" + hexWord(i) + "::1]:1" // each from another network
		request.Header.Set("Content-Type", "application/pkcs10")
		request.Header.Set("Authorization", "Bearer "+tokens[i])
		w := httptest.NewRecorder()
		server.ServeHTTP(w, request)
		if w.Code != 200 {
			b.Fatal(w.Body)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "certificates/s")
}

func hexWord(n int) string {
	const digits = "0123456789abcdef"
	return string([]byte{digits[n>>12&15], digits[n>>8&15], digits[n>>4&15], digits[n&15]})
}
