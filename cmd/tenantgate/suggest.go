package main

import (
	"errors"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// flagError is a usage error for a flag that cannot be parsed; one that does not exist is told with the one that was probably meant.
func flagError(cmd *cobra.Command, err error) error {
	f := usageError(cmd, "%v", err).(*failure)
	unknown, ok := errors.AsType[*pflag.NotExistError](err)
	if !ok || unknown.GetSpecifiedShortnames() != "" {
		return f
	}
	if near := nearest(unknown.GetSpecifiedName(), flagNames(cmd)); len(near) > 0 {
		f.hint = "did you mean --" + strings.Join(near, " or --") + "? (" + f.hint + ")"
	}
	return f
}

// flagNames lists what the command takes, the root's flags included.
func flagNames(cmd *cobra.Command) []string {
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			names = append(names, f.Name)
		}
	})
	return names
}

// nearest returns the names that are fewest slips away from what was written: at most two, or a third of a short one.
func nearest(written string, names []string) []string {
	best, near := min(2, max(1, len(written)/3)), []string(nil)
	for _, name := range names {
		d := slips(written, name)
		if d > best {
			continue
		}
		if d < best {
			best, near = d, nil
		}
		near = append(near, name)
	}
	return near
}

// slips counts the letters that were left out, added, changed or swapped with their neighbour (the restricted Damerau-Levenshtein distance).
func slips(a, b string) int {
	before, last, now := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		now[0] = i
		for j := 1; j <= len(b); j++ {
			changed := last[j-1]
			if a[i-1] != b[j-1] {
				changed++
			}
			now[j] = min(changed, last[j]+1, now[j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				now[j] = min(now[j], before[j-2]+1)
			}
		}
		before, last, now = last, now, before
	}
	return last[len(b)]
}
