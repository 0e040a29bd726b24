package identity

import (
	"regexp"
	"strings"
	"time"
	"unicode"
)

// What names a person and not a system or a team (law 6). The forms are those in which SAP's tenants and companies' directories name people. A name that
// merely contains a few digits is none of them: s4-erp, p01, c4c and i18n-batch stay names.
var (
	// personWord is a user of SAP for Me or of SAP's identity service: P or S and ten digits, P1234567890, S0012345678, as a word of its own anywhere in a name.
	personWord = regexp.MustCompile(`^[ps][0-9]{10}$`)
	// personNumber is a number of SAP's own people and contractors: I, D or C and six or seven digits, as the whole of a name; beside other words it may be a
	// date.
	personNumber = regexp.MustCompile(`^[idc][0-9]{6,7}$`)
	// spelledAddress is an e-mail address whose '@' was written out, as in anna.schmidt_at_example.com or "anna (at) example.com".
	spelledAddress = regexp.MustCompile(`[\p{L}0-9](_at_|\s*[(\[{]at[)\]}]\s*)[\p{L}0-9-]+(\.[\p{L}0-9-]+)*\.\p{L}{2,}$`)
)

// person returns what of a name stands for a person, in words, or "".
func person(name string) string {
	folded := strings.ToLower(strings.TrimSpace(name))
	if strings.ContainsAny(folded, "@＠﹫") || spelledAddress.MatchString(folded) {
		return "an e-mail address"
	}
	words := strings.FieldsFunc(folded, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
	for _, w := range words {
		if personWord.MatchString(w) {
			return "the account of a person (" + strings.ToUpper(w[:1]) + "-user)"
		}
	}
	if len(words) == 1 && personNumber.MatchString(words[0]) {
		return "the number of a person (" + strings.ToUpper(words[0][:1]) + "-number)"
	}
	return ""
}

// checkPeople refuses a name or an owner that stands for a person. What is as it was passes: an earlier release took it, and its callers must go on.
func (i *Identity) checkPeople(before *Identity) error {
	v := validation{object: ObjectIdentity, name: i.Name}
	if what := person(i.Name); what != "" && before == nil {
		v.fail("name", "looks like "+what, "name the system that calls, such as erp-prod; legacy user names are logins, not identities")
	}
	if what := person(i.Owner); what != "" && (before == nil || before.Owner != i.Owner) {
		v.fail("owner", "looks like "+what, "an owner is a team, such as team-logistics: people leave")
	}
	return v.err()
}

// HasTeam reports whether a team answers for the identity: it has an owner, and that is no person's name by the rules that owners are checked by. Identities of
// earlier releases may have none.
func (i *Identity) HasTeam() bool { return strings.TrimSpace(i.Owner) != "" && person(i.Owner) == "" }

// ReviewEnd returns the end, in UTC, of the day by which the identity must be reviewed, and the zero time when there is none.
func (i *Identity) ReviewEnd() time.Time {
	t, err := i.ReviewDate.Time()
	if err != nil || t.IsZero() {
		return time.Time{}
	}
	return t.Add(day)
}

// ReviewOverdue reports whether the day of review is over.
func (i *Identity) ReviewOverdue(now time.Time) bool {
	end := i.ReviewEnd()
	return !end.IsZero() && !now.Before(end)
}
