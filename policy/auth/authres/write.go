package authres

import "strings"

const (
	// maxColumns is how wide a line gets before it is folded (RFC 5322, section
	// 2.1.1).
	maxColumns = 78
	tabColumns = 8
)

// A writer composes the body of a field from words between which it may fold.
// No word has more than 500 octets, which keeps lines well below 998.
type writer struct {
	strings.Builder
	column  int
	results int
	// comment is written behind the first result.
	comment string
}

// start writes the first word, given the name of the field that comes before it.
func (w *writer) start(name, first string) {
	w.column = len(name) + len(first)
	w.WriteString(first)
}

// word writes a word behind a blank or a fold. A semicolon may follow it.
func (w *writer) word(s string) {
	if w.column+1+len(s)+1 > maxColumns {
		w.fold(s)
		return
	}
	w.column += 1 + len(s)
	w.WriteString(" " + s)
}

func (w *writer) fold(s string) {
	w.column = tabColumns + len(s)
	w.WriteString("\n\t" + s)
}

// result begins a result on a line of its own.
func (w *writer) result(s string) {
	w.WriteString(";")
	w.fold(s)
	if w.results++; w.results == 1 && w.comment != "" {
		w.word("(" + w.comment + ")")
	}
}

// property writes a property that has a value.
func (w *writer) property(name, value string) {
	if value != "" {
		w.word(name + "=" + value)
	}
}

func (w *writer) reason(text string) {
	if text = prose(text); text != "" {
		w.word(`reason="` + text + `"`)
	}
}
