package admin

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/proxy/migration"
	"github.com/tenantgate/tenantgate/proxy/usage"
)

// Callers lists callers by id: of a login, of an identity, or of all when both are "". A zero since is the whole history.
func (c *Client) Callers(ctx context.Context, login, name string, since time.Time) ([]usage.Caller, error) {
	q := url.Values{}
	if login != "" {
		q.Set("login", login)
	}
	if name != "" {
		q.Set("identity", name)
	}
	if !since.IsZero() {
		q.Set("since", since.Format(time.DateOnly))
	}
	return list(ctx, c, address("callers"), q, func(u *usage.Caller) string { return u.ID.String() })
}

// Caller returns one caller with its whole history.
func (c *Client) Caller(ctx context.Context, id string) (usage.Caller, error) {
	return do[usage.Caller](ctx, c, "GET", address("callers", id), nil)
}

// NameCaller gives a caller a name.
func (c *Client) NameCaller(ctx context.Context, id, name string) (usage.Caller, error) {
	return do[usage.Caller](ctx, c, "POST", address("callers", id, "name"), CallerName{name})
}

// MergeCaller has a caller shown as a part of another one, and returns that.
func (c *Client) MergeCaller(ctx context.Context, id string, into usage.ID) (usage.Caller, error) {
	return do[usage.Caller](ctx, c, "POST", address("callers", id, "merge"), CallerMerge{into})
}

// SplitCaller undoes MergeCaller.
func (c *Client) SplitCaller(ctx context.Context, id string) (usage.Caller, error) {
	return do[usage.Caller](ctx, c, "POST", address("callers", id, "split"), nil)
}

// MoveCaller moves a caller of a login to an identity.
func (c *Client) MoveCaller(ctx context.Context, id string, r MoveRequest) (MoveResult, error) {
	return do[MoveResult](ctx, c, "POST", address("callers", id, "move"), r)
}

// UndoMove takes a move back and returns it as it was. A login that is not "" must be the one that the caller uses.
func (c *Client) UndoMove(ctx context.Context, id, login string) (identity.Move, error) {
	return do[identity.Move](ctx, c, "POST", address("callers", id, "undo"), UndoRequest{login})
}

// migrationQuery narrows to a login, "" is all; silent 0 is the server's default.
func migrationQuery(login string, silent time.Duration) string {
	q := url.Values{}
	if login != "" {
		q.Set("login", login)
	}
	if silent != 0 {
		q.Set("silent", silent.String())
	}
	if len(q) == 0 {
		return ""
	}
	return "?" + q.Encode()
}

// Migration returns how far the logins are.
func (c *Client) Migration(ctx context.Context, login string, silent time.Duration) (migration.Status, error) {
	return do[migration.Status](ctx, c, "GET", address("migration")+migrationQuery(login, silent), nil)
}

// MigrationPlan returns what to do next.
func (c *Client) MigrationPlan(ctx context.Context, login string, silent time.Duration) (migration.Plan, error) {
	return do[migration.Plan](ctx, c, "GET", address("migration", "plan")+migrationQuery(login, silent), nil)
}

// Networks returns the networks that have a name.
func (c *Client) Networks(ctx context.Context) (NetworkList, error) {
	return do[NetworkList](ctx, c, http.MethodGet, address("networks"), nil)
}

// SetNetworks replaces them.
func (c *Client) SetNetworks(ctx context.Context, l NetworkList) (NetworkList, error) {
	return do[NetworkList](ctx, c, "POST", address("networks"), l)
}

// Usage returns how the usage history is kept.
func (c *Client) Usage(ctx context.Context) (usage.Settings, error) {
	return do[usage.Settings](ctx, c, "GET", address("usage"), nil)
}

// Pseudonymise has addresses kept as pseudonyms, replaces their key, or has addresses kept again.
func (c *Client) Pseudonymise(ctx context.Context, r PseudonymiseRequest) (PseudonymiseResult, error) {
	return do[PseudonymiseResult](ctx, c, "POST", address("usage", "pseudonymise"), r)
}

// ForgetUsage takes callers out of the history.
func (c *Client) ForgetUsage(ctx context.Context, r ForgetRequest) (ForgetResult, error) {
	return do[ForgetResult](ctx, c, "POST", address("usage", "forget"), r)
}
