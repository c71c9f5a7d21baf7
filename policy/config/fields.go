package config

import (
	"fmt"
	"strings"
)

// fields are the settings of one section, with the defaults of those that are not
// given. They collect what is wrong with the values.
type fields struct {
	*report
	spec SectionSpec
	sec  *section
}

func (f fields) at(line int, key, text string) Problem {
	return Problem{File: f.sec.file, Line: line, Section: f.sec.title(), Key: key, Text: text}
}

// problem reports what is wrong with the value of key.
func (f fields) problem(key, format string, args ...any) {
	f.fail(f.at(f.line(key), key, fmt.Sprintf(format, args...)))
}

// doubt reports what is doubtful about the value of key.
func (f fields) doubt(key, format string, args ...any) {
	f.warn(f.at(f.line(key), key, fmt.Sprintf(format, args...)))
}

// has says whether key stands in the file, with or without a value.
func (f fields) has(key string) bool {
	_, ok := f.sec.first(key)
	return ok
}

// given says whether key has a value in the file.
func (f fields) given(key string) bool {
	set, ok := f.sec.first(key)
	return ok && set.value != ""
}

// text returns the value of key as written, or its default.
func (f fields) text(key string) string {
	if set, ok := f.sec.first(key); ok && set.value != "" {
		return set.value
	}
	spec, known := f.spec.key(key)
	if !known {
		panic("config: key " + key + " is not in the schema")
	}
	return spec.Default
}

// line returns where key stands, or where its section begins.
func (f fields) line(key string) int {
	if set, ok := f.sec.first(key); ok {
		return set.line
	}
	return f.sec.line
}

// yes reads a boolean. A bad one reads as the default.
func (f fields) yes(key string) bool {
	if value, ok := truth(f.text(key)); ok {
		return value
	}
	spec, _ := f.spec.key(key)
	f.problem(key, "%s is neither yes nor no: %s", quote(f.text(key)), hintFor(f.text(key), "write one of them (true and false, on and off are understood too)"))
	value, _ := truth(spec.Default)
	return value
}

// off says whether a boolean is no. A bad one has its problem where it is read.
func (f fields) off(key string) bool {
	value, ok := truth(f.text(key))
	return ok && !value
}

func truth(s string) (value, ok bool) {
	switch strings.ToLower(s) {
	case "yes", "true", "on":
		return true, true
	case "no", "false", "off":
		return false, true
	}
	return false, false
}

// choice reads one of the values that the schema lists. A bad one reads as the
// default.
func (f fields) choice(key string) string {
	value := f.text(key)
	spec, _ := f.spec.key(key)
	for _, v := range spec.Values {
		if v == value {
			return v
		}
	}
	if value != "" {
		f.problem(key, "%s is not one of %s%s", quote(value), strings.Join(spec.Values, ", "), choiceHint(value, spec.Values))
	}
	return spec.Default
}

func choiceHint(value string, values []string) string {
	if hint := hintFor(value, ""); hint != "" {
		return ": " + hint
	}
	best := similar(value, values)
	if best == "" {
		best = within(value, values)
	}
	if best == "" {
		return ": write one of these"
	}
	return "; did you mean " + quote(best) + "?"
}

// list reads values with commas between them.
func (f fields) list(key string) []string {
	if f.text(key) == "" {
		return nil
	}
	var items []string
	gap := false
	for item := range strings.SplitSeq(f.text(key), ",") {
		item = strings.TrimSpace(item)
		if item == "" {
			gap = true
			continue
		}
		items = append(items, item)
	}
	if gap {
		f.problem(key, "there is nothing before or after one of the commas: remove that comma")
	}
	return items
}

// commentHint is the advice for a value with what looks like a comment behind it.
const commentHint = "comments need a line of their own"

func hasComment(value string) bool {
	return strings.Contains(value, " ;") || strings.Contains(value, " #") ||
		strings.Contains(value, "\t;") || strings.Contains(value, "\t#")
}

// unquote returns what stands in quotes, if a value does.
func unquote(value string) (inner string, ok bool) {
	if value == "" || value[0] != '"' && value[0] != '\'' {
		return "", false
	}
	inner, behind, ok := strings.Cut(value[1:], value[:1])
	return inner, ok && inner != "" && behind == ""
}

// hintFor is the advice for a value: normally what is given.
func hintFor(value, normal string) string {
	if hasComment(value) {
		return commentHint
	}
	if inner, quoted := unquote(value); quoted {
		return "write it without quotes, " + literally(inner)
	}
	return normal
}
