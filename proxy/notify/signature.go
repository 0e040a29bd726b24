package notify

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// secretPrefix is what the text of a secret begins with (Standard Webhooks, "Signature scheme").
const secretPrefix = "whsec_"

// Bounds of a secret, in octets, as Standard Webhooks has them.
const (
	minSecret = 24
	maxSecret = 64
)

// maxSecrets is how many secrets sign at the same time: one, and another while the receiver learns it.
const maxSecrets = 2

// parseSecrets reads one secret a line: whsec_ and base64 of 24 to 64 octets. An error never repeats what it has read.
func parseSecrets(text []byte) ([][]byte, error) {
	var secrets [][]byte
	for line := range bytes.Lines(text) {
		s := strings.TrimSpace(string(line))
		if s == "" {
			continue
		}
		encoded, ok := strings.CutPrefix(s, secretPrefix)
		if !ok {
			return nil, errors.New("a secret does not begin with " + secretPrefix)
		}
		key, err := base64.StdEncoding.Strict().DecodeString(encoded)
		if err != nil || len(key) < minSecret || len(key) > maxSecret {
			return nil, fmt.Errorf("a secret is not %s and the base64 of %d to %d octets", secretPrefix, minSecret, maxSecret)
		}
		secrets = append(secrets, key)
	}
	if len(secrets) == 0 || len(secrets) > maxSecrets {
		return nil, fmt.Errorf("%d secrets instead of one, or two while they are changed", len(secrets))
	}
	return secrets, nil
}

// sign returns the headers webhook-timestamp and webhook-signature: HMAC-SHA256 over id, timestamp and body with dots between, one a secret.
func sign(secrets [][]byte, id string, at time.Time, body []byte) (timestamp, signature string) {
	timestamp = strconv.FormatInt(at.Unix(), 10)
	all := make([]string, len(secrets))
	for i, secret := range secrets {
		mac := hmac.New(sha256.New, secret)
		mac.Write([]byte(id + "." + timestamp + "."))
		mac.Write(body)
		all[i] = "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
	}
	return timestamp, strings.Join(all, " ")
}
