package identity

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Brownout is a short time that comes back every week, or comes once: from and to are the wall clock of its zone.
type Brownout struct {
	days     [7]bool   // by time.Weekday; none: date
	date     time.Time // the one day, midnight in UTC
	from, to int       // minutes since midnight
	zone     *time.Location
}

// maxBrownout bounds a brownout in minutes: what refuses for longer is none.
const maxBrownout = 4 * 60

// ParseBrownout reads "Tue 10:00-10:15 Europe/Berlin": days (as [ParseWindow] reads them, or a date such as 2027-02-09), from and to on the clock of
// the zone, and its name in the IANA database. A brownout ends on the day on which it begins and is at most four hours long. Where a zone puts its
// clock forward over the beginning or end of one, that one is an hour off.
func ParseBrownout(s string) (Brownout, error) {
	fields := strings.Fields(s)
	if len(fields) != 3 {
		return Brownout{}, errors.New("it has not got days, hours and a zone")
	}
	var w Brownout
	var err error
	if w.date, err = time.Parse(time.DateOnly, fields[0]); err != nil {
		w.date = time.Time{}
		if w.days, err = parseDays(fields[0]); err != nil {
			return Brownout{}, fmt.Errorf("%w, nor a date like 2027-02-09", err)
		}
	}
	if w.from, w.to, err = parseHours(fields[1]); err != nil {
		return Brownout{}, err
	}
	switch {
	case w.to <= w.from:
		return Brownout{}, errors.New("it ends before it begins: a brownout ends on its day, at 24:00 at the latest")
	case w.to-w.from > maxBrownout:
		return Brownout{}, errors.New("it is longer than four hours")
	}
	if w.zone, err = parseZone(fields[2]); err != nil {
		return Brownout{}, err
	}
	return w, nil
}

// on returns the brownout of the day that an instant has in the zone, or false when it has none.
func (w *Brownout) on(day time.Time) (begin, end time.Time, ok bool) {
	y, m, d := day.In(w.zone).Date()
	if w.date.IsZero() {
		ok = w.days[day.In(w.zone).Weekday()]
	} else {
		ok = w.date.Equal(time.Date(y, m, d, 0, 0, 0, 0, time.UTC))
	}
	return time.Date(y, m, d, 0, w.from, 0, 0, w.zone), time.Date(y, m, d, 0, w.to, 0, 0, w.zone), ok
}

// Contains reports whether an instant lies in the brownout, and when it ends then. It allocates nothing.
func (w *Brownout) Contains(now time.Time) (until time.Time, ok bool) {
	begin, end, ok := w.on(now)
	return end, ok && !now.Before(begin) && now.Before(end)
}

// Next returns when the brownout begins the next time after an instant, or false when it does not come back.
func (w *Brownout) Next(now time.Time) (begin time.Time, ok bool) {
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
