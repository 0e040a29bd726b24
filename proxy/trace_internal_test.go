package proxy

import (
	"regexp"
	"strings"
	"testing"

	"github.com/tenantgate/tenantgate/proxy/wire"
)

// The cases of the W3C's own test suite for traceparent (w3c/trace-context, test/test.py), and some more.
func TestATraceIsContinuedOnlyWhenItCanBeReadInOneWay(t *testing.T) {
	const id, span = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	const good = "00-" + id + "-" + span + "-01"
	zeros := strings.Repeat("0", 32)
	for _, tt := range []struct {
		name  string
		given []string
		flags string // of what goes out, "" when the trace is begun anew
	}{
		{"sampled", []string{good}, "01"},
		{"not sampled", []string{"00-" + id + "-" + span + "-00"}, "00"},
		{"random id", []string{"00-" + id + "-" + span + "-03"}, "03"},
		{"flags without a meaning", []string{"00-" + id + "-" + span + "-fd"}, "01"},
		{"later version", []string{"cc-" + id + "-" + span + "-01"}, "01"},
		{"later version with more", []string{"cc-" + id + "-" + span + "-01-what-the-future-will-be-like"}, "01"},
		{"later version with an empty rest", []string{"01-" + id + "-" + span + "-01-"}, "01"},
		{"later version, other flags", []string{"cc-" + id + "-" + span + "-ff"}, "01"},

		{"none", nil, ""},
		{"empty", []string{""}, ""},
		{"two", []string{good, good}, ""},
		{"two, one of them bad", []string{good, "x"}, ""},
		{"two in one", []string{good + "," + good}, ""},
		{"version ff", []string{"ff-" + id + "-" + span + "-01"}, ""},
		{"version 00 with more", []string{good + "-what"}, ""},
		{"version 00 with a character more", []string{good + "."}, ""},
		{"later version, no separator", []string{"cc-" + id + "-" + span + "-01.what"}, ""},
		{"version in capitals", []string{"CC-" + id + "-" + span + "-01"}, ""},
		{"version of one digit", []string{"0-" + id + "-" + span + "-01"}, ""},
		{"version that is no number", []string{".0-" + id + "-" + span + "-01"}, ""},
		{"zero trace id", []string{"00-" + zeros + "-" + span + "-01"}, ""},
		{"zero span id", []string{"00-" + id + "-" + zeros[:16] + "-01"}, ""},
		{"trace id in capitals", []string{"00-" + strings.ToUpper(id) + "-" + span + "-01"}, ""},
		{"span id in capitals", []string{"00-" + id + "-" + strings.ToUpper(span) + "-01"}, ""},
		{"flags in capitals", []string{"00-" + id + "-" + span + "-0A"}, ""},
		{"short trace id", []string{"00-" + id[1:] + "-" + span + "-01"}, ""},
		{"long trace id", []string{"00-" + id + "0-" + span + "-01"}, ""},
		{"short span id", []string{"00-" + id + "-" + span[1:] + "-01"}, ""},
		{"long span id", []string{"00-" + id + "-" + span + "0-01"}, ""},
		{"flags of one digit", []string{"00-" + id + "-" + span + "-1"}, ""},
		{"flags of three digits", []string{"00-" + id + "-" + span + "-011"}, ""},
		{"flags that are no number", []string{"00-" + id + "-" + span + "-.1"}, ""},
		{"other separator", []string{strings.ReplaceAll(good, "-", "_")}, ""},
		{"space inside", []string{"00-" + id + "- " + span[1:] + "-01"}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var fields wire.Fields
			for _, v := range tt.given {
				fields = append(fields, wire.Field{Name: "TraceParent", Value: v})
			}
			var tr, next trace
			tr.begin(fields)
			got := tr.value()
			if !regexp.MustCompile(`^00-[0-9a-f]{32}-[0-9a-f]{16}-0[0-3]$`).MatchString(got) || strings.Contains(got, zeros) || tr.span() == zeros[:16] {
				t.Fatalf("sends %q", got)
			}
			if got != "00-"+tr.id()+"-"+tr.span()+"-"+got[flagsAt:] {
				t.Errorf("%q is not made of %q and %q", got, tr.id(), tr.span())
			}
			continued := tt.flags != ""
			if continued == tr.begun || continued != (tr.id() == id) || tr.span() == span {
				t.Errorf("sends %q, begun anew: %v", got, tr.begun)
			}
			if want := tt.flags; continued && got[flagsAt:] != want || !continued && got[flagsAt:] != "02" {
				t.Errorf("sends the flags %s, want %s", got[flagsAt:], want)
			}
			if tr.replaces("tracestate") == continued || !tr.replaces("Traceparent") || tr.replaces("tracestatus") {
				t.Error("keeps the wrong fields of the caller")
			}
			if next.begin(fields); next.span() == tr.span() {
				t.Error("two requests have one span id")
			}
		})
	}
}

func TestATraceTakesNoMemory(t *testing.T) {
	fields := wire.Fields{{Name: "Accept", Value: "*/*"}, {Name: "traceparent", Value: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}}
	var tr trace
	if n := testing.AllocsPerRun(100, func() { tr.begin(fields); tr.begin(fields[:1]) }); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

// BenchmarkTrace is what a trace costs a request, with the field for the tenant.
func BenchmarkTrace(b *testing.B) {
	for name, parent := range map[string]string{"begun": "", "continued": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"} {
		b.Run(name, func(b *testing.B) {
			fields := wire.Fields{{Name: "Accept", Value: "*/*"}, {Name: "User-Agent", Value: "SAP-CPI"},
				{Name: "Content-Type", Value: "application/json"}, {Name: "traceparent", Value: parent}}
			var tr trace
			var out []byte
			b.ReportAllocs()
			for b.Loop() {
				tr.begin(fields)
				out = wire.AppendField(out[:0], "traceparent", tr.value())
			}
		})
	}
}
