package pki

import "slices"

// reasonCodes are the numbers of the reasons in RFC 5280 section 5.3.1. Of its words are missing: certificateHold and removeFromCRL, because a revocation
// here is final, and aACompromise, because there are no attribute authorities.
var reasonCodes = map[string]int{
	"unspecified":          0,
	"keyCompromise":        1,
	"cACompromise":         2,
	"affiliationChanged":   3,
	"superseded":           4,
	"cessationOfOperation": 5,
	"privilegeWithdrawn":   9,
}

// RevocationReasons returns the reasons for which a certificate can be revoked, as RFC 5280 section 5.3.1 writes them, in the order of its numbers. The
// slice is the caller's.
func RevocationReasons() []string {
	var names []string
	for name := range reasonCodes {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int { return reasonCodes[a] - reasonCodes[b] })
	return names
}

// RevocationReason returns the reason with that number, if it is one of [RevocationReasons].
func RevocationReason(code int) (string, bool) {
	for name, number := range reasonCodes {
		if number == code {
			return name, true
		}
	}
	return "", false
}

// reasonCode is the number of a reason; of a word that is none, as a database of an earlier version might have, that of unspecified.
func reasonCode(reason string) int { return reasonCodes[reason] }

// reasonName is the reason with a number, unspecified for one that is not among ours.
func reasonName(code int) string {
	for name, c := range reasonCodes {
		if c == code {
			return name
		}
	}
	return "unspecified"
}
