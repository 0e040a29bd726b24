package admin

import (
	"encoding/json"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/proxy/token"
)

// addCredential stores a credential. Its secret goes into the registry, sealed, and neither into the answer nor into the change record:
// both are made of identity.Credential, whose secret has no JSON.
func addCredential(s *Server, c *call) (any, error) {
	credential, made, err := readCredential(s, c)
	if err != nil {
		return nil, err
	}
	err = s.change(c, identity.ObjectCredential, "add", func(tx *identity.Tx) (_ act, err error) {
		if made != nil {
			if err := made.certify(c.Context(), s.CA, tx, &credential, false); err != nil {
				return act{}, err
			}
		}
		credential, err = tx.AddCredential(c.Context(), credential)
		return act{credential.ID, credential}, err
	})
	if err != nil {
		return nil, err
	}
	c.header.Set("Location", "/v1/credentials/"+credential.ID)
	return s.withUse([]*identity.Credential{&credential})[0], nil
}

// readCredential reads the body. The key is nil unless it was made here.
func readCredential(s *Server, c *call) (identity.Credential, *ownKey, error) {
	var q struct {
		CredentialRequest
		ServiceKey json.RawMessage `json:"service_key"` // an object, or the same as a string
	}
	if err := c.decode(&q); err != nil {
		return identity.Credential{}, nil, err
	}
	credential := identity.Credential{
		Identity: c.name, Tenant: q.Tenant, ClientID: q.ClientID, AuthStyle: q.AuthStyle, TokenURL: q.TokenURL, Issuer: q.Issuer, Scope: q.Scope,
		TokenParameters: q.TokenParameters, Kind: q.Kind, Certificate: q.Certificate, NotAfter: q.NotAfter, Secret: identity.NewSecret(q.Secret),
		KeyID: q.KeyID, AssertionAlgorithm: q.AssertionAlgorithm, AssertionAudience: q.AssertionAudience, Lifetime: q.Lifetime,
	}
	if q.Keyless {
		if q.Secret != "" || q.Certificate != "" || len(q.ServiceKey) > 0 {
			return credential, nil, invalid("keyless", "a key is to be made, and one is given", "leave out secret, certificate and service_key")
		}
		made, err := newOwnKey(s.Registry.Snapshot(), &credential, q.KeyType)
		return credential, made, err
	}
	if q.KeyType != "" {
		return credential, nil, invalid("key_type", "given, and no key is to be made", "leave it out, or set keyless")
	}
	if len(q.ServiceKey) == 0 {
		if q.Binding != "" {
			return credential, nil, invalid("binding", "a binding is named, and there is no service key to choose it from", "give service_key, or leave it out")
		}
		return credential, nil, nil
	}
	if q.Kind != "" || q.ClientID != "" {
		return credential, nil, invalid("service_key", "a service key is given beside kind or client_id", "leave those out: the service key has its own")
	}
	credential, err := withServiceKey(credential, q.CredentialRequest, q.ServiceKey)
	return credential, nil, err
}

// removeCredential removes a credential. A certificate that the CA has issued for it is revoked: nobody will show it any more.
func removeCredential(s *Server, c *call) (any, error) {
	return nil, s.change(c, identity.ObjectCredential, "remove", func(tx *identity.Tx) (act, error) {
		credential, err := tx.Credential(c.name)
		if err != nil {
			return act{}, err
		}
		if err := revokeOwn(c.Context(), s.CA, tx, &credential); err != nil {
			return act{}, err
		}
		return act{c.name, nil}, tx.RemoveCredential(c.Context(), c.name)
	})
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
	if c.Issuer != "" {
		c.TokenURL = "" // it names the endpoint, and not the service key
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
		if err := c.matches(before); err != nil {
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
	return s.withUse([]*identity.Credential{&stored})[0], c.tag(stored)
}
