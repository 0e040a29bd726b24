//go:build cloudkms

package pki

import _ "go.step.sm/crypto/kms/cloudkms" // registers the backend
