package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/tenantgate/tenantgate/proxy/record"
)

// Client calls the admin API of a running server: a method for each address of /v1. Each takes a context, and returns an *[APIError]
// when the server refuses and another error when there is no answer. Safe for concurrent use.
type Client struct {
	// HTTP makes the requests: over the admin socket or with an admin certificate. nil is http.DefaultClient.
	HTTP *http.Client
	// Base is scheme and host, "https://gate.example.com:9443", without a slash at the end.
	Base string
}

// APIError is an answer other than 2xx.
type APIError struct {
	// Status is the HTTP status.
	Status int `json:"status"`
	// Code is what kind of refusal it is: "invalid", "not_found", "exists" and so on; "" when the answer was not the API's.
	Code string `json:"code"`
	// Field is the JSON name of the member at fault; "" when it is none.
	Field string `json:"field"`
	// Detail says what is wrong, Hint what to do.
	Detail string `json:"detail"`
	Hint   string `json:"hint"`
	// RequestID is what the server's log calls the request.
	RequestID string `json:"request_id"`
}

// Error returns the detail, or the status when there is none.
func (e *APIError) Error() string {
	if e.Detail == "" {
		return fmt.Sprintf("the server answered %d %s", e.Status, http.StatusText(e.Status))
	}
	return e.Detail
}

// maxAnswer bounds what is read of an answer: a page of the longest objects is far below it.
const maxAnswer = 256 << 20

// do makes one request. A nil body is an empty one; an answer without content leaves the zero value.
func do[T any](ctx context.Context, c *Client, method, path string, body any) (answer T, err error) {
	answer, _, err = doIf[T](ctx, c, method, path, body, "")
	return answer, err
}

// doIf is do under the condition that the object still has the entity tag ifMatch, "" for none. It returns the tag that the answer has.
func doIf[T any](ctx context.Context, c *Client, method, path string, body any, ifMatch string) (answer T, tag string, err error) {
	response, err := c.send(ctx, method, path, body, ifMatch)
	if err != nil {
		return answer, "", err
	}
	defer response.Body.Close()
	content, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	switch {
	case err != nil:
		return answer, "", fmt.Errorf("reading the server's answer: %w", err)
	case len(content) > maxAnswer:
		return answer, "", errors.New("reading the server's answer: it is longer than 256 MiB")
	case response.StatusCode < 200 || response.StatusCode > 299:
		return answer, "", apiError(response, content)
	case response.StatusCode == http.StatusNoContent:
		return answer, response.Header.Get("ETag"), nil
	}
	if err := json.Unmarshal(content, &answer); err != nil {
		return answer, "", fmt.Errorf("reading the server's answer: %w", err)
	}
	return answer, response.Header.Get("ETag"), nil
}

// send makes a request whose answer the caller reads and closes.
func (c *Client) send(ctx context.Context, method, path string, body any, ifMatch string) (*http.Response, error) {
	var content []byte
	if body != nil {
		var err error
		if content, err = json.Marshal(body); err != nil {
			return nil, fmt.Errorf("writing the request: %w", err)
		}
	}
	request, err := http.NewRequestWithContext(ctx, method, c.Base+path, bytes.NewReader(content))
	if err != nil {
		return nil, err
	}
	if method == http.MethodPost || method == http.MethodPatch {
		request.Header.Set("Content-Type", "application/json")
	}
	if ifMatch != "" {
		request.Header.Set("If-Match", ifMatch)
	}
	client := c.HTTP
	if client == nil {
		client = http.DefaultClient
	}
	return client.Do(request)
}

// apiError reads a problem document; anything else, such as a page of some proxy in between, has only its status.
func apiError(response *http.Response, content []byte) error {
	e := &APIError{}
	if strings.HasPrefix(response.Header.Get("Content-Type"), record.ProblemContentType) {
		if err := json.Unmarshal(content, e); err != nil {
			e = &APIError{}
		}
	}
	e.Status = response.StatusCode
	return e
}

// list reads a list to its end, page by page.
func list[T any](ctx context.Context, c *Client, path string, q url.Values, key func(*T) string) ([]T, error) {
	all := []T{}
	q.Set("limit", strconv.Itoa(maxLimit))
	for {
		one, err := do[[]T](ctx, c, http.MethodGet, path+"?"+q.Encode(), nil)
		if err != nil {
			return nil, err
		}
		all = append(all, one...)
		if len(one) < maxLimit {
			return all, nil
		}
		q.Set("after", key(&one[len(one)-1]))
	}
}

// address is a path of /v1. A name with characters that no name has stays one segment, which the server then does not know.
func address(segments ...string) string {
	var b strings.Builder
	b.WriteString("/v1")
	for _, s := range segments {
		b.WriteString("/" + url.PathEscape(s))
	}
	return b.String()
}
