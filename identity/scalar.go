package identity

import "time"

// Date is a calendar day, written 2006-01-02; "" is none.
type Date string

// Time returns the day's beginning in UTC, the zero time for "" and an error for what is not a date.
func (d Date) Time() (time.Time, error) {
	if d == "" {
		return time.Time{}, nil
	}
	return time.Parse(time.DateOnly, string(d))
}

// Duration is a time.Duration that reads and writes itself as text such as "90s" or "1m30s".
type Duration time.Duration

// String returns the duration as time.Duration does.
func (d Duration) String() string { return time.Duration(d).String() }

// MarshalText returns what String returns.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads what time.ParseDuration reads.
func (d *Duration) UnmarshalText(text []byte) error {
	parsed, err := time.ParseDuration(string(text))
	if err != nil {
		return &Error{Code: ErrInvalid, Object: "duration", Name: shortened(string(text)),
			Message: "not a duration", Hint: "write it like 30s or 1m30s"}
	}
	*d = Duration(parsed)
	return nil
}
