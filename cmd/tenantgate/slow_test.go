package main

import (
	"bytes"
	"testing"
	"testing/synctest"
	"time"
)

func TestSlowCommandsSayWhatTheyAreAt(t *testing.T) {
	for _, tt := range []struct {
		takes time.Duration
		want  string
	}{{1999 * time.Millisecond, ""}, {2001 * time.Millisecond, "making keys...\n"}} {
		synctest.Test(t, func(t *testing.T) {
			var said bytes.Buffer
			done := (&program{stderr: &said}).slow("making keys")
			time.Sleep(tt.takes)
			synctest.Wait()
			done()
			if said.String() != tt.want {
				t.Errorf("after %v it said %q, want %q", tt.takes, said.String(), tt.want)
			}
		})
	}
}
