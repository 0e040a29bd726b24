package proxy

import (
	"net/url"
	"testing"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/proxy/wire"
)

func TestOnlyItsHeaderTellsACSRFRefusal(t *testing.T) {
	for _, tt := range []struct {
		name, value string
		status      int
		want        bool
	}{
		{"required", "required", 403, true},
		{"in capitals", "Required", 403, true},
		{"a role is missing", "", 403, false},
		{"a token", "0A1B", 403, false},
		{"another status", "required", 500, false},
		{"success", "required", 200, false},
	} {
		r := &wire.Response{Status: tt.status, Fields: wire.Fields{{Name: "Content-Type", Value: "text/html"}}}
		if tt.value != "" {
			r.Fields = append(r.Fields, wire.Field{Name: "x-csrf-token", Value: tt.value})
		}
		if got := csrfRequired(r); got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestWhereATokenIsFetched(t *testing.T) {
	for _, tt := range []struct{ base, path, target, want string }{
		{"https://t.example", "", "/http/orders?x=1", "/http/orders"},
		{"https://t.example", "", "/api/v1/Packages('x')/$value?$format=json", "/api/v1/"},
		{"https://t.example", "", "/API/v1/Packages", "/API/v1/"},
		{"https://t.example", "", "/api/v1/", "/api/v1/"},
		{"https://t.example", "", "/api/v1", "/api/v1"},
		{"https://t.example", "", "/api/v10/x", "/api/v10/x"},
		{"https://t.example", "/gw/odata/", "/api/v1/x", "/gw/odata/"},
		{"https://t.example/base", "", "/base/api/v1/x", "/base/api/v1/"},
		{"https://t.example/base", "", "/base/http/x", "/base/http/x"},
		{"https://t.example/base", "/token", "/base/http/x?y", "/base/token"},
	} {
		base, err := url.Parse(tt.base)
		if err != nil {
			t.Fatal(err)
		}
		route := &identity.RouteEntry{Base: base, Route: &identity.Route{CSRFPath: tt.path}}
		if got := csrfTarget(route, tt.target); got != tt.want {
			t.Errorf("%s%s for %s: got %s, want %s", tt.base, tt.path, tt.target, got, tt.want)
		}
	}
}
