// Package admin is the control plane: the API under /v1 with which a running server is administered, its client, and the health and
// metrics addresses beside it. Every change is one transaction: the registry's change, the CA's record where there is one, and the
// change record that says who did what.
//
// It does not know how its listeners are opened, how a caller proves who it is ([Server.Actor] says), what makes a request to the data
// plane allowed, or how the process is configured.
package admin

import (
	"context"
	"database/sql"
	"encoding/json"
	"log/slog"
	"net/http"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/proxy/record"
)

// Server is the admin API of one process; it is an [http.Handler]. The fields without a stated zero value are required; none may be
// changed after the first request. Safe for concurrent use.
type Server struct {
	// Registry is what is administered.
	Registry *identity.Registry
	// CA issues and revokes.
	CA *pki.CA
	// DB holds the change records.
	DB *sql.DB
	// Actor says who makes a request to /v1, for change records, or why nobody does; then the answer is 401.
	Actor func(*http.Request) (string, error)
	// Ready says how the node is, for /readyz and /v1/status. nil is always ready.
	Ready func(context.Context) []Check
	// Metrics serves /metrics; nil is 404.
	Metrics http.Handler
	// Logger gets what the caller is not told; nil discards it.
	Logger *slog.Logger
}

// Check is the state of one part of the node.
type Check struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail,omitempty"`
}

// Status is the answer of /v1/status.
type Status struct {
	Ready    bool            `json:"ready"`
	Checks   []Check         `json:"checks"`
	Revision int64           `json:"revision"`
	Counts   identity.Counts `json:"counts"`
}

// CertificateRequest asks for a certificate.
type CertificateRequest struct {
	// CSR is a PKCS#10 request as PEM. Required: keys are made by who will use them.
	CSR string `json:"csr"`
	// Lifetime is how long the certificate shall be valid; 0 is the profile's default.
	Lifetime identity.Duration `json:"lifetime,omitempty"`
}

// IssuedCertificate is a certificate that was issued and bound.
type IssuedCertificate struct {
	identity.Certificate
	// Chain is the certificate and its intermediate, Roots what they lead to, as PEM.
	Chain string `json:"chain"`
	Roots string `json:"roots"`
	// Dropped says what the request asked for and did not get.
	Dropped []string `json:"dropped,omitempty"`
}

// CredentialRequest asks for a credential to be added: an SAP service key, or the fields of [identity.Credential].
type CredentialRequest struct {
	Tenant string `json:"tenant"`
	// ServiceKey is a service key as the vendor hands it out. Kind, client id and secret come out of it.
	ServiceKey string `json:"service_key,omitempty"`

	Kind        string    `json:"kind,omitempty"`
	ClientID    string    `json:"client_id,omitempty"`
	Secret      string    `json:"secret,omitempty"` // client secret or private key (PEM)
	Certificate string    `json:"certificate,omitempty"`
	AuthStyle   string    `json:"auth_style,omitempty"`
	TokenURL    string    `json:"token_url,omitempty"`
	Scope       string    `json:"scope,omitempty"`
	NotAfter    time.Time `json:"not_after,omitzero"`
}

// CertificateFilter narrows a list of certificates.
type CertificateFilter struct{ Identity string }

// change runs fn and records the act in one transaction.
func (s *Server) change(ctx context.Context, actor, action, object string, fn func(tx *identity.Tx) (name string, detail any, err error)) error {
	return s.Registry.Change(ctx, func(tx *identity.Tx) error {
		name, detail, err := fn(tx)
		if err != nil {
			return err
		}
		b, err := json.Marshal(detail)
		if err != nil {
			return err
		}
		_, err = record.AppendChange(ctx, tx.SQL(), record.Change{Actor: actor, Action: object + "." + action, Object: object, Name: name, Detail: b})
		return err
	})
}
