package pki

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"
	"sync"
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
	signer, err := k.connect()
	if err != nil {
		return nil, err
	}
	k.signer, k.public = signer, signer.Public()
	return k, nil
}

// CreateKMSKey makes a key of a type that [GenerateKey] knows at a URI, and returns it. One that is there is never replaced: [ErrExists].
func CreateKMSKey(uri string, pin []byte, keyType string) (crypto.Signer, error) {
	if err := CheckKMS(uri); err != nil {
		return nil, err
	}
	manager, err := openKMS(uri, string(pin))
	if err != nil {
		return nil, err
	}
	defer manager.Close()
	if _, err := manager.GetPublicKey(&apiv1.GetPublicKeyRequest{Name: uri}); err == nil {
		return nil, &FileError{Path: uri, Problem: "a key is there already and is not replaced", Err: ErrExists, Hint: "name another object"}
	}
	request := &apiv1.CreateKeyRequest{Name: uri}
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
	made, err := manager.CreateKey(request)
	if err != nil {
		return nil, &FileError{Path: uri, Problem: "making a key in the KMS", Err: withoutPIN(err, string(pin))}
	}
	if made.Name != "" && made.Name != uri && !strings.HasPrefix(uri, "pkcs11:") { // clouds give it the name that finds it again
		uri = made.Name
	}
	return OpenKMSKey(uri, pin)
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

// kmsKey is a key in a KMS. It connects again, at most every few seconds, after a signature has failed.
type kmsKey struct {
	uri, pin string
	public   crypto.PublicKey

	mu     sync.Mutex // guards what follows; never held across a call to the KMS
	signer crypto.Signer
	tried  time.Time
}

// reconnectAfter is how soon after one attempt to connect again another one is made.
const reconnectAfter = 5 * time.Second

func (k *kmsKey) connect() (crypto.Signer, error) {
	manager, err := openKMS(k.uri, k.pin)
	if err != nil {
		return nil, err
	}
	signer, err := manager.CreateSigner(&apiv1.CreateSignerRequest{SigningKey: k.uri})
	if err != nil {
		_ = manager.Close() // the first error says more
		return nil, &FileError{Path: k.uri, Problem: "finding the key in the KMS", Err: withoutPIN(err, k.pin), Hint: "is the object's name right, and is the key there?"}
	}
	return signer, nil
}

// Public returns the public key as it was found at first.
func (k *kmsKey) Public() crypto.PublicKey { return k.public }

// Sign signs with the key in the KMS. When that fails it connects again and tries once more.
func (k *kmsKey) Sign(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	k.mu.Lock()
	signer := k.signer
	k.mu.Unlock()
	signature, err := bounded(signer, random, digest, opts)
	if err == nil {
		return signature, nil
	}
	k.mu.Lock()
	again := k.signer == signer && time.Since(k.tried) > reconnectAfter
	if again {
		k.tried = time.Now()
	} else {
		signer = k.signer
	}
	k.mu.Unlock()
	if again {
		next, connectErr := k.connect()
		if connectErr != nil {
			return nil, fmt.Errorf("signing with the key in the KMS: %w", connectErr)
		}
		if !publicKeyEqual(next.Public(), k.public) {
			return nil, fmt.Errorf("signing with the key in the KMS: at %s is another key now", k.uri)
		}
		k.mu.Lock()
		k.signer, signer = next, next
		k.mu.Unlock()
		if signature, err = bounded(signer, random, digest, opts); err == nil {
			return signature, nil
		}
	}
	return nil, &FileError{Path: k.uri, Problem: "signing with the key in the KMS", Err: withoutPIN(err, k.pin), Hint: "is the token there? What is signed already goes on working"}
}

// bounded signs, for kmsTimeout at most.
func bounded(signer crypto.Signer, random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	type result struct {
		signature []byte
		err       error
	}
	done := make(chan result, 1)
	digest = slices.Clone(digest)
	go func() {
		signature, err := signer.Sign(random, digest, opts)
		done <- result{signature, err}
	}()
	select {
	case r := <-done:
		return r.signature, r.err
	case <-time.After(kmsTimeout):
		return nil, fmt.Errorf("there was no answer for %v", kmsTimeout)
	}
}
