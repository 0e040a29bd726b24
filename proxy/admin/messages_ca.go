package admin

import "time"

// CACertificate is a root or an intermediate of the CA, as GET /v1/ca/certificates has it.
type CACertificate struct {
	// ID is the SHA-256 of the certificate in lower-case hex, and of the public key while there is no certificate. Where one is named, its first eight digits do.
	ID string `json:"id"`
	// Kind is root or intermediate; State requested, pending, active, retiring or retired.
	Kind  string `json:"kind"`
	State string `json:"state"`
	// Subject is the distinguished name; Root the ID of the root that has signed an intermediate.
	Subject string `json:"subject"`
	Root    string `json:"root,omitempty"`
	// KeyType is the type of the key, Key where it is: file, database, offline, or the URI of a KMS.
	KeyType string `json:"key_type"`
	Key     string `json:"key"`
	// Problem is why the node that answers cannot sign with it.
	Problem string `json:"problem,omitempty"`
	// Installed says that every node on the database believes it; one that is not was found in a node's directory.
	Installed bool `json:"installed"`
	// NotBefore and NotAfter are the bounds of its validity; zero while it is requested.
	NotBefore time.Time `json:"not_before,omitzero"`
	NotAfter  time.Time `json:"not_after,omitzero"`
	// Created is since when it is known here, Trusted since when every node has it, Activated since when it signs, Retired since when it is not believed, for
	// Reason. Zero when that has not happened.
	Created   time.Time `json:"created"`
	Trusted   time.Time `json:"trusted,omitzero"`
	Activated time.Time `json:"activated,omitzero"`
	Retired   time.Time `json:"retired,omitzero"`
	Reason    string    `json:"reason,omitempty"`
	// Live is how many certificates under it are valid, but for those of this server's listeners.
	Live int64 `json:"live"`
	// Certificate is itself, Crossed the same signed by the root before, Request what a root has to sign, as PEM; "" when there is none.
	Certificate string `json:"certificate,omitempty"`
	Crossed     string `json:"crossed,omitempty"`
	Request     string `json:"request,omitempty"`
}

// CARequest is the body of POST /v1/ca/certificates: another intermediate.
type CARequest struct {
	// Name is its common name; "" is the subject of the one that signs.
	Name string `json:"name,omitempty"`
	// KeyType is P-256, P-384, RSA-2048, RSA-3072 or RSA-4096; "" is that of the one that signs.
	KeyType string `json:"key_type,omitempty"`
	// Key is the URI in a KMS of a key that is made there, or is there and unused; "" makes it in the server, unless the one that signs has its key in a
	// KMS; "database" does so all the same.
	Key string `json:"key,omitempty"`
}

// CAInstallation is the body of POST /v1/ca/install.
type CAInstallation struct {
	// Certificates is what the root has signed for the request, as PEM, in any order: the intermediate's certificate; the root may be with it, and what the root
	// before has signed of either.
	Certificates string `json:"certificates"`
	// Root is a root that is to be trusted from now on, as PEM. "" takes only what a trusted root has signed.
	Root string `json:"root,omitempty"`
}

// CARetirement is the body of POST /v1/ca/certificates/{id}/retire.
type CARetirement struct {
	// Reason is one of [pki.RevocationReasons]; "" is unspecified. After a compromise nothing is waited for.
	Reason string `json:"reason,omitempty"`
	// Force retires it although somebody still depends on it.
	Force bool `json:"force,omitempty"`
}

// CARevocationRequest is the body of POST /v1/ca/revoke.
type CARevocationRequest struct {
	// Reason is one of [pki.RevocationReasons]; "" is unspecified.
	Reason string `json:"reason,omitempty"`
	// Authority narrows it to what one intermediate has signed, or the intermediates of one root.
	Authority string `json:"authority,omitempty"`
}

// CAStatus is the answer of GET /v1/ca/status.
type CAStatus struct {
	// Authorities are the CA's own certificates, oldest first.
	Authorities []CACertificate `json:"certificates"`
	// Nodes are the processes on the database.
	Nodes []CANode `json:"nodes"`
	// Root is the ID of the newest root; WithoutRoot who may not have it: callers and administrators with a certificate from before it was trusted everywhere that
	// was not renewed since.
	Root        string       `json:"root"`
	WithoutRoot []RootHolder `json:"without_root"`
	// KMS lists the kinds of URIs that this server can use for keys.
	KMS []string `json:"kms"`
}

// CANode is one process on the database.
type CANode struct {
	Name string `json:"name"`
	// Current says that it knows all of the CA's certificates as they are; Problem why it cannot sign with one; Seen when it was heard of last.
	Current bool      `json:"current"`
	Problem string    `json:"problem,omitempty"`
	Seen    time.Time `json:"seen"`
	// Self says that it is the node that answers.
	Self bool `json:"self,omitempty"`
}

// RootHolder is somebody who may not have the newest root.
type RootHolder struct {
	// Profile is client or admin, Name the identity or the administrator, Certificates how many of his are from before.
	Profile      string `json:"profile"`
	Name         string `json:"name"`
	Certificates int    `json:"certificates"`
}
