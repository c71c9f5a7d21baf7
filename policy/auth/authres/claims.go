package authres

import (
	"encoding/hex"
	"strings"
	"unicode"
	"unicode/utf8"

	"gatemilter/policy"
)

// maxHeadLen bounds the octets that are looked at for an authserv-id. Who writes
// more before the first result hides something.
const maxHeadLen = 2048

// Claims tells whether the body of an Authentication-Results field may be read as
// one that we wrote, under the given authserv-id. It errs on the side of yes: a
// field too many that goes costs nothing, one that stays is a forged result.
//
// The grammar has the authserv-id before the first semicolon, among blanks,
// folds and nested comments, quoted or not, a version behind it (RFC 8601,
// section 2.2). Readers are laxer, each in its way. So what stands before the
// first semicolon (or the next, if there is nothing) is read in several ways,
// with and without comments and quotation marks, and is ours if our name is a
// word of any of these readings. All of that is done once more for readers to whom
// a backslash in a comment means nothing, and whose comments end elsewhere.
//
// Names are compared as domains: in any case, as A-labels, in full width, with
// dots at the end. What nobody can read with certainty is ours too: percent or
// encoded words that hide a name, and a head without end.
func Claims(value, id string) bool {
	ours := fold(authservID(id))
	return claims(value, ours, true) || claims(value, ours, false)
}

// ClaimsReceivedSPF tells whether the body of a Received-SPF field may be read as one that
// we wrote, as Claims does. Our name may stand anywhere in it.
func ClaimsReceivedSPF(value, id string) bool {
	ours := fold(authservID(id))
	if strings.Contains(strings.ToLower(value), strings.ToLower(id)) {
		return true
	}
	value = strings.NewReplacer("=", " ", ";", " ", ":", " ").Replace(value)
	return len(value) > maxHeadLen || mayName(value, ours, true) || mayName(value, ours, false)
}

// claims is Claims for readers to whom backslashes in comments mean something or not.
func claims(value, ours string, escapes bool) bool {
	for value != "" {
		var head string
		head, value = cutHead(value, escapes)
		if len(head) > maxHeadLen || strings.Contains(head, "=?") || mayName(head, ours, escapes) {
			return true
		}
		if strings.TrimSpace(read(head, false, escapes, ' ')) != "" {
			return false // this names somebody else
		}
	}
	return false
}

// mayName tells whether one of the readings of a head names us. What is in comments
// counts only in a head that ends where its grammar says.
func mayName(head, ours string, escapes bool) bool {
	head = unescapePercent(head)
	for _, comments := range []bool{false, escapes} {
		for _, marks := range []rune{-1, ' '} {
			reading := read(head, comments, escapes, marks)
			if hasWord(reading, ours) || isSplit(reading, ours) {
				return true
			}
		}
	}
	return false
}

// cutHead cuts a value at the first semicolon that is in no comment and no quoted
// string.
func cutHead(value string, escapes bool) (head, rest string) {
	depth, quoted := 0, false
	for i := 0; i < len(value); i++ {
		switch c := value[i]; {
		case c == '\\' && (quoted || depth > 0 && escapes):
			i++
		case c == '"' && depth == 0:
			quoted = !quoted
		case quoted:
		case c == '(':
			depth++
		case c == ')' && depth > 0:
			depth--
		case c == ';' && depth == 0:
			return value[:i], value[i+1:]
		}
	}
	return value, ""
}

// read returns the head in one of the ways to read it: with the text of comments
// or without, and with marks gone (-1) or taken for blanks. Only characters of names
// are left, with blanks between them; where comments are dropped nothing is left of
// them.
func read(head string, comments, escapes bool, marks rune) string {
	depth, escaped := 0, false
	return strings.Map(func(r rune) rune {
		wasEscaped := escaped
		escaped = escapes && depth > 0 && r == '\\' && !wasEscaped
		inside := depth > 0
		if r == '(' && !wasEscaped {
			depth++
		} else if r == ')' && !wasEscaped && inside {
			depth--
		}
		switch {
		case !comments && (inside || depth > 0):
			return -1
		case isMark(r):
			return marks
		default:
			return nameRune(r)
		}
	}, head)
}

// isMark tells what some readers drop, and others take for the end of a word:
// quotation marks and backslashes, octets that aren't UTF-8, and NUL and its like.
func isMark(r rune) bool {
	return r == '"' || r == '\\' || r == utf8.RuneError || r < ' ' && !strings.ContainsRune("\t\r\n", r) || r == 0x7f
}

// nameRune returns a character of a name, or a blank for any other. The dots of
// RFC 3490, section 3.1, are dots, and so are those that normalisation (NFKC)
// makes dots.
func nameRune(r rune) rune {
	switch {
	case strings.ContainsRune("\u2024\u3002\ufe52\uff0e\uff61", r):
		return '.'
	case r == '-', r == '_', r == '.':
		return r
	case unicode.IsLetter(r), unicode.IsDigit(r), unicode.IsMark(r):
		return r
	case unicode.Is(unicode.Cf, r):
		return -1
	default:
		return ' '
	}
}

func hasWord(reading, ours string) bool {
	for word := range strings.FieldsSeq(reading) {
		if fold(word) == ours {
			return true
		}
	}
	return false
}

// isSplit tells whether the reading is our name in pieces, with or without a
// version behind.
func isSplit(reading, ours string) bool {
	words := strings.Fields(reading)
	if len(words) < 2 {
		return false
	}
	if fold(strings.Join(words, "")) == ours {
		return true
	}
	version := words[len(words)-1]
	return strings.Trim(version, "0123456789") == "" && fold(strings.Join(words[:len(words)-1], "")) == ours
}

// fold returns the form in which names are compared.
func fold(name string) string {
	if len(name) > 4*maxIDLen { // no name, and slow to convert
		return ""
	}
	return policy.CanonicalDomain(strings.Trim(name, "."))
}

// unescapePercent replaces %XX.
func unescapePercent(s string) string {
	var b strings.Builder
	for len(s) > 0 {
		if s[0] == '%' && len(s) > 2 {
			if octet, err := hex.DecodeString(s[1:3]); err == nil {
				b.Write(octet)
				s = s[3:]
				continue
			}
		}
		b.WriteByte(s[0])
		s = s[1:]
	}
	return b.String()
}
