package pki

import (
	"context"
	"crypto"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"go.step.sm/crypto/kms/apiv1"
)

// kmsTags are the backends that a build can have, by the scheme of their URIs, and the build tag that puts each into the binary.
var kmsTags = map[string]string{"pkcs11": "pkcs11", "awskms": "awskms", "cloudkms": "cloudkms", "azurekms": "azurekms"}

// kmsTimeout bounds one signature by a KMS. PKCS#11 has no way to be interrupted: what takes longer is left to itself.
const kmsTimeout = 10 * time.Second

// IsKMS reports whether location is the URI of a KMS rather than a file.
func IsKMS(location string) bool {
	scheme, _, ok := strings.Cut(location, ":")
	return ok && kmsTags[scheme] != ""
}

// CheckKMS says whether this binary can use the URI of a key in a KMS, without asking the KMS. A URI must not hold a PIN: it is stored, shown and logged.
func CheckKMS(uri string) error {
	scheme, rest, ok := strings.Cut(uri, ":")
	tag := kmsTags[scheme]
	switch {
	case !ok || tag == "":
		return &FileError{Path: printableURI(uri), Problem: "not the URI of a key in a KMS", Hint: "pkcs11:module-path=/usr/lib/...so;token=NAME;object=KEY, awskms:, cloudkms: or azurekms:"}
	case strings.Contains(strings.ToLower(rest), "pin-value"):
		return &FileError{Path: scheme + ":", Problem: "the URI holds a PIN, which would be stored and logged", Hint: "take pin-value out; ca.key_pin_file names a file with the PIN, or a systemd credential"}
	case strings.Contains(strings.ToLower(rest), "pin-source"):
		return &FileError{Path: uri, Problem: "pin-source is not read here", Hint: "take it out; ca.key_pin_file names the file with the PIN, or a systemd credential"}
	}
	if _, err := url.ParseQuery(strings.ReplaceAll(rest, ";", "&")); err != nil && scheme != "cloudkms" {
		return &FileError{Path: uri, Problem: "the URI is malformed", Err: err}
	}
	if _, there := apiv1.LoadKeyManagerNewFunc(apiv1.Type(scheme)); !there {
		return &FileError{Path: uri, Problem: "this binary was built without " + scheme, Hint: buildHint(tag)}
	}
	return nil
}

func buildHint(tag string) string {
	if tag == "pkcs11" {
		return "build it with CGO_ENABLED=1 go build -tags pkcs11 ./cmd/tenantgate"
	}
	return "build it with go build -tags " + tag + " ./cmd/tenantgate"
}

// printableURI leaves out what may be a secret in something that is not understood.
func printableURI(uri string) string {
	if strings.Contains(strings.ToLower(uri), "pin") {
		return "the given URI"
	}
	return uri
}

// KMSBackends lists the schemes that this binary can use.
func KMSBackends() []string {
	var all []string
	for scheme := range kmsTags {
		if _, there := apiv1.LoadKeyManagerNewFunc(apiv1.Type(scheme)); there {
			all = append(all, scheme)
		}
	}
	slices.Sort(all)
	return all
}

// OpenKMSKey returns the key at a URI: pkcs11 (RFC 7512, with module-path, token and object or id), awskms, cloudkms or azurekms. The PIN is for PKCS#11.
// Its public key is read at once; the connection is made again when signing fails, for a token that was pulled out and put back. Safe for concurrent use.
func OpenKMSKey(uri string, pin []byte) (crypto.Signer, error) {
	if err := CheckKMS(uri); err != nil {
		return nil, err
	}
	k := &kmsKey{uri: uri, pin: string(pin)}
	var err error
	if k.signer, k.connection, err = kms.signer(uri, k.pin, nil); err != nil {
		return nil, err
	}
	k.public = k.signer.Public()
	return k, nil
}

// CreateKMSKey makes a key of a type that [GenerateKey] knows at a URI, and returns it. One that is there is never replaced: [ErrExists].
func CreateKMSKey(uri string, pin []byte, keyType string) (crypto.Signer, error) {
	if err := CheckKMS(uri); err != nil {
		return nil, err
	}
	name, err := nameOfNewKey(uri)
	if err != nil {
		return nil, err
	}
	request := &apiv1.CreateKeyRequest{Name: name}
	switch keyType {
	case "", P256:
		request.SignatureAlgorithm = apiv1.ECDSAWithSHA256
	case P384:
		request.SignatureAlgorithm = apiv1.ECDSAWithSHA384
	case RSA2048:
		request.SignatureAlgorithm, request.Bits = apiv1.SHA256WithRSA, 2048
	case RSA3072:
		request.SignatureAlgorithm, request.Bits = apiv1.SHA256WithRSA, 3072
	case RSA4096:
		request.SignatureAlgorithm, request.Bits = apiv1.SHA256WithRSA, 4096
	default:
		return nil, fmt.Errorf("making a key in the KMS: key type %q: use P-256, P-384, RSA-2048, RSA-3072 or RSA-4096", keyType)
	}
	made, err := kms.create(uri, string(pin), request)
	if errors.Is(err, ErrExists) {
		return nil, err
	}
	if err != nil {
		return nil, &FileError{Path: uri, Problem: "making a key in the KMS", Err: withoutPIN(err, string(pin))}
	}
	if made.Name != "" && made.Name != uri && !strings.HasPrefix(uri, "pkcs11:") { // clouds give it the name that finds it again
		uri = made.Name
	}
	return OpenKMSKey(uri, pin)
}

// nameOfNewKey is a URI under which a key can be made. In PKCS#11 it needs a label (object) and an id; the id follows from the label when none is given.
func nameOfNewKey(uri string) (string, error) {
	if !strings.HasPrefix(uri, "pkcs11:") {
		return uri, nil
	}
	path, query, hasQuery := strings.Cut(uri, "?")
	attributes := strings.Split(strings.TrimPrefix(path, "pkcs11:"), ";")
	has := func(name string) (string, bool) {
		for _, a := range attributes {
			if value, ok := strings.CutPrefix(a, name+"="); ok && value != "" {
				return value, true
			}
		}
		return "", false
	}
	object, ok := has("object")
	if !ok {
		return "", &FileError{Path: uri, Problem: "the URI does not say what the new key is to be called", Hint: "add ;object=NAME"}
	}
	if _, ok := has("id"); !ok {
		sum := sha256.Sum256([]byte(object))
		path += ";id=" + hex.EncodeToString(sum[:8])
	}
	if hasQuery {
		path += "?" + query
	}
	return path, nil
}

func openKMS(uri, pin string) (apiv1.KeyManager, error) {
	scheme, _, _ := strings.Cut(uri, ":")
	open, there := apiv1.LoadKeyManagerNewFunc(apiv1.Type(scheme))
	if !there {
		return nil, CheckKMS(uri)
	}
	ctx, cancel := context.WithTimeout(context.Background(), kmsTimeout)
	defer cancel()
	manager, err := open(ctx, apiv1.Options{Type: apiv1.Type(scheme), URI: uri, Pin: pin})
	if err != nil {
		hint := "is it there, and may this user use it?"
		if strings.Contains(err.Error(), "CKR_PIN") {
			hint = "check the PIN in ca.key_pin_file; a token locks itself after a few wrong ones"
		}
		return nil, &FileError{Path: uri, Problem: "opening the KMS", Err: withoutPIN(err, pin), Hint: hint}
	}
	return manager, nil
}

// withoutPIN is err without the PIN, should a library have quoted it.
func withoutPIN(err error, pin string) error {
	if pin == "" || !strings.Contains(err.Error(), pin) {
		return errors.New(err.Error())
	}
	return errors.New(strings.ReplaceAll(err.Error(), pin, "[redacted]"))
}
