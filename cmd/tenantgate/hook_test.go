package main

import (
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/rogpeppe/go-internal/testscript"
)

// runHook is the command hook: a receiver of notifications. It writes each body that it has taken as a line of -log, and answers 503 while the
// file -down is there.
func runHook(args []string) error {
	flags := flag.NewFlagSet("hook", flag.ContinueOnError)
	addr := flags.String("addr", "", "file for hook=HOST:PORT")
	log := flags.String("log", "", "file for what was taken")
	down := flags.String("down", "", "file whose presence means that nothing is taken")
	if err := flags.Parse(args); err != nil {
		return err
	}
	out, err := os.OpenFile(*log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	var mu sync.Mutex // guards out
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if _, missing := os.Stat(*down); err != nil || missing == nil {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintf(out, "%s\n", body)
	})}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		server.Close()
	}()
	if err := replaceFile(*addr, fmt.Appendf(nil, "hook=%s\n", l.Addr()), 0o600); err != nil {
		return err
	}
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// scriptUntilLastCall waits until the database has a last call: until-last-call FILE.
func scriptUntilLastCall(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: until-last-call FILE")
	}
	db, err := sql.Open("sqlite", ts.MkAbs(args[0]))
	ts.Check(err)
	defer db.Close()
	until(ts, "a last call in "+args[0], func() bool {
		n := 0
		return db.QueryRow(`SELECT COUNT(*) FROM last_calls`).Scan(&n) == nil && n > 0
	})
}
