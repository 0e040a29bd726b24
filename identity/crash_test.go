package identity_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/internal/database/databasetest"
)

// crashChild in the environment makes TestCrashChild the writer that TestKillLosesNoAcknowledgedChange kills.
const crashChild = "TENANTGATE_TEST_CRASH_CHILD"

// TestCrashChild adds identities, each with a certificate and a credential in one change, and prints each once it is acknowledged.
func TestCrashChild(t *testing.T) {
	args := strings.SplitN(os.Getenv(crashChild), "\n", 3)
	if len(args) != 3 {
		t.Skip("it is run by TestKillLosesNoAcknowledgedChange")
	}
	db := openDatabase(t, args[0])
	sealer, err := identity.NewSealer([]byte(args[2]))
	if err != nil {
		t.Fatal(err)
	}
	r := openRegistry(t, db, sealer)
	for n := 0; ; n++ {
		name := fmt.Sprintf("id-%s-%d", args[1], n)
		change(t, r, func(ctx context.Context, tx *identity.Tx) error {
			_, e1 := tx.AddIdentity(ctx, person(name, "role"))
			_, e2 := tx.BindCertificate(ctx, certificate(name, name))
			_, e3 := tx.AddCredential(ctx, secret(name, "cpi"))
			return errors.Join(e1, e2, e3)
		})
		fmt.Println("acknowledged " + name)
	}
}

func TestKillLosesNoAcknowledgedChange(t *testing.T) {
	rounds := 20
	if testing.Short() {
		rounds = 3
	}
	path := databasetest.SQLite(t)
	key, err := identity.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	sealer, err := identity.NewSealer(key)
	if err != nil {
		t.Fatal(err)
	}
	db := openDatabase(t, path)
	change(t, openRegistry(t, db, sealer), func(ctx context.Context, tx *identity.Tx) error {
		_, err := tx.AddTenant(ctx, tenant("cpi"))
		return err
	})
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	acknowledged := map[string]bool{}
	for round := range rounds {
		killWriter(t, fmt.Sprintf("%s\n%d\n%s", path, round, key), acknowledged)
		db := openDatabase(t, path)
		s := openRegistry(t, db, sealer).Snapshot()
		checkWhole(t, s, acknowledged)
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d rounds, %d acknowledged changes, none lost, none half", rounds, len(acknowledged))
}

// killWriter runs the child until it acknowledged some changes, kills it at a random moment and gathers what it had acknowledged.
func killWriter(t *testing.T, args string, acknowledged map[string]bool) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestCrashChild$")
	cmd.Env = append(os.Environ(), crashChild+"="+args)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop := 1 + rand.IntN(20)
	lines := bufio.NewScanner(out)
	for seen := 0; lines.Scan(); {
		name, ok := strings.CutPrefix(lines.Text(), "acknowledged ")
		if !ok {
			t.Logf("the child: %s", lines.Text())
			continue
		}
		acknowledged[name] = true
		if seen++; seen == stop {
			// A moment within the next change or two; the child goes on meanwhile.
			time.AfterFunc(time.Duration(rand.IntN(3000))*time.Microsecond, func() { _ = cmd.Process.Kill() })
		}
	}
	if err := cmd.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Fatalf("the child ended by itself: %v", err)
	}
}

func checkWhole(t *testing.T, s *identity.Snapshot, acknowledged map[string]bool) {
	t.Helper()
	for name := range acknowledged {
		if _, ok := s.Identity(name); !ok {
			t.Errorf("the acknowledged change %s is lost", name)
		}
	}
	for _, i := range s.Identities() {
		credentials := s.Credentials(i.Name, "cpi")
		if len(s.Certificates(i.Name)) != 1 || len(credentials) != 1 || credentials[0].Secret.Reveal() != "s3cr3t-of-"+i.Name {
			t.Errorf("half of the change %s is there", i.Name)
		}
	}
	if c := s.Counts(); c.Identities != c.Certificates || c.Identities != c.Credentials {
		t.Errorf("got %+v, want as many of each", c)
	}
}
