package pki

import (
	"bytes"
	"crypto/x509"
	"slices"
	"time"

	"github.com/pavlo-v-chernykh/keystore-go/v4"
)

// encodeJKS writes Java's key store with one key, whose password is that of the store, as Java's own key managers expect it.
func encodeJKS(c *Contents, password string) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(c.Key)
	if err != nil {
		return nil, err
	}
	entry := keystore.PrivateKeyEntry{CreationTime: time.Now(), PrivateKey: der}
	for _, cert := range append(slices.Clone(c.Chain), c.Roots...) {
		entry.CertificateChain = append(entry.CertificateChain, jksCertificate(cert))
	}
	store := keystore.New()
	if err := store.SetPrivateKeyEntry(c.Alias, entry, []byte(password)); err != nil {
		return nil, err
	}
	return storeJKS(store, password)
}

func encodeTrustJKS(c *Contents, password string) ([]byte, error) {
	store := keystore.New(keystore.WithOrderedAliases())
	for i, root := range c.Roots {
		entry := keystore.TrustedCertificateEntry{CreationTime: time.Now(), Certificate: jksCertificate(root)}
		if err := store.SetTrustedCertificateEntry(rootAlias(c, i), entry); err != nil {
			return nil, err
		}
	}
	return storeJKS(store, password)
}

func jksCertificate(c *x509.Certificate) keystore.Certificate {
	return keystore.Certificate{Type: "X.509", Content: c.Raw}
}

func storeJKS(store keystore.KeyStore, password string) ([]byte, error) {
	var b bytes.Buffer
	err := store.Store(&b, []byte(password))
	return b.Bytes(), err
}
