package main

import (
	"bytes"
	"testing"
	"testing/synctest"
	"time"
)

func TestProgressIsToldAfterTwoSecondsAndThenEveryTwo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said bytes.Buffer
		g := (&program{stderr: &said}).progress("backing up")
		for i := range int64(50) { // five seconds
			g.table("identities", i*1000)
			time.Sleep(100 * time.Millisecond)
		}
		if got, want := said.String(), "backing up: table identities, 20000 rows\nbacking up: table identities, 40000 rows\n"; got != want {
			t.Errorf("it said %q, want %q", got, want)
		}
	})
}
