package usage

import "strings"

// Bounds of a User-Agent: how much of it is read and how much is kept, in octets.
const (
	maxAgentRead = 256
	maxAgent     = 64
)

// NormalAgent is the User-Agent by which callers are told apart: product names without versions, because an update does not make another caller of a system.
// "curl/8.5.0" is "curl", "Apache-HttpClient/4.5.13 (Java/11.0.2)" is "Apache-HttpClient (Java)". What is not printable ASCII is "?"; a missing one is "-".
// Only the first 256 octets count, and at most 64 are kept.
func NormalAgent(agent string) string {
	agent = agent[:min(len(agent), maxAgentRead)]
	out := make([]byte, 0, maxAgent)
	for i := 0; i < len(agent) && len(out) < maxAgent; {
		c := agent[i]
		switch {
		case isSeparator(c):
			out = appendSeparator(out, c)
			i++
		case c == '/':
			i = skipWord(agent, i)
		default:
			end := skipWord(agent, i)
			word := agent[i:end]
			if slash := strings.IndexByte(word, '/'); slash >= 0 {
				word = word[:slash]
			}
			i = end
			if !isVersion(word) {
				out = appendWord(out, word)
			}
		}
	}
	kept := strings.TrimRight(string(out), " ;,(")
	for old := ""; old != kept; {
		old, kept = kept, strings.TrimSpace(strings.ReplaceAll(kept, "()", ""))
	}
	if open := strings.Count(kept, "(") - strings.Count(kept, ")"); open > 0 && len(kept)+open <= maxAgent {
		kept += strings.Repeat(")", open)
	}
	if kept == "" {
		return "-"
	}
	return kept
}

func isSeparator(c byte) bool { return strings.IndexByte(" \t;,()", c) >= 0 }

// skipWord is where the word at i ends.
func skipWord(s string, i int) int {
	for i < len(s) && !isSeparator(s[i]) {
		i++
	}
	return i
}

// isVersion recognises a word that is a number, with or without a letter before it: 1.0, v18, rv:109.0.
func isVersion(word string) bool {
	rest := strings.TrimPrefix(strings.TrimPrefix(strings.ToLower(word), "rv:"), "v")
	return rest != "" && rest[0] >= '0' && rest[0] <= '9'
}

func appendSeparator(out []byte, c byte) []byte {
	if c == '\t' || c == ';' || c == ',' {
		c = ' '
	}
	last := byte(' ')
	if len(out) > 0 {
		last = out[len(out)-1]
	}
	switch {
	case c == ' ' && (last == ' ' || last == '('):
		return out
	case c == ')' && last == ' ' && len(out) > 0:
		out[len(out)-1] = ')'
		return out
	}
	return append(out, c)
}

func appendWord(out []byte, word string) []byte {
	for i := 0; i < len(word) && len(out) < maxAgent; i++ {
		c := word[i]
		if c <= ' ' || c > '~' {
			c = '?'
		}
		out = append(out, c)
	}
	return out
}
