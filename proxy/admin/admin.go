// Package admin is the control plane: the API under /v1 with which a running server is administered, its client, and beside it
// /healthz, /readyz and /metrics. Each change is one transaction: what the registry changes, what the CA signs or revokes, and the
// change record that says who did what happen together or not at all.
//
// It also knows the two ways in which an administrator is recognised: the kernel's word on who is at the other end of a Unix socket
// ([SocketActor]), and a certificate of the admin profile ([CertificateActor]).
//
// It does not know how a request to a tenant is decided or forwarded, how the process is configured, or what is rendered to a
// terminal. It never returns a secret: what is stored sealed can be replaced and removed here, not read.
package admin

import (
	"context"
	"database/sql"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"sync"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/pki/external"
	"github.com/tenantgate/tenantgate/proxy/check"
	"github.com/tenantgate/tenantgate/proxy/expiry"
	"github.com/tenantgate/tenantgate/proxy/notify"
	"github.com/tenantgate/tenantgate/proxy/record"
	"github.com/tenantgate/tenantgate/proxy/token"
	"github.com/tenantgate/tenantgate/proxy/usage"
)

// Server is the admin API of one process, an [http.Handler]. Fields without a stated zero value are required, and none may be changed
// after the first request. Safe for concurrent use. Timeouts are the [http.Server]'s.
type Server struct {
	// Registry is what is administered.
	Registry *identity.Registry
	// CA issues and revokes. Its tables must be in the registry's database.
	CA *pki.CA
	// DB is the registry's database; the change records are in it.
	DB *sql.DB
	// Actor says who makes a request to /v1, for change records, or why nobody does; the answer then is 401 without the reason.
	// It is asked for each request anew.
	Actor func(*http.Request) (string, error)
	// Tokens is the engine of the node, with which a check tries credentials, so that it counts with everything else that asks for tokens.
	Tokens *token.Engine
	// Way is how a credential reaches its tenant, for a route where one is given (nil); without a credential (nil), how the tenant is reached.
	Way func(t *identity.Tenant, c *identity.Credential, route *identity.Route) (check.Way, error)
	// Enrolment is the address of the enrolment listener, https://HOST:PORT, for tokens; nil, and "", is that there is none.
	Enrolment func() string
	// ACME is the directory of the ACME server, for external account bindings; nil, and "", is that there is none.
	ACME func() string
	// External judges certificates of authorities; nil judges none.
	External *external.Verifier
	// Lists fetches authorities' revocation lists; nil fetches none.
	Lists *external.Keeper
	// Ready looks at the parts of the node, for /readyz and /v1/status. nil is always ready.
	Ready func(context.Context) []Check
	// TokenEndpoint returns the token endpoint that a credential's issuer was found to have, "" when that is not known. nil knows none.
	TokenEndpoint func(credentialID string) string
	// CredentialUses says how credentials stand on this node, in their order; nil knows nothing.
	CredentialUses func([]*identity.Credential) []CredentialUse
	// Explain says what would become of a request; nil is that nobody can.
	Explain func(ExplainQuestion) Explanation
	// Backup prepares a backup of the node and returns what writes it; it records the act, with the actor. nil is that there is none to be had.
	Backup func(ctx context.Context, actor string, q BackupRequest) (write func(w io.Writer) error, err error)
	// Expiry is the list of all that ends; nil is an empty one.
	Expiry *expiry.List
	// Notifications is what the receiver is told, and Notifier delivers it; nil is that there are none.
	Notifications *notify.Queue
	Notifier      *notify.Sender
	// Sealer seals the key of the pseudonyms that usage history may have in place of addresses.
	Sealer usage.Sealer
	// FlushUsage writes what this node has counted since its last batch, so that what is told of usage is as of now; nil does not.
	FlushUsage func(context.Context) error
	// Metrics serves /metrics; nil is 404.
	Metrics http.Handler
	// Logger is told of requests that were refused for their sender and of those that failed; nil discards it.
	Logger *slog.Logger

	backupOnce sync.Once
	backups    chan struct{} // holds one token while a backup is made
}

// Check is the state of one part of the node.
type Check struct {
	// Name is a word: "database", "record", "ca".
	Name string `json:"name"`
	// OK says that the part does its work. One that does not makes the node not ready.
	OK bool `json:"ok"`
	// Warning says that the part works and wants an operator all the same. It does not make the node unready.
	Warning bool `json:"warning,omitempty"`
	// Detail is for administrators: /v1/status shows it, /readyz, which everybody may ask, does not, but for one that is Public.
	Detail string `json:"detail,omitempty"`
	// Public says that Detail names nothing that /metrics does not: /readyz shows it, too.
	Public bool `json:"-"`
}

// Status is the answer of GET /v1/status.
type Status struct {
	Ready    bool            `json:"ready"`
	Checks   []Check         `json:"checks"`
	Revision int64           `json:"revision"` // of the registry's snapshot
	Counts   identity.Counts `json:"counts"`
}

// act is what a change did, for its record: the object's name and whatever tells what was done to it, without secrets.
type act struct {
	name   string
	detail any
}

// change runs fn and records the act, in one transaction. The action is "object.verb".
func (s *Server) change(c *call, object, verb string, fn func(tx *identity.Tx) (act, error)) error {
	return s.changeAll(c, object, verb, func(tx *identity.Tx) ([]act, error) {
		done, err := fn(tx)
		return []act{done}, err
	})
}

// changeAll is change for several acts of the same kind: all of them happen, each with a record of its own, or none.
func (s *Server) changeAll(c *call, object, verb string, fn func(tx *identity.Tx) ([]act, error)) error {
	return s.Registry.Change(c.Context(), func(tx *identity.Tx) error {
		acts, err := fn(tx)
		if err != nil {
			return err
		}
		for _, done := range acts {
			if err := c.record(tx, object, verb, done); err != nil {
				return err
			}
		}
		return nil
	})
}

// record writes the record of an act.
func (c *call) record(tx *identity.Tx, object, verb string, done act) error {
	detail, err := json.Marshal(done.detail)
	if err != nil {
		return err
	}
	_, err = record.AppendChange(c.Context(), tx.SQL(), record.Change{
		Actor: c.actor, Action: object + "." + verb, Object: object, Name: done.name, Detail: detail,
	})
	return err
}

func (s *Server) logger() *slog.Logger {
	if s.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return s.Logger
}
