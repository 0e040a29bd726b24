package admin

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
)

// etag is the entity tag (RFC 9110 section 8.8.3) of an object: two states of it have the same tag when they read the same.
func etag(object any) (string, error) {
	b, err := json.Marshal(object)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(b)
	return `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`, nil
}

// tag sends the object's entity tag with it, for a later If-Match.
func (c *call) tag(object any) error {
	tag, err := etag(object)
	if err == nil {
		c.header.Set("ETag", tag)
	}
	return err
}

// matches refuses a change whose If-Match (RFC 9110 section 13.1.1) names another state of the object than it has in the transaction:
// whoever computed the change from what he had read would undo somebody else's. One tag is understood; without the header, and with *,
// every state will do.
func (c *call) matches(object any) error {
	want := c.Header.Get("If-Match")
	if want == "" || want == "*" {
		return nil
	}
	tag, err := etag(object)
	if err != nil {
		return err
	}
	if tag != want {
		return &problem{Status: http.StatusPreconditionFailed, Code: "changed", Detail: "somebody else has changed it since it was read",
			Hint: "read it again and make the change anew"}
	}
	return nil
}
