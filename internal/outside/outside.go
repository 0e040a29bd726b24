// Package outside gives tests what nobody here wrote: programs of the machine, and the token server oidc-provider. Where one is
// missing a test is skipped, loudly; under CI it fails.
//
// It knows none of our packages and starts nothing outside a test.
package outside

import (
	"os"
	"os/exec"
	"testing"
)

// Program returns a program's path, or ends the test where the machine has none.
func Program(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		missing(t, name+" is not on this machine")
	}
	return path
}

// missing skips the test; the gate fails.
func missing(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatal(what)
	}
	t.Skip("SKIP: " + what)
}
