package admin

import (
	"context"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/proxy/token"
)

func storedRoute(snap *identity.Snapshot, name string) (*identity.Route, bool) {
	e, ok := snap.Route(name)
	if !ok {
		return nil, false
	}
	return e.Route, true
}

func switchIdentity(verb string, turn func(*identity.Tx, context.Context, string) (identity.Identity, error)) handler {
	return func(s *Server, c *call) (any, error) {
		var i identity.Identity
		err := s.change(c.Context(), c.actor, verb, "identity", func(tx *identity.Tx) (_ string, _ any, err error) {
			i, err = turn(tx, c.Context(), c.name)
			return c.name, nil, err
		})
		return i, err
	}
}

func removeIdentity(s *Server, c *call) (any, error) {
	return struct{}{}, s.change(c.Context(), c.actor, "remove", "identity", func(tx *identity.Tx) (string, any, error) {
		revoked, err := tx.RemoveIdentity(c.Context(), c.name, c.URL.Query().Get("cascade") == "true")
		if err != nil {
			return "", nil, err
		}
		for _, cert := range revoked {
			if err := s.CA.Revoke(c.Context(), tx.SQL(), cert.Serial, "cessationOfOperation", time.Now()); err != nil {
				return "", nil, err
			}
		}
		return c.name, nil, nil
	})
}

func listCredentials(s *Server, c *call) (any, error) {
	if _, err := get(s.Registry.Snapshot().Identity, "identity", c.name); err != nil {
		return nil, err
	}
	return orEmpty(s.Registry.Snapshot().IdentityCredentials(c.name)), nil
}

func addCredential(s *Server, c *call) (any, error) {
	var q CredentialRequest
	if err := c.decode(&q); err != nil {
		return nil, err
	}
	cred := identity.Credential{Identity: c.name, Tenant: q.Tenant, ClientID: q.ClientID, AuthStyle: q.AuthStyle, TokenURL: q.TokenURL, Scope: q.Scope,
		Kind: q.Kind, Certificate: q.Certificate, NotAfter: q.NotAfter, Secret: identity.NewSecret(q.Secret)}
	if q.ServiceKey != "" {
		k, err := token.ParseServiceKey([]byte(q.ServiceKey))
		if err != nil {
			return nil, err
		}
		cred.ClientID, cred.Kind, cred.Secret = k.ClientID, identity.KindSecret, identity.NewSecret(k.Secret.Reveal())
		if k.CertificatePEM != "" {
			cred.Kind, cred.Certificate, cred.Secret = identity.KindCertificate, k.CertificatePEM, identity.NewSecret(k.KeyPEM.Reveal())
		}
		if cred.TokenURL == "" {
			cred.TokenURL = k.TokenURL
		}
		if cred.AuthStyle == "" {
			cred.AuthStyle = string(k.Style)
		}
	}
	err := s.change(c.Context(), c.actor, "add", "credential", func(tx *identity.Tx) (_ string, _ any, err error) {
		cred, err = tx.AddCredential(c.Context(), cred)
		return cred.ID, cred, err
	})
	return cred, err
}
