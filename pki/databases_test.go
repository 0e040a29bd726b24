package pki_test

import (
	"database/sql"
	"testing"

	"github.com/tenantgate/tenantgate/internal/database/databasetest"
	"github.com/tenantgate/tenantgate/pki/pkitest"
)

// What touches the database runs on each kind of it, on a new database each.
func TestOnEachDatabase(t *testing.T) {
	databasetest.Each(t, func(t *testing.T, create func(testing.TB) string) {
		for _, c := range []struct {
			name string
			test func(*testing.T, *sql.DB)
		}{
			{"issue records what it signs", testIssueRecordsWhatItSigns},
			{"revoke keeps the first time and reason", testRevokeKeepsTheFirstTimeAndReason},
			{"concurrent issues", testConcurrentIssues},
			{"AuthDB knows revocation", testAuthDBKnowsRevocation},
			{"a token is used once", testATokenIsUsedOnce},
			{"a claim that fails uses nothing up", testAClaimThatFailsUsesNothingUp},
			{"tokens are found by hash and withdrawn", testTokensAreFoundByHashAndWithdrawn},
			{"old tokens are forgotten", testOldTokensAreForgotten},
			{"a renewal is known by its key", testARenewalIsKnownByItsKey},
			{"storage fulfils its contract", testStorageFulfilsItsContract},
			{"storage lock has one holder", testStorageLockHasOneHolder},
			{"server certificates", testServerCertificates},
			{"revocation lists are numbered once over restarts and nodes", testCRLNumbers},
			{"a revocation is in the next list, whoever makes it", testNoRevocationIsMissed},
			{"another intermediate takes over", testAnotherIntermediateTakesOver},
			{"a node that cannot follow is waited for", testANodeThatCannotFollowIsWaitedFor},
			{"a root follows another", testARootFollowsAnother},
			{"a compromised intermediate is believed no more", testACompromisedIntermediateIsBelievedNoMore},
			{"a rotation that was broken off goes on", testARotationThatWasBrokenOffGoesOn},
		} {
			t.Run(c.name, func(t *testing.T) { c.test(t, pkitest.OpenDatabase(t, create(t))) })
		}
	})
}
