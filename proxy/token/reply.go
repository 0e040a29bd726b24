package token

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"
)

// maxToken bounds an access token in bytes: no server accepts header fields of this size.
const maxToken = 64 << 10

// reply is a token endpoint's answer (RFC 6749 section 5.1) after all checks.
type reply struct {
	accessToken string
	lifetime    time.Duration // 0 when the server told none that makes sense
	scope       string
	scopeTold   bool
}

// parseReply reads a 200 answer. Its errors quote nothing of the body.
func parseReply(body []byte) (*reply, error) {
	fields, err := object(body)
	if err != nil {
		return nil, err
	}
	r := &reply{}
	if r.accessToken, err = text(fields, "access_token"); err != nil {
		return nil, err
	}
	switch {
	case r.accessToken == "":
		return nil, errors.New("the answer has no access_token")
	case len(r.accessToken) > maxToken:
		return nil, fmt.Errorf("the access_token is longer than %d bytes", maxToken)
	case strings.IndexFunc(r.accessToken, func(c rune) bool { return c <= ' ' || c > '~' }) >= 0:
		return nil, errors.New("the access_token contains a space, a control or a non-ASCII character")
	}
	kind, err := text(fields, "token_type")
	if err != nil {
		return nil, err
	}
	if kind == "" {
		return nil, errors.New("the answer has no token_type (RFC 6749 section 5.1)")
	}
	if !strings.EqualFold(kind, "bearer") {
		return nil, errors.New("the token_type is not bearer")
	}
	r.lifetime = lifetime(fields["expires_in"])
	if raw, ok := fields["scope"]; ok && !isNull(raw) {
		r.scopeTold = true
		var list []string // seen in place of the string that the RFC wants
		if json.Unmarshal(raw, &list) == nil {
			r.scope = strings.Join(list, " ")
		} else if r.scope, err = text(fields, "scope"); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// object reads exactly one JSON object. Names are compared exactly, which json.Unmarshal into a struct would not do.
func object(body []byte) (map[string]json.RawMessage, error) {
	dec := json.NewDecoder(bytes.NewReader(body))
	var fields map[string]json.RawMessage
	if err := dec.Decode(&fields); err != nil {
		return nil, errors.New("the answer is no JSON object")
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the JSON object")
	}
	if fields == nil {
		return nil, errors.New("the answer is no JSON object")
	}
	return fields, nil
}

func isNull(raw json.RawMessage) bool { return string(raw) == "null" }

func text(fields map[string]json.RawMessage, name string) (string, error) {
	raw, ok := fields[name]
	if !ok || isNull(raw) {
		return "", nil
	}
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		return "", fmt.Errorf("%s is no string", name)
	}
	return s, nil
}

// lifetime reads expires_in: a number, a fraction such as 60.0, or either in a string. 0 means that the server told
// nothing usable: missing, null, zero (Neo's "not told", TENANTS.md 1.8), negative, not a number.
func lifetime(raw json.RawMessage) time.Duration {
	s := string(raw)
	if strings.HasPrefix(s, `"`) && json.Unmarshal(raw, &s) != nil {
		return 0
	}
	seconds, err := strconv.ParseFloat(strings.TrimSpace(s), 64)
	if (err != nil && !errors.Is(err, strconv.ErrRange)) || math.IsNaN(seconds) || seconds <= 0 {
		return 0
	}
	const longest = 100 * 365 * 24 * 3600 // within time.Duration; the engine caps far below
	return time.Duration(min(seconds, longest) * float64(time.Second))
}

// missingScopes returns what was asked for and not granted. A granted scope counts for a requested one when it is the same
// or ends in "." + it: SAP puts the application's name in front ("it-rt-acme!b55215.ESBMessaging.send" for
// "ESBMessaging.send"), and another one on another host (TENANTS.md 3.6), so a prefix that ends in "!" + plan number is
// taken off the requested one as well.
func missingScopes(requested, granted string) []string {
	var missing []string
	for _, want := range strings.Fields(requested) {
		if !hasScope(strings.Fields(granted), want) {
			missing = append(missing, want)
		}
	}
	return missing
}

func hasScope(granted []string, want string) bool {
	bare := want
	if app, name, ok := strings.Cut(want, "."); ok && strings.Contains(app, "!") && name != "" {
		bare = name
	}
	for _, g := range granted {
		if g == want || g == bare || strings.HasSuffix(g, "."+bare) {
			return true
		}
	}
	return false
}
