//go:build pkcs11 && !cgo

package pki

// PKCS#11 is a library of the vendor's that is loaded into the process: build with CGO_ENABLED=1, or without the tag pkcs11.
var _ = pkcs11NeedsCGO
