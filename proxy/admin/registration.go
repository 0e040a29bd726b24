package admin

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/proxy/token"
)

// showRegistration says what to register at the vendor for a credential.
func showRegistration(s *Server, c *call) (any, error) {
	snapshot := s.Registry.Snapshot()
	credential, ok := snapshot.Credential(c.name)
	if !ok {
		return nil, absent(identity.ObjectCredential, c.name)
	}
	tenant, ok := snapshot.Tenant(credential.Tenant)
	if !ok {
		return nil, absent(identity.ObjectTenant, credential.Tenant)
	}
	r := &Registration{ClientID: credential.ClientID, AuthStyle: credential.Style(tenant)}
	r.TokenEndpoint, r.Issuer = credential.TokenEndpoint(tenant)
	if r.Issuer != "" && s.TokenEndpoint != nil {
		r.TokenEndpoint = s.TokenEndpoint(credential.ID)
	}
	switch credential.Kind {
	case identity.KindCertificate:
		return r, r.certificate(credential, s.CA)
	case identity.KindAssertion:
		return r, r.assertion(credential)
	}
	return r, nil
}

// certificate is what to register for the style mtls.
func (r *Registration) certificate(c *identity.Credential, ca *pki.CA) error {
	leaf, err := c.Leaf()
	if err != nil {
		return err
	}
	sum := sha256.Sum256(leaf.Raw)
	r.Certificate = &RegistrationCertificate{
		Chain: c.Certificate, Subject: leaf.Subject.String(), Issuer: leaf.Issuer.String(),
		Serial: pki.FormatSerial(leaf.SerialNumber), SHA256: hex.EncodeToString(sum[:]), NotBefore: leaf.NotBefore, NotAfter: leaf.NotAfter,
	}
	if r.JWKS, err = token.CertificateJWKS(leaf); err != nil {
		return err
	}
	if !c.Keyless {
		return nil
	}
	r.Certificate.Roots = string(pki.EncodeCertificates(ca.Trust().Roots()...))
	r.Certificate.Renews = renewsAt(leaf.NotBefore, leaf.NotAfter)
	r.Advice = []string{
		"Register subject and issuer, and not this one certificate: it renews itself, with the same key, subject and issuer. " +
			"At SAP that is Pin Certificate off, or \"certificate-pinning\": false.",
		"The vendor has to trust the CA: give it the roots. SAP XSUAA and Identity Authentication accept only CAs that they list; " +
			"where yours is none of them, use private_key_jwt.",
		"A vendor that compares whole certificates (pinning, or self_signed_tls_client_auth with the JWKS) needs the new one after each renewal; " +
			"until it has it, the old one is there to fall back on.",
	}
	return nil
}

// assertion is what to register for the style private_key_jwt.
func (r *Registration) assertion(c *identity.Credential) error {
	key, err := c.PrivateKey()
	if err != nil {
		return err
	}
	leaf, err := c.Leaf()
	if err != nil {
		return err
	}
	signer, err := token.NewAssertionKey(key, token.AssertionOptions{KeyID: c.KeyID, Algorithm: c.AssertionAlgorithm, Certificate: leaf})
	if err != nil {
		return err
	}
	jwks, err := signer.JWKS()
	if err != nil {
		return err
	}
	r.JWKS = json.RawMessage(jwks)
	audience := "the token endpoint's URL"
	switch c.AssertionAudience {
	case "":
	case identity.AudienceIssuer:
		audience = "the issuer's name"
	default:
		audience = fmt.Sprintf("%q", c.AssertionAudience)
	}
	r.Advice = []string{
		"Register the JWKS as the client's keys, for private_key_jwt (a JWT bearer assertion for client authentication).",
		fmt.Sprintf("The assertions' issuer and subject are the client id, their audience is %s; each is good for a minute and sent once.", audience),
	}
	if c.KeyID == "" {
		r.Advice = append(r.Advice, "They name no key (kid): the vendor must take the only one of the client, or give the credential a key id.")
	}
	return nil
}
