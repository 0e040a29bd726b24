package identity

import (
	"encoding/json"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// TokenParameters are further form fields of token requests, such as resource (RFC 8707), audience or token_format: a name and one value
// or more, in order. They are no secrets. In Go they are one text, form-urlencoded and sorted by name, so that they can be compared; in JSON
// they are an object of lists. Make them with NewTokenParameters.
type TokenParameters string

// NewTokenParameters returns the parameters with these values; a name without values is left out.
func NewTokenParameters(values map[string][]string) TokenParameters {
	return TokenParameters(url.Values(values).Encode())
}

// Values returns the parameters by name, in a map of its own.
func (p TokenParameters) Values() map[string][]string {
	values, err := url.ParseQuery(string(p))
	if err != nil {
		return map[string][]string{} // not made by NewTokenParameters: Validate says so
	}
	return values
}

// With returns the parameters and those of over, which replace all of the same name.
func (p TokenParameters) With(over TokenParameters) TokenParameters {
	switch {
	case over == "":
		return p
	case p == "":
		return over
	}
	values := p.Values()
	maps.Copy(values, over.Values())
	return NewTokenParameters(values)
}

// Pairs returns name=value for each value, sorted by name.
func (p TokenParameters) Pairs() []string {
	values := p.Values()
	var pairs []string
	for _, name := range slices.Sorted(maps.Keys(values)) {
		for _, value := range values[name] {
			pairs = append(pairs, name+"="+value)
		}
	}
	return pairs
}

// MarshalJSON writes an object whose members are lists of strings.
func (p TokenParameters) MarshalJSON() ([]byte, error) { return json.Marshal(p.Values()) }

// UnmarshalJSON reads an object whose members are strings or lists of strings.
func (p *TokenParameters) UnmarshalJSON(b []byte) error {
	malformed := &Error{Code: ErrInvalid, Object: "token_parameters", Message: "not an object of strings and lists of strings",
		Hint: `write it like {"resource": ["https://api.example.com"], "token_format": "jwt"}`}
	var members map[string]json.RawMessage
	if json.Unmarshal(b, &members) != nil {
		return malformed
	}
	values := make(map[string][]string, len(members))
	for name, raw := range members {
		var one string
		var list []string
		switch {
		case string(raw) == "null":
			return malformed
		case json.Unmarshal(raw, &one) == nil:
			list = []string{one}
		case json.Unmarshal(raw, &list) != nil:
			return malformed
		}
		values[name] = list
	}
	*p = NewTokenParameters(values)
	return nil
}

// ownParameters are those that a token request has anyway or that would make it another one, and those that hold secrets, which do not
// belong among what is shown.
var ownParameters = map[string]string{
	"grant_type":            "it is always client_credentials",
	"client_id":             "it is the credential's client id",
	"client_secret":         "it is the credential's secret",
	"client_assertion":      "it is made anew for each request: use auth style private_key_jwt",
	"client_assertion_type": "it is made anew for each request: use auth style private_key_jwt",
	"scope":                 "use the scope of tenant, credential or route",
	"assertion":             "it belongs to another grant",
	"username":              "it belongs to another grant",
	"password":              "it belongs to another grant",
	"code":                  "it belongs to another grant",
	"code_verifier":         "it belongs to another grant",
	"redirect_uri":          "it belongs to another grant",
	"device_code":           "it belongs to another grant",
	"refresh_token":         "it belongs to another grant",
	"subject_token":         "it belongs to another grant",
	"actor_token":           "it belongs to another grant",
}

const (
	maxParameters     = 32   // values
	maxParameterValue = 2048 // bytes
)

// parameters checks further fields of token requests.
func (v *validation) parameters(field string, p TokenParameters) {
	if p == "" {
		return
	}
	values, err := url.ParseQuery(string(p))
	if err != nil || NewTokenParameters(values) != p {
		v.fail(field, "not in the form that the registry stores", "give names and values")
		return
	}
	total := 0
	for _, name := range slices.Sorted(maps.Keys(values)) {
		v.parameter(field, name, values[name])
		total += len(values[name])
	}
	if total > maxParameters {
		v.fail(field, "more than "+strconv.Itoa(maxParameters)+" values", "give fewer")
	}
}

func (v *validation) parameter(field, name string, values []string) {
	if why, own := ownParameters[strings.ToLower(name)]; own {
		v.fail(field, quoted(name)+" cannot be given as a parameter", why)
		return
	}
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._"
	if name == "" || len(name) > 64 || strings.Trim(name, letters) != "" {
		v.fail(field, quoted(name)+" is not the name of a parameter", "use 1 to 64 letters, digits, '-', '.' and '_', like resource")
		return
	}
	for _, value := range values {
		if value == "" || len(value) > maxParameterValue || !printable(value) {
			v.fail(field, "a value of "+quoted(name)+" is empty, longer than 2048 bytes or holds a control character", "give it as the vendor documents it")
		}
	}
}
