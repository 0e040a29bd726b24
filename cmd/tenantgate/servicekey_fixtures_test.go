package main

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/pki/pkitest"
)

// makeServiceKeys makes documents of every shape that vendors hand out, with invented values:
//
//	servicekey/SHAPE.json    the documents; own.key is the key of those without one, other.key belongs to none
func makeServiceKeys(t *testing.T, dir string, env *pkitest.Env) {
	t.Helper()
	const (
		runtime = "https://acme-dev.it-cpi018-rt.cfapps.eu10-003.hana.ondemand.com"
		login   = "https://acme-dev.authentication.eu10.hana.ondemand.com"
		cert    = "https://acme-dev.authentication.cert.eu10.hana.ondemand.com"
		ias     = "https://acme.accounts.ondemand.com"
		secret  = "0b1c2d3e-0000-4000-8000-0123456789ab$topsecret="
	)
	type doc = map[string]any
	client, other := env.Client("sb-8d3e4f50"), env.Client("other")
	leaf, chain := string(pkitest.PEM(client)), string(pkitest.PEM(client))+string(pki.EncodeCertificates(env.CA.Trust().Intermediates()...))
	backwards := string(pki.EncodeCertificates(env.CA.Trust().Intermediates()...)) + leaf
	key, err := pki.EncodePrivateKey(client.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	otherKey, err := pki.EncodePrivateKey(other.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	pir := func(more doc) doc {
		d := doc{"createdate": "2023-07-17T16:39:46.446Z", "clientid": "sb-6b1c2d3e!b123456|it-rt-acme-dev!b55215", "tokenurl": login + "/oauth/token",
			"url": runtime}
		for name, value := range more {
			d[name] = value
		}
		return doc{"oauth": d}
	}
	xsuaa := doc{"clientid": "sb-sample-app!t1", "clientsecret": secret, "credential-type": "binding-secret",
		"uaadomain": "authentication.eu10.hana.ondemand.com", "url": login,
		"xsappname": "sample-app!t1", "apiurl": "https://api.authentication.eu10.hana.ondemand.com", "tenantmode": "dedicated"}
	x509 := doc{"clientid": "sb-x5app!t75135", "credential-type": "x509", "certurl": cert, "url": login, "xsappname": "x5app!t75135", "certificate": chain,
		"key": string(key)}
	hidden := doc{"clientid": "sb-x5app!t75135", "credential-type": "x509", "certurl": cert, "url": login, "xsappname": "x5app!t75135"}
	identityService := func(more doc) doc {
		d := doc{"clientid": "1aa234ca-faed-4fb2-966e-7c86262ba93c", "domains": []string{"accounts.ondemand.com"}, "url": ias}
		for name, value := range more {
			d[name] = value
		}
		return d
	}
	for name, document := range map[string]any{
		"integration-flow": pir(doc{"clientsecret": secret}),
		"api": doc{"oauth": doc{"clientid": "sb-7c!b123456|it!b55215", "clientsecret": secret, "tokenurl": login + "/oauth/token",
			"url": strings.Replace(runtime, "-rt", "", 1)}},
		"certificate": pir(doc{"certificate": backwards, "key": string(key), "certificatedetails": doc{"validuntil": "2023-06-24T12:56:52.000Z"}}),
		"one-line": pir(doc{"certificate": strings.ReplaceAll(chain, "\n", ""), "key": strings.ReplaceAll(string(key), "\n", `\n`),
			"tokenurl": cert + "/oauth/token"}),
		"external":      pir(doc{"certificate": leaf, "tokenurl": cert + "/oauth/token"}),
		"xsuaa":         xsuaa,
		"uaa":           doc{"endpoints": doc{"accounts_service_url": "https://accounts.example.com"}, "grant_type": "client_credentials", "uaa": xsuaa},
		"x509":          doc{"credentials": x509},
		"hidden":        doc{"credentials": hidden},
		"ias":           identityService(doc{"clientsecret": secret}),
		"ias-generated": identityService(doc{"certificate": chain, "key": string(key)}),
		"ias-provided":  identityService(doc{"certificate": leaf}),
		"ias-none":      identityService(doc{"credential-type": "NONE"}),
		"vcap-one": doc{"it-rt": []doc{{"name": "erp", "credentials": pir(doc{"clientsecret": secret})}}, "user-provided": []doc{{"name": "x",
			"credentials": doc{"uri": "https://x"}}}},
		"vcap-two": doc{"VCAP_SERVICES": doc{"it-rt": []doc{{"name": "erp", "credentials": pir(doc{"clientsecret": secret})}},
			"xsuaa": []doc{{"name": "login", "credentials": xsuaa}}}},
		"secret-and-key":    pir(doc{"clientsecret": secret, "certificate": leaf, "key": string(key)}),
		"secret-where-cert": pir(doc{"clientsecret": secret, "tokenurl": cert + "/oauth/token"}),
		"two":               doc{"oauth": pir(doc{"clientsecret": secret})["oauth"], "uaa": xsuaa},
		"wrong-key":         pir(doc{"certificate": leaf, "key": string(otherKey)}),
	} {
		b, err := json.MarshalIndent(document, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		fixture(t, dir, filepath.Join("servicekey", name+".json"), b)
		if name == "integration-flow" {
			heading := "Getting key k1 for service instance erp as anna@example.com...\n\n"
			fixture(t, dir, "servicekey/cf-output", append([]byte("\xef\xbb\xbf"+heading), strings.ReplaceAll(string(b), "\n", "\r\n")+"\r\n"...))
		}
	}
	fixture(t, dir, "servicekey/own.key", key)
	fixture(t, dir, "servicekey/own.pem", []byte(leaf))
	fixture(t, dir, "servicekey/other.key", otherKey)
}
