// Package identity is the registry: which technical identity a certificate belongs to, which roles the identity holds, which
// routes lead to which tenants, and with which credential an identity calls a tenant.
//
// It owns its tables (see [Migrations]) and keeps all of them in memory as an immutable [Snapshot]. Readers on the request path
// take the current snapshot with one atomic load and never wait for a writer or for the database. A change is committed first and
// published afterwards ([Registry.Change]); other processes on the same database follow by [Registry.Refresh].
//
// The package does not know TLS, HTTP, how a certificate is issued or verified, how a token is fetched, or who may make a change.
// It does not open databases and has no statement that is particular to one of them.
package identity

import (
	"slices"
	"strings"
	"time"
)

// Identity is a technical identity: a name for a backend system that calls tenants, owned by a team and never by a person.
type Identity struct {
	// Name is the identity's key: 1 to 63 of a-z, 0-9, '.', '_', '-', beginning with a letter or digit.
	Name string `json:"name"`
	// Owner is the team that answers for the identity. It is required and holds no '@'.
	Owner string `json:"owner"`
	// Description is free text of at most 1024 bytes.
	Description string `json:"description,omitempty"`
	// Roles are the names of the roles that the identity holds, sorted, without duplicates.
	Roles []string `json:"roles"`
	// Disabled says that every request of the identity is refused, whichever certificate it shows.
	Disabled bool `json:"disabled"`
	// ReviewDate is the day by which the owner must confirm that the identity is still needed; "" is none.
	ReviewDate Date `json:"review_date,omitempty"`
	// Rate is how many requests a second the identity may send, on each node; 0 is no limit. It may be a fraction.
	Rate float64 `json:"rate,omitempty"`
	// Burst is how many requests may come at once within the rate; 0 is as many as come in a second.
	Burst int `json:"burst,omitempty"`
	// Concurrency is how many of its requests may be in flight, on each node; 0 is no limit.
	Concurrency int `json:"concurrency,omitempty"`
	// Bandwidth is how many octets of bodies a second pass, both directions and all its requests together, on each node; 0 is no limit.
	Bandwidth int64 `json:"bandwidth,omitempty"`
	// RenewGrace is for how long after its end a certificate may still be renewed; 0 is not at all. It opens nothing but renewal.
	RenewGrace Duration `json:"renew_grace,omitempty"`
	// KeyTypes are the types of keys that certificates of the identity may have, sorted (see [KeyTypes]); none is all of them.
	KeyTypes []string `json:"key_types,omitempty"`
	// Created is when the identity was added. The registry sets it.
	Created time.Time `json:"created,omitzero"`
	// Updated is when the identity was last changed. The registry sets it.
	Updated time.Time `json:"updated,omitzero"`
}

// HasRole reports whether the identity holds the role, enabled or not. A request asks its [Binding].
func (i *Identity) HasRole(role string) bool {
	_, ok := slices.BinarySearch(i.Roles, role)
	return ok
}

// Validate returns an *[Error] with code [ErrInvalid] for the first field that cannot be stored, or nil.
func (i Identity) Validate() error {
	v := validation{object: ObjectIdentity, name: i.Name}
	v.key("name", i.Name)
	v.team("owner", i.Owner)
	v.text("description", i.Description)
	for _, role := range i.Roles {
		v.role("roles", role)
	}
	v.date("review_date", i.ReviewDate)
	v.identityLimits(&i)
	v.enrolment(&i)
	return v.err()
}

// normal returns the identity as it is stored: roles sorted, each once.
func (i Identity) normal() Identity {
	i.Owner = strings.TrimSpace(i.Owner)
	i.Roles, i.KeyTypes = sortedSet(i.Roles), sortedSet(i.KeyTypes)
	return i
}

// sortedSet returns the strings sorted, each once, in a slice of its own that is never nil.
func sortedSet(in []string) []string {
	out := append(make([]string, 0, len(in)), in...)
	slices.Sort(out)
	return slices.Compact(out)
}
