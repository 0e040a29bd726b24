package migration

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tenantgate/tenantgate/identity"
)

// Plan is what to do next, in order.
type Plan struct {
	Time  time.Time `json:"time"`
	Steps []Step    `json:"steps"`
}

// Step is one thing to do.
type Step struct {
	Number int    `json:"number"`
	Login  string `json:"login"`
	Caller string `json:"caller,omitempty"` // id
	// Who is the team to talk to, about whom the label of the caller, What has to happen and Why now.
	Who   string `json:"who"`
	About string `json:"about,omitempty"`
	What  string `json:"what"`
	Why   string `json:"why"`
	// Due is when it must have happened; zero is not said.
	Due time.Time `json:"due,omitzero"`
	// Commands are what an operator runs; words in capitals are to be filled in.
	Commands []string `json:"commands"`

	rank int
}

// The order of steps within a login: what breaks first comes first.
const (
	rankEnd = iota
	rankBoth
	rankMoving
	rankMove
	rankSilent
	rankStage
)

// tokenPatience is how long a token that was handed out is waited for before somebody asks.
const tokenPatience = 3 * 24 * time.Hour

// Plan says what to do next: logins that end first come first, and in a login what breaks first.
func (s Status) Plan() Plan {
	p := Plan{Time: s.Time, Steps: []Step{}}
	for i := range s.Logins {
		l := &s.Logins[i]
		steps := l.steps(s.Time)
		slices.SortStableFunc(steps, func(a, b Step) int { return cmp.Compare(a.rank, b.rank) })
		p.Steps = append(p.Steps, steps...)
	}
	for i := range p.Steps {
		p.Steps[i].Number = i + 1
	}
	return p
}

func (l *Login) steps(now time.Time) []Step {
	var steps []Step
	add := func(rank int, s Step) {
		s.Login, s.rank = l.Login, rank
		if s.Who == "" {
			s.Who = l.Owner
		}
		steps = append(steps, s)
	}
	if left := l.Sunset.Sub(now); l.OnPassword > 0 && left < 14*24*time.Hour && left > 0 && l.Stage != identity.StageClosed {
		add(rankEnd, Step{What: fmt.Sprintf("decide: %d callers use the login, and it ends on %s", l.OnPassword, l.Sunset.Format(time.DateOnly)),
			Why: "whoever has not moved by then is refused", Due: l.Sunset,
			Commands: []string{"tenantgate login set " + quote(l.Login) + " --sunset DATE", "tenantgate migration status " + quote(l.Login)}})
	}
	callers := slices.Clone(l.Callers)
	slices.SortStableFunc(callers, func(a, b Caller) int { return cmp.Compare(b.Daily, a.Daily) })
	for i := range callers {
		if rank, s, ok := l.step(&callers[i], now); ok {
			s.Caller, s.About = callers[i].ID.String(), callers[i].Label()
			add(rank, s)
		}
	}
	if rank, s, ok := l.stageStep(); ok {
		add(rank, s)
	}
	return steps
}

// step is what to do about one caller.
func (l *Login) step(c *Caller, now time.Time) (rank int, s Step, ok bool) {
	user, id := quote(l.Login), c.ID.String()
	switch {
	case c.StillSends:
		s = Step{What: "have the password taken out of its configuration", Why: "it has its certificate since " + c.SeenAt.Format(time.DateOnly) + " and still sends the password",
			Due: c.LockedFrom, Commands: []string{"tenantgate caller show " + id}}
		if c.State == Moved {
			s.Due, s.Why = time.Time{}, s.Why+", with which it is refused since "+c.LockedFrom.Format(time.DateOnly)
			s.Commands = append(s.Commands, "tenantgate migration undo "+user+" "+id)
		}
		return rankBoth, s, true
	case c.State == Moving:
		s = Step{What: "have it enrolled with its token, and call with the certificate", Why: "moved on " + c.MovedAt.Format(time.DateOnly) + " and not seen with a certificate",
			Commands: []string{"tenantgate cert tokens --identity " + c.Identity + " --state all"}}
		if now.Sub(c.MovedAt) > tokenPatience {
			s.Commands = append(s.Commands, "tenantgate cert token "+c.Identity)
		}
		return rankMoving, s, true
	case c.State == OnPassword:
		s = Step{What: "move it to a certificate", Why: fmt.Sprintf("%s requests a day with the password, last on %s", rate(c.Daily), c.LastSeen.Format(time.DateOnly)), Due: l.Sunset}
		if c.Name == "" {
			s.What = "find out whose it is, and move it to a certificate"
			s.Commands = append(s.Commands, "tenantgate caller name "+id+` "WHAT IT IS"`)
		}
		s.Commands = append(s.Commands, "tenantgate migration move "+user+" "+id+" --to "+l.suggest(c))
		return rankMove, s, true
	case c.State == Silent:
		s = Step{What: "find out whether it is gone", Why: "not seen since " + c.LastSeen.Format(time.DateOnly) + "; what runs once a month or a year looks like that",
			Commands: []string{"tenantgate caller show " + id, "tenantgate migration move " + user + " " + id + " --to " + l.suggest(c)}}
		return rankSilent, s, true
	}
	return 0, Step{}, false
}

// stageStep is what to do about the login itself: the next stage, once its callers allow it.
func (l *Login) stageStep() (rank int, s Step, ok bool) {
	user := quote(l.Login)
	switch {
	case l.Stage == identity.StageClosed || l.Found == 0:
		return 0, Step{}, false
	case l.Stage == identity.StageObserve:
		s = Step{What: "let tenantgate accept the login", Why: "it is only observed: nobody can move before", Commands: []string{"tenantgate login set " + user + " --stage open --password-file FILE"}}
	case l.Stage == identity.StageOpen:
		s = Step{What: "warn the callers that are left", Why: "answers then say when the login ends, and where to read what to do",
			Commands: []string{"tenantgate login schedule " + user + " --warn-on DATE --close-on DATE"}}
	case l.OnPassword > 0:
		return 0, Step{}, false
	case l.Stage == identity.StageWarned:
		s = Step{What: "announce brownouts", Why: "nobody is known to use the password any more; short refusals find who was forgotten, while somebody is watching",
			Commands: []string{"tenantgate login schedule " + user + " --brownout-from DATE --brownout WINDOW"}}
	default:
		s = Step{What: "close the login", Why: "nobody uses it any more", Commands: []string{"tenantgate login close " + user}}
	}
	return rankStage, s, true
}

// suggest makes a name for the identity of a caller out of what it is called.
func (l *Login) suggest(c *Caller) string {
	var b strings.Builder
	for _, r := range strings.ToLower(c.Name) {
		switch {
		case r >= 'a' && r <= 'z' || r >= '0' && r <= '9':
			b.WriteRune(r)
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
		}
	}
	name := strings.Trim(b.String(), "-")
	if name == "" {
		return "IDENTITY"
	}
	return name[:min(len(name), 63)]
}

// quote writes a user name for a shell.
func quote(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-@+", r)
	}
	if s != "" && s[0] != '-' && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// rate writes a number of requests a day.
func rate(perDay float64) string {
	if perDay < 10 {
		return fmt.Sprintf("%.1f", perDay)
	}
	return fmt.Sprintf("%.0f", perDay)
}
