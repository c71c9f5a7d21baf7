package config

import (
	"errors"
	"regexp/syntax"
	"strings"

	"gatemilter/policy"
)

func (f fields) expression(key string) *policy.Expression {
	if !f.given(key) {
		return nil
	}
	e, err := policy.CompileExpression(f.text(key))
	if err != nil {
		f.problem(key, "%s%s", err, syntaxHint(err))
		return nil
	}
	f.doubtCharacters(key)
	if matchesAnything(e) {
		f.doubt(key, "%s matches any header field: every message would be spam, so name the field, as in ^X-Spam: yes$", quote(e.String()))
	}
	return e
}

// secretExpression reads an expression of which nothing may be shown: errors of the
// compiler are reduced to their kind.
func (f fields) secretExpression(key string) *policy.Expression {
	if !f.given(key) {
		return nil
	}
	e, err := policy.CompileExpression(f.text(key))
	if err != nil {
		kind := "it is too large"
		if bad, ok := errors.AsType[*syntax.Error](err); ok {
			kind = bad.Code.String()
		}
		f.problem(key, "the expression (not shown, it is secret) is refused: %s%s; see https://pkg.go.dev/regexp/syntax", kind, syntaxHint(err))
		return nil
	}
	f.doubtCharacters(key)
	if matchesAnything(e) {
		f.problem(key, "the expression (not shown, it is secret) matches any header field: name the field and the secret, as in ^X-Gateway-Key: SECRET$")
	}
	return e
}

// syntaxHint explains what people miss who come from other regular expressions.
func syntaxHint(err error) string {
	bad, ok := errors.AsType[*syntax.Error](err)
	if !ok {
		return ""
	}
	switch bad.Code {
	case syntax.ErrInvalidPerlOp, syntax.ErrInvalidNamedCapture:
		return "; there is no look-ahead or look-behind, so match the whole line instead"
	case syntax.ErrInvalidEscape:
		return "; there are no references to groups, and only punctuation needs a \\ before it"
	case syntax.ErrMissingRepeatArgument:
		return "; * and + repeat what is before them, so any text is .*"
	}
	return ""
}

// matchesAnything tries two fields that have nothing in common.
func matchesAnything(e *policy.Expression) bool {
	_, first := e.Match([]byte("From: a"))
	_, second := e.Match([]byte("Received: by z"))
	return first && second
}

// doubtCharacters warns of characters that look as if they did not belong to the
// value, although all do.
func (f fields) doubtCharacters(key string) {
	value := f.text(key)
	if hasComment(value) {
		f.doubt(key, "the text behind the blank and ; or # is part of the value: comments need a line of their own")
	}
	if len(value) < 2 {
		return
	}
	first, last := value[0], value[len(value)-1]
	slashes := first == '/' && strings.LastIndexByte(value, '/') > 0 && strings.Trim(value[strings.LastIndexByte(value, '/'):], "/gimsux") == ""
	if slashes || first == last && (first == '"' || first == '\'') {
		f.doubt(key, "the %c around the value are part of it: values are written without", first)
	}
}
