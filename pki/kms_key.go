package pki

import (
	"crypto"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"go.step.sm/crypto/kms/apiv1"
)

// kms are the connections of this process. They are the process's and not a CA's, because a PKCS#11 library is: it is initialised once, and
// github.com/ThalesIgnite/crypto11 finalises it for everybody when one connection cannot be made.
var kms = connections{turn: make(chan struct{}, 1), open: map[string]*connection{}, refused: map[string]error{}}

// connections are shared by all keys of one token or cloud account.
type connections struct {
	turn chan struct{}          // has one place, for whoever uses what follows
	open map[string]*connection // by what connectionOf returns
	// refused are the wrong PINs, by connection and PIN: each is tried once in the life of the process, because tokens lock themselves after a few.
	refused map[string]error
}

type connection struct {
	manager apiv1.KeyManager
	library string // of PKCS#11; all connections to it live and die together
}

// connectionOf is a URI without what names a key, and library the one that it loads.
func connectionOf(uri string) (name, library string) {
	if !strings.HasPrefix(uri, "pkcs11:") {
		return uri, uri
	}
	path, _, _ := strings.Cut(strings.TrimPrefix(uri, "pkcs11:"), "?")
	attributes := slices.DeleteFunc(strings.Split(path, ";"), func(a string) bool {
		return strings.HasPrefix(a, "object=") || strings.HasPrefix(a, "id=") || strings.HasPrefix(a, "type=")
	})
	for _, a := range attributes {
		if value, ok := strings.CutPrefix(a, "module-path="); ok {
			library = value
		}
	}
	slices.Sort(attributes)
	return strings.Join(attributes, ";"), library
}

// get returns the connection for a URI, a new one in the place of broken. Whoever calls it has the turn.
func (p *connections) get(uri, pin string, broken *connection) (*connection, error) {
	name, library := connectionOf(uri)
	c := p.open[name]
	if c != nil && c != broken {
		return c, nil
	}
	if c != nil {
		p.drop(library)
	}
	if err := p.refused[name+"\x00"+pin]; err != nil {
		return nil, err
	}
	manager, err := openKMS(uri, pin)
	if err != nil {
		if strings.Contains(err.Error(), "CKR_PIN") {
			p.refused[name+"\x00"+pin] = err
		}
		p.drop(library) // the others do not work any more either: they connect again when they are needed
		return nil, err
	}
	c = &connection{manager, library}
	p.open[name] = c
	return c, nil
}

// drop closes all connections to a library, so that the next one initialises it anew.
func (p *connections) drop(library string) {
	for name, c := range p.open {
		if c.library == library {
			delete(p.open, name)
			_ = c.manager.Close() // it may be finalised already
		}
	}
}

// signer finds a key, over a new connection if broken is the one that there is.
func (p *connections) signer(uri, pin string, broken *connection) (crypto.Signer, *connection, error) {
	p.turn <- struct{}{}
	defer func() { <-p.turn }()
	c, err := p.get(uri, pin, broken)
	if err != nil {
		return nil, nil, err
	}
	signer, err := c.manager.CreateSigner(&apiv1.CreateSignerRequest{SigningKey: uri})
	if err != nil || signer == nil {
		if err == nil {
			err = errors.New("there is no such key")
		}
		return nil, nil, &FileError{Path: uri, Problem: "finding the key in the KMS", Err: withoutPIN(err, pin), Hint: "is the object's name right, and is the key there?"}
	}
	return signer, c, nil
}

// create makes a key, unless there is one.
func (p *connections) create(uri, pin string, request *apiv1.CreateKeyRequest) (*apiv1.CreateKeyResponse, error) {
	p.turn <- struct{}{}
	defer func() { <-p.turn }()
	c, err := p.get(uri, pin, nil)
	if err != nil {
		return nil, err
	}
	if _, err := c.manager.GetPublicKey(&apiv1.GetPublicKeyRequest{Name: uri}); err == nil {
		return nil, &FileError{Path: uri, Problem: "a key is there already and is not replaced", Err: ErrExists, Hint: "name another object"}
	}
	return c.manager.CreateKey(request)
}

// kmsKey is a key in a KMS. It connects again, at most every few seconds, after a signature has failed.
type kmsKey struct {
	uri, pin string
	public   crypto.PublicKey

	mu         sync.Mutex // guards what follows; never held across a call to the KMS
	signer     crypto.Signer
	connection *connection
	tried      time.Time
}

// reconnectAfter is how soon after one attempt to connect again another one is made.
const reconnectAfter = 5 * time.Second

// Public returns the public key as it was found at first.
func (k *kmsKey) Public() crypto.PublicKey { return k.public }

// Sign signs with the key in the KMS, within kmsTimeout. When that fails it connects again and tries once more.
func (k *kmsKey) Sign(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	type result struct {
		signature []byte
		err       error
	}
	done := make(chan result, 1)
	digest = slices.Clone(digest)
	go func() {
		signature, err := k.sign(random, digest, opts)
		done <- result{signature, err}
	}()
	select {
	case r := <-done:
		return r.signature, r.err
	case <-time.After(kmsTimeout):
		return nil, &FileError{Path: k.uri, Problem: fmt.Sprintf("signing with the key in the KMS: there was no answer for %v", kmsTimeout), Hint: "what is signed already goes on working"}
	}
}

func (k *kmsKey) sign(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	k.mu.Lock()
	signer, broken := k.signer, k.connection
	k.mu.Unlock()
	signature, err := signer.Sign(random, digest, opts)
	if err == nil {
		return signature, nil
	}
	failed := &FileError{Path: k.uri, Problem: "signing with the key in the KMS", Err: withoutPIN(err, k.pin), Hint: "is the token there? What is signed already goes on working"}
	k.mu.Lock()
	wait := time.Since(k.tried) < reconnectAfter
	if !wait {
		k.tried = time.Now()
	}
	k.mu.Unlock()
	if wait {
		return nil, failed
	}
	next, connection, err := kms.signer(k.uri, k.pin, broken)
	if err != nil {
		return nil, fmt.Errorf("signing with the key in the KMS: %w", err)
	}
	if !publicKeyEqual(next.Public(), k.public) {
		return nil, &FileError{Path: k.uri, Problem: "signing with the key in the KMS: there is another key now"}
	}
	k.mu.Lock()
	k.signer, k.connection = next, connection
	k.mu.Unlock()
	if signature, err = next.Sign(random, digest, opts); err != nil {
		return nil, failed
	}
	return signature, nil
}
