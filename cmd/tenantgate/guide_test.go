package main

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// scriptGuide does what a page of docs/callers says, word for word but for the proxy's address, which is $listen: guide PAGE. Blocks marked sh are run; blocks
// with a file's name behind their mark are written to that file; others, for machines that are not here, are passed over.
func scriptGuide(pages string) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) != 1 {
			ts.Fatalf("usage: guide PAGE")
		}
		b, err := os.ReadFile(filepath.Join(pages, args[0]))
		ts.Check(err)
		page := strings.ReplaceAll(string(b), "gate.example.com:8443", strings.Replace(ts.Getenv("listen"), "127.0.0.1", "localhost", 1))
		ran := 0
		for mark, block := range fences(page) {
			kind, file, _ := strings.Cut(mark, " ")
			switch {
			case file != "":
				ts.Check(os.WriteFile(ts.MkAbs(file), []byte(block), 0o600))
			case kind == "sh":
				ran++
				ts.Check(ts.Exec("sh", "-eu", "-c", block))
			}
		}
		if ran == 0 {
			ts.Fatalf("%s has nothing to run", args[0])
		}
	}
}

// fences are the fenced blocks of a page: what is behind the fence, and what is between it and the next.
func fences(page string) func(yield func(mark, block string) bool) {
	return func(yield func(string, string) bool) {
		mark, block, inside := "", "", false
		for line := range strings.Lines(page) {
			text := strings.TrimSpace(line)
			fence, isFence := strings.CutPrefix(text, "```")
			switch {
			case isFence && !inside:
				mark, block, inside = fence, "", true
			case isFence:
				inside = false
				if !yield(mark, block) {
					return
				}
			case inside:
				block += line
			}
		}
	}
}
