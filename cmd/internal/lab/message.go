package lab

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// A Field is a header field (RFC 5322 section 2.2).
type Field struct {
	Name  string
	Value string // unfolded, without white space around it
}

// A Message is a message as it was delivered.
type Message struct {
	Header []Field // in order
	Body   string
	Raw    string // the file, with the lines that delivery put on top: Return-Path, X-Original-To, Delivered-To
}

// Values returns the values of all fields of that name, in any case, in order.
func (m Message) Values(name string) []string {
	var values []string
	for _, f := range m.Header {
		if strings.EqualFold(f.Name, name) {
			values = append(values, f.Value)
		}
	}
	return values
}

// parseMessage takes a message with LF line ends apart.
func parseMessage(raw []byte) (Message, error) {
	m := Message{Raw: string(raw)}
	header, body, _ := strings.Cut("\n"+m.Raw, "\n\n")
	m.Body = body
	for line := range strings.SplitSeq(strings.TrimPrefix(header, "\n"), "\n") {
		if last := len(m.Header) - 1; last >= 0 && strings.IndexAny(line, " \t") == 0 {
			m.Header[last].Value = strings.TrimSpace(m.Header[last].Value + line)
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		if line == "" {
			continue // only where there is no header at all
		}
		if name = strings.TrimRight(name, " \t"); !ok || name == "" || strings.ContainsAny(name, " \t") {
			return Message{}, fmt.Errorf("%q is not a header field", line)
		}
		m.Header = append(m.Header, Field{name, strings.TrimSpace(value)})
	}
	return m, nil
}

// byArrival returns the files in dir by the time they were written. (The names in a maildir are ordered to the second
// only.) A directory that does not exist has none.
func byArrival(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	written := map[string]time.Time{}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			return nil, err
		}
		written[filepath.Join(dir, e.Name())] = info.ModTime()
	}
	return slices.SortedFunc(maps.Keys(written), func(a, b string) int {
		return cmp.Or(written[a].Compare(written[b]), cmp.Compare(a, b))
	}), nil
}
