package proxy

import (
	"strings"
	"testing"

	"github.com/tenantgate/tenantgate/proxy/wire"
)

func TestAnMPLIDIsFoundInWhateverPiecesItComes(t *testing.T) {
	const id = "AGZf0-_9aBcDeFgHiJkLmNoPqRsT"
	const text = "An internal server error occured: The MPL ID for the failed message is : "
	for _, tt := range []struct{ name, body, want string }{
		{"as it is", text + id, id},
		{"line end behind it", text + id + "\r\n", id},
		{"full stop behind it", text + id + ". Try again", id},
		{"text before it", "MPL ID MMPL ID for order 4711 unknown. " + text + id, id},
		{"without spaces", "The MPL ID for the failed message is:" + id, id},
		{"begins twice", "MPL ID for the MPL ID for the failed message is : " + id, id},
		{"another id before it", text + "none. " + text + id, id},
		{"last of the first kibibyte", strings.Repeat("x", mplWindow-len(text)-len(id)) + text + id, id},

		{"beyond the first kibibyte", strings.Repeat("x", mplWindow-len(text)-len(id)+1) + text + id, ""},
		{"too short", text + id[:27], ""},
		{"too long", text + id + "x", ""},
		{"other beginning", text + "BG" + id[2:], ""},
		{"other characters", text + "AG+/" + id[4:], ""},
		{"without the text", "for : " + id, ""},
		{"markup", text + "<script>" + id, ""},
		{"nothing", "", ""},
		{"text only", text, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, size := range []int{1, 2, 3, 7, 64, len(tt.body) + 1} {
				var s mplScanner
				s.begin(&wire.Response{Status: 500, Length: -1, Fields: wire.Fields{{Name: "content-type", Value: "text/plain; charset=utf-8"}}})
				for rest := tt.body; rest != ""; {
					n := min(size, len(rest))
					s.read([]byte(rest[:n]))
					rest = rest[n:]
				}
				if got := s.found(); got != tt.want {
					t.Errorf("in pieces of %d: got %q, want %q", size, got, tt.want)
				}
			}
		})
	}
}

func TestOnlyPlainTextOfFailuresIsLookedAt(t *testing.T) {
	const body = "The MPL ID for the failed message is : AGZf0-_9aBcDeFgHiJkLmNoPqRsT"
	for _, tt := range []struct {
		name   string
		status int
		fields wire.Fields
		found  bool
	}{
		{"failure", 500, wire.Fields{{Name: "Content-Type", Value: "Text/Plain"}}, true},
		{"unavailable", 503, wire.Fields{{Name: "Content-Type", Value: "text/plain;charset=utf-8"}}, true},
		{"success", 200, wire.Fields{{Name: "Content-Type", Value: "text/plain"}}, false},
		{"refusal", 403, wire.Fields{{Name: "Content-Type", Value: "text/plain"}}, false},
		{"HTML", 500, wire.Fields{{Name: "Content-Type", Value: "text/html"}}, false},
		{"no type", 500, nil, false},
		{"compressed", 500, wire.Fields{{Name: "Content-Type", Value: "text/plain"}, {Name: "Content-Encoding", Value: "gzip"}}, false},
	} {
		var s mplScanner
		s.begin(&wire.Response{Status: tt.status, Length: int64(len(body)), Fields: tt.fields})
		s.read([]byte(body))
		if got := s.found() != ""; got != tt.found {
			t.Errorf("%s: found %v, want %v", tt.name, got, tt.found)
		}
	}
}
