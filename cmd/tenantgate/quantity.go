package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
)

// Duration is a time span written as people do: 30s, 5m, 12h, 90d, 1h30m. A bare number is refused,
// because nobody can tell what it counts.
type Duration time.Duration

// String prints d so that [parseDuration] reads it back, without zero parts.
func (d Duration) String() string {
	if d == 0 {
		return "0s"
	}
	const day = Duration(24 * time.Hour)
	if d%day == 0 {
		return strconv.FormatInt(int64(d/day), 10) + "d"
	}
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// parseDuration reads what [Duration] describes; days are 24 hours.
func parseDuration(s string) (Duration, error) {
	malformed := fmt.Errorf("%q is not a duration: write a number with a unit, such as 30s, 5m, 12h or 90d", s)
	if n, ok := strings.CutSuffix(s, "d"); ok {
		days, err := strconv.ParseInt(n, 10, 32)
		if err != nil || days < 0 || days > 36500 {
			return 0, malformed
		}
		return Duration(time.Duration(days) * 24 * time.Hour), nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 || s == "0" {
		return 0, malformed
	}
	return Duration(d), nil
}

// UnmarshalYAML implements yaml.NodeUnmarshaler, so that the error can name the line.
func (d *Duration) UnmarshalYAML(node ast.Node) error {
	v, err := parseDuration(scalar(node))
	if err != nil {
		return &nodeError{node, err}
	}
	*d = v
	return nil
}

// Set implements pflag.Value.
func (d *Duration) Set(s string) error {
	v, err := parseDuration(s)
	if err != nil {
		return err
	}
	*d = v
	return nil
}

// Type implements pflag.Value.
func (d *Duration) Type() string { return "duration" }

// Size is a number of bytes: 512, 32KiB, 100MiB, 2GiB. Only powers of 1024, so that it means one thing.
type Size int64

type sizeUnit struct {
	suffix string
	factor int64
}

// sizeUnits are the units of a [Size], the largest first.
func sizeUnits() []sizeUnit {
	return []sizeUnit{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}
}

// String prints s in the largest unit that divides it.
func (s Size) String() string {
	for _, u := range sizeUnits() {
		if s != 0 && int64(s)%u.factor == 0 {
			return strconv.FormatInt(int64(s)/u.factor, 10) + u.suffix
		}
	}
	return "0B"
}

// parseSize reads what [Size] describes.
func parseSize(s string) (Size, error) {
	number, factor := s, int64(1)
	for _, u := range sizeUnits() {
		if n, ok := strings.CutSuffix(s, u.suffix); ok {
			number, factor = strings.TrimSpace(n), u.factor
			break
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64/factor {
		return 0, fmt.Errorf("%q is not a size: write bytes, or a number with KiB, MiB or GiB, such as 32KiB", s)
	}
	return Size(n * factor), nil
}

// UnmarshalYAML implements yaml.NodeUnmarshaler, so that the error can name the line.
func (s *Size) UnmarshalYAML(node ast.Node) error {
	v, err := parseSize(scalar(node))
	if err != nil {
		return &nodeError{node, err}
	}
	*s = v
	return nil
}

// Set implements pflag.Value.
func (s *Size) Set(text string) error {
	v, err := parseSize(text)
	if err != nil {
		return err
	}
	*s = v
	return nil
}

// Type implements pflag.Value.
func (s *Size) Type() string { return "size" }

// scalar is the text of a YAML scalar, as written; a mapping or sequence prints as its source.
func scalar(node ast.Node) string {
	switch n := node.(type) {
	case *ast.StringNode:
		return n.Value
	case *ast.NullNode:
		return ""
	}
	return node.String()
}

// nodeError is a value that its type refuses, with the place where it stands.
type nodeError struct {
	node ast.Node
	err  error
}

func (e *nodeError) Error() string { return e.err.Error() }
func (e *nodeError) Unwrap() error { return e.err }

// text is d as the API reads durations; "" when it is zero, which stands for the default.
func (d Duration) text() string {
	if d == 0 {
		return ""
	}
	return time.Duration(d).String()
}
