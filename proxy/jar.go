package proxy

import (
	"cmp"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tenantgate/tenantgate/proxy/token"
)

// jar holds the cookies of one session at one host of a tenant (RFC 6265), in memory only. It is not net/http/cookiejar because that one knows many hosts,
// and so needs a list of public suffixes, and keeps as much as a server likes to send. A jar of ours sends to one host alone: a Domain can only keep a
// cookie out, never take it elsewhere. Its methods are safe for concurrent use.
type jar struct {
	host   string // of the tenant, lower case, without a port
	secure bool   // the tenant is spoken with over TLS

	mu      sync.Mutex // guards what follows
	cookies []*cookie  // as they are sent: longer paths first, then older ones (section 5.4)
	size    int        // octets of their names and values
}

type cookie struct {
	name, path string
	value      token.Secret
	until      time.Time // zero: as long as the session
	size       int
}

const (
	maxCookies      = 20      // in one jar; SAP Cloud Integration sets three
	maxCookieOctets = 4 << 10 // of one name and value (section 6.1)
	maxJarOctets    = 8 << 10 // of all: they have to fit into a request's head
)

// set takes over one Set-Cookie field of an answer to a request for path. What is malformed, meant for another host, or more than the jar holds is
// ignored.
func (j *jar) set(field, path string, now time.Time) {
	if len(field) > 2*maxCookieOctets {
		return
	}
	h, err := http.ParseSetCookie(field)
	if err != nil || h.Domain != "" && !domainMatches(j.host, h.Domain) || h.Secure && !j.secure {
		return
	}
	value := h.Value
	if h.Quoted {
		value = `"` + value + `"`
	}
	c := &cookie{name: h.Name, path: h.Path, value: token.NewSecret(strings.Clone(value)), size: len(h.Name) + len(value)}
	if !strings.HasPrefix(c.path, "/") {
		c.path = defaultPath(path)
	}
	c.name, c.path = strings.Clone(c.name), strings.Clone(c.path)
	switch {
	case h.MaxAge < 0: // "Max-Age=0", or less
		c.until = now
	case h.MaxAge > 0:
		c.until = now.Add(time.Duration(min(h.MaxAge, 1<<30)) * time.Second)
	case !h.Expires.IsZero():
		c.until = h.Expires
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.replace(c, now)
}

// replace puts a cookie in place of the one that has its name and path, whose age it inherits. One that has expired only removes.
func (j *jar) replace(c *cookie, now time.Time) {
	at := slices.IndexFunc(j.cookies, func(o *cookie) bool { return o.name == c.name && o.path == c.path })
	gone := c.expired(now)
	switch {
	case at >= 0 && (gone || c.size > maxCookieOctets || j.size-j.cookies[at].size+c.size > maxJarOctets):
		j.size -= j.cookies[at].size
		j.cookies = slices.Delete(j.cookies, at, at+1)
	case at >= 0:
		j.size += c.size - j.cookies[at].size
		j.cookies[at] = c
	case !gone && c.size <= maxCookieOctets && len(j.cookies) < maxCookies && j.size+c.size <= maxJarOctets:
		j.size += c.size
		j.cookies = append(j.cookies, c)
		slices.SortStableFunc(j.cookies, func(a, b *cookie) int { return cmp.Compare(len(b.path), len(a.path)) })
	}
}

// value is that of the Cookie field for a request of path, "" when no cookie goes there.
func (j *jar) value(path string, now time.Time) string {
	j.mu.Lock()
	defer j.mu.Unlock()
	var v strings.Builder
	v.Grow(j.size + len(j.cookies)*len("=; "))
	for _, c := range j.cookies {
		if c.expired(now) || !pathMatches(path, c.path) {
			continue
		}
		if v.Len() > 0 {
			v.WriteString("; ")
		}
		v.WriteString(c.name)
		v.WriteByte('=')
		v.WriteString(c.value.Reveal())
	}
	return v.String()
}

// covers reports whether a request of path would be known by its cookies: one of them goes there, or there are none at all.
func (j *jar) covers(path string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.cookies) == 0 || slices.ContainsFunc(j.cookies, func(c *cookie) bool { return pathMatches(path, c.path) })
}

func (c *cookie) expired(now time.Time) bool { return !c.until.IsZero() && !c.until.After(now) }

// defaultPath is the path of a cookie that names none (section 5.1.4).
func defaultPath(path string) string {
	if i := strings.LastIndexByte(path, '/'); i > 0 && path[0] == '/' {
		return path[:i]
	}
	return "/"
}

// pathMatches reports whether a cookie with this path goes with a request of path (section 5.1.4). Paths are compared byte for byte, as they are sent.
func pathMatches(path, cookie string) bool {
	return strings.HasPrefix(path, cookie) && (len(path) == len(cookie) || strings.HasSuffix(cookie, "/") || path[len(cookie)] == '/')
}

// domainMatches reports whether a host belongs to the Domain of a cookie (section 5.1.3). An address belongs only to itself.
func domainMatches(host, domain string) bool {
	domain = strings.TrimPrefix(strings.ToLower(domain), ".")
	if host == domain {
		return true
	}
	return domain != "" && strings.HasSuffix(host, "."+domain) && strings.Trim(host, "0123456789.") != "" && !strings.Contains(host, ":")
}
