//go:build azurekms

package pki

import _ "go.step.sm/crypto/kms/azurekms" // registers the backend
