package dkim

import (
	"fmt"
	"strings"
)

// blanks are the characters of folding white space (RFC 6376, section 2.8). The
// verifier takes Unicode's for blanks too; here they are part of the value, and
// spoil whatever name or number they stand in.
const blanks = " \t\r\n"

// tags is a list of tag=value (RFC 6376, section 3.2), without the blanks around
// names and values.
type tags map[string]string

func parseTags(list string) (tags, error) {
	t := make(tags)
	for spec := range strings.SplitSeq(list, ";") {
		spec = strings.Trim(spec, blanks)
		if spec == "" {
			continue
		}
		name, value, ok := strings.Cut(spec, "=")
		name = strings.Trim(name, blanks)
		if !ok || !isTagName(name) {
			return nil, fmt.Errorf("%s is not tag=value", quote(spec))
		}
		if _, twice := t[name]; twice {
			return nil, fmt.Errorf("the tag %s= stands twice", clip(name))
		}
		t[name] = strings.Trim(value, blanks)
	}
	return t, nil
}

// isTagName says whether s is a tag-name: a letter, then letters, digits and
// underscores.
func isTagName(s string) bool {
	for i, c := range []byte(s) {
		if !isLetter(c) && (i == 0 || !isDigit(c) && c != '_') {
			return false
		}
	}
	return s != ""
}

// compact is the value of a tag in which blanks have no meaning.
func (t tags) compact(name string) string { return compact(t[name]) }

func compact(s string) string {
	if !strings.ContainsAny(s, blanks) {
		return s
	}
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune(blanks, r) {
			return -1
		}
		return r
	}, s)
}

// list is the value of a tag that holds names between colons.
func (t tags) list(name string) []string { return strings.Split(t.compact(name), ":") }

const (
	maxHostName = 253
	maxLabel    = 63
)

// isHostName says whether s can be asked of DNS: labels of letters, digits,
// hyphens and underscores (which selectors bear, though no RFC lets them).
func isHostName(s string) bool {
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > maxLabel || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, c := range []byte(label) {
			if !isLetter(c) && !isDigit(c) && c != '-' && c != '_' {
				return false
			}
		}
	}
	return len(s) <= maxHostName
}

func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }
func isDigit(c byte) bool  { return '0' <= c && c <= '9' }

// maxQuote is how much of a stranger's text, in octets, a reason repeats.
const maxQuote = 64

func clip(s string) string {
	if len(s) > maxQuote {
		return s[:maxQuote] + "..."
	}
	return s
}

func quote(s string) string { return fmt.Sprintf("%+q", clip(s)) }
