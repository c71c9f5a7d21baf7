package config

import "strings"

// maxSuggest is the length of the longest word for which similar ones are
// looked for, in octets.
const maxSuggest = 64

// similar returns the candidate that is at most two typing errors away from word,
// or "". Case, and "-" for "_", count as no error.
func similar(word string, candidates []string) string {
	if len(word) > maxSuggest {
		return ""
	}
	best, least := "", 3
	for _, c := range candidates {
		// In a short word, two errors leave nothing of it.
		if d := distance(fold(word), fold(c)); d < least && 2*d < len(c) {
			best, least = c, d
		}
	}
	return best
}

// within returns the candidate that word holds as a part, as "warning" holds
// warn, or "" if none or several are in it.
func within(word string, candidates []string) string {
	found := ""
	for _, c := range candidates {
		if !strings.Contains(fold(word), fold(c)) {
			continue
		}
		if found != "" {
			return ""
		}
		found = c
	}
	return found
}

func fold(s string) string { return strings.ReplaceAll(strings.ToLower(s), "-", "_") }

// distance counts the insertions, deletions, substitutions and swaps of
// neighbours that lead from a to b (optimal string alignment).
func distance(a, b string) int {
	before, last := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := range len(a) {
		row := make([]int, len(b)+1)
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			switch {
			case a[i] == b[j]:
				cost = 0
			case isDigit(a[i]) && isDigit(b[j]):
				// Another number is meant, not mistyped.
				cost = 2
			}
			row[j+1] = min(last[j]+cost, last[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
