package received

import "strings"

// A lexer cuts a field body, or the inside of a comment, into words and
// comments. It never copies: folding is white space like any other. A comment
// is one token, whatever is nested in it, and only the comments of the outermost
// level are cut up in turn, in a fixed number of passes: that makes Parse linear.
type lexer struct {
	text   string
	pos    int
	plain  bool // quotation marks and backslashes are text like any other
	broken bool // a comment or quoted string isn't closed, or closes what wasn't open
}

type tokenKind uint8

const (
	end tokenKind = iota
	word
	comment
)

// A token is one word, or one comment with everything nested in it.
type token struct {
	kind tokenKind
	text string // of a comment: what stands between its parentheses
}

func (l *lexer) next() token {
	for l.pos < len(l.text) {
		switch c := l.text[l.pos]; {
		case isSpace(c):
			l.pos++
		case c == '(':
			return l.comment()
		case c == ')':
			l.broken = true
			l.pos++
		default:
			return l.word()
		}
	}
	return token{}
}

// comment reads a comment as RFC 5322 §3.2.2 has it: parentheses nest, a
// backslash escapes, quotation marks mean nothing.
func (l *lexer) comment() token {
	start, depth := l.pos+1, 0
	for ; l.pos < len(l.text); l.pos++ {
		switch l.text[l.pos] {
		case '\\':
			if !l.plain {
				l.pos++
			}
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				l.pos++
				return token{comment, l.text[start : l.pos-1]}
			}
		}
	}
	l.broken, l.pos = true, len(l.text)
	return token{comment, l.text[start:]}
}

// word reads up to white space or a parenthesis. A quoted string in it may hold
// either, and a backslash escapes a parenthesis.
func (l *lexer) word() token {
	start := l.pos
	for l.pos < len(l.text) {
		switch c := l.text[l.pos]; {
		case isSpace(c), c == '(', c == ')':
			return token{word, l.text[start:l.pos]}
		case c == '"' && !l.plain:
			l.quoted()
		case c == '\\' && !l.plain && l.pos+1 < len(l.text) && isParen(l.text[l.pos+1]):
			l.pos += 2
		default:
			l.pos++
		}
	}
	return token{word, l.text[start:]}
}

// inside returns a lexer for what stands in a comment.
func (l *lexer) inside(comment token) lexer {
	return lexer{text: comment.text, plain: l.plain}
}

func (l *lexer) quoted() {
	for l.pos++; l.pos < len(l.text); l.pos++ {
		switch l.text[l.pos] {
		case '\\':
			l.pos++
		case '"':
			l.pos++
			return
		}
	}
	l.broken, l.pos = true, len(l.text)
}

// misquoted tells whether a quoted string in the rest isn't closed.
func (l lexer) misquoted() bool {
	if l.plain || strings.IndexByte(l.text, '"') < 0 {
		return false
	}
	for l.next().kind != end {
		continue
	}
	return l.broken
}

// nextWord skips comments.
func (l *lexer) nextWord() (text string, ok bool) {
	for {
		switch t := l.next(); t.kind {
		case word:
			return t.text, true
		case end:
			return "", false
		}
	}
}

// atComment tells whether a comment comes next.
func (l *lexer) atComment() bool {
	for i := l.pos; i < len(l.text); i++ {
		if !isSpace(l.text[i]) {
			return l.text[i] == '('
		}
	}
	return false
}

// before tells whether the next token is this word.
func (l lexer) before(keyword string) bool {
	t := l.next()
	return t.kind == word && strings.EqualFold(t.text, keyword)
}

// isPlain tells whether a word can be a host name or literal of any kind.
func isPlain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c == 0x7f || c == '"' || isParen(c) {
			return false
		}
	}
	return true
}

func isParen(c byte) bool { return c == '(' || c == ')' }

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }
