package config

import (
	"errors"
	"regexp/syntax"
	"strings"

	"gatemilter/policy"
)

// expression reads an expression that finds a field.
func (f fields) expression(key string) *policy.Expression {
	if !f.given(key) || f.enclosed(key) {
		return nil
	}
	e, err := policy.CompileExpression(f.text(key))
	if err != nil {
		f.problem(key, "%s%s", err, syntaxHint(err))
		return nil
	}
	shape := shapeOf(e.String())
	switch {
	case !shape.possible:
		f.problem(key, "%s %s", quote(e.String()), impossible(e.String()))
	case matchesAnything(e):
		f.doubt(key, "%s matches any header field: every message would be spam, so name the field, as in ^X-Spam: yes$", quote(e.String()))
	case !shape.named:
		f.doubt(key, "%s does not begin with ^NAME: and may match in any field, Subject too; write %s", quote(e.String()), named(e.String()))
	default:
		f.doubtComment(key)
	}
	return e
}

// named is the advice for an expression that names no field.
func named(source string) string {
	name := strings.TrimPrefix(source, "^")
	switch {
	case isName(name):
		return literally("^" + name + ": …")
	case name == source && isNamed("^"+source):
		return literally("^" + source)
	}
	return "the name and its colon first, as in ^X-Spam: yes$"
}

func isNamed(source string) bool {
	_, err := policy.CompileExpression(source)
	return err == nil && shapeOf(source).named
}

// impossible says why an expression can never match. It shows nothing of it.
func impossible(source string) string {
	hint := "remove that text, or write \\^ and \\$ for the characters"
	if hasComment(source) {
		hint = commentHint
	}
	return "can never match: it wants text before ^ or behind $; " + hint
}

// doubtComment warns of what looks like a comment behind an expression.
func (f fields) doubtComment(key string) {
	if hasComment(f.text(key)) {
		f.doubt(key, "the text behind the blank and ; or # is part of the value: %s", commentHint)
	}
}

// secretExpression reads an expression that finds a secret, of which nothing may be
// shown: errors of the compiler are reduced to their kind.
func (f fields) secretExpression(key string) *policy.Expression {
	if !f.given(key) || f.enclosed(key) {
		return nil
	}
	e, err := policy.CompileExpression(f.text(key))
	if err != nil {
		kind := "it is too large"
		if bad, ok := errors.AsType[*syntax.Error](err); ok {
			kind = bad.Code.String()
		}
		f.problem(key, "%s is refused: %s%s; see https://pkg.go.dev/regexp/syntax", hidden, kind, syntaxHint(err))
		return nil
	}
	shape := shapeOf(e.String())
	switch {
	case !shape.possible:
		f.problem(key, "%s %s", hidden, impossible(e.String()))
	case !shape.named:
		f.problem(key, "%s does not begin with ^NAME: and may match in any field: %s", hidden, secretHint)
	case !shape.secret:
		f.problem(key, "%s matches a field without the secret, so whoever knows its name passes: %s", hidden, secretHint)
	default:
		f.doubtComment(key)
	}
	return e
}

const (
	hidden     = "the expression (not shown, it is secret)"
	secretHint = "name the field and the secret, as in ^X-Gateway-Key: SECRET$"
)

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

// enclosed refuses an expression in quotes or, as other programs write them, in
// slashes: no field begins with either.
func (f fields) enclosed(key string) bool {
	marks, hint := "quotes", ""
	inner, found := unquote(f.text(key))
	if !found {
		var flags string
		inner, flags, found = inSlashes(f.text(key))
		marks = "slashes"
		if strings.Contains(flags, "i") {
			hint = "; to ignore case begin with (?i)"
		}
	}
	if !found {
		return false
	}
	meant := literally(inner)
	if spec, _ := f.spec.key(key); spec.Secret {
		meant = "what is between them (not shown, it is secret)"
	}
	f.problem(key, "the %s count as part of the expression: remove them, write %s%s", marks, meant, hint)
	return true
}

// inSlashes takes /expression/flags apart.
func inSlashes(value string) (inner, flags string, ok bool) {
	last := strings.LastIndexByte(value, '/')
	if last < 2 || value[0] != '/' || strings.Trim(value[last+1:], "gimsux") != "" {
		return "", "", false
	}
	return value[1:last], value[last+1:], true
}
