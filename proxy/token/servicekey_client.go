package token

import (
	"cmp"
	"net/url"
	"strings"
	"time"
)

// keyText are the members of a client that are texts.
type keyText struct {
	clientID, secret, certificate, key, tokenURL, url, certURL, kind, grant string
}

// proof is what a client proves itself with, as far as the document or the options tell.
type proof int

const (
	proofUnknown proof = iota
	proofSecret
	proofCertificate
	proofNone // credential-type NONE
)

// read turns the object into a service key, or says what is missing or contradictory.
func (c keyClient) read(o KeyOptions) (ServiceKey, error) {
	t, err := c.texts()
	if err != nil {
		return ServiceKey{}, err
	}
	p, why, err := c.proof(t, o)
	if err != nil {
		return ServiceKey{}, err
	}
	k := ServiceKey{Shape: c.shape(t, p), ClientID: t.clientID, From: Origins{ClientID: c.at("clientid"), Style: why}}
	fail := func(field, problem, hint string) (ServiceKey, error) {
		return ServiceKey{}, &KeyError{Shape: k.Shape, Field: c.at(field), Problem: problem, Hint: hint}
	}
	switch {
	case t.clientID == "":
		return fail("clientid", "it is missing", "")
	case strings.ContainsFunc(t.clientID, control):
		return fail("clientid", "it contains a control character", "")
	case strings.ContainsFunc(t.secret, control):
		return fail("clientsecret", "it contains a control character", "look for a line break that was pasted with the secret")
	case t.grant != "" && t.grant != "client_credentials":
		return fail("grant_type", "it is not client_credentials: this key is for calls in the name of people", "make a key for technical clients")
	}
	if k.Created, err = time.Parse(time.RFC3339, c.textOr("createdate")); err != nil {
		k.Created = time.Time{}
	}
	if err := c.prove(&k, t, p, o); err != nil {
		return ServiceKey{}, err
	}
	if err := c.endpoint(&k, t, p, o); err != nil {
		return ServiceKey{}, err
	}
	return k, c.service(&k, t)
}

func control(r rune) bool { return r < 0x20 || r == 0x7f }

func (c keyClient) texts() (t keyText, err error) {
	for name, target := range map[string]*string{
		"clientid": &t.clientID, "clientsecret": &t.secret, "certificate": &t.certificate, "key": &t.key, "tokenurl": &t.tokenURL,
		"url": &t.url, "certurl": &t.certURL, "credential-type": &t.kind,
	} {
		if *target, err = c.text(name); err != nil {
			return t, err
		}
	}
	t.grant = cmp.Or(c.textOr("grant_type"), c.outer.textOr("grant_type"))
	return t, nil
}

// textOr returns a member that may as well be missing: one of another type is.
func (m member) textOr(name string) string {
	s, _ := m.fields[name].(string)
	return s
}

// proof decides between secret and certificate, and says why. It is never guessed: what contradicts itself is refused.
func (c keyClient) proof(t keyText, o KeyOptions) (proof, string, error) {
	says := proofUnknown
	switch kind := strings.ToLower(t.kind); {
	case strings.HasPrefix(kind, "x509"):
		says = proofCertificate
	case kind == "secret", strings.HasSuffix(kind, "-secret"):
		says = proofSecret
	case kind == "none":
		says = proofNone
	}
	secret, certificate := t.secret != "", t.certificate != "" || t.key != ""
	own := o.CertificatePEM != "" || !o.KeyPEM.Empty()
	contradiction := func(field, problem string) (proof, string, error) {
		return 0, "", &KeyError{Field: c.at(field), Problem: problem, Hint: "say which is meant by the authentication style: mtls, or one for secrets",
			Mends: "Style"}
	}
	switch {
	case o.Style == MTLS:
		return proofCertificate, "as given", nil
	case o.Style != "":
		if own {
			return 0, "", &KeyError{Problem: "a certificate is given beside it, and a style that sends a secret", Hint: "leave out one of the two"}
		}
		if certificate && !secret {
			return contradiction("clientsecret", "it is missing, and the style that is given sends a secret: there is a certificate")
		}
		return proofSecret, "as given", nil
	case secret && certificate:
		return contradiction("clientsecret", "it stands beside a certificate, and a client has only one of the two")
	case secret && own:
		return contradiction("clientsecret", "a certificate is given beside it, and a client has only one of the two")
	case secret && says == proofCertificate:
		return contradiction("credential-type", "it says that the client has a certificate, and there is a secret")
	case certificate && says == proofSecret:
		return contradiction("credential-type", "it says that the client has a secret, and there is a certificate")
	case secret:
		return proofSecret, "because of " + c.at("clientsecret"), nil
	case certificate && t.certificate == "":
		return proofCertificate, "because of " + c.at("key"), nil
	case certificate:
		return proofCertificate, "because of " + c.at("certificate"), nil
	case own:
		return proofCertificate, "because of the certificate that is given beside the key", nil
	case says != proofUnknown:
		return says, "because of " + c.at("credential-type"), nil
	case t.certURL != "":
		return proofCertificate, "because of " + c.at("certurl"), nil
	}
	return proofUnknown, "", nil
}

func (c keyClient) shape(t keyText, p proof) Shape {
	pick := func(secret, certificate, external Shape) Shape {
		switch {
		case p == proofCertificate && t.key == "":
			return external
		case p == proofCertificate:
			return certificate
		}
		return secret
	}
	switch {
	case c.integration:
		return pick(ShapeIntegration, ShapeIntegrationCertificate, ShapeIntegrationExternal)
	case !c.has("xsappname", "uaadomain") && (c.has("domains") || identityHost(t.url)):
		if p == proofNone {
			return ShapeIASNone
		}
		return pick(ShapeIAS, ShapeIASCertificate, ShapeIASExternal)
	}
	return pick(ShapeXSUAA, ShapeXSUAACertificate, ShapeXSUAAExternal)
}

func identityHost(raw string) bool {
	u, err := url.Parse(raw)
	return err == nil && (strings.HasSuffix(u.Hostname(), ".accounts.ondemand.com") || strings.HasSuffix(u.Hostname(), ".accounts.cloud.sap") ||
		strings.HasSuffix(u.Hostname(), ".accounts400.ondemand.com"))
}

// prove fills in what the client proves itself with.
func (c keyClient) prove(k *ServiceKey, t keyText, p proof, o KeyOptions) error {
	fail := func(field, problem, hint string) error {
		return &KeyError{Shape: k.Shape, Field: field, Problem: problem, Hint: hint}
	}
	k.Style = o.Style
	switch p {
	case proofNone:
		if o.TenantOnly {
			return &KeyError{Shape: k.Shape, Field: c.at("credential-type"), Problem: "it is NONE, which tells no authentication style",
				Hint: "give the authentication style", Mends: "Style"}
		}
		return fail(c.at("credential-type"), "it is NONE: this binding has no credentials", "make one of type SECRET or X509_GENERATED, or give a certificate that "+
			"you have entered for the application, with its key")
	case proofUnknown:
		return fail(c.at("clientsecret"), "it is missing, and so are certificate and key", "")
	case proofCertificate:
		k.Style = MTLS
		return c.pair(k, t, o)
	}
	k.Style = cmp.Or(o.Style, Body)
	if o.TenantOnly {
		return nil
	}
	if t.secret == "" {
		return fail(c.at("clientsecret"), "it is missing", "")
	}
	k.Secret = NewSecret(t.secret)
	if k.Shape == ShapeIAS {
		k.Notes = append(k.Notes, "a secret of Identity Authentication may end after one or two years, which no key tells: note its end with the credential")
	}
	return nil
}
