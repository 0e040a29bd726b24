package identity

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Window is a short time that comes back every week, or comes once: from and to are the wall clock of its zone.
type Window struct {
	days     [7]bool   // by time.Weekday; none: date
	date     time.Time // the one day, midnight in UTC
	from, to int       // minutes since midnight
	zone     *time.Location
}

// maxWindow bounds a window in minutes: what refuses for longer is not a brownout.
const maxWindow = 4 * 60

var weekdays = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

// ParseWindow reads "Tue 10:00-10:15 Europe/Berlin": days (Mon, or Mon,Wed, or Mon-Fri, or daily, or a date such as 2027-02-09), from and to on the clock of
// the zone, and its name in the IANA database. A window ends on the day on which it begins and is at most four hours long. Where a zone puts its
// clock forward over the beginning or end of a window, that one is an hour off.
func ParseWindow(s string) (Window, error) {
	fields := strings.Fields(s)
	if len(fields) != 3 {
		return Window{}, errors.New("is not days, times and a zone")
	}
	var w Window
	if err := w.parseDays(fields[0]); err != nil {
		return Window{}, err
	}
	from, to, found := strings.Cut(fields[1], "-")
	var ok, okTo bool
	w.from, ok = parseClock(from)
	w.to, okTo = parseClock(to)
	switch {
	case !found || !ok || !okTo:
		return Window{}, errors.New("has no times like 10:00-10:15")
	case w.to <= w.from:
		return Window{}, errors.New("ends before it begins; a window ends on its day, at 24:00 at the latest")
	case w.to-w.from > maxWindow:
		return Window{}, errors.New("is longer than four hours")
	case fields[2] == "Local":
		return Window{}, errors.New("has no zone that is the same on every node")
	}
	zone, err := time.LoadLocation(fields[2])
	if err != nil {
		return Window{}, fmt.Errorf("has an unknown time zone %s", quoted(fields[2]))
	}
	w.zone = zone
	return w, nil
}

// parseDays reads the days of a window.
func (w *Window) parseDays(s string) error {
	if date, err := time.Parse(time.DateOnly, s); err == nil {
		w.date = date
		return nil
	}
	if strings.EqualFold(s, "daily") {
		s = "mon-sun"
	}
	for part := range strings.SplitSeq(strings.ToLower(s), ",") {
		first, last, ranged := strings.Cut(part, "-")
		a := slices.Index(weekdays, first)
		b := a
		if ranged {
			b = slices.Index(weekdays, last)
		}
		if a < 0 || b < 0 {
			return errors.New("has no days like Tue, Mon-Fri, daily or 2027-02-09")
		}
		for d := a; ; d = (d + 1) % 7 {
			w.days[d] = true
			if d == b {
				break
			}
		}
	}
	return nil
}

// parseClock reads 10:15 as minutes since midnight, up to 24:00.
func parseClock(s string) (minutes int, ok bool) {
	if s == "24:00" {
		return 24 * 60, true
	}
	t, err := time.Parse("15:04", s)
	return t.Hour()*60 + t.Minute(), err == nil && len(s) == 5
}

// on returns the window of the day that an instant has in the zone, or false when it has none.
func (w *Window) on(day time.Time) (begin, end time.Time, ok bool) {
	y, m, d := day.In(w.zone).Date()
	if w.date.IsZero() {
		ok = w.days[day.In(w.zone).Weekday()]
	} else {
		ok = w.date.Equal(time.Date(y, m, d, 0, 0, 0, 0, time.UTC))
	}
	return time.Date(y, m, d, 0, w.from, 0, 0, w.zone), time.Date(y, m, d, 0, w.to, 0, 0, w.zone), ok
}

// Contains reports whether an instant lies in the window, and when it ends then. It allocates nothing.
func (w *Window) Contains(now time.Time) (until time.Time, ok bool) {
	begin, end, ok := w.on(now)
	return end, ok && !now.Before(begin) && now.Before(end)
}

// Next returns when the window begins the next time after an instant, or false when it does not come back.
func (w *Window) Next(now time.Time) (begin time.Time, ok bool) {
	if !w.date.IsZero() {
		y, m, d := w.date.Date()
		begin = time.Date(y, m, d, 0, w.from, 0, 0, w.zone)
		return begin, begin.After(now)
	}
	for n := range 8 {
		if begin, _, ok := w.on(now.In(w.zone).AddDate(0, 0, n)); ok && begin.After(now) {
			return begin, true
		}
	}
	return time.Time{}, false
}
