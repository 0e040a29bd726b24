// Package external judges client certificates of CAs other than our own: the company's PKI, or SPIRE. It finds the authority of the registry to which a
// certificate leads, the identity that the authority's rules give it to, and whether it was revoked: by an administrator's block, by the authority's
// revocation lists (fetched by [Keeper], the same on all nodes) or by its OCSP responder (asked by each node for itself).
//
// What it believes of a certificate's form and path is what package pki believes of our own. An authority speaks for nobody but by a rule, never for our own
// CA's names or keys, and never for administrators.
//
// It does not know requests, routes or roles, and does not decide whether an identity is enabled. It changes nothing in the registry but the revocation lists.
package external
