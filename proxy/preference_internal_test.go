package proxy

import (
	"testing"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/proxy/token"
)

func TestTheOtherCredentialIsAskedOnlyWhereItCanHelp(t *testing.T) {
	const secret, certificate = identity.KindSecret, identity.KindCertificate
	for _, tc := range []struct {
		kind            string
		err             token.Error
		same, elsewhere bool // whether it helps, by where the other's token server is
	}{
		{secret, token.Error{Step: token.StepRefused}, true, true},
		{secret, token.Error{Step: token.StepDropped}, true, true},
		{secret, token.Error{Step: token.StepScope}, true, true},
		{secret, token.Error{Step: token.StepStatus, Code: "invalid_scope"}, true, true},
		{certificate, token.Error{Step: token.StepTLS}, true, true},
		{secret, token.Error{Step: token.StepTLS}, false, true},
		{secret, token.Error{Step: token.StepDial}, false, true},
		{secret, token.Error{Step: token.StepRequest}, false, true},
		{secret, token.Error{Step: token.StepStatus, Status: 503}, false, true},
		{secret, token.Error{Step: token.StepParse}, false, true},
		{secret, token.Error{Step: token.StepWait}, false, false},
	} {
		c := &identity.Credential{Kind: tc.kind}
		if got := helps(c, &tc.err, false); got != tc.same {
			t.Errorf("%s, %v, the same token server: got %v", tc.kind, &tc.err, got)
		}
		if got := helps(c, &tc.err, true); got != tc.elsewhere {
			t.Errorf("%s, %v, another token server: got %v", tc.kind, &tc.err, got)
		}
	}
}
