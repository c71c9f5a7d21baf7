package config

import (
	"bytes"
	"cmp"
	"fmt"
	"strings"
	"unicode/utf8"
)

// maxLine is the length of the longest line, in octets.
const maxLine = 64 << 10

// byteOrderMark is what editors on Windows put before UTF-8 text.
const byteOrderMark = "\ufeff"

// A section is one section as it stands in a file.
type section struct {
	file string
	line int
	// header is what stands between the brackets, as written; kind, name and
	// address are the words in it. Only [user-gateway LOGIN ADDRESS] has an address.
	header   string
	kind     string
	name     string
	address  string
	settings []setting
}

// A setting is one line "key = value", without the blanks around either.
type setting struct {
	key   string
	value string
	line  int
}

// title is how problems name a section: of what is no known section or no
// good name, nothing is repeated.
func (s *section) title() string {
	switch _, known := definition(s.kind); {
	case !known:
		return ""
	case !s.hasGoodName():
		return s.kind
	}
	return s.kind + " " + s.fullName()
}

// fullName is all that tells a section from others of its kind.
func (s *section) fullName() string {
	if s.address == "" {
		return s.name
	}
	return s.name + " " + s.address
}

// hasGoodName says whether the section has a name that can be shown.
func (s *section) hasGoodName() bool {
	if spec, _ := definition(s.kind); spec.NameForm != "" {
		return s.checkName() == nil && isPlain(s.fullName())
	}
	return isName(s.name)
}

// checkName says what is wrong with a name that is not of the administrator's choice.
func (s *section) checkName() error {
	var err error
	switch s.kind {
	case userSection:
		err = checkLogin(s.name)
	case userGWSection:
		switch err = checkLogin(s.name); {
		case err != nil:
		case s.address == "":
			err = fmt.Errorf("%s is a login or an address, and both are needed: write [%s LOGIN ADDRESS]", quote(s.name), userGWSection)
		default:
			_, err = parseAddress(s.address)
		}
	default:
		_, err = parseRule(s.kind, s.name)
	}
	return err
}

// maxName is the length of the longest name of a section, in octets.
const maxName = 64

// isName says whether a section may have that name, where it is of the
// administrator's choice: 1–64 of [A-Za-z0-9._-].
func isName(s string) bool {
	return s != "" && len(s) <= maxName &&
		!strings.ContainsFunc(s, func(r rune) bool { return !strings.ContainsRune(nameCharacters, r) })
}

const nameCharacters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"

// first returns the first setting of that key, and whether there is one.
func (s *section) first(key string) (setting, bool) {
	for _, set := range s.settings {
		if set.key == key {
			return set, true
		}
	}
	return setting{}, false
}

// A scanner reads the lines of one file.
type scanner struct {
	*report
	file     string
	line     int
	sections []*section
	// open is the line of the last value that ends as if it went on.
	open int
}

// scan reads the lines of a file, without asking what the sections and keys
// mean. It refuses every line that another reader of INI files could understand
// in another way.
func scan(r *report, file string, data []byte) []*section {
	s := &scanner{report: r, file: file}
	for text := range bytes.Lines(withoutMark(data)) {
		s.line++
		text = bytes.TrimSuffix(text, []byte("\n"))
		text = bytes.TrimSuffix(text, []byte("\r"))
		if fault := badText(text); fault != "" {
			s.problem("%s", fault)
			continue
		}
		s.read(strings.TrimSpace(string(text)))
	}
	return s.sections
}

func withoutMark(data []byte) []byte { return bytes.TrimPrefix(data, []byte(byteOrderMark)) }

func (s *scanner) problem(format string, args ...any) {
	p := Problem{File: s.file, Line: s.line, Text: fmt.Sprintf(format, args...)}
	if n := len(s.sections); n > 0 {
		p.Section = s.sections[n-1].title()
	}
	s.fail(p)
}

// badText says what is wrong with a line as text, or returns "".
func badText(line []byte) string {
	switch {
	case len(line) > maxLine:
		return fmt.Sprintf("the line has %d octets: at most %d are allowed, so shorten it, with ranges instead of single addresses", len(line), maxLine)
	case !utf8.Valid(line):
		return "the line is not UTF-8 text: save the file as UTF-8"
	}
	for _, c := range line {
		switch {
		case c == '\r':
			return "the line has a carriage return within it: end lines with LF or CR LF"
		case c < ' ' && c != '\t' || c == 0x7f:
			return fmt.Sprintf("the line has the control character %#02x in it: remove it", c)
		}
	}
	return ""
}

func (s *scanner) read(line string) {
	switch {
	case line == "" || line[0] == ';' || line[0] == '#':
	case line[0] == '[':
		s.readHeader(line)
	default:
		s.readSetting(line)
	}
}

// readHeader reads a line "[kind]" or "[kind name]". A header that can't be read
// opens a section nevertheless, so that its settings are not taken for those
// of the section before.
func (s *scanner) readHeader(line string) {
	sec := &section{file: s.file, line: s.line}
	// The problem belongs to no section: the one before has ended.
	fail := func(format string, args ...any) {
		s.fail(Problem{File: s.file, Line: s.line, Text: fmt.Sprintf(format, args...)})
	}
	s.sections = append(s.sections, sec)
	end := strings.IndexByte(line, ']')
	if end < 0 {
		fail("the section has no ] at its end: write [section] or [section NAME]")
		return
	}
	if end < len(line)-1 {
		fail("there is text after the ] of %s: give it a line of its own, comments too", quote(line[:end+1]))
		return
	}
	sec.header = line[1:end]
	words := strings.Fields(sec.header)
	switch {
	case len(words) == 0:
		fail("the section has no name: write [section] or [section NAME]")
	case len(words) > 3 && words[0] == userGWSection:
		fail("the section has more than a login and an address: write [%s LOGIN ADDRESS], with no blanks in either", userGWSection)
	case len(words) > 2 && words[0] != userGWSection:
		fail("the section has more than one name: write [section NAME], with no blanks in the name")
	default:
		sec.kind = words[0]
		words = append(words, "", "")
		sec.name, sec.address = words[1], words[2]
	}
}

// readSetting reads a line "key = value".
func (s *scanner) readSetting(line string) {
	key, value, found := strings.Cut(line, "=")
	key, value = strings.TrimSpace(key), strings.TrimSpace(value)
	switch {
	case (!found || !isKey(key)) && s.open > 0 && s.open == s.line-1:
		s.goOn(line)
	case !found || !isKey(key):
		// The text may be the second half of a secret: it is not shown.
		s.problem("the line is no [section], no \"key = value\" and no comment%s", settingHint(line))
	case len(s.sections) == 0:
		s.problem("%s stands before any section: put it after a line such as [%s]", quote(key), cmp.Or(home(key), schema[0].Name))
	case strings.HasPrefix(value, "`"), strings.HasPrefix(value, `"""`):
		// What is in the quotes is checked too.
		s.add(key, cmp.Or(strings.Trim(value, "`\""), value))
		s.problem("the value of %s starts with a quoting character (` or \"\"\"): values are written as they are, without quotes", key)
	default:
		s.add(key, value)
	}
}

func (s *scanner) add(key, value string) {
	last := s.sections[len(s.sections)-1]
	last.settings = append(last.settings, setting{key, value, s.line})
	s.markOpen(value)
}

// markOpen notes whether a value ends as if it went on in the next line.
func (s *scanner) markOpen(value string) {
	if strings.HasSuffix(value, ",") || strings.HasSuffix(value, `\`) {
		s.open = s.line
	}
}

// goOn refuses the second line of a value, and takes it into the value nevertheless:
// the file has one error then, and what else is wrong with the value is found too.
func (s *scanner) goOn(line string) {
	settings := s.sections[len(s.sections)-1].settings
	last := &settings[len(settings)-1]
	if last.line == s.line-1 {
		s.problem("the value of %s can't go on in the next line: write all of it in line %d", last.key, last.line)
	}
	last.value = strings.TrimSpace(strings.TrimSuffix(last.value, `\`) + " " + line)
	s.markOpen(line)
}

// isKey says whether s is written like a key: a letter, then letters, digits, _
// and -.
func isKey(s string) bool { return s != "" && keyLen(s) == len(s) }

// keyLen returns the length of the key with which s begins, or 0.
func keyLen(s string) int {
	for i := range len(s) {
		c := s[i] | 0x20
		letter := 'a' <= c && c <= 'z'
		if !letter && (i == 0 || s[i] != '_' && s[i] != '-' && (s[i] < '0' || s[i] > '9')) {
			return i
		}
	}
	return len(s)
}

// settingHint says how to write a line that begins with a known key.
func settingHint(line string) string {
	word := line[:keyLen(line)]
	if home(word) == "" {
		return ": write one of them; a long value can't go on in the next line"
	}
	if rest := strings.TrimSpace(line[len(word):]); strings.HasPrefix(rest, ":") {
		return fmt.Sprintf(": write %q, with = instead of :", word+" = …")
	}
	return fmt.Sprintf(": write %q", word+" = …")
}
