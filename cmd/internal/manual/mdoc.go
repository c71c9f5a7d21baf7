package manual

import (
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// characters that would become something else on paper or on a terminal: a backslash begins an escape, and the others
// turn into typographical ones, which a reader can't copy into a shell or a file.
var characters = strings.NewReplacer(`\`, `\e`, "-", `\-`, "`", `\(ga`, "^", `\(ha`, "~", `\(ti`)

// escape makes a piece of text that reads as it is written. Only in the middle of a word is ' an apostrophe.
func escape(s string) string {
	var b strings.Builder
	for i, r := range s {
		before, _ := utf8.DecodeLastRuneInString(s[:i])
		after, _ := utf8.DecodeRuneInString(s[i+utf8.RuneLen(r):])
		if r == '\'' && !(unicode.IsLetter(before) && unicode.IsLetter(after)) {
			b.WriteString(`\(aq`)
		} else {
			b.WriteString(characters.Replace(string(r)))
		}
	}
	return b.String()
}

// macroName is what would be taken for a macro as an argument of another one.
var macroName = regexp.MustCompile(`^[A-Z%][a-z0-9]{1,2}$`)

// argument makes one argument of a macro.
func argument(s string) string {
	s = strings.ReplaceAll(escape(s), `"`, `\(dq`)
	switch {
	case s == "" || macroName.MatchString(s) || len(s) == 1 && strings.Contains(".,:;()[]?!|", s):
		return `\&` + s
	case strings.ContainsAny(s, " \t"):
		return `"` + s + `"`
	}
	return s
}

// sentenceEnd is behind a sentence that another one follows; lineEnd is what looks like one at the end of a line.
var (
	sentenceEnd = regexp.MustCompile(`([.!?]["')\]]*) +("?[A-Z]|--[a-z])`)
	lineEnd     = regexp.MustCompile(`[.!?]["')\]]*$`)
)

// lineWidth is how long lines of the source become.
const lineWidth = 76

// text makes a paragraph. In mdoc, each sentence begins on a line of its own.
func text(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	var b strings.Builder
	for sentence := range strings.SplitSeq(sentenceEnd.ReplaceAllString(s, "$1\n$2"), "\n") {
		lines := wrap(strings.Fields(escape(sentence)), lineWidth)
		for i, line := range lines {
			if i+1 < len(lines) && lineEnd.MatchString(line) {
				line += `\&`
			}
			b.WriteString(textLine(line) + "\n")
		}
	}
	return b.String()
}

// textLine makes sure that a line, which is escaped already, is not taken for a macro.
func textLine(s string) string {
	if strings.HasPrefix(s, ".") || strings.HasPrefix(s, "'") {
		return `\&` + s
	}
	return s
}

// wrap makes lines of words.
func wrap(words []string, width int) (lines []string) {
	for _, w := range words {
		if last := len(lines) - 1; last >= 0 && utf8.RuneCountInString(lines[last])+1+utf8.RuneCountInString(w) <= width {
			lines[last] += " " + w
		} else {
			lines = append(lines, w)
		}
	}
	return lines
}

// literal shows lines as they are.
func literal(lines []string) string {
	var b strings.Builder
	b.WriteString(".Bd -literal -offset indent\n")
	for _, line := range lines {
		b.WriteString(textLine(escape(line)) + "\n")
	}
	return b.String() + ".Ed\n"
}

// sentence makes one of a fragment, as help texts have them.
func sentence(s string) string {
	first, size := utf8.DecodeRuneInString(s)
	s = string(unicode.ToUpper(first)) + s[size:]
	if strings.HasSuffix(s, ".") {
		return s
	}
	return s + "."
}
