package tenantsim

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"time"
)

// appName is put before every role to make a scope, as XSUAA does.
const appName = "it-rt-sim!b55215"

// issuer signs tokens and remembers them. One issuer is one signing key; it is replaced to revoke all. Guarded by Sim.mu,
// the key being immutable.
type issuer struct {
	key    *rsa.PrivateKey
	keyID  string
	issued map[string]issued // by token
}

// issued is what a token stands for.
type issued struct {
	client  string
	roles   []string
	expires time.Time
}

// maxIssued is how many tokens are remembered before the dead ones are swept.
const maxIssued = 4096

func newIssuer() (*issuer, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, fmt.Errorf("making signing key: %w", err)
	}
	sum := sha256.Sum256(key.N.Bytes())
	return &issuer{key: key, keyID: "key-" + hex.EncodeToString(sum[:4]), issued: map[string]issued{}}, nil
}

// remember keeps a token.
func (i *issuer) remember(token string, t issued, now time.Time) {
	if len(i.issued) >= maxIssued {
		for old, t := range i.issued {
			if now.After(t.expires) {
				delete(i.issued, old)
			}
		}
	}
	i.issued[token] = t
}

// sign makes a JWT (RFC 7519) with RS256 and the claims of TENANTS.md 2.6.
func (i *issuer) sign(base, client string, scopes []string, certificate *x509.Certificate, now time.Time, lifetime time.Duration) (token, id string, err error) {
	id = hex.EncodeToString(random(16))
	header := map[string]any{"alg": "RS256", "jku": base + "/token_keys", "kid": i.keyID, "typ": "JWT"}
	claims := map[string]any{
		"jti": id, "ext_attr": map[string]any{"enhancer": "XSUAA", "zdn": "sim"},
		"sub": client, "cid": client, "client_id": client, "azp": client, "authorities": scopes, "scope": scopes,
		"grant_type": "client_credentials", "rev_sig": hex.EncodeToString(random(4)), "iat": now.Unix(), "exp": now.Add(lifetime).Unix(),
		"iss": base + "/oauth/token", "zid": "00000000-0000-4000-8000-000000000001", "aud": []string{appName, client},
	}
	if certificate != nil { // RFC 8705 section 3.1
		sum := sha256.Sum256(certificate.Raw)
		claims["cnf"] = map[string]any{"x5t#S256": base64.RawURLEncoding.EncodeToString(sum[:])}
	}
	signed := segment(header) + "." + segment(claims)
	digest := sha256.Sum256([]byte(signed))
	signature, err := rsa.SignPKCS1v15(rand.Reader, i.key, crypto.SHA256, digest[:])
	if err != nil {
		return "", "", fmt.Errorf("signing token: %w", err)
	}
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature), id, nil
}

// keys is the body of /token_keys (RFC 7517, with UAA's "value").
func (i *issuer) keys() map[string]any {
	der, _ := x509.MarshalPKIXPublicKey(i.key.Public()) // an RSA key always can
	return map[string]any{"keys": []any{map[string]any{
		"kty": "RSA", "alg": "RS256", "use": "sig", "kid": i.keyID,
		"n":     base64.RawURLEncoding.EncodeToString(i.key.N.Bytes()),
		"e":     base64.RawURLEncoding.EncodeToString(big.NewInt(int64(i.key.E)).Bytes()),
		"value": string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})),
	}}}
}

func segment(v any) string {
	b, _ := json.Marshal(v) // maps of strings and numbers
	return base64.RawURLEncoding.EncodeToString(b)
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails (crypto/rand)
	return b
}
