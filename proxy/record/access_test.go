package record_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/tenantgate/tenantgate/proxy/record"
)

func sample() *record.Access {
	return &record.Access{
		Time: time.Date(2026, 11, 24, 8, 15, 0, 123456789, time.UTC), RequestID: "0193a0c4b6d07f0e8a4f6f1d2c3b4a59", Protocol: "HTTP/1.1",
		Source: "10.1.2.3:51234", Method: "POST", Host: "gate.example.com", Path: "/http/orders", Identity: "erp-orders", Serial: "3f9a01",
		Route: "orders", Tenant: "acme-prod", Outcome: record.Served, Status: 202, TenantStatus: 202, BytesIn: 16384, BytesOut: 312,
		Duration: 48211 * time.Microsecond, TenantDuration: 47 * time.Millisecond,
	}
}

func TestAccessLineHoldsTheRecord(t *testing.T) {
	got := string(sample().AppendLine(nil))
	want := `{"time":"2026-11-24T08:15:00.123456Z","request_id":"0193a0c4b6d07f0e8a4f6f1d2c3b4a59","protocol":"HTTP/1.1",` +
		`"source":"10.1.2.3:51234","method":"POST","host":"gate.example.com","path":"/http/orders","identity":"erp-orders",` +
		`"serial":"3f9a01","route":"orders","tenant":"acme-prod","outcome":"served","status":202,"tenant_status":202,` +
		`"bytes_in":16384,"bytes_out":312,"duration_us":48211,"tenant_us":47000}` + "\n"
	if got != want {
		t.Errorf("line\n got %s\nwant %s", got, want)
	}
}

func TestAccessLineHoldsWhatFindsTheRequestElsewhere(t *testing.T) {
	a := sample()
	a.TraceID, a.SpanID, a.CorrelationID, a.MPLID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", `0b9f"8a52`, "AGZf0-_9aBcDeFgHiJkLmNoPqRsT"
	a.CSRFDuration, a.CSRFRetried = 3*time.Millisecond, true
	got := string(a.AppendLine(nil))
	want := `,"tenant_status":202,"trace_id":"0af7651916cd43dd8448eb211c80319c","span_id":"b7ad6b7169203331","correlation_id":"0b9f\"8a52",` +
		`"mpl_id":"AGZf0-_9aBcDeFgHiJkLmNoPqRsT","bytes_in":16384,"bytes_out":312,"duration_us":48211,"csrf_us":3000,"tenant_us":47000,"csrf_retried":true}` + "\n"
	if !strings.HasSuffix(got, want) {
		t.Errorf("line\n got %s\nwant its end to be %s", got, want)
	}
}

func TestAccessLineIsBounded(t *testing.T) {
	long := strings.Repeat("\x00", 1<<20)
	a := &record.Access{Protocol: long, Source: long, Method: long, Host: long, Path: long, Identity: long, Serial: long, Route: long, Tenant: long,
		TraceID: long, SpanID: long, CorrelationID: long, MPLID: long, RequestID: long, Cause: long, Outcome: record.Malformed}
	line := a.AppendLine(nil)
	if len(line) > 32<<10 {
		t.Errorf("line of %d bytes, want at most 32 KiB", len(line))
	}
	var m map[string]any
	if err := json.Unmarshal(line, &m); err != nil {
		t.Fatal(err)
	}
	if m["cut"] != true {
		t.Errorf("cut = %v, want true", m["cut"])
	}
}

func TestAccessLineTakesNoMemory(t *testing.T) {
	a, buf := sample(), make([]byte, 0, 4096)
	if n := testing.AllocsPerRun(100, func() { buf = a.AppendLine(buf[:0]) }); n != 0 {
		t.Errorf("%v allocations a line, want 0", n)
	}
}

// FuzzAccessLineIsOneValidJSONLine: whatever bytes a caller sends, the record is one line, valid JSON, and reads back as encoding/json would have it.
func FuzzAccessLineIsOneValidJSONLine(f *testing.F) {
	f.Add("GET", "/a", "host", "cause")
	f.Add("G\"ET", "/\xff\xfe\n\r\t\\\u2028\x00\x1b[31m", "\u0085\u009b", "\ufffd\xed\xa0\x80")
	f.Add(strings.Repeat("é", 200), strings.Repeat("€", 1000), "a</script>", "x\",\"outcome\":\"served")
	f.Fuzz(func(t *testing.T, method, path, host, cause string) {
		a := &record.Access{Method: method, Path: path, Host: host, Cause: cause, Identity: host, Outcome: record.Malformed, Status: 400}
		line := a.AppendLine(nil)
		if bytes.IndexByte(line, '\n') != len(line)-1 {
			t.Fatalf("not one line: %q", line)
		}
		for i, c := range line[:len(line)-1] {
			if c < 0x20 || c == 0x7f {
				t.Fatalf("control character at %d of %q", i, line)
			}
		}
		if !utf8.Valid(line) {
			t.Fatalf("not UTF-8: %q", line)
		}
		var got struct{ Method, Path, Host, Cause, Outcome string }
		if err := json.Unmarshal(line, &got); err != nil {
			t.Fatalf("%v in %q", err, line)
		}
		check := func(name, got, sent string, limit int) {
			t.Helper()
			if len(sent) > limit {
				sent = sent[:limit]
			}
			encoded, _ := json.Marshal(sent)
			var want string
			_ = json.Unmarshal(encoded, &want)
			if got != want {
				t.Errorf("%s: got %q, want %q", name, got, want)
			}
		}
		check("method", got.Method, method, 255)
		check("path", got.Path, path, 2048)
		check("host", got.Host, host, 255)
		check("cause", got.Cause, cause, 512)
		if got.Outcome != "malformed" {
			t.Errorf("outcome %q, want malformed", got.Outcome)
		}
	})
}

func BenchmarkAppendLine(b *testing.B) {
	a, buf := sample(), make([]byte, 0, 4096)
	b.ReportAllocs()
	for b.Loop() {
		buf = a.AppendLine(buf[:0])
	}
}
