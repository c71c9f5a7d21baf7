package relaymaps

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"
)

// Limits of a table.
const (
	// MaxLine is the length of the longest logical line, in octets.
	MaxLine = 64 << 10
	// MaxEntries is how many lines with a key a table may have.
	MaxEntries = 1_000_000
)

// A Table is what is in a file.
type Table struct {
	Name    string
	Entries []Entry
	byKey   map[string]int
}

// An Entry is a logical line.
type Entry struct {
	Key   string // in lower case
	Value string
	Line  int // at which it begins
}

// A Problem is a line that can't be used. Text says why, and what to do.
type Problem struct {
	File string
	Line int
	Text string
}

func (p Problem) Error() string { return fmt.Sprintf("%s:%d: %s", p.File, p.Line, p.Text) }

// Open reads the table in a file, whose path may stand behind its type, as in main.cf. An error
// says that it can't be read at all.
func Open(path string) (*Table, []Problem, error) {
	path, err := pathOf(path)
	if err != nil {
		return nil, nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	return Read(path, f)
}

// textTypes are the types of tables that postmap makes of a text at that path, and the one
// which is that text.
var textTypes = []string{"hash", "btree", "lmdb", "cdb", "dbm", "sdbm", "texthash"}

// pathOf takes the type off what main.cf has.
func pathOf(table string) (string, error) {
	kind, path, ok := strings.Cut(table, ":")
	if !ok || strings.Contains(kind, "/") {
		return table, nil
	}
	for _, t := range textTypes {
		if kind == t {
			return path, nil
		}
	}
	return "", fmt.Errorf("%q is no table in a text file: write what it holds into one, as \"postmap -s %s > FILE\" does for types that can be listed", table, table)
}

// Read reads a table. Name is what problems call it.
func Read(name string, r io.Reader) (*Table, []Problem, error) {
	t := &Table{Name: name, byKey: make(map[string]int)}
	var problems []Problem
	err := logicalLines(r, func(line int, text string, wrong error) error {
		if wrong == nil {
			wrong = t.add(line, text)
		}
		if wrong != nil {
			problems = append(problems, Problem{name, line, wrong.Error()})
		}
		if len(t.Entries) > MaxEntries || len(problems) > MaxEntries {
			return fmt.Errorf("it has more than %d lines: split it", MaxEntries)
		}
		return nil
	})
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", name, err)
	}
	return t, problems, nil
}

// add takes a logical line.
func (t *Table) add(line int, text string) error {
	e, err := parseEntry(text)
	if err != nil {
		return err
	}
	e.Line = line
	if first, twice := t.byKey[e.Key]; twice {
		if t.Entries[first].Value == e.Value {
			return nil
		}
		return fmt.Errorf("%q is in line %d already, which is the one that Postfix uses: remove one of them", e.Key, t.Entries[first].Line)
	}
	t.byKey[e.Key] = len(t.Entries)
	t.Entries = append(t.Entries, e)
	return nil
}

// Lookup finds the entry with a key, which is in lower case.
func (t *Table) Lookup(key string) (Entry, bool) {
	i, ok := t.byKey[key]
	if !ok {
		return Entry{}, false
	}
	return t.Entries[i], true
}

// blanks are what isspace(3) takes for one.
const blanks = " \t\n\v\f\r"

// parseEntry cuts a logical line behind its key: at the first blank that is not between quotes.
// Errors don't show the line, which may be a login.
func parseEntry(text string) (Entry, error) {
	quoted, end := false, len(text)
key:
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case !quoted && strings.IndexByte(blanks, c) >= 0:
			end = i
			break key
		}
	}
	key, value := text[:end], strings.Trim(text[end:], blanks)
	switch {
	case quoted:
		return Entry{}, errors.New(`a quote in the key is not closed: close it, or write \" for one that is meant`)
	case value == "":
		return Entry{}, errors.New("it has a key and no value, or the other way round: write both, with a blank between them")
	case strings.HasSuffix(key, ":"):
		return Entry{}, errors.New("its key ends with a colon, as in a file of aliases: write it without")
	}
	return Entry{Key: lower(key), Value: value}, nil
}

// lower folds ASCII letters, as postmap does.
func lower(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}

// errBinary is for what postmap has made.
var errBinary = errors.New("it is not text: name the file from which postmap made it, without .db or .lmdb")

// logicalLines calls f with each logical line and the number of its first line. Wrong says
// what a line can't be taken for.
func logicalLines(r io.Reader, f func(line int, text string, wrong error) error) error {
	in := bufio.NewReaderSize(r, MaxLine)
	var (
		held    []byte
		began   int
		tooLong bool
	)
	flush := func() error {
		defer func() { held, began, tooLong = held[:0], 0, false }()
		switch {
		case began == 0:
			return nil
		case tooLong:
			return f(began, "", fmt.Errorf("it has more than %d octets: shorten it", MaxLine))
		case !utf8.Valid(held):
			return f(began, "", errors.New("it is not UTF-8 text: save the file as UTF-8"))
		}
		return f(began, string(held), nil)
	}
	for number := 1; ; number++ {
		line, cut, err := physicalLine(in)
		if err == io.EOF {
			return flush()
		}
		if err != nil {
			return err
		}
		text := bytes.Trim(line, blanks)
		switch {
		case bytes.IndexByte(line, 0) >= 0:
			return errBinary
		case len(text) == 0 || text[0] == '#':
			continue
		case strings.IndexByte(blanks, line[0]) < 0:
			if err := flush(); err != nil {
				return err
			}
			began = number
		case began == 0:
			if err := f(number, "", errors.New("it begins with a blank, as what goes on with the line before, and there is none: remove the blank")); err != nil {
				return err
			}
			continue
		}
		if tooLong = tooLong || cut || len(held)+len(line) > MaxLine; !tooLong {
			held = append(held, line...)
		}
	}
}

// physicalLine reads a line without its end, or the beginning of one that is too long (cut).
func physicalLine(in *bufio.Reader) (line []byte, cut bool, err error) {
	line, err = in.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		line, cut = bytes.Clone(line), true
		for errors.Is(err, bufio.ErrBufferFull) {
			_, err = in.ReadSlice('\n')
		}
	}
	if err == io.EOF && len(line) > 0 {
		err = nil
	}
	return bytes.TrimSuffix(line, []byte("\n")), cut, err
}
