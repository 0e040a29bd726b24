package tenantsim

import (
	"encoding/hex"
	"net/http"
	"strings"
)

// session is an HTTP session of the tenant: it belongs to whoever opened it, and outlives his tokens.
type session struct {
	id, csrf, client string
	path             string // of its cookie
	roles            []string
}

// sessions keeps the newest. Guarded by Sim.mu.
type sessions struct {
	byID  map[string]*session
	order []string
}

const (
	sessionCookie       = "JSESSIONID"
	tenantSessionCookie = "JTENANTSESSIONID_w1fc74894"
	stickyCookie        = "__VCAP_ID__"
	maxSessions         = 10_000
)

// find returns the session that a request names, or nil.
func (s *sessions) find(r *http.Request) *session {
	c, err := r.Cookie(sessionCookie)
	if err != nil {
		return nil
	}
	return s.byID[c.Value]
}

// open makes a session for the part of the tenant that has the path.
func (s *sessions) open(client, path string, roles []string) *session {
	if s.byID == nil {
		s.byID = map[string]*session{}
	}
	n := &session{id: strings.ToUpper(hex.EncodeToString(random(16))), csrf: strings.ToUpper(hex.EncodeToString(random(16))), client: client,
		path: path, roles: roles}
	s.byID[n.id] = n
	s.order = append(s.order, n.id)
	if len(s.order) > maxSessions {
		delete(s.byID, s.order[0])
		s.order = s.order[1:]
	}
	return n
}

// cookiePath is what a session's cookie is sent back to: the API has one of its own (TENANTS.md 3.2).
func cookiePath(path string) string {
	if strings.HasPrefix(path, "/api/") {
		return "/api"
	}
	return "/"
}

// ForgetSessions ends all sessions, as a restart of the tenant does.
func (s *Sim) ForgetSessions() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sessions = sessions{}
}

// setCookies sends the three cookies of TENANTS.md 3.3.
func (n *session) setCookies(w http.ResponseWriter) {
	for _, c := range []*http.Cookie{
		{Name: sessionCookie, Value: n.id, Path: n.path, Secure: true, HttpOnly: true},
		{Name: tenantSessionCookie, Value: "a%2Bg" + n.id[:8] + "%3D", Path: "/", Secure: true, HttpOnly: true},
		{Name: stickyCookie, Value: "6b1c2d3e-0000-4000-8000-0123", Path: "/", Secure: true, HttpOnly: true},
	} {
		http.SetCookie(w, c)
	}
}
