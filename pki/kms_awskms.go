//go:build awskms

package pki

import _ "go.step.sm/crypto/kms/awskms" // registers the backend
