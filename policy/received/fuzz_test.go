package received

import (
	"net/netip"
	"regexp"
	"strings"
	"testing"
)

func FuzzParse(f *testing.F) {
	for _, name := range []string{"received.jsonl", "received-ambiguous.jsonl", "own.jsonl"} {
		for _, h := range corpus(f, name) {
			f.Add(h.Received)
		}
	}
	f.Fuzz(func(t *testing.T, value string) {
		h := Parse(value)
		if (h.Kind == Relay) != h.IP.IsValid() || h.IP.Zone() != "" || h.IP.Is4In6() {
			t.Errorf("kind %s with address %s", h.Kind, h.IP)
		}
		if h.Kind > Relay || h.Why == "" {
			t.Errorf("kind %d, why %q", h.Kind, h.Why)
		}
		if h.Kind != Relay && h.HELO != "" {
			t.Errorf("HELO %q of no hop", h.HELO)
		}
		if !strings.Contains(value, h.HELO) || !strings.Contains(value, h.By) {
			t.Errorf("HELO %q or by %q isn't in the field", h.HELO, h.By)
		}
		if h.Kind == Relay && !stands(h.IP, fromClause(value)) {
			t.Errorf("address %s doesn't stand between from and by", h.IP)
		}
	})
}

var (
	fromWord = regexp.MustCompile(`(?i)from`)
	byWord   = regexp.MustCompile(`(?i)(?:^|[ \t\r\n)])by(?:[ \t\r\n(]|$)`)
	escaped  = regexp.MustCompile(`(?s)\\.|"[^"]*"`)
)

// fromClause is a second opinion: all between the first from and the last by
// outside quoted pairs, quoted strings and comments.
func fromClause(value string) string {
	from := fromWord.FindStringIndex(value)
	if from == nil {
		return ""
	}
	s := value[from[1]:]
	open := []byte(escaped.ReplaceAllStringFunc(s, func(match string) string {
		return strings.Repeat(".", len(match))
	}))
	depth := 0
	for i, c := range open {
		switch {
		case c == '(':
			depth++
		case c == ')':
			depth--
		case depth > 0:
			open[i] = '.'
		}
	}
	if by := byWord.FindAllIndex(open, -1); by != nil {
		s = s[:by[len(by)-1][0]+1]
	}
	return s
}

// stands tells whether some part of the text is this address.
func stands(ip netip.Addr, s string) bool {
	for from := range len(s) {
		for to := from + 2; to <= min(len(s), from+maxAddress); to++ {
			got, err := netip.ParseAddr(s[from:to])
			if err == nil && got.Unmap().WithZone("") == ip {
				return true
			}
		}
	}
	return false
}
