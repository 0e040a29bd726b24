package admin

import (
	"encoding/json"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/proxy/token"
)

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
	if err != nil {
		return nil, err
	}
	c.header.Set("Location", "/v1/credentials/"+credential.ID)
	return s.withUse([]*identity.Credential{&credential})[0], nil
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
		return credential, nil
	}
	if q.Kind != "" || q.ClientID != "" || q.Secret != "" || q.Certificate != "" {
		return credential, invalid("service_key", "a service key is given beside kind, client_id, secret or certificate",
			"leave those out: the service key has its own")
	}
	return withServiceKey(credential, q.ServiceKey)
}

// withServiceKey fills in what a service key says. What was asked for explicitly stays.
func withServiceKey(c identity.Credential, raw json.RawMessage) (identity.Credential, error) {
	text := []byte(raw)
	var s string
	if json.Unmarshal(raw, &s) == nil {
		text = []byte(s)
	}
	key, err := token.ParseServiceKey(text)
	if err != nil {
		return c, err
	}
	c.ClientID = key.ClientID
	if key.CertificatePEM != "" {
		c.Kind, c.Certificate, c.Secret = identity.KindCertificate, key.CertificatePEM, identity.NewSecret(key.KeyPEM.Reveal())
	} else {
		c.Kind, c.Secret = identity.KindSecret, identity.NewSecret(key.Secret.Reveal())
	}
	if c.TokenURL == "" {
		c.TokenURL = key.TokenURL
	}
	if c.AuthStyle == "" {
		c.AuthStyle = string(key.Style)
	}
	return c, nil
}

// setCredential notes when a secret ends.
func setCredential(s *Server, c *call) (any, error) {
	patch, err := c.read()
	if err != nil {
		return nil, err
	}
	var stored identity.Credential
	err = s.change(c, identity.ObjectCredential, "set", func(tx *identity.Tx) (act, error) {
		before, err := tx.Credential(c.name)
		if err != nil {
			return act{}, err
		}
		wanted, err := merge(CredentialEnd{before.NotAfter}, patch)
		if err != nil {
			return act{}, err
		}
		if stored, err = tx.SetCredentialEnd(c.Context(), c.name, wanted.NotAfter); err != nil {
			return act{}, err
		}
		changed, err := differences(before, stored)
		return act{c.name, changed}, err
	})
	if err != nil {
		return nil, err
	}
	return s.withUse([]*identity.Credential{&stored})[0], nil
}
