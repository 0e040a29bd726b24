package architecture

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/tenantgate/tenantgate"

// imports says which of our packages each package may import. A package that is missing here fails: think where it belongs first.
var imports = map[string][]string{
	"identity":        {},
	"pki":             {},
	"pki/external":    {"identity", "pki"},
	"pki/pkitest":     {"pki", "internal/database"},
	"pki/servercert":  {"pki"},
	"proxy/token":     {},
	"proxy/record":    {},
	"proxy/tenantsim": {},
	"proxy/check":     {"proxy/token"},
	"proxy/admin": {"identity", "pki", "pki/external", "proxy/token", "proxy/record", "proxy/check", "proxy/enrolment", "proxy/expiry", "proxy/notify",
		"proxy/usage", "proxy/migration"},
	"proxy/usage":                    {},
	"proxy/migration":                {"identity", "proxy/usage"},
	"proxy/publish":                  {"pki"},
	"proxy/expiry":                   {"identity", "pki"},
	"proxy/notify":                   {},
	"proxy/enrolment":                {"identity", "pki", "proxy/record"},
	"proxy/acme":                     {"identity", "pki", "proxy/enrolment", "proxy/record"},
	"proxy":                          {"identity", "pki", "pki/external", "proxy/token", "proxy/record", "proxy/wire", "proxy/login", "proxy/usage"},
	"proxy/login":                    {},
	"proxy/wire":                     {},
	"internal/architecture":          {},
	"internal/bench":                 {},
	"internal/backup":                {"internal/database"},
	"internal/database":              {},
	"internal/database/databasetest": {"internal/database"},
	"internal/outside":               {},
	"cmd/tenantgate":                 {"*"},
}

// forbidden are packages that only these of ours may import: the decision, the wire, the registry and the records know no HTTP client, the data plane no SQL.
var forbidden = map[string][]string{
	"net/http": {"proxy", "pki/external", "pki/pkitest", "pki/servercert", "proxy/token", "proxy/record", "proxy/check", "proxy/admin", "proxy/publish", "proxy/enrolment",
		"proxy/acme", "proxy/notify", "proxy/tenantsim", "internal/outside",
		"cmd/tenantgate"},
	"log": {"proxy/tenantsim"},
	"database/sql": {"identity", "pki", "pki/pkitest", "proxy/token", "proxy/record", "proxy/usage", "proxy/admin", "proxy/enrolment", "proxy/notify", "internal/backup",
		"internal/database",
		"internal/database/databasetest",
		"cmd/tenantgate"},
}

func TestImportsFollowTheDesign(t *testing.T) {
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", module+"/...").Output()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimPrefix(p.ImportPath, module+"/")
		seen[name] = true
		allowed, known := imports[name]
		if !known {
			t.Errorf("package %s is not in the table: add it to docs/design.md and here, with what it may import", name)
			continue
		}
		for _, i := range p.Imports {
			if ours, ok := strings.CutPrefix(i, module+"/"); ok && !slices.Contains(allowed, ours) && !slices.Contains(allowed, "*") {
				t.Errorf("package %s imports %s, which it may not know", name, ours)
			}
			if who, ok := forbidden[i]; ok && !slices.Contains(who, name) {
				t.Errorf("package %s imports %s, which it may not know", name, i)
			}
		}
	}
	for name := range imports {
		if !seen[name] {
			t.Errorf("package %s is in the table and not in the tree", name)
		}
	}
}

func TestTheDecisionCoreKnowsNoHTTPLibrary(t *testing.T) {
	for _, file := range []string{"core.go", "core_login.go", "path.go", "query.go", "hygiene.go", "peer.go"} {
		out, err := exec.Command("go", "list", "-f", `{{join .Imports "\n"}}`, "../../proxy/"+file).Output()
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for i := range strings.Lines(string(out)) {
			if strings.Contains(i, "net/http") || strings.Contains(i, "golang.org/x/net") || strings.Contains(i, "fasthttp") {
				t.Errorf("%s imports %s", file, i)
			}
		}
	}
}
