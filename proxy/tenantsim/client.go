package tenantsim

import (
	"bytes"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// RoleSend is the role that flows without one of their own require.
const RoleSend = "ESBMessaging.send"

// Client is an OAuth client of the tenant.
type Client struct {
	ID          string
	Secret      string           // for the plain token endpoint
	Certificate *tls.Certificate // for the endpoint that requires one: exactly this leaf, as pinned; the key is for ServiceKey only
	Unpinned    bool             // any later certificate of Certificate's subject and issuer will do, and then no earlier one
	Key         crypto.PublicKey // with which assertions are verified (RFC 7523)
	Roles       []string         // nil means RoleSend
}

// registered is a client with its state. Guarded by Sim.mu.
type registered struct {
	Client
	secrets  []string  // beside Client.Secret
	newRoles []string  // acts from rolesAt on
	rolesAt  time.Time // zero: nothing is due
	failures int       // failed log-ons in a row
	locked   time.Time // until then every log-on fails

	newest *x509.Certificate // the last one of an unpinned client
}

func (r *registered) roles(now time.Time) []string {
	if !r.rolesAt.IsZero() && !now.Before(r.rolesAt) {
		r.Roles, r.rolesAt = r.newRoles, time.Time{}
	}
	return r.Roles
}

// AddClient registers a client or replaces the one of the same ID; what its predecessor obtained stays valid.
func (s *Sim) AddClient(c Client) {
	if c.Roles == nil {
		c.Roles = []string{RoleSend}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clients[c.ID] = &registered{Client: c}
}

// RemoveClient deletes a client: no new tokens, and its tokens are refused. Its sessions live on, as on a real tenant.
func (s *Sim) RemoveClient(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.clients, id)
}

// AddSecret gives a client another secret beside those that it has, as a second service key or a second client secret does.
func (s *Sim) AddSecret(id, secret string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.clients[id]; r != nil {
		r.secrets = append(r.secrets, secret)
	}
}

// RemoveSecret takes a secret away from a client. What was obtained with it stays valid, as it does on a real tenant until it expires.
func (s *Sim) RemoveSecret(id, secret string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.clients[id]
	if r == nil {
		return
	}
	if r.Secret == secret {
		r.Secret = ""
	}
	r.secrets = slices.DeleteFunc(r.secrets, func(other string) bool { return other == secret })
}

// SetRoles changes a client's roles; new tokens carry them after Switches.RoleDelay.
func (s *Sim) SetRoles(id string, roles ...string) {
	delay := s.switches.Load().RoleDelay
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.clients[id]; r != nil {
		r.newRoles, r.rolesAt = slices.Clone(roles), time.Now().Add(delay)
	}
}

// KeyKind is the kind of a service key.
type KeyKind string

const (
	KeyIntegration            KeyKind = "integration"             // Process Integration Runtime, ClientId/Secret
	KeyIntegrationCertificate KeyKind = "integration-certificate" // Process Integration Runtime, Certificate
	KeyExternalCertificate    KeyKind = "external-certificate"    // Process Integration Runtime, External Certificate: without the key
	KeyXSUAA                  KeyKind = "xsuaa"                   // XSUAA binding, binding-secret
	KeyXSUAACertificate       KeyKind = "xsuaa-certificate"       // XSUAA binding, x509, within "credentials"
	KeyIAS                    KeyKind = "ias"                     // Identity Authentication binding, secret
)

// ServiceKey returns the JSON document that the vendor would hand out for the client.
func (s *Sim) ServiceKey(clientID string, kind KeyKind) ([]byte, error) {
	s.mu.Lock()
	r := s.clients[clientID]
	s.mu.Unlock()
	if r == nil {
		return nil, fmt.Errorf("making service key: no client %q", clientID)
	}
	m := map[string]any{"clientid": r.ID}
	switch kind {
	case KeyIntegration, KeyXSUAA, KeyIAS:
		if r.Secret == "" {
			return nil, errors.New("making service key: the client has no secret")
		}
		m["clientsecret"] = r.Secret
	default:
		if err := addCertificate(m, r.Certificate); err != nil {
			return nil, err
		}
	}
	return json.MarshalIndent(s.shape(m, kind), "", "  ")
}

// shape adds the members that differ between the vendor's services.
func (s *Sim) shape(m map[string]any, kind KeyKind) map[string]any {
	issuer := s.url(Token)
	switch kind {
	case KeyXSUAA, KeyXSUAACertificate:
		for name, value := range map[string]any{"apiurl": issuer, "url": issuer, "identityzone": "sim", "xsappname": appName,
			"uaadomain": strings.TrimPrefix(issuer, "https://"), "tenantmode": "dedicated", "credential-type": "binding-secret"} {
			m[name] = value
		}
		if kind == KeyXSUAA {
			return m
		}
		delete(m, "certificatedetails")
		m["credential-type"], m["certurl"], m["certificate-pinning"] = "x509", s.url(MTLSToken), true
		return map[string]any{"credentials": m}
	case KeyIAS:
		m["url"], m["domains"] = issuer, []string{"accounts.ondemand.com", "accounts.cloud.sap"}
		return m
	}
	m["createdate"], m["url"], m["tokenurl"] = time.Now().UTC().Format("2006-01-02T15:04:05.000Z"), s.BaseURL(), s.TokenURL()
	if kind != KeyIntegration {
		m["tokenurl"] = s.MTLSTokenURL()
	}
	if kind == KeyExternalCertificate {
		delete(m, "key")
	}
	return map[string]any{"oauth": m}
}

func addCertificate(m map[string]any, c *tls.Certificate) error {
	if c == nil || c.Leaf == nil {
		return errors.New("making service key: the client has no certificate")
	}
	var chain bytes.Buffer
	for _, der := range c.Certificate {
		_ = pem.Encode(&chain, &pem.Block{Type: "CERTIFICATE", Bytes: der}) // a buffer takes all
	}
	key, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		return fmt.Errorf("making service key: %w", err)
	}
	m["certificate"] = chain.String()
	m["key"] = string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}))
	m["certificatedetails"] = map[string]any{"issuerdn": c.Leaf.Issuer.String(), "subjectdn": c.Leaf.Subject.String(),
		"serialnumber": "0x" + c.Leaf.SerialNumber.Text(16), "validuntil": c.Leaf.NotAfter.UTC().Format("2006-01-02T15:04:05.000Z")}
	return nil
}
