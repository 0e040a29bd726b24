package check

import (
	"encoding/base64"
	"encoding/json"
	"math"
	"strings"
	"time"
)

// readClaims reads a token as a JWT; nil when it is none, which is nobody's fault: tokens may be opaque.
func readClaims(token string) *Claims {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil
	}
	var header struct {
		Algorithm any `json:"alg"`
	}
	var body map[string]any
	if !segment(parts[0], &header) || !segment(parts[1], &body) || body == nil {
		return nil
	}
	c := &Claims{Issuer: one(body["iss"]), Audience: many(body["aud"]), Zone: one(body["zid"]), Issued: instant(body["iat"]), Expires: instant(body["exp"])}
	c.Algorithm = one(header.Algorithm)
	for _, name := range []string{"client_id", "cid", "azp"} {
		if c.Client = one(body[name]); c.Client != "" {
			break
		}
	}
	if list, ok := body["scope"].(string); ok {
		c.Scopes = many(anyOf(strings.Fields(list)))
	} else {
		c.Scopes = many(body["scope"])
	}
	if cnf, ok := body["cnf"].(map[string]any); ok {
		c.Bound = one(cnf["x5t#S256"])
	}
	return c
}

func segment(s string, v any) bool {
	b, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(s, "="))
	return err == nil && json.Unmarshal(b, v) == nil
}

const maxClaim = 200 // bytes of one text, and of a list's items

// one is a claim that is a text.
func one(v any) string {
	s, _ := v.(string)
	return clean(s, maxClaim)
}

// many is a claim that is a text or a list of them.
func many(v any) []string {
	if s, ok := v.(string); ok {
		return []string{clean(s, maxClaim)}
	}
	list, _ := v.([]any)
	var texts []string
	for _, item := range list {
		if s, ok := item.(string); ok && len(texts) < maxClaim {
			texts = append(texts, clean(s, maxClaim))
		}
	}
	return texts
}

func anyOf(list []string) []any {
	all := make([]any, len(list))
	for i, s := range list {
		all[i] = s
	}
	return all
}

// instant is a claim that is a time (RFC 7519, section 2: NumericDate).
func instant(v any) time.Time {
	f, ok := v.(float64)
	if !ok || math.IsNaN(f) || f <= 0 || f > 1e11 {
		return time.Time{}
	}
	return time.Unix(int64(f), 0).UTC()
}
