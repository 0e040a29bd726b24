package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
)

// output is standard output. It remembers the first error, because what prints through fmt and tabwriter does not look at it: a table
// that a full disk cut off must not end with status 0.
type output struct {
	w   io.Writer
	err error
}

// Write implements io.Writer.
func (o *output) Write(b []byte) (int, error) {
	n, err := o.w.Write(b)
	if err != nil && o.err == nil {
		o.err = fmt.Errorf("writing the output: %w", err)
	}
	return n, err
}

// show prints v as indented JSON with --json, else calls text.
func (p *program) show(v any, text func(w io.Writer)) error {
	if p.json {
		return writeJSON(p.stdout, v)
	}
	text(p.stdout)
	return nil
}

// writeJSON prints v as indented JSON; a nil slice inside prints as the API sends it.
func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("writing JSON: %w", err)
	}
	return nil
}

// table prints rows under a header, in columns. Cells are made safe for a terminal.
func table(w io.Writer, header []string, rows [][]string) {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, strings.Join(header, "\t"))
	for _, row := range rows {
		cells := make([]string, len(row))
		for i, c := range row {
			cells[i] = printable(c)
		}
		fmt.Fprintln(tw, strings.Join(cells, "\t"))
	}
	tw.Flush()
}

// field is one line of a single object's description.
type field struct{ name, value string }

// fields prints an object as "name: value" lines; empty values are left out.
func fields(w io.Writer, list ...field) {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, f := range list {
		if f.value != "" {
			fmt.Fprintf(tw, "%s:\t%s\n", f.name, printable(f.value))
		}
	}
	tw.Flush()
}

// printable replaces control characters, so that what a caller sent cannot drive an operator's terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return '·'
		}
		return r
	}, s)
}

// moment prints a time as an operator reads it, in UTC; "" when it is not set.
func moment(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04:05Z")
}

// list joins names; "-" stands for none.
func list(names []string) string {
	if len(names) == 0 {
		return "-"
	}
	return strings.Join(names, ",")
}

// orDash is s, or "-" where an empty cell would be misread.
func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// yesNo prints a truth.
func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
