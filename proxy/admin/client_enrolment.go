package admin

import (
	"context"
	"net/url"
)

// AddEnrolmentToken makes a token for one certificate of an identity. Its text is in the answer and nowhere else.
func (c *Client) AddEnrolmentToken(ctx context.Context, name string, r EnrolmentTokenRequest) (NewEnrolmentToken, error) {
	return do[NewEnrolmentToken](ctx, c, "POST", address("identities", name, "enrolment-tokens"), r)
}

// EnrolmentTokens lists tokens by id: of an identity, or of all when it is "", and in a state, or in any when it is "".
func (c *Client) EnrolmentTokens(ctx context.Context, name, state string) ([]EnrolmentToken, error) {
	q := url.Values{}
	if name != "" {
		q.Set("identity", name)
	}
	if state != "" {
		q.Set("state", state)
	}
	return list(ctx, c, address("enrolment-tokens"), q, func(t *EnrolmentToken) string { return t.ID })
}

// EnrolmentToken returns one token, without its text.
func (c *Client) EnrolmentToken(ctx context.Context, id string) (EnrolmentToken, error) {
	return do[EnrolmentToken](ctx, c, "GET", address("enrolment-tokens", id), nil)
}

// WithdrawEnrolmentToken takes a token back. A certificate that it was used for stays.
func (c *Client) WithdrawEnrolmentToken(ctx context.Context, id string) (EnrolmentToken, error) {
	return do[EnrolmentToken](ctx, c, "POST", address("enrolment-tokens", id, "withdraw"), nil)
}
