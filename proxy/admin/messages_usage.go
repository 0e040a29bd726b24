package admin

import (
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/proxy/usage"
)

// CallerName is the body of POST /v1/callers/{id}/name.
type CallerName struct {
	// Name is what an operator calls the caller, such as "HR batch, host a17"; "" takes the name away.
	Name string `json:"name"`
}

// CallerMerge is the body of POST /v1/callers/{id}/merge.
type CallerMerge struct {
	// Into is the caller that this one is shown as a part of from now on.
	Into usage.ID `json:"into"`
}

// MoveRequest is the body of POST /v1/callers/{id}/move. Only the identity is required.
type MoveRequest struct {
	// Identity is whose certificate the caller gets. It is added when it is missing, and gets the roles of the routes that the caller was seen using.
	Identity string `json:"identity"`
	// Login, when it is given, must be the one that the caller uses.
	Login string `json:"login,omitempty"`
	// Owner is the team of an identity that is added; "" is the login's.
	Owner string `json:"owner,omitempty"`
	// Grace is for how long the login goes on working for the caller once it was seen with its certificate; missing is 168h, 0s is not at all.
	Grace *identity.Duration `json:"grace,omitempty"`
	// Addresses are the caller's, where the usage history has only pseudonyms: nobody can be locked out by one.
	Addresses []string `json:"addresses,omitempty"`
	// CopyCredentials gives the identity the OAuth clients with which the login's identity calls the tenants of those routes, where it has none of its own.
	CopyCredentials bool `json:"copy_credentials,omitempty"`
	// NoToken makes no enrolment token: the certificate comes in another way.
	NoToken bool `json:"no_token,omitempty"`
	// Token says what the token is good for.
	Token EnrolmentTokenRequest `json:"token,omitzero"`
}

// UndoRequest is the body of POST /v1/callers/{id}/undo; it may be empty.
type UndoRequest struct {
	// Login, when it is given, must be the one that the caller was moved from.
	Login string `json:"login,omitempty"`
}

// MoveResult is the answer to a [MoveRequest].
type MoveResult struct {
	Move identity.Move `json:"move"`
	// IdentityAdded says that there was no such identity before.
	IdentityAdded bool `json:"identity_added"`
	// Routes are those that the caller was seen using and the login may use, Roles what the identity holds for them, and Granted those that are new to it.
	Routes  []string `json:"routes"`
	Roles   []string `json:"roles"`
	Granted []string `json:"roles_granted"`
	// MissingCredentials are tenants of those routes that the identity has no OAuth client for: calls to them fail until it has one.
	MissingCredentials []string `json:"missing_credentials"`
	// CopiedCredentials are tenants that it was given the login's OAuth client for.
	CopiedCredentials []string `json:"copied_credentials"`
	// Token is for whoever sets up the caller; its text is told this once. Missing when none was asked for.
	Token *NewEnrolmentToken `json:"token,omitempty"`
	// Warnings are for whoever moves the caller.
	Warnings []string `json:"warnings"`
}

// NetworkList is the body of POST /v1/networks, which replaces the list, and the answer of GET.
type NetworkList struct {
	Networks usage.Networks `json:"networks"`
}

// PseudonymiseRequest is the body of POST /v1/usage/pseudonymise.
type PseudonymiseRequest struct {
	// KeepAddresses keeps addresses in the clear from now on; what is a pseudonym stays one.
	KeepAddresses bool `json:"keep_addresses,omitempty"`
}

// PseudonymiseResult is the answer to it.
type PseudonymiseResult struct {
	usage.Settings
	// Rewritten is how many callers had an address in the clear.
	Rewritten int `json:"rewritten"`
}

// ForgetRequest is the body of POST /v1/usage/forget. Without a member that narrows it, All must be true.
type ForgetRequest struct {
	Login    string   `json:"login,omitempty"`
	Identity string   `json:"identity,omitempty"`
	Caller   usage.ID `json:"caller,omitzero"`
	// Before is a day, 2006-01-02: what is older is forgotten, and callers that were not seen since.
	Before string `json:"before,omitempty"`
	All    bool   `json:"all,omitempty"`
}

// ForgetResult is the answer to it.
type ForgetResult struct {
	// Callers is how many are in the history no more.
	Callers int `json:"callers"`
}

// defaultGrace is for how long a moved caller may go back to the password.
const defaultGrace = 7 * 24 * time.Hour
