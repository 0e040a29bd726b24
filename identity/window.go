package identity

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // zones are the same on every machine, also where none are installed
)

// Window is a time of the week in which an identity may call. The zero value is never.
type Window struct {
	days     [7]bool // by time.Weekday: those on which it begins
	from, to int     // minutes since midnight on the clock of the zone; to is behind the last one, and below from when the window ends on the next day
	zone     *time.Location
	text     string
}

// dayNames are the days as windows name them, in the order of a working week.
var dayNames = []string{"Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"}

// weekday is the day of an index into dayNames.
func weekday(i int) time.Weekday { return time.Weekday((i + 1) % 7) }

const windowForm = "write it like Mon-Fri 06:00-20:00 Europe/Berlin, or daily 22:00-04:00; without a zone it is UTC"

// ParseWindow reads days, hours and a time zone: "Mon-Fri 06:00-20:00 Europe/Berlin", "Sat,Sun 00:00-24:00 UTC", "daily 22:00-04:00 UTC". Days are a
// range, a list of ranges, or daily; zones are names of the IANA database, UTC when there is none. A window that ends before it begins ends on the next
// day, which need not be named. The hours are those of clocks on the wall: where clocks are put forward or back, a window is an hour shorter or longer.
func ParseWindow(s string) (Window, error) {
	var w Window
	parts := strings.Fields(s)
	if len(parts) != 2 && len(parts) != 3 {
		return w, errors.New("it has not got days, hours and a zone")
	}
	var err error
	if w.days, err = parseDays(parts[0]); err != nil {
		return w, err
	}
	if w.from, w.to, err = parseHours(parts[1]); err != nil {
		return w, err
	}
	if w.from == w.to || w.from == minutesOfDay {
		return w, fmt.Errorf("%s holds no time: a whole day is 00:00-24:00", quoted(parts[1]))
	}
	zone := "UTC"
	if len(parts) == 3 {
		zone = parts[2]
	}
	if w.zone, err = parseZone(zone); err != nil {
		return w, err
	}
	w.text = w.dayText() + " " + clock(w.from) + "-" + clock(w.to) + " " + zone
	return w, nil
}

// parseDays reads days, by [time.Weekday]: Mon, Mon-Fri, Sat,Sun or daily.
func parseDays(s string) (days [7]bool, err error) {
	if strings.EqualFold(s, "daily") {
		return [7]bool{true, true, true, true, true, true, true}, nil
	}
	named := func(day string) int {
		return slices.IndexFunc(dayNames, func(name string) bool { return strings.EqualFold(name, day) })
	}
	for part := range strings.SplitSeq(s, ",") {
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		a, b := named(first), named(last)
		if a < 0 || b < 0 {
			return days, fmt.Errorf("%s is not a day or a range of days", quoted(part))
		}
		for i := a; ; i = (i + 1) % 7 {
			days[weekday(i)] = true
			if i == b {
				break
			}
		}
	}
	return days, nil
}

// dayText is the shortest text that parseDays reads back, for the days in the order of a week.
func (w *Window) dayText() string {
	if w.days == [7]bool{true, true, true, true, true, true, true} {
		return "daily"
	}
	var parts []string
	for i := 0; i < 7; i++ {
		if !w.days[weekday(i)] {
			continue
		}
		first := i
		for i+1 < 7 && w.days[weekday(i+1)] {
			i++
		}
		switch i - first {
		case 0:
			parts = append(parts, dayNames[first])
		case 1:
			parts = append(parts, dayNames[first], dayNames[i])
		default:
			parts = append(parts, dayNames[first]+"-"+dayNames[i])
		}
	}
	return strings.Join(parts, ",")
}

const minutesOfDay = 24 * 60

// parseHours reads 06:00-20:00 as minutes since midnight.
func parseHours(s string) (from, to int, err error) {
	first, last, ok := strings.Cut(s, "-")
	if !ok {
		return 0, 0, fmt.Errorf("%s is not a range of hours", quoted(s))
	}
	if from, err = parseClock(first); err != nil {
		return 0, 0, err
	}
	to, err = parseClock(last)
	return from, to, err
}

// parseZone finds a zone of the IANA database.
func parseZone(s string) (*time.Location, error) {
	if s == "Local" {
		return nil, errors.New("the zone Local is another one on every machine")
	}
	zone, err := time.LoadLocation(s)
	if err != nil {
		return nil, fmt.Errorf("%s is not a time zone", quoted(s))
	}
	return zone, nil
}

func parseClock(s string) (int, error) {
	h, m, ok := strings.Cut(s, ":")
	hour, err1 := strconv.ParseUint(h, 10, 8)
	minute, err2 := strconv.ParseUint(m, 10, 8)
	at := int(hour*60 + minute)
	if !ok || len(h) != 2 || len(m) != 2 || err1 != nil || err2 != nil || minute > 59 || at > minutesOfDay {
		return 0, fmt.Errorf("%s is not a time of day", quoted(s))
	}
	return at, nil
}

func clock(minutes int) string { return fmt.Sprintf("%02d:%02d", minutes/60, minutes%60) }

// String is the window as [ParseWindow] reads it, in one form for each.
func (w Window) String() string { return w.text }

// Contains reports whether the window is open at t. It allocates nothing.
func (w *Window) Contains(t time.Time) bool {
	if w.zone == nil {
		return false
	}
	local := t.In(w.zone)
	day, at := local.Weekday(), local.Hour()*60+local.Minute()
	if w.from < w.to {
		return w.days[day] && at >= w.from && at < w.to
	}
	return w.days[day] && at >= w.from || w.days[(day+6)%7] && at < w.to
}
