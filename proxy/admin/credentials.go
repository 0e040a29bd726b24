package admin

import (
	"encoding/json"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/proxy/token"
)

func listCredentials(s *Server, c *call) (any, error) {
	snapshot := s.Registry.Snapshot()
	if _, ok := snapshot.Identity(c.name); !ok {
		return nil, absent(identity.ObjectIdentity, c.name)
	}
	return append([]*identity.Credential{}, snapshot.IdentityCredentials(c.name)...), nil
}

// addCredential stores a credential. Its secret goes into the registry, sealed, and neither into the answer nor into the change record:
// both are made of identity.Credential, whose secret has no JSON.
func addCredential(s *Server, c *call) (any, error) {
	credential, err := readCredential(c)
	if err != nil {
		return nil, err
	}
	err = s.change(c, identity.ObjectCredential, "add", func(tx *identity.Tx) (_ act, err error) {
		credential, err = tx.AddCredential(c.Context(), credential)
		return act{credential.ID, credential}, err
	})
	c.header.Set("Location", "/v1/credentials/"+credential.ID)
	return credential, err
}

func readCredential(c *call) (identity.Credential, error) {
	var q struct {
		CredentialRequest
		ServiceKey json.RawMessage `json:"service_key"` // an object, or the same as a string
	}
	if err := c.decode(&q); err != nil {
		return identity.Credential{}, err
	}
	credential := identity.Credential{
		Identity: c.name, Tenant: q.Tenant, ClientID: q.ClientID, AuthStyle: q.AuthStyle, TokenURL: q.TokenURL, Scope: q.Scope,
		Kind: q.Kind, Certificate: q.Certificate, NotAfter: q.NotAfter, Secret: identity.NewSecret(q.Secret),
	}
	if len(q.ServiceKey) == 0 {
		if q.Binding != "" {
			return credential, invalid("binding", "a binding is named, and there is no service key to choose it from", "give service_key, or leave it out")
		}
		return credential, nil
	}
	if q.Kind != "" || q.ClientID != "" {
		return credential, invalid("service_key", "a service key is given beside kind or client_id", "leave those out: the service key has its own")
	}
	return withServiceKey(credential, q.CredentialRequest, q.ServiceKey)
}

// withServiceKey fills in what a service key says. What was asked for explicitly stays; certificate and secret are then the certificate and the
// key that an external certificate's service key lacks.
func withServiceKey(c identity.Credential, q CredentialRequest, raw json.RawMessage) (identity.Credential, error) {
	text := []byte(raw)
	var s string
	if json.Unmarshal(raw, &s) == nil {
		text = []byte(s)
	}
	key, err := token.ParseServiceKey(text, token.KeyOptions{
		Binding: q.Binding, Style: token.Style(q.AuthStyle), TokenURL: q.TokenURL, CertificatePEM: q.Certificate, KeyPEM: token.NewSecret(q.Secret),
	})
	if err != nil {
		return c, err
	}
	c.ClientID, c.TokenURL, c.AuthStyle = key.ClientID, key.TokenURL, string(key.Style)
	if key.CertificatePEM != "" {
		c.Kind, c.Certificate, c.Secret = identity.KindCertificate, key.CertificatePEM, identity.NewSecret(key.KeyPEM.Reveal())
	} else {
		c.Kind, c.Secret = identity.KindSecret, identity.NewSecret(key.Secret.Reveal())
	}
	return c, nil
}
