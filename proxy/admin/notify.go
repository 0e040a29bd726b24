package admin

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/proxy/notify"
)

// objectNotify is what change records call the receiver of notifications.
const objectNotify = "notify"

// Notify is whom notifications go to, and how that works on the node that answers.
type Notify struct {
	// Receiver is scheme and host; "" is that there is none.
	Receiver string `json:"receiver"`
	notify.State
}

// showNotify answers how notifications stand.
func showNotify(s *Server, _ *call) (any, error) {
	answer := Notify{}
	if s.Notifier == nil {
		return answer, nil
	}
	if r := s.Notifier.Receiver(); r != nil {
		answer.Receiver = r.String()
	}
	answer.State = s.Notifier.State()
	return answer, nil
}

// testNotify sends a notification that says nothing, at once. It is recorded, like every use of a secret, before it is done.
func testNotify(s *Server, c *call) (any, error) {
	if err := c.nothing(); err != nil {
		return nil, err
	}
	if s.Notifier == nil || s.Notifier.Receiver() == nil {
		return nil, noReceiver
	}
	err := s.change(c, objectNotify, "test", func(*identity.Tx) (act, error) { return act{s.Notifier.Receiver().String(), nil}, nil })
	if err != nil {
		return nil, err
	}
	d, err := s.Notifier.SendTest(c.Context())
	if errors.Is(err, notify.ErrNoReceiver) {
		return nil, noReceiver
	}
	return d, err
}

var noReceiver = &problem{Status: http.StatusConflict, Code: "no_receiver", Detail: "no receiver of notifications is configured",
	Hint: "set notify.url and notify.secret_file in the server's configuration and reload it"}

// listNotifications answers with what waits for the receiver and what was finished in the last 30 days, by id.
func listNotifications(s *Server, c *call) (any, error) {
	state, given := c.query["state"]
	if given && !slices.Contains([]string{notify.Pending, notify.Delivered, notify.GivenUp}, state) {
		return nil, malformed("parameter \"state\" is %q: give pending, delivered or given_up", state)
	}
	limit, err := c.query.limit()
	if err != nil {
		return nil, err
	}
	if s.Notifications == nil {
		return []notify.Queued{}, nil
	}
	list, err := s.Notifications.List(c.Context(), state, c.query["after"], limit+1)
	if err != nil || len(list) <= limit {
		return list, err
	}
	next := url.Values{"after": {list[limit-1].ID}, "limit": {strconv.Itoa(limit)}}
	if given {
		next.Set("state", state)
	}
	c.header.Set("Link", "<"+c.URL.Path+"?"+next.Encode()+`>; rel="next"`)
	return list[:limit], nil
}
