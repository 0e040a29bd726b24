package proxy_test

import (
	"crypto/tls"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/internal/outside"
	"github.com/tenantgate/tenantgate/proxy"
)

// Suites for servers of HTTP/1.1 exist, but none can be installed from the registries of Go, npm or Debian. What every Go comes with is the source of net/http and,
// in it, the cases by which its server is tested: octets, and the status that they must get. They are read out of the tables there and sent through the running
// proxy.
func TestHTTP1ConformsToTheCasesOfNetHTTP(t *testing.T) {
	root, err := exec.Command(outside.Program(t, "go"), "env", "GOROOT").Output()
	must(t, err)
	dir := filepath.Join(strings.TrimSpace(string(root)), "src", "net", "http")
	type kase struct {
		octets string
		want   int
	}
	var cases []kase
	table := func(file, name string, make func(row []any) kase) {
		t.Helper()
		rows := tableOf(t, filepath.Join(dir, file), name)
		for _, row := range rows {
			if k := make(row); k.octets != "" {
				cases = append(cases, k)
			}
		}
		if len(rows) == 0 {
			t.Errorf("%s has no cases in %s: this Go keeps them elsewhere", file, name)
		}
	}
	str := func(v any) string { s, _ := v.(string); return s }
	num := func(v any) int { n, _ := v.(int); return n }
	table("serve_test.go", "TestServerValidatesHostHeader", func(row []any) kase {
		line := str(row[0])
		if strings.HasPrefix(line, "HTTP/") {
			line = "GET / " + line
		}
		return kase{line + "\r\n" + str(row[1]) + "\r\n", num(row[2])}
	})
	table("serve_test.go", "TestServerValidatesHeaders", func(row []any) kase {
		if row[0] == nil {
			return kase{} // is made by a function
		}
		return kase{"GET / HTTP/1.1\r\nHost: foo\r\n" + str(row[0]) + "\r\n", num(row[1])}
	})
	table("serve_test.go", "TestServerValidatesMethod", func(row []any) kase {
		return kase{str(row[0]) + " / HTTP/1.1\r\nHost: foo.example\r\n\r\n", num(row[1])}
	})
	table("readrequest_test.go", "badRequestTests", func(row []any) kase {
		return kase{strings.ReplaceAll(strings.TrimSpace(str(row[1])), "\n", "\r\n") + "\r\n\r\n", 400}
	})

	g := newGate(t, proxy.Limits{HeaderTimeout: 500 * time.Millisecond, IdleTimeout: 100 * time.Millisecond})
	ctx := t.Context()
	g.change(func(tx *identity.Tx) error {
		for _, name := range []string{"exact", "orders", "stock"} {
			if err := tx.RemoveRoute(ctx, name); err != nil {
				return err
			}
		}
		_, err := tx.AddRoute(ctx, identity.Route{Name: "all", Path: "/*", Tenant: "acme", Role: "orders.send"})
		return err
	})
	c := g.issue("orders")
	sessions := tls.NewLRUClientSessionCache(1)
	deviations := deviationsIn(t, "testdata/nethttp-deviations.txt")
	conform, deviate := 0, 0
	for _, k := range cases {
		name := strings.ReplaceAll(strconv.QuoteToASCII(strings.TrimSuffix(k.octets, "\r\n\r\n")), " ", "_")
		got, _, _ := c.exchangeRaw(sessions, k.octets)
		switch reason := deviations[name]; {
		case got == fmt.Sprint(k.want):
			conform++
			if reason != "" {
				t.Errorf("%s is listed as a deviation, and is none", name)
			}
		default:
			deviate++
			if reason == "" {
				t.Errorf("%s got %s, want %d", name, got, k.want)
			}
		}
	}
	t.Logf("%d cases, %d conform, %d deviate as listed", len(cases), conform, deviate)
	if len(cases) < 40 || deviate > len(deviations) {
		t.Errorf("%d cases, %d deviate", len(cases), deviate)
	}
}

// tableOf returns the rows of the first table in a function, or of a variable: strings, numbers, and nil for what is neither.
func tableOf(t *testing.T, path, name string) (rows [][]any) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
	must(t, err)
	take := func(in ast.Node) {
		ast.Inspect(in, func(n ast.Node) bool {
			lit, ok := n.(*ast.CompositeLit)
			if !ok || rows != nil {
				return rows == nil
			}
			if _, ok := lit.Type.(*ast.ArrayType); !ok {
				return true
			}
			for _, e := range lit.Elts {
				if row, ok := e.(*ast.CompositeLit); ok {
					var values []any
					for _, v := range row.Elts {
						values = append(values, constantOf(v))
					}
					rows = append(rows, values)
				}
			}
			return false
		})
	}
	for _, d := range file.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Name.Name == name {
				take(d)
			}
		case *ast.GenDecl:
			for _, s := range d.Specs {
				if v, ok := s.(*ast.ValueSpec); ok && v.Names[0].Name == name {
					take(v)
				}
			}
		}
	}
	return rows
}

// constantOf is the value of a string, a number, a sum of strings, or of the only argument of a function that is called with one.
func constantOf(e ast.Expr) any {
	switch e := e.(type) {
	case *ast.BasicLit:
		if e.Kind == token.INT {
			n, _ := strconv.Atoi(e.Value)
			return n
		}
		s, err := strconv.Unquote(e.Value)
		if err != nil {
			return nil
		}
		return s
	case *ast.BinaryExpr:
		a, ok := constantOf(e.X).(string)
		b, too := constantOf(e.Y).(string)
		if ok && too {
			return a + b
		}
	case *ast.CallExpr:
		if len(e.Args) == 1 {
			return constantOf(e.Args[0])
		}
	}
	return nil
}
