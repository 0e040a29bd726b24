// Package migration says how far each login is on its way out: who uses it, who has moved to a certificate, what would break if it were closed today, and what to
// do next. It computes all that from the registry and the usage history, and renders the page that is shown to those who ask how far it is.
//
// It changes nothing, opens no database and knows no HTTP.
package migration

import (
	"cmp"
	"slices"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/proxy/usage"
)

// State says how far a caller of a login is.
type State string

// The states of a caller.
const (
	OnPassword State = "password" // it uses the login
	Moving     State = "moving"   // it has an identity, and was not seen with its certificate yet, from every address that it used since
	Both       State = "both"     // it was seen with its certificate, sent the password after that, and is not refused with it yet
	Moved      State = "moved"    // it was seen with its certificate, and does without the password or is refused with it
	Silent     State = "silent"   // it was not seen for a while, and not moved
)

// Defaults of [Facts].
const (
	DefaultSilent = 14 * 24 * time.Hour
	rateDays      = 7
)

// Facts are what a [Status] is computed from.
type Facts struct {
	Now      time.Time
	Registry *identity.Snapshot
	// Callers are those of logins, as the usage history has them; others are passed over.
	Callers []usage.Caller
	// Login narrows all to one login; "" is all of them.
	Login string
	// Silent is after how long without a request a caller is silent; 0 is [DefaultSilent].
	Silent time.Duration
	// Form writes an address as the history does, which may be as a pseudonym; nil is as it is.
	Form func(source string) string
}

// Status is how far the logins are.
type Status struct {
	Time   time.Time         `json:"time"`
	Silent identity.Duration `json:"silent_after"`
	Logins []Login           `json:"logins"`
}

// Login is how far one login is.
type Login struct {
	Login       string         `json:"login"`
	Identity    string         `json:"identity"` // what it stands for
	Owner       string         `json:"owner"`    // the team that moves its callers
	Contact     string         `json:"contact"`  // whom callers are told to ask
	Description string         `json:"description,omitempty"`
	Stage       identity.Stage `json:"stage"`
	NextStage   identity.Stage `json:"next_stage,omitempty"`
	NextAt      time.Time      `json:"next_at,omitzero"`
	Sunset      time.Time      `json:"sunset"`

	Found      int `json:"found"`       // callers in all: those below together
	Moved      int `json:"moved"`       // do without the password
	Both       int `json:"both"`        // have their certificate and still send the password
	Moving     int `json:"moving"`      // have a token or a certificate, and were not seen with it
	Password   int `json:"password"`    // use the password, and nothing has been done
	Silent     int `json:"silent"`      // were not seen for a while
	OnPassword int `json:"on_password"` // what is not moved and not silent

	// Daily is how many requests a day came with the password in the last week.
	Daily float64 `json:"daily_requests"`
	// Breaks says what would break if the login were closed today: who would be refused, those with most requests first. Silent callers are not among them, and
	// may be forgotten ones.
	Breaks []Broken `json:"breaks"`
	// Callers are all of them, by name or id.
	Callers []Caller `json:"callers"`
	// BurnDown is the way so far, a point a day.
	BurnDown []Point `json:"burn_down"`
}

// Caller is how far one caller is.
type Caller struct {
	usage.Caller
	State State `json:"state"`
	// Daily is how many requests a day it made with the password in the last week.
	Daily float64 `json:"daily_requests"`
	// Identity is where it was moved to, MovedAt when, and SeenAt when it was first seen with its certificate.
	Identity string    `json:"identity,omitempty"`
	MovedAt  time.Time `json:"moved_at,omitzero"`
	SeenAt   time.Time `json:"seen_at,omitzero"`
	// LockedFrom is when the login is refused to it, the last of its addresses included.
	LockedFrom time.Time `json:"locked_from,omitzero"`
	// StillSends says that it was seen with its certificate and sent the password after that, lately.
	StillSends bool `json:"still_sends_password,omitempty"`
	// Neighbours are how many other callers come from one of its addresses.
	Neighbours int `json:"neighbours,omitempty"`
}

// Broken is a caller that would be refused.
type Broken struct {
	Caller   usage.ID  `json:"caller"`
	Name     string    `json:"name,omitempty"`
	Routes   []string  `json:"routes"`
	LastSeen time.Time `json:"last_seen"`
	Daily    float64   `json:"daily_requests"`
}

// Point is one day on the way.
type Point struct {
	Day      string `json:"day"`
	Left     int    `json:"left"`     // callers that were known on that day and not moved yet
	Active   int    `json:"active"`   // callers that used the password on that day
	Requests int64  `json:"requests"` // with the password
}

// Compute makes the status of one login, or of all, by the date of their end. Callers of a login that is no more are left out.
func Compute(f Facts) Status {
	if f.Silent == 0 {
		f.Silent = DefaultSilent
	}
	if f.Form == nil {
		f.Form = func(source string) string { return source }
	}
	of := make(map[string][]usage.Caller)
	for _, c := range f.Callers {
		if c.Kind == usage.Login {
			of[c.Subject] = append(of[c.Subject], c)
		}
	}
	s := Status{Time: f.Now.UTC(), Silent: identity.Duration(f.Silent), Logins: []Login{}}
	for _, l := range f.Registry.Logins() {
		if f.Login == "" || l.User == f.Login {
			s.Logins = append(s.Logins, f.login(l, of[l.User]))
		}
	}
	slices.SortStableFunc(s.Logins, func(a, b Login) int { return a.Sunset.Compare(b.Sunset) })
	return s
}

func (f *Facts) login(l *identity.Login, callers []usage.Caller) Login {
	out := Login{
		Login: l.User, Identity: l.Identity, Owner: f.Registry.LoginOwner(l), Contact: f.Registry.LoginPolicy().Contact, Description: l.Description,
		Stage: l.StageAt(f.Now), Sunset: l.Sunset, Breaks: []Broken{}, Callers: []Caller{},
	}
	if out.Contact == "" {
		out.Contact = out.Owner
	}
	if next, ok := l.NextStep(f.Now); ok {
		out.NextStage, out.NextAt = next.Stage, next.At
	}
	sources := make(map[string]int)
	for i := range callers {
		for _, s := range callers[i].Sources() {
			sources[s]++
		}
	}
	moves := make(map[string]*identity.Move)
	for _, m := range f.Registry.Moves(l.User) {
		moves[m.Caller] = m
	}
	for i := range callers {
		c := f.caller(callers[i], moves[callers[i].ID.String()], sources)
		out.count(&c)
		out.Callers = append(out.Callers, c)
	}
	slices.SortStableFunc(out.Callers, func(a, b Caller) int { return cmp.Or(cmp.Compare(a.Label(), b.Label()), cmp.Compare(a.ID, b.ID)) })
	slices.SortStableFunc(out.Breaks, func(a, b Broken) int { return cmp.Compare(b.Daily, a.Daily) })
	out.BurnDown = f.burnDown(out.Callers)
	return out
}

// count adds a caller to the numbers.
func (l *Login) count(c *Caller) {
	l.Found++
	l.Daily += c.Daily
	switch c.State {
	case Moved:
		l.Moved++
		return
	case Silent:
		l.Silent++
		return
	case Both:
		l.Both++
	case Moving:
		l.Moving++
	default:
		l.Password++
	}
	l.OnPassword++
	if c.State == Both {
		return // it has its certificate
	}
	b := Broken{Caller: c.ID, Name: c.Name, Routes: []string{}, LastSeen: c.LastSeen, Daily: c.Daily}
	for _, r := range c.Routes {
		if r.Route != "" {
			b.Routes = append(b.Routes, r.Route)
		}
	}
	l.Breaks = append(l.Breaks, b)
}

func (f *Facts) caller(u usage.Caller, m *identity.Move, sources map[string]int) Caller {
	c := Caller{Caller: u}
	from := f.Now.AddDate(0, 0, -rateDays).UTC().Format(time.DateOnly)
	for _, d := range u.Days {
		if d.Day > from {
			c.Daily += float64(d.Requests) / rateDays
		}
	}
	for _, s := range u.Sources() {
		c.Neighbours += sources[s] - 1
	}
	if m != nil {
		c.Identity, c.MovedAt, c.SeenAt = m.Identity, m.Moved, m.Seen()
		for _, look := range m.Looks {
			if at, ok := m.LockedFrom(look.Source, look.Fingerprint, look.Agent); ok && at.After(c.LockedFrom) {
				c.LockedFrom = at
			}
		}
	}
	c.State = f.state(&c, m)
	return c
}

func (f *Facts) state(c *Caller, m *identity.Move) State {
	quiet := f.Now.Sub(c.LastSeen) > f.Silent
	switch {
	case m == nil && quiet:
		return Silent
	case m == nil:
		return OnPassword
	case !f.arrived(&c.Caller, m):
		return Moving
	}
	c.StillSends = !quiet && c.LastSeen.After(c.SeenAt)
	if c.StillSends && f.Now.Before(c.LockedFrom) {
		return Both
	}
	return Moved
}

// arrived says that each of the caller's addresses from which the login was used since the move was seen with the certificate, and one of them at all.
func (f *Facts) arrived(c *usage.Caller, m *identity.Move) bool {
	seen := make(map[string]bool)
	for _, l := range m.Looks {
		seen[f.Form(l.Source)] = seen[f.Form(l.Source)] || !l.Seen.IsZero()
	}
	for _, p := range append([]usage.Part{{Source: c.Source, LastSeen: c.Own}}, c.Parts...) {
		if p.LastSeen.After(m.Moved) && !seen[p.Source] {
			return false
		}
	}
	return !m.Seen().IsZero()
}

// Label is what a caller is called: the name that an operator gave, or else what it looks like.
func (c *Caller) Label() string {
	if c.Name != "" {
		return c.Name
	}
	where := c.Source
	if c.Network != "" {
		where += " (" + c.Network + ")"
	}
	return c.Agent + " at " + where
}

// Days is how many days of the way are shown, and of callers' days looked at.
const Days = 90

func (f *Facts) burnDown(callers []Caller) []Point {
	points := []Point{}
	if len(callers) == 0 {
		return points
	}
	first := slices.MinFunc(callers, func(a, b Caller) int { return a.FirstSeen.Compare(b.FirstSeen) }).FirstSeen
	today := f.Now.UTC().Truncate(24 * time.Hour)
	from := first.UTC().Truncate(24 * time.Hour)
	if earliest := today.AddDate(0, 0, 1-Days); from.Before(earliest) {
		from = earliest
	}
	for d := from; !d.After(today); d = d.AddDate(0, 0, 1) {
		p := Point{Day: d.Format(time.DateOnly)}
		end := d.AddDate(0, 0, 1)
		for i := range callers {
			p.add(&callers[i], end)
		}
		points = append(points, p)
	}
	return points
}

// add counts a caller on a day that ends at end.
func (p *Point) add(c *Caller, end time.Time) {
	gone := (c.State == Moved || c.State == Both) && c.SeenAt.Before(end)
	if c.FirstSeen.Before(end) && !gone {
		p.Left++
	}
	at, found := slices.BinarySearchFunc(c.Days, p.Day, func(d usage.DayUse, day string) int { return cmp.Compare(d.Day, day) })
	if found && c.Days[at].Requests > 0 {
		p.Active++
		p.Requests += c.Days[at].Requests
	}
}
