package migration

import (
	"crypto/sha256"
	"encoding/base64"
)

// StyleHash is what a policy calls a style.
func StyleHash(style string) string {
	sum := sha256.Sum256([]byte(style))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}
