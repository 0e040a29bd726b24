// Command tenantgate is the whole product in one binary: the proxy, its CA, its registry and the
// commands that operate them. It is the only place that knows every other package: it reads the
// configuration, opens what the packages need, hands it to them and stops them again.
//
// It does not know how a request is decided (package proxy), what an identity may reach (identity),
// what makes a certificate acceptable (pki) or how a token is fetched (proxy/token); each command
// parses its flags, asks one of those packages or the running server, and shows the answer.
package main

import (
	"context"
	"io"
	"log/slog"
	"os"
)

func main() {
	// net/http's client tells package log's logger what a server sent unasked, octet by octet: it could be a token. This silences that one too; what
	// operators should see goes through loggers that are handed on.
	slog.SetDefault(slog.New(slog.DiscardHandler))
	os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run is the whole program: it executes the command named by args and returns the exit status
// (see [exitOK]). Cancelling ctx ends a running server as SIGTERM does.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	out := &output{w: stdout}
	p := &program{stdin: stdin, stdout: out, stderr: stderr, getenv: os.Getenv}
	root := newRootCommand(p)
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(out)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		err = out.err
	}
	if err == nil {
		return exitOK
	}
	return report(stderr, err)
}
