package identity

import (
	"slices"
	"time"
)

// Stage says how far a login is on its way out.
type Stage string

// The stages. All but StageObserve follow one after the other.
const (
	StageObserve  Stage = "observe"  // its requests go to the tenant as they came; what tenantgate would have done is recorded
	StageOpen     Stage = "open"     // it works
	StageWarned   Stage = "warned"   // it works, and answers say that it ends
	StageBrownout Stage = "brownout" // it works, but for announced windows
	StageClosed   Stage = "closed"   // it is refused
)

// Stages are all stages, in the order in which a login passes them.
func Stages() []Stage {
	return []Stage{StageObserve, StageOpen, StageWarned, StageBrownout, StageClosed}
}

// rank is the stage's place in the order, -1 for what is no stage.
func (s Stage) rank() int { return slices.Index(Stages(), s) }

// After reports whether s comes later than o.
func (s Stage) After(o Stage) bool { return s.rank() > o.rank() }

// Step is a stage and when it begins.
type Step struct {
	Stage Stage     `json:"stage"`
	At    time.Time `json:"at"`
}

// steps returns the dates of the schedule in order, the sunset last, and how many there are. It allocates nothing.
func (l *Login) steps() (list [4]Step, n int) {
	if l.Stage != StageObserve { // what is only observed is not warned
		if !l.WarnOn.IsZero() {
			list[n] = Step{StageWarned, l.WarnOn}
			n++
		}
		if !l.BrownoutFrom.IsZero() {
			list[n] = Step{StageBrownout, l.BrownoutFrom}
			n++
		}
	}
	if !l.CloseOn.IsZero() {
		list[n] = Step{StageClosed, l.CloseOn}
		n++
	}
	list[n] = Step{StageClosed, l.Sunset}
	return list, n + 1
}

// StageAt returns the stage at an instant. It follows from what is stored and the clock alone: the stage that was set last or the latest whose date has
// come, whichever is further. Every node finds the same, and a clock that was wrong leaves nothing behind. It allocates nothing.
func (l *Login) StageAt(now time.Time) Stage {
	stage := l.Stage
	list, n := l.steps()
	for _, step := range list[:n] {
		if !now.Before(step.At) && step.Stage.After(stage) {
			stage = step.Stage
		}
	}
	return stage
}

// NextStep returns the first step that the schedule has after an instant, or false: the login is closed, then.
func (l *Login) NextStep(now time.Time) (Step, bool) {
	stage := l.StageAt(now)
	list, n := l.steps()
	for _, step := range list[:n] {
		if now.Before(step.At) && step.Stage.After(stage) {
			return step, true
		}
	}
	return Step{}, false
}

// Closes returns when the login will be closed, or was by a date: the day that was set for it, at the latest the sunset.
func (l *Login) Closes() time.Time {
	if !l.CloseOn.IsZero() && l.CloseOn.Before(l.Sunset) {
		return l.CloseOn
	}
	return l.Sunset
}

// Brownout returns the end of the brownout window that an instant lies in, or false. Only in stage brownout it means anything.
func (l *Login) Brownout(now time.Time) (until time.Time, in bool) {
	for i := range l.windows {
		if end, ok := l.windows[i].Contains(now); ok && end.After(until) {
			until, in = end, true
		}
	}
	return until, in
}

// NextBrownout returns when the next window after an instant begins that lies in stage brownout, or false when there is none.
func (l *Login) NextBrownout(now time.Time) (begin time.Time, ok bool) {
	switch stage := l.StageAt(now); {
	case stage == StageBrownout:
	case l.BrownoutFrom.After(now) && stage != StageObserve && stage != StageClosed:
		now = l.BrownoutFrom.Add(-1)
	default:
		return begin, false
	}
	for i := range l.windows {
		if b, found := l.windows[i].Next(now); found && b.Before(l.Closes()) && (!ok || b.Before(begin)) {
			begin, ok = b, true
		}
	}
	return begin, ok
}

// back returns the stage before one, of a login that has these windows.
func (l *Login) back(stage Stage) (Stage, bool) {
	switch stage {
	case StageClosed:
		if len(l.Brownouts) == 0 {
			return StageWarned, true
		}
		return StageBrownout, true
	case StageBrownout:
		return StageWarned, true
	case StageWarned:
		return StageOpen, true
	case StageObserve, StageOpen:
	}
	return "", false
}

// schedule checks the stage and the dates.
func (v *validation) schedule(l *Login) {
	if l.Stage.rank() < 0 {
		v.fail("stage", quoted(string(l.Stage))+" is not a stage", "use observe, open, warned, brownout or closed")
	}
	if l.Sunset.IsZero() {
		v.fail("sunset", "missing", "say when the login ends whatever happens: nothing that is meant to go stays without a date")
	}
	if len(l.Brownouts) > maxBrownouts {
		v.fail("brownouts", "too many", "give at most 16 windows")
	}
	for _, s := range l.Brownouts {
		if _, err := ParseWindow(s); err != nil {
			v.fail("brownouts", quoted(s)+" "+err.Error(), "write it like \"Tue 10:00-10:15 Europe/Berlin\" or \"2027-02-09 10:00-10:15 UTC\"")
		}
	}
	if (!l.BrownoutFrom.IsZero() || l.Stage == StageBrownout) && len(l.Brownouts) == 0 {
		v.fail("brownouts", "missing", "a stage brownout needs at least one window, like \"Tue 10:00-10:15 Europe/Berlin\"")
	}
	dates := []struct {
		field string
		at    time.Time
	}{{"warn_on", l.WarnOn}, {"brownout_from", l.BrownoutFrom}, {"close_on", l.CloseOn}, {"sunset", l.Sunset}}
	var before int
	for i, d := range dates {
		switch {
		case d.at.IsZero():
			continue
		case d.at.Before(dates[before].at):
			v.fail(dates[before].field, "is later than "+d.field, "the order is warn_on, brownout_from, close_on, sunset")
		}
		before = i
	}
}
