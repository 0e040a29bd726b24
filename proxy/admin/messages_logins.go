package admin

import (
	"time"

	"github.com/tenantgate/tenantgate/identity"
)

// Login is a login as lists show it: with its stage of now, and without its password.
type Login struct {
	identity.Login
	// ID stands for the user name in addresses: base64url without padding.
	ID string `json:"id"`
	// CurrentStage is what follows from stage, dates and the clock.
	CurrentStage identity.Stage `json:"current_stage"`
	// Next is the step that the schedule has next, Closes when the login is closed by a date.
	Next   *identity.Step `json:"next,omitempty"`
	Closes time.Time      `json:"closes"`
	// NextBrownout is when the next brownout window begins.
	NextBrownout time.Time `json:"next_brownout,omitzero"`
	// Team answers for its callers: its owner, or else that of the identity.
	Team string `json:"team"`
	// Hash is how the password is stored: argon2id, bcrypt until it is first used, "" when none is known.
	Hash string `json:"hash,omitempty"`
	// LastUsed is when it was last accepted on any node, to some seconds.
	LastUsed time.Time `json:"last_used,omitzero"`
}

// LoginRequest is the body of POST /v1/logins: a login and its password, or the hash of that; neither only in stage observe.
type LoginRequest struct {
	identity.Login
	// Password is hashed at once and kept nowhere.
	Password string `json:"password,omitempty"`
	// PasswordHash is one that was made elsewhere: bcrypt, or Argon2id as a PHC string.
	PasswordHash string `json:"password_hash,omitempty"`
}

// LoginBack is the body of POST /v1/logins/{id}/back.
type LoginBack struct {
	// Until is when the stage that is taken back begins again; left out, it does so when somebody gives a date.
	Until time.Time `json:"until,omitzero"`
}

// LoginImport is the body of POST /v1/login-imports: logins that are added together, or not at all.
type LoginImport struct {
	// DryRun has everything checked and nothing added.
	DryRun bool `json:"dry_run,omitempty"`
	// Logins are at most 2000. Their passwords must be hashed: hashing takes time.
	Logins []ImportedLogin `json:"logins"`
}

// ImportedLogin is a login of an import, and the line that it came from.
type ImportedLogin struct {
	LoginRequest
	Line int `json:"line,omitempty"`
}

// LoginImported is what came of an import. When there are problems, nothing was added.
type LoginImported struct {
	DryRun   bool           `json:"dry_run"`
	Added    []string       `json:"added"` // user names
	Problems []LoginProblem `json:"problems"`
}

// LoginProblem says what is wrong with one login of an import.
type LoginProblem struct {
	Line   int    `json:"line,omitempty"`
	User   string `json:"user"`
	Field  string `json:"field,omitempty"`
	Detail string `json:"detail"`
	Hint   string `json:"hint,omitempty"`
}
