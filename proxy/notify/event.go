// Package notify tells one other system, by an HTTP POST, what an operator should know of: that something is about to end or was renewed, that a
// certificate was revoked, that a token server fails. What is to be told lies in the database until the receiver has taken it, so that neither a restart
// nor several nodes lose it or tell it twice; only a receiver that takes an event and is not heard to do so gets it again, with the same id.
//
// The body is the [Event]; the headers are those of Standard Webhooks (https://www.standardwebhooks.com): webhook-id, webhook-timestamp and webhook-signature.
//
// It does not know what the events are about, how the configuration is read, or who may look at them.
package notify

import (
	"crypto/rand"
	"strings"
	"time"
)

// Version is the version of the events' form. Members may be added within one; none is taken away or changes its meaning.
const Version = 1

// The types of events. Receivers must expect types that they do not know.
const (
	Test                 = "test"
	ExpirySoon           = "expiry.soon"            // an end is near
	ExpiryUrgent         = "expiry.urgent"          // it is very near
	ExpiryExpired        = "expiry.expired"         // it has come
	ExpiryRenewed        = "expiry.renewed"         // one of the three does not hold any more: something newer does the work
	ExpiryRemoved        = "expiry.removed"         // the same, because the thing is gone, revoked or disabled
	CertificateRevoked   = "certificate.revoked"    // one certificate, or count of them, will be refused from now on
	TokenServerFailing   = "token_server.failing"   // no tokens come from it
	TokenServerRecovered = "token_server.recovered" // they do again
	EnrolmentRefused     = "enrolment.refused"      // callers were refused certificates, count times within a quarter of an hour
)

// Severities of events.
const (
	Info     = "info"
	Warning  = "warning"
	Critical = "critical"
)

// Event is the body of one notification. It holds no secret.
type Event struct {
	// Version is 1.
	Version int `json:"version"`
	// ID is the event's own. It comes again when the same event is sent again.
	ID string `json:"id"`
	// Type is one of the types above.
	Type string `json:"type"`
	// Time is when the event came up.
	Time time.Time `json:"time"`
	// Installation is the trust domain of the CA: which tenantgate speaks.
	Installation string `json:"installation"`
	// Severity is info, warning or critical.
	Severity string `json:"severity"`
	// Subject is what the event is about.
	Subject Subject `json:"subject"`
	// Owner is the team that answers for it; "" where the operators do.
	Owner string `json:"owner,omitempty"`
	// Expires is when the subject ends.
	Expires time.Time `json:"expires,omitzero"`
	// Count is of how many subjects, or how often, where it is not one.
	Count int64 `json:"count,omitempty"`
	// Cause says why, where that is known.
	Cause string `json:"cause,omitempty"`
	// Hint is what to do, for people.
	Hint string `json:"hint,omitempty"`
}

// Subject is what an event is about.
type Subject struct {
	// Kind is what it is: one of package expiry's kinds, certificate, token_server, enrolment or test.
	Kind string `json:"kind"`
	// ID tells it from others of its kind.
	ID string `json:"id,omitempty"`
	// Name is whose it is.
	Name string `json:"name,omitempty"`
	// Tenant is where it is used, for a credential.
	Tenant string `json:"tenant,omitempty"`
}

// newID returns an id that no other event has: 130 random bits.
func newID() string { return "evt_" + strings.ToLower(rand.Text()) }
