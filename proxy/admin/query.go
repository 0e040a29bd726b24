package admin

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// query are the parameters of a request, each given once and each known to its endpoint.
type query map[string]string

// paging are the parameters of a list.
var paging = []string{"after", "limit"}

const (
	defaultLimit = 1000
	maxLimit     = 10000
)

// parseQuery refuses what it does not know, because a misspelt filter would widen an answer and a misspelt "cascade" change an act.
func parseQuery(raw string, known []string) (query, error) {
	values, err := url.ParseQuery(raw)
	if err != nil {
		return nil, malformed("the query is not one: %v", err)
	}
	q := make(query, len(values))
	for name, v := range values {
		switch {
		case !slices.Contains(known, name) && len(known) == 0:
			return nil, malformed("parameter %q: the address takes none", name)
		case !slices.Contains(known, name):
			return nil, malformed("parameter %q: the address takes %s", name, strings.Join(known, ", "))
		case len(v) > 1:
			return nil, malformed("parameter %q is given twice", name)
		}
		q[name] = v[0]
	}
	return q, nil
}

// truth reads true or false, and false when the parameter is missing.
func (q query) truth(name string) (bool, error) {
	switch v, given := q[name]; {
	case !given, v == "false":
		return false, nil
	case v == "true":
		return true, nil
	default:
		return false, malformed("parameter %q is %q: give true or false", name, v)
	}
}

// number reads a number in its one decimal form, without sign, spaces or zeros in front.
func (q query) number(name string, missing int64) (int64, error) {
	v, given := q[name]
	if !given {
		return missing, nil
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil || n < 0 || strconv.FormatInt(n, 10) != v {
		return 0, malformed("parameter %q is %q: give a whole number", name, v)
	}
	return n, nil
}

// limit reads how many items an answer may have.
func (q query) limit() (int, error) {
	n, err := q.number("limit", defaultLimit)
	if err == nil && (n < 1 || n > maxLimit) {
		err = malformed("parameter \"limit\" is %d: give 1 to %d", n, maxLimit)
	}
	return int(n), err
}

// duration reads a time such as 720h that is not negative.
func (q query) duration(name string, missing time.Duration) (time.Duration, error) {
	v, given := q[name]
	if !given {
		return missing, nil
	}
	d, err := time.ParseDuration(v)
	if err != nil || d < 0 {
		return 0, malformed("parameter %q is %q: give a duration such as 720h", name, v)
	}
	return d, nil
}
