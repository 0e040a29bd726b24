package record_test

import (
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/tenantgate/tenantgate/proxy/record"
)

func TestEachOutcomeHasANameAndAProblem(t *testing.T) {
	seen := map[string]bool{}
	for _, o := range record.Outcomes() {
		t.Run(o.String(), func(t *testing.T) {
			if o.String() == "" || seen[o.String()] {
				t.Errorf("name %q is empty or used twice", o)
			}
			seen[o.String()] = true
			var back record.Outcome
			if err := back.UnmarshalText([]byte(o.String())); err != nil || back != o {
				t.Errorf("name reads back as %v, %v", back, err)
			}
			var got struct {
				Type, Title, Detail string
				Status              int
				RequestID           string `json:"request_id"`
			}
			body := record.AppendProblem(nil, o, "id\"1")
			if err := json.Unmarshal(body, &got); err != nil {
				t.Fatalf("%v in %s", err, body)
			}
			if got.Type != o.Type() || got.Title != o.Title() || got.Status != o.Status() || got.Detail != o.Detail() || got.RequestID != "id\"1" {
				t.Errorf("problem is %s", body)
			}
			if got.Title == "" || got.Detail == "" || got.Status < 200 || got.Status > 599 {
				t.Errorf("incomplete: %s", body)
			}
			if len(body) > 512-record.RequestIDLen {
				t.Errorf("%d bytes: over the 512 that AppendProblem promises", len(body))
			}
		})
	}
}

func TestAnUnknownOutcomeIsAnInternalError(t *testing.T) {
	var zero record.Outcome
	for _, o := range []record.Outcome{zero, 255} {
		if o.String() != "internal" || o.Status() != 500 {
			t.Errorf("Outcome(%d) is %v %d, want internal 500", uint8(o), o, o.Status())
		}
	}
	if err := zero.UnmarshalText([]byte("nonsense")); err == nil {
		t.Error("an unknown name was read")
	}
}

func TestWriteProblem(t *testing.T) {
	w := httptest.NewRecorder()
	if err := record.WriteProblem(w, record.Denied, "0123"); err != nil {
		t.Fatal(err)
	}
	if w.Code != 403 || w.Header().Get("Content-Type") != "application/problem+json" || w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("got %d %v", w.Code, w.Header())
	}
	if !strings.Contains(w.Body.String(), `"type":"urn:tenantgate:problem:denied"`) {
		t.Errorf("body %s", w.Body)
	}
}

func TestProblemTakesNoMemory(t *testing.T) {
	buf := make([]byte, 0, 512)
	if n := testing.AllocsPerRun(100, func() { buf = record.AppendProblem(buf[:0], record.Denied, "0123") }); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

func TestRequestIDsAreUniqueAndSortable(t *testing.T) {
	seen := make(map[string]bool)
	for range 10000 {
		id := record.NewRequestID()
		if len(id) != record.RequestIDLen || strings.Trim(id, "0123456789abcdef") != "" {
			t.Fatalf("id %q", id)
		}
		if seen[id] {
			t.Fatalf("id %q twice", id)
		}
		seen[id] = true
	}
}
