package backup

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"testing"
)

// Forge makes a file of a stream's text that is whole to whoever has no key.
func Forge(t testing.TB, text []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	seal := []byte("no seal")
	line, err := encodeTrailer(trailer{SHA256: fmt.Sprintf("%x", sha256.Sum256(append(bytes.Clone(b.Bytes()), seal...))), Seal: seal})
	if err != nil {
		t.Fatal(err)
	}
	return append(b.Bytes(), line...)
}
