package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/tenantgate/tenantgate/proxy/usage"
)

// system is one of those that share a password in docs/migration.md: it calls as its kind does, from an address of its own.
type system struct {
	name, kind    string
	source, agent string // agent "" is what the kind sends of itself
	path          string
}

// fleet are twelve systems of four kinds. Those of Java come from one address, as behind NAT; the last two are the forgotten ones.
var fleet = []system{
	{"hr-batch", "curl", "127.0.0.11", "", "/http/orders"},
	{"crm", "curl", "127.0.0.12", "", "/http/stock/1"},
	{"shop", "go", "127.0.0.21", "", "/http/stock/2"},
	{"wms", "go", "127.0.0.22", "", "/http/orders"},
	{"mes", "go", "127.0.0.23", "", "/http/stock/3"},
	{"portal", "node", "127.0.0.31", "Portal/3.1", "/http/stock/4"},
	{"edi", "node", "127.0.0.32", "EDI/9", "/http/orders"},
	{"bi", "node", "127.0.0.33", "BI/1", "/http/stock/5"},
	{"payroll", "java", "127.0.0.1", "Payroll/7.40", "/http/orders"},
	{"tax", "java", "127.0.0.1", "Tax/2", "/http/orders"},
	{"year-end", "curl", "127.0.0.13", "", "/http/orders"},
	{"archive", "java", "127.0.0.1", "Archive/0.9", "/http/stock/6"},
}

// knownFleet is how many of them call every day.
const knownFleet = 10

func member(ts *testscript.TestScript, name string) system {
	i := slices.IndexFunc(fleet, func(s system) bool { return s.name == name })
	if i < 0 {
		ts.Fatalf("there is no system %q", name)
	}
	return fleet[i]
}

// scriptFleet has systems of the fleet do something: fleet password|certificate STATUS NAME... calls and wants that status; NAME known is those that call every day.
func scriptFleet(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: fleet password|certificate STATUS NAME...")
	}
	var names []string
	for _, name := range args[2:] {
		if name != "known" {
			names = append(names, name)
			continue
		}
		for _, s := range fleet[:knownFleet] {
			names = append(names, s.name)
		}
	}
	for _, name := range names {
		s := member(ts, name)
		if got := s.call(ts, args[0] == "certificate"); got != args[1] {
			ts.Fatalf("%s (%s) got %s with its %s, want %s", name, s.kind, got, args[0], args[1])
		}
	}
}

// scriptFleetID puts the id of a system's caller into the environment: fleet-id VAR NAME.
func scriptFleetID(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: fleet-id VAR NAME")
	}
	s := member(ts, args[1])
	ts.Check(ts.Exec("tenantgate", "caller", "list", "P2001234567", "--json"))
	var callers []usage.Caller
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &callers))
	for _, c := range callers {
		if c.Source == s.source && (s.agent == "" || c.Agent == usage.NormalAgent(s.agent)) {
			ts.Setenv(args[0], c.ID.String())
			return
		}
	}
	ts.Fatalf("%s was not seen: %+v", s.name, callers)
}

// scriptMoveFleet names, moves and enrols systems: move-fleet NAME...
func scriptMoveFleet(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: move-fleet NAME...")
	}
	for _, name := range args {
		scriptFleetID(ts, false, []string{"CALLER", name})
		ts.Check(ts.Exec("tenantgate", "caller", "name", ts.Getenv("CALLER"), name))
		ts.Check(ts.Exec("tenantgate", "migration", "move", "P2001234567", ts.Getenv("CALLER"), "--to", name, "--copy-credentials", "--grace", "0s"))
		ts.Check(ts.Exec("tenantgate", "enroll", strings.TrimSpace(ts.ReadFile("stdout")), "--out", name))
	}
}

// scriptDates puts days into the environment: SUNSET is in a month, TODAY is today and WINDOW a brownout that is on.
func scriptDates(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: dates")
	}
	now := time.Now().UTC()
	from := max(0, min(20, now.Hour()-1))
	ts.Setenv("SUNSET", now.AddDate(0, 0, 31).Format(time.DateOnly))
	ts.Setenv("TODAY", now.Format(time.DateOnly))
	ts.Setenv("WINDOW", fmt.Sprintf("daily %02d:00-%02d:00 UTC", from, from+4))
}

// call makes one request and returns its status. With a certificate it is the one that NAME/NAME.pem and .key hold.
func (s *system) call(ts *testscript.TestScript, certificate bool) string {
	gate := ts.Getenv("bridge")
	if certificate {
		gate = ts.Getenv("listen")
	}
	url := "https://localhost:" + gate[strings.LastIndexByte(gate, ':')+1:] + s.path
	method := "GET"
	if s.path == "/http/orders" {
		method = "POST"
	}
	env := []string{"URL=" + url, "METHOD=" + method, "SOURCE=" + s.source, "AGENT=" + s.agent, "CA=" + ts.MkAbs("d/ca/root_ca.crt")}
	if certificate {
		env = append(env, "CERT="+ts.MkAbs(s.name+"/"+s.name+".pem"), "KEY="+ts.MkAbs(s.name+"/"+s.name+".key"))
	}
	line := s.command(ts, certificate)
	// A system whose connection breaks calls once more: on a machine that is busy with other tests, one that waits too long for its handshake is closed.
	for attempt := 1; ; attempt++ {
		stderr := new(strings.Builder)
		cmd := exec.Command("sh", "-euc", line)
		cmd.Dir, cmd.Stderr = ts.MkAbs("."), stderr
		cmd.Env = append(append(os.Environ(), "PATH="+ts.Getenv("PATH")), env...)
		out, err := cmd.Output()
		if err == nil {
			return strings.TrimSpace(string(out))
		}
		if attempt == 3 {
			ts.Fatalf("%s: %v: %s%s", s.name, err, out, stderr)
		}
	}
}

// command is what a system of its kind runs; the values come by the environment.
func (s *system) command(ts *testscript.TestScript, certificate bool) string {
	switch s.kind {
	case "curl":
		who := `-u "P2001234567:$(cat password)"`
		if certificate {
			who = `--cert "$CERT" --key "$KEY"`
		}
		return `curl -sS -o answer -w '%{http_code}' --interface "$SOURCE" --cacert "$CA" -X "$METHOD" ` + who + ` "$URL"`
	case "go":
		return "gocaller"
	case "node":
		return "node call.js"
	}
	if _, err := os.Stat(ts.MkAbs("Call.class")); err != nil {
		ts.Check(ts.Exec("javac", "Call.java"))
		ts.Check(ts.Exec("tenantgate", "cert", "convert", "--ca", "d/ca/root_ca.crt", "--to", "truststore-pkcs12", "--out", "trust.p12", "--password-file", "storepass"))
	}
	store := ""
	if certificate {
		if _, err := os.Stat(ts.MkAbs(s.name + ".p12")); err != nil {
			ts.Check(ts.Exec("tenantgate", "cert", "convert", "--chain", s.name+"/"+s.name+".pem", "--key", s.name+"/"+s.name+".key", "--to", "pkcs12", "--out", s.name+".p12",
				"--password-file", "storepass"))
		}
		store = "-Djavax.net.ssl.keyStore=" + s.name + ".p12 -Djavax.net.ssl.keyStorePassword=changeit "
	}
	return "java -XX:TieredStopAtLevel=1 -XX:+UseSerialGC " + store + "-Djavax.net.ssl.trustStore=trust.p12 -Djavax.net.ssl.trustStorePassword=changeit Call"
}

// scriptGuidePart does what one section of a page of docs says, as guide does with a whole one: guide-part PAGE HEADING. Variables in its blocks are the script's. A
// block marked text behind one that was run is what that must have printed, but for ids, times and the width of columns.
func scriptGuidePart(docs string) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) != 2 {
			ts.Fatalf("usage: guide-part PAGE HEADING")
		}
		b, err := os.ReadFile(filepath.Join(docs, args[0]))
		ts.Check(err)
		_, part, found := strings.Cut(string(b), "\n## "+args[1]+"\n")
		if !found {
			ts.Fatalf("%s has no section %q", args[0], args[1])
		}
		part, _, _ = strings.Cut(part, "\n## ")
		part = strings.ReplaceAll(part, "10.1.0.", "127.0.0.")
		ran := 0
		for mark, block := range fences(part) {
			kind, file, _ := strings.Cut(mark, " ")
			switch {
			case file != "":
				ts.Check(os.WriteFile(ts.MkAbs(file), []byte(block), 0o600))
			case kind == "sh":
				ran++
				ts.Check(ts.Exec("sh", "-eu", "-c", block))
			case kind == "text":
				if got, want := masked(ts.ReadFile("stdout")), masked(block); got != want {
					ts.Fatalf("%s, %s:\nprinted\n%s\nthe page says\n%s", args[0], args[1], got, want)
				}
			}
		}
		if ran == 0 {
			ts.Fatalf("%s, %s: nothing to run", args[0], args[1])
		}
	}
}

var (
	callerIDs = regexp.MustCompile(`\b[a-z2-7]{13}\b`)
	instants  = regexp.MustCompile(`\d{4}-\d\d-\d\d( \d\d:\d\d:\d\dZ)?`)
	rates     = regexp.MustCompile(`(\s)\d+\.\d(\s|$)`)
	spaces    = regexp.MustCompile(` +`)
)

// masked is output without what differs each time. Lines are sorted: lists go by ids, which are random.
func masked(s string) string {
	s = callerIDs.ReplaceAllString(s, "ID")
	s = rates.ReplaceAllString(instants.ReplaceAllString(s, "TIME"), "${1}N${2}")
	lines := strings.Split(strings.TrimSpace(s), "\n")
	for i := range lines {
		lines[i] = strings.TrimSpace(spaces.ReplaceAllString(lines[i], " "))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// runGoCaller is the command gocaller: a system of the fleet that calls with Go's own client, by the variables that system.call sets.
func runGoCaller([]string) error {
	client, err := fleetClient(os.Getenv("SOURCE"), os.Getenv("CA"), os.Getenv("CERT"), os.Getenv("KEY"))
	if err != nil {
		return err
	}
	request, err := newFleetRequest(os.Getenv("METHOD"), os.Getenv("URL"), os.Getenv("CERT") == "")
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	fmt.Println(response.StatusCode)
	return nil
}
