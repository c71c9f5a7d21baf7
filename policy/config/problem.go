package config

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// A Problem is one thing that is wrong, or doubtful, in a configuration file.
// None of its fields ever holds a secret.
type Problem struct {
	File string
	// Line counts from 1. Where something is missing, it is the line of the
	// section that lacks it; where the problem is the file as a whole, it is 0.
	Line int
	// Section is what stands between the brackets, and Key the key, where the
	// problem belongs to one; both may be "".
	Section string
	Key     string
	// Text says what was found, what was expected, and what to do.
	Text string
}

// String writes a problem as "file:line: [section] key: text".
func (p Problem) String() string { return p.place() + ": " + p.finding() }

// Warning writes a problem as "file:line: warning: [section] key: text".
func (p Problem) Warning() string { return p.place() + ": warning: " + p.finding() }

func (p Problem) place() string {
	if p.Line == 0 {
		return p.File
	}
	return p.File + ":" + strconv.Itoa(p.Line)
}

func (p Problem) finding() string {
	var words []string
	if p.Section != "" {
		words = append(words, "["+p.Section+"]")
	}
	if p.Key != "" {
		words = append(words, p.Key)
	}
	if len(words) == 0 {
		return p.Text
	}
	return strings.Join(words, " ") + ": " + p.Text
}

// Errors are all the problems for which a configuration was refused, in the
// order of the files and lines.
type Errors []Problem

// Error writes one problem a line.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, p := range e {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// maxProblems is how many errors, and how many warnings, are kept: a file that is no
// configuration at all has something wrong in every line.
const maxProblems = 1000

// A report collects the problems of a configuration.
type report struct {
	errors   []Problem
	warnings []Problem
	// failures counts the errors, also those that are not kept.
	failures int
}

func (r *report) fail(p Problem) {
	r.failures++
	r.errors = appendBounded(r.errors, p)
}

func (r *report) warn(p Problem) { r.warnings = appendBounded(r.warnings, p) }

func appendBounded(list []Problem, p Problem) []Problem {
	switch {
	case len(list) < maxProblems:
		return append(list, p)
	case len(list) == maxProblems:
		p = Problem{File: p.File, Line: p.Line, Text: fmt.Sprintf("more than %d problems: the rest is not shown", maxProblems)}
		return append(list, p)
	}
	return list
}

// inOrder sorts problems by line, and files as they were read.
func inOrder(problems []Problem, files []string) []Problem {
	rank := make(map[string]int, len(files))
	for i, name := range files {
		rank[name] = i
	}
	slices.SortStableFunc(problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(rank[a.File], rank[b.File]), cmp.Compare(a.Line, b.Line))
	})
	return problems
}

// maxShown is how much of a value a problem shows, in octets.
const maxShown = 80

// quote shows a value: cut where it is long, and escaped where it is not plain. A value
// with \ or " in it, such as a regular expression, stays as it is written where it can.
func quote(s string) string {
	if len(s) > maxShown {
		return quote(strings.ToValidUTF8(s[:maxShown], "")) + "…"
	}
	if strings.ContainsAny(s, `\"`) && !strings.ContainsRune(s, '`') && isPlain(s) {
		return "`" + s + "`"
	}
	return strconv.Quote(s)
}

// literally shows what to write: as quote, but without quotes where it can.
func literally(s string) string {
	if len(s) > maxShown || !isPlain(s) {
		return quote(s)
	}
	return s
}

func isPlain(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return !strconv.IsPrint(r) })
}
