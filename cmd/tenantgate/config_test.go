package main

import (
	"bytes"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestExampleConfigurationHoldsTheDefaults(t *testing.T) {
	const path = "../../configs/example.yaml"
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	got, err := decodeConfig(path, b)
	if err != nil {
		t.Fatal(err)
	}
	want := defaultConfig()
	if !reflect.DeepEqual(*got, want) {
		t.Errorf("configs/example.yaml says\n%+v\nthe defaults are\n%+v", *got, want)
	}
	var rendered bytes.Buffer
	if err := renderConfig(&rendered, &want); err != nil {
		t.Fatal(err)
	}
	if rendered.String() != string(b) {
		t.Error("configs/example.yaml differs from `tenantgate config example`: write that output into it")
	}
}

func TestExampleConfigurationShowsEveryKey(t *testing.T) {
	cfg := defaultConfig()
	var b strings.Builder
	if err := renderConfig(&b, &cfg); err != nil {
		t.Fatal(err)
	}
	for _, key := range configKeys(reflect.TypeFor[Config](), "") {
		if section, ok := strings.CutPrefix(key, "server_certificate.files[]."); ok { // there is none by default; the comment shows how they are written
			if !strings.Contains(b.String(), section+": tls/") {
				t.Errorf("the example does not show %s", key)
			}
			continue
		}
		name := key[strings.LastIndexByte(key, '.')+1:]
		if !strings.Contains(b.String(), "\n"+strings.Repeat("  ", strings.Count(key, "."))+name+":") {
			t.Errorf("the example does not show %s", key)
		}
	}
}

func TestRenderedConfigurationReadsBackAsItself(t *testing.T) {
	want := defaultConfig()
	want.Listen = "127.0.0.1:0"
	want.ServerNames = []string{"a.example", "::1"}
	want.Database = `C:\odd "name" # x`
	want.Admin.Listen = ""
	want.ServerCertificate.Source = sourceFiles
	want.ServerCertificate.Names = []string{"a.example"}
	want.ServerCertificate.Files = []CertificateFile{{Certificate: "a.pem", Key: "a.key"}, {PKCS12: "a b.p12", PasswordFile: `p"w`}}
	want.Limits.HeaderBytes = 4097
	want.Limits.DrainTimeout = Duration(90 * time.Second)
	var b bytes.Buffer
	if err := renderConfig(&b, &want); err != nil {
		t.Fatal(err)
	}
	got, err := decodeConfig("x.yaml", b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(*got, want) {
		t.Errorf("got %+v, want %+v", *got, want)
	}
}

func TestConfigurationErrorsNameTheLine(t *testing.T) {
	for name, tt := range map[string]struct{ in, want, hint string }{
		"misspelt key":        {"listen: \":1\"\nlog:\n  levl: info\n", "x.yaml:3: unknown key log.levl", "did you mean log.level?"},
		"key in wrong place":  {"header_timeout: 5s\n", "x.yaml:1: unknown key header_timeout", "did you mean limits.header_timeout?"},
		"hyphens":             {"server-names: [a]\n", "x.yaml:1: unknown key server-names", "did you mean server_names?"},
		"nothing near":        {"zzzzzzzzzzzz: 1\n", "x.yaml:1: unknown key zzzzzzzzzzzz", "config example"},
		"second document":     {"listen: \":1\"\n---\nlisten: \":2\"\n", "x.yaml:3: a second YAML document", ""},
		"duplicate key":       {"listen: \":1\"\nlisten: \":2\"\n", "x.yaml:2: ", ""},
		"bare duration":       {"limits:\n  idle_timeout: 30\n", `x.yaml:2: "30" is not a duration`, ""},
		"bad size":            {"limits:\n  header_bytes: 32KB\n", `x.yaml:2: "32KB" is not a size`, ""},
		"no token rate":       {"tokens:\n  rate: 0\n", "x.yaml:2: tokens.rate: 0 is not between 1 and 100000", ""},
		"out of range":        {"limits:\n  header_bytes: 1GiB\n", "x.yaml:2: limits.header_bytes: 1GiB is not between", ""},
		"bad address":         {"\nlisten: 8443\n", "x.yaml:2: listen: \"8443\" is not host:port", ""},
		"bad level":           {"log:\n  level: loud\n", "x.yaml:2: log.level: \"loud\" is not one of", ""},
		"no administration":   {"admin: {socket: \"\", listen: \"\"}\n", "x.yaml:1: admin.socket: neither", ""},
		"sequence":            {"- a\n", "x.yaml:1: expected keys and values", ""},
		"wrong type":          {"server_names: {a: b}\n", "x.yaml:1: ", ""},
		"broken text":         {"listen: \"x\nlog:\n", "x.yaml:1: ", ""},
		"section is a scalar": {"log: loud\n", "x.yaml:1: ", ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := decodeConfig("x.yaml", []byte(tt.in))
			if err == nil {
				t.Fatal("accepted")
			}
			var b strings.Builder
			if status := report(&b, err); status != exitUsage {
				t.Errorf("exit status %d, want %d", status, exitUsage)
			}
			if !strings.Contains(b.String(), tt.want) || !strings.Contains(b.String(), tt.hint) {
				t.Errorf("got\n%swant %q and hint %q", b.String(), tt.want, tt.hint)
			}
		})
	}
}

func TestConfigurationWithoutKeysIsTheDefaults(t *testing.T) {
	for _, in := range []string{"# only a comment\n", "---\n"} {
		got, err := decodeConfig("x.yaml", []byte(in))
		if err != nil {
			t.Fatalf("%q: %v", in, err)
		}
		if want := defaultConfig(); !reflect.DeepEqual(*got, want) {
			t.Errorf("%q: got %+v", in, *got)
		}
	}
}

func TestDurationsAndSizesReadBack(t *testing.T) {
	for _, want := range []Duration{0, 1, Duration(time.Second), Duration(90 * time.Minute), Duration(90 * 24 * time.Hour), Duration(36 * time.Hour), Duration(2*time.Minute + time.Second)} {
		got, err := parseDuration(want.String())
		if err != nil || got != want {
			t.Errorf("%v: got %v, %v", want, got, err)
		}
	}
	for _, want := range []Size{0, 1, 1023, 1 << 10, 1<<10 + 1, 100 << 20, 3 << 30} {
		got, err := parseSize(want.String())
		if err != nil || got != want {
			t.Errorf("%v: got %v, %v", want, got, err)
		}
	}
	for _, in := range []string{"", "5", "-5s", "-1d", "1.5d", "d", "5 s", "99999999d"} {
		if got, err := parseDuration(in); err == nil {
			t.Errorf("duration %q: accepted as %v", in, got)
		}
	}
	for _, in := range []string{"", "KiB", "-1", "1.5KiB", "5KB", "9223372036854775807GiB"} {
		if got, err := parseSize(in); err == nil {
			t.Errorf("size %q: accepted as %v", in, got)
		}
	}
}
