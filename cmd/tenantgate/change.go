package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/proxy/admin"
)

// call runs fn with the client of the running server and makes its error readable.
func (p *program) call(fn func(c *admin.Client) error) error {
	return p.calling("waiting for the server", fn)
}

// calling is call for what may take its time, which what names.
func (p *program) calling(what string, fn func(c *admin.Client) error) error {
	c, err := p.client()
	if err != nil {
		return err
	}
	defer p.slow(what)()
	return explain(fn(c))
}

// slow says on standard error what the command is at, once, when it takes longer than people wait without a word.
func (p *program) slow(what string) (done func()) {
	timer := time.AfterFunc(2*time.Second, func() { fmt.Fprintln(p.stderr, what+"...") })
	return func() { timer.Stop() }
}

// attributes are the flags of `add` and `set` that stand for fields of an object: each knows the JSON
// name of its field and its value. Only flags that were given count, so that `set` changes nothing else.
type attributes struct{ list []attribute }

type attribute struct {
	flag, field string
	value       func() (any, error)
}

// text adds a string flag.
func (a *attributes) text(cmd *cobra.Command, flag, field, usage string) {
	v := cmd.Flags().String(flag, "", usage)
	a.list = append(a.list, attribute{flag, field, func() (any, error) { return *v, nil }})
}

// names adds a flag that takes a comma-separated list or is repeated. An empty value is the empty list.
func (a *attributes) names(cmd *cobra.Command, flag, field, usage string) {
	v := cmd.Flags().StringSlice(flag, nil, usage)
	a.list = append(a.list, attribute{flag, field, func() (any, error) { return append([]string{}, *v...), nil }})
}

// someNames is names for a list that means everything when it is empty, which must not come of a variable that a script has not set:
// everything is asked for by the word all.
func (a *attributes) someNames(cmd *cobra.Command, flag, field, usage string) {
	v := cmd.Flags().StringSlice(flag, nil, usage)
	a.list = append(a.list, attribute{flag, field, func() (any, error) {
		switch {
		case len(*v) == 0:
			return nil, usageError(cmd, "--%s is empty: name some, or all", flag)
		case slices.Equal(*v, []string{"all"}):
			return nil, nil // null is everything; the API refuses an empty list
		}
		return *v, nil
	}})
}

// someLines is someNames for values that may hold a comma: the flag is repeated for each, and everything has a word of its own.
func (a *attributes) someLines(cmd *cobra.Command, flag, everything, field, usage string) {
	v := cmd.Flags().StringArray(flag, nil, usage)
	a.list = append(a.list, attribute{flag, field, func() (any, error) {
		switch {
		case slices.Contains(*v, ""):
			return nil, usageError(cmd, "--%s is empty: give one, or %s", flag, everything)
		case slices.Equal(*v, []string{everything}):
			return nil, nil
		}
		return *v, nil
	}})
}

// parameters adds a flag that is repeated for each name=value of a token request. An empty value is no parameter.
func (a *attributes) parameters(cmd *cobra.Command, flag, field, usage string) {
	v := cmd.Flags().StringArray(flag, nil, usage)
	a.list = append(a.list, attribute{flag, field, func() (any, error) { return tokenParameters(cmd, flag, *v) }})
}

// tokenParameters reads the values of such a flag. A name may come more than once.
func tokenParameters(cmd *cobra.Command, flag string, pairs []string) (identity.TokenParameters, error) {
	values := map[string][]string{}
	for _, pair := range pairs {
		name, value, ok := strings.Cut(pair, "=")
		switch {
		case pair == "" && len(pairs) == 1:
		case !ok || name == "":
			return "", usageError(cmd, "--%s %q is not of the form name=value", flag, pair)
		default:
			values[name] = append(values[name], value)
		}
	}
	return identity.NewTokenParameters(values), nil
}

// parametersText shows token parameters in one line; "" when there are none.
func parametersText(p identity.TokenParameters) string { return strings.Join(p.Pairs(), " ") }

// truth adds a flag that is true when given; --flag=false is false.
func (a *attributes) truth(cmd *cobra.Command, flag, field, usage string) {
	v := cmd.Flags().Bool(flag, false, usage)
	a.list = append(a.list, attribute{flag, field, func() (any, error) { return *v, nil }})
}

// duration adds a flag such as 30s; the API reads what time.Duration prints.
func (a *attributes) duration(cmd *cobra.Command, flag, field, usage string) {
	v := new(Duration)
	durationFlag(cmd, v, flag, usage)
	a.list = append(a.list, attribute{flag, field, func() (any, error) { return time.Duration(*v).String(), nil }})
}

// whole adds a flag that takes a whole number.
func (a *attributes) whole(cmd *cobra.Command, flag, field, usage string) {
	v := cmd.Flags().Int(flag, 0, usage)
	a.list = append(a.list, attribute{flag, field, func() (any, error) { return *v, nil }})
}

// number adds a flag that takes a number.
func (a *attributes) number(cmd *cobra.Command, flag, field, usage string) {
	v := cmd.Flags().Float64(flag, 0, usage)
	a.list = append(a.list, attribute{flag, field, func() (any, error) { return *v, nil }})
}

// size adds a flag such as 10MiB; the API reads octets.
func (a *attributes) size(cmd *cobra.Command, flag, field, usage string) {
	v := new(Size)
	cmd.Flags().Var(v, flag, usage)
	cmd.Flags().Lookup(flag).DefValue = ""
	a.list = append(a.list, attribute{flag, field, func() (any, error) { return int64(*v), nil }})
}

// durationFlag adds a flag whose usage says itself what happens without it.
func durationFlag(cmd *cobra.Command, v *Duration, flag, usage string) {
	cmd.Flags().Var(v, flag, usage)
	cmd.Flags().Lookup(flag).DefValue = ""
}

// file adds a flag that names a file whose text is the value; "" is the empty text.
func (a *attributes) file(p *program, cmd *cobra.Command, flag, field, usage string) {
	v := cmd.Flags().String(flag, "", usage)
	a.list = append(a.list, attribute{flag, field, func() (any, error) {
		if *v == "" {
			return "", nil
		}
		b, err := p.readInput(*v, "--"+flag)
		return string(b), err
	}})
}

// custom adds a flag that was registered elsewhere.
func (a *attributes) custom(flag, field string, value func() (any, error)) {
	a.list = append(a.list, attribute{flag, field, value})
}

// given returns the fields whose flags were given, by JSON name.
func (a *attributes) given(cmd *cobra.Command) (map[string]any, error) {
	changes := map[string]any{}
	for _, attr := range a.list {
		if !cmd.Flags().Changed(attr.flag) {
			continue
		}
		v, err := attr.value()
		if err != nil {
			return nil, err
		}
		changes[attr.field] = v
	}
	return changes, nil
}

// changes is given for `set`, where nothing to change is a slip.
func (a *attributes) changes(cmd *cobra.Command) (map[string]any, error) {
	changes, err := a.given(cmd)
	if err == nil && len(changes) == 0 {
		return nil, usageError(cmd, "nothing to change")
	}
	return changes, err
}

// fill sets the given fields in the object, for `add`.
func (a *attributes) fill(cmd *cobra.Command, object any) error {
	changes, err := a.given(cmd)
	if err != nil {
		return err
	}
	b, err := json.Marshal(changes)
	if err != nil {
		return fmt.Errorf("encoding flags: %w", err)
	}
	if err := json.Unmarshal(b, object); err != nil {
		return fmt.Errorf("reading flags: %w", err)
	}
	return nil
}

// removed confirms a removal.
func (p *program) removed(object, name string) error {
	return p.show(map[string]string{"removed": name}, func(w io.Writer) { fmt.Fprintf(w, "removed %s %s\n", object, name) })
}
