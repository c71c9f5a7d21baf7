package policy

import (
	"errors"
	"fmt"
	"strings"
)

// A tokenKind is atom, quoted, literal or end, or else a character that stands
// for itself.
type tokenKind byte

const (
	tokenEnd     tokenKind = 0
	tokenAtom    tokenKind = 'a'
	tokenQuoted  tokenKind = '"'
	tokenLiteral tokenKind = '['
)

// A fromToken is one of the tokens of a structured field (RFC 5322, section 3.2).
type fromToken struct {
	kind tokenKind
	text string
	// apart says that a blank or a comment stands before it.
	apart bool
}

func (t fromToken) String() string {
	switch t.kind {
	case tokenEnd:
		return "the end"
	case tokenAtom, tokenQuoted, tokenLiteral:
		return "a word"
	default:
		return fmt.Sprintf("%q", t.text)
	}
}

func isAt(t fromToken) bool { return t.kind == '@' }

// tokenise cuts a field into tokens, of which the last is end. Comments are
// dropped. A control character is an error: programs end the field there, drop
// it, or show it.
func tokenise(field string) ([]fromToken, error) {
	var tokens []fromToken
	apart := false
	for pos := 0; pos < len(field); {
		start := pos
		var kind tokenKind
		var err error
		switch c := field[pos]; {
		case c == '\r' || c == '\n':
			pos, err = skipFold(field, pos)
		case isBlank(c):
			pos++
		case c == '(':
			pos, err = skipEnclosed(field, pos, '(', ')')
		case c == '"':
			kind = tokenQuoted
			pos, err = skipEnclosed(field, pos, 0, '"')
		case c == '[':
			kind = tokenLiteral
			pos, err = skipEnclosed(field, pos, 0, ']')
		case strings.IndexByte("@.,:;<>", c) >= 0:
			kind = tokenKind(c)
			pos++
		case isAtomic(c):
			kind = tokenAtom
			for pos < len(field) && isAtomic(field[pos]) {
				pos++
			}
		default:
			err = fmt.Errorf("%q where none may be", c)
		}
		if err != nil {
			return nil, err
		}
		if kind == tokenEnd {
			apart = true
			continue
		}
		tokens = append(tokens, fromToken{kind, field[start:pos], apart})
		apart = false
	}
	return append(tokens, fromToken{kind: tokenEnd}), nil
}

// skipFold skips a line break, after which a line must go on with a blank.
func skipFold(field string, pos int) (int, error) {
	rest := strings.TrimPrefix(field[pos:], "\r")
	tail, ok := strings.CutPrefix(rest, "\n")
	if !ok || tail != "" && !isBlank(tail[0]) {
		return 0, errors.New("a line break that doesn't fold")
	}
	return len(field) - len(tail), nil
}

// skipEnclosed skips what stands between two delimiters; a comment's nest
// (RFC 5322, section 3.2.2).
func skipEnclosed(field string, pos int, opening, closing byte) (int, error) {
	depth := 1
	for pos++; pos < len(field); pos++ {
		c := field[pos]
		if c == '\\' && pos+1 < len(field) {
			pos++
			c = field[pos]
		} else if c == closing {
			if depth--; depth == 0 {
				return pos + 1, nil
			}
		} else if c == opening {
			depth++
		}
		if c == '\r' || c == '\n' {
			after, err := skipFold(field, pos)
			if err != nil {
				return 0, err
			}
			pos = after - 1
		} else if isControl(c) {
			return 0, fmt.Errorf("%q before the %q", c, closing)
		}
	}
	return 0, fmt.Errorf("%q is missing", closing)
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' }

// isControl tells control characters but for the tabulator.
func isControl(c byte) bool { return c < ' ' && c != '\t' || c == 0x7f }

// isAtomic tells the characters of atoms: all that have no other meaning, and
// whatever isn't ASCII.
func isAtomic(c byte) bool {
	return c > ' ' && c != 0x7f && strings.IndexByte("()<>[]:;@\\,.\"", c) < 0
}
