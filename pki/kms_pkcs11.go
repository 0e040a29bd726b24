//go:build pkcs11 && cgo

package pki

import _ "go.step.sm/crypto/kms/pkcs11" // registers the backend; it loads the vendor's library, which needs cgo
