package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/internal/database"
	"github.com/tenantgate/tenantgate/pki"
	"github.com/tenantgate/tenantgate/proxy/admin"
)

// The exit statuses, as the help of the root command documents them.
const (
	exitOK     = 0 // done
	exitFailed = 1 // understood, but it did not work, or the answer is no
	exitUsage  = 2 // the command line or the configuration cannot be understood
)

// failure is an error as an operator sees it: what is wrong and, on a line of its own, what to do next.
type failure struct {
	err   error
	hint  string
	usage bool
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

// hinted attaches the line that says what to do next. A nil error stays nil; an error that already
// has a hint keeps it, because the place nearest to the problem knows best.
func hinted(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	if hintOf(err) != "" {
		return err
	}
	return &failure{err: err, hint: fmt.Sprintf(format, args...)}
}

// usageError is a command line that cannot be understood; cmd's help is the hint.
func usageError(cmd *cobra.Command, format string, args ...any) error {
	return &failure{
		err:   fmt.Errorf(format, args...),
		hint:  cmd.CommandPath() + " --help",
		usage: true,
	}
}

// report prints err and its hint and returns the exit status it stands for.
func report(w io.Writer, err error) int {
	message, hint := err.Error(), hintOf(err)
	if hint != "" {
		for _, inText := range []string{" (" + hint + ")", ": " + hint} { // the errors of some packages carry it in their text
			message = strings.Replace(message, inText, "", 1)
		}
	}
	fmt.Fprintf(w, "tenantgate: %s\n", message)
	if hint != "" {
		fmt.Fprintf(w, "hint: %s\n", hint)
	}
	if f, ok := errors.AsType[*failure](err); ok && f.usage {
		return exitUsage
	}
	return exitFailed
}

// hintOf finds what to do about err: our own hint, or the one of the package that made the error.
func hintOf(err error) string {
	if f, ok := errors.AsType[*failure](err); ok && f.hint != "" {
		return f.hint
	}
	if e, ok := errors.AsType[*database.Error](err); ok {
		return e.Hint
	}
	if e, ok := errors.AsType[*identity.Error](err); ok {
		return e.Hint
	}
	if e, ok := errors.AsType[*admin.SocketError](err); ok {
		return e.Hint
	}
	if e, ok := errors.AsType[*pki.RequestError](err); ok {
		return e.Hint
	}
	if e, ok := errors.AsType[*pki.FileError](err); ok {
		return e.Hint
	}
	if e, ok := errors.AsType[*pki.FormatError](err); ok {
		return e.Hint
	}
	return ""
}

// exactArgs is cobra.ExactArgs with a message that names the missing argument.
func exactArgs(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < len(names):
			return usageError(cmd, "%s is missing", names[len(args)])
		case len(args) > len(names):
			return usageError(cmd, "unexpected argument %q", args[len(names)])
		}
		return nil
	}
}

// maxArgs accepts up to n arguments.
func maxArgs(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) > n {
			return usageError(cmd, "unexpected argument %q", args[n])
		}
		return nil
	}
}
