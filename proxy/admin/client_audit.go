package admin

import (
	"context"
	"encoding/json"
	"net/url"
	"strconv"

	"github.com/tenantgate/tenantgate/proxy/record"
)

// Changes lists up to limit change records (1 to 10,000) after the number after, oldest first.
func (c *Client) Changes(ctx context.Context, after int64, limit int) ([]record.Change, error) {
	q := url.Values{"after": {strconv.FormatInt(after, 10)}, "limit": {strconv.Itoa(limit)}}
	return do[[]record.Change](ctx, c, "GET", address("changes")+"?"+q.Encode(), nil)
}

// VerifyChanges has the chain of change records checked, against a head that was noted before when one is given. What it finds is in
// the report.
func (c *Client) VerifyChanges(ctx context.Context, noted ...record.Head) (record.Report, error) {
	path := address("changes", "verify")
	if len(noted) > 0 {
		path += "?" + url.Values{"head": {noted[0].String()}}.Encode()
	}
	return do[record.Report](ctx, c, "GET", path, nil)
}

// Status returns how the server is.
func (c *Client) Status(ctx context.Context) (Status, error) {
	return do[Status](ctx, c, "GET", address("status"), nil)
}

// OpenAPI returns the description of the API (OpenAPI 3.1, JSON).
func (c *Client) OpenAPI(ctx context.Context) (json.RawMessage, error) {
	return do[json.RawMessage](ctx, c, "GET", address("openapi.json"), nil)
}
