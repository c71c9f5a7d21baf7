package authres

import (
	"errors"
	"fmt"
	"strings"
)

// A parsed field, as a strict reader of RFC 8601, section 2.2, sees it.
type parsed struct {
	id      string
	results []parsedResult
}

type parsedResult struct {
	method, result, reason string
	properties             []string // "ptype.property=value"
}

// parseStrict parses an Authentication-Results field, quite apart from the code
// that writes it.
func parseStrict(value string) (parsed, error) {
	s := scanner{rest: value}
	var p parsed
	var err error
	if p.id, err = s.value(); err != nil {
		return p, fmt.Errorf("authserv-id: %w", err)
	}
	for s.skip(); s.rest != ""; s.skip() {
		if !s.take(";") {
			return p, fmt.Errorf("no semicolon before %q", s.rest)
		}
		r, err := s.result()
		if err != nil {
			return p, err
		}
		p.results = append(p.results, r)
	}
	if len(p.results) == 0 {
		return p, errors.New("no result")
	}
	if p.results[0].method == "none" && len(p.results) == 1 {
		p.results = nil
	}
	return p, s.broken
}

type scanner struct {
	rest   string
	broken error
}

// skip skips folding white space and comments.
func (s *scanner) skip() {
	for s.rest != "" {
		switch {
		case strings.HasPrefix(s.rest, "\n") && (len(s.rest) < 2 || s.rest[1] != ' ' && s.rest[1] != '\t'):
			s.broken = errors.New("a line break that doesn't fold")
			return
		case strings.ContainsRune(" \t\n", rune(s.rest[0])):
			s.rest = s.rest[1:]
		case s.rest[0] == '(':
			end := strings.IndexAny(s.rest[1:], `()\`)
			if end < 0 || s.rest[1+end] != ')' {
				s.broken = fmt.Errorf("comment %q", s.rest)
				return
			}
			s.rest = s.rest[end+2:]
		default:
			return
		}
	}
}

func (s *scanner) take(prefix string) bool {
	s.skip()
	rest, ok := strings.CutPrefix(s.rest, prefix)
	s.rest = rest
	return ok
}

func (s *scanner) result() (parsedResult, error) {
	var r parsedResult
	var err error
	if r.method, err = s.token(); err != nil {
		return r, fmt.Errorf("method: %w", err)
	}
	if r.method == "none" {
		return r, nil
	}
	if !s.take("=") {
		return r, fmt.Errorf("method %q without result", r.method)
	}
	if r.result, err = s.token(); err != nil {
		return r, fmt.Errorf("result: %w", err)
	}
	for s.skip(); s.rest != "" && s.rest[0] != ';'; s.skip() {
		name, err := s.token()
		if err != nil {
			return r, fmt.Errorf("property: %w", err)
		}
		if !s.take("=") {
			return r, fmt.Errorf("property %q without value", name)
		}
		value, err := s.value()
		switch {
		case err != nil:
			return r, fmt.Errorf("value of %s: %w", name, err)
		case name == "reason" && r.reason == "" && r.properties == nil:
			r.reason = value
		case strings.Count(name, ".") != 1:
			return r, fmt.Errorf("property %q", name)
		default:
			r.properties = append(r.properties, name+"="+value)
		}
	}
	return r, nil
}

const tspecials = `()<>@,;:\"/[]?=`

func (s *scanner) token() (string, error) {
	s.skip()
	n := strings.IndexFunc(s.rest, func(r rune) bool {
		return r <= ' ' || r > '~' || strings.ContainsRune(tspecials, r)
	})
	if n < 0 {
		n = len(s.rest)
	}
	if n == 0 {
		return "", fmt.Errorf("no token at %q", s.rest)
	}
	token := s.rest[:n]
	s.rest = s.rest[n:]
	return token, nil
}

// value reads a token, a quoted string, or [local-part] "@" domain.
func (s *scanner) value() (string, error) {
	s.skip()
	if quoted, ok := strings.CutPrefix(s.rest, `"`); ok {
		end := strings.IndexAny(quoted, "\"\\\n")
		if end < 0 || quoted[end] != '"' {
			return "", fmt.Errorf("quoted string %q", s.rest)
		}
		s.rest = quoted[end+1:]
		return quoted[:end], nil
	}
	n := strings.IndexFunc(s.rest, func(r rune) bool {
		return r <= ' ' || r > '~' || strings.ContainsRune(`()<>,;:\"[]`, r)
	})
	if n < 0 {
		n = len(s.rest)
	}
	word := s.rest[:n]
	if host := word[strings.LastIndexByte(word, '@')+1:]; host == "" || strings.ContainsAny(host, tspecials) ||
		strings.Count(word, "@") > 1 {
		return "", fmt.Errorf("value %q", word)
	}
	s.rest = s.rest[n:]
	return word, nil
}
