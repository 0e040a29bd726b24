package proxy_test

import (
	"testing"

	"github.com/tenantgate/tenantgate/identity"
)

// What an exchange promises does not depend on what is spoken with the tenant: the same tests, with a tenant of HTTP/2.
func TestWithATenantOfHTTP2(t *testing.T) {
	tenantsSpeak = identity.ProtocolHTTP2
	defer func() { tenantsSpeak = identity.ProtocolHTTP1 }()
	for name, test := range map[string]func(*testing.T){
		"without the role or a route nothing is served":           TestWithoutTheRoleOrARouteNothingIsServed,
		"serves with the identity's own token":                    TestServesWithTheIdentitysOwnToken,
		"no caller header becomes identity":                       TestNoCallerHeaderBecomesIdentity,
		"connection header cannot strip what we add":              TestConnectionHeaderCannotStripWhatWeAdd,
		"revocation refuses the next request":                     TestRevocationRefusesTheNextRequestOnAnOpenConnection,
		"revocation cuts transfers in flight":                     TestRevocationCutsTransfersInFlight,
		"the token appears nowhere":                               TestTheTokenAppearsNowhere,
		"a reflected token reaches no caller":                     TestAReflectedTokenReachesNoCaller,
		"no connection is shared between identities":              TestNoConnectionIsSharedBetweenIdentities,
		"ambiguous paths never reach the tenant":                  TestAmbiguousPathsNeverReachTheTenant,
		"what is forwarded is byte-exact":                         TestWhatIsForwardedIsByteExact,
		"a tenant path replaces the matched part":                 TestATenantPathReplacesTheMatchedPart,
		"a 401 is retried once with a new token":                  TestA401IsRetriedOnceWithANewToken,
		"a 401 is not retried when the body cannot be sent again": TestA401IsNotRetriedWhenTheBodyCannotBeSentAgain,
		"a retry keeps the trailer":                               TestARetryKeepsTheTrailer,
		"answers keep their length":                               TestAnswersKeepTheirLength,
		"many answers keep their fields":                          TestManyAnswersOnOneConnectionKeepTheirFields,
		"a tenant may pause longer than a caller":                 TestATenantMayPauseLongerThanACaller,
		"a caller that does not read is cut":                      TestACallerThatDoesNotReadIsCutAndOnRecord,
		"a body that drips is cut":                                TestABodyThatDripsIsCut,
		"slow callers of HTTP/2 are cut":                          TestSlowCallersOfHTTP2AreCut,
		"the first call after a pause pays no handshake":          TestTheFirstCallAfterAPausePaysNoHandshake,
		"a spare that the tenant closes is replaced":              TestASpareThatTheTenantClosesIsReplaced,
		"no spare outlives its use":                               TestNoSpareOutlivesItsUse,
		"a tenant's new address is followed":                      TestATenantsNewAddressIsFollowed,
		"TLS sessions are resumed by their identity only":         TestTLSSessionsAreResumedByTheirIdentityOnly,
		"a tenant is called through its HTTP proxy":               TestATenantIsCalledThroughItsHTTPProxy,
		"a silent HTTP proxy is given up with its caller":         TestASilentHTTPProxyIsGivenUpWithItsCaller,
		"a tenant is shown the certificate of the credential":     TestATenantIsShownTheCertificateOfTheIdentitysCredential,
		"spares show the certificate":                             TestSparesShowTheCertificate,
		"a tenant that takes no such certificate is on record":    TestATenantThatTakesNoSuchCertificateIsOnRecord,
		"a tenant that cannot be reached is left alone":           TestATenantThatCannotBeReachedIsLeftAlone,
		"curl is served":                                          TestCurlIsServedOverHTTP1AndHTTP2,
		"faults of the link to the tenant":                        TestFaultsOfTheLinkToTheTenant,
		"a body over the limit is refused":                        TestABodyOverTheRoutesLimitIsRefused,
		"no header asks for another method":                       TestNoHeaderAsksForAMethodThatTheRouteDoesNotHave,
		"bandwidth slows bodies down":                             TestBandwidthSlowsBodiesDown,
		"a tenant gets no more requests than it is given":         TestATenantGetsNoMoreRequestsAtOnceThanItIsGiven,
		"a tenant that hangs leaves room for others":              TestATenantThatHangsLeavesRoomForOthers,
		"draining serves what was accepted":                       TestDrainingServesWhatWasAccepted,
		"what the end of draining cuts is on record":              TestWhatTheEndOfDrainingCutsIsOnRecord,
		"a fetch that brings no CSRF token":                       TestAFetchThatBringsNoTokenIsNotFollowedByTheChange,
		"a path that the session does not cover":                  TestAPathThatTheSessionDoesNotCoverGetsAnother,
		"a tenant that cannot be reached for a fetch":             TestATenantThatCannotBeReachedForAFetchIsOnRecord,
		"a failure's id is found":                                 TestAFailuresIDIsFound,
		"a trace goes on":                                         TestATraceGoesOnToTheTenantAndIntoTheRecord,
		"a correlation id is kept":                                TestACorrelationIDIsKeptBothWaysAndOnRecord,
		"a reflected token is no correlation id":                  TestAReflectedTokenIsNoCorrelationID,
	} {
		t.Run(name, test)
	}
}
