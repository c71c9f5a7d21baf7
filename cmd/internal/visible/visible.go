// Package visible shows what may come from a stranger.
package visible

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Text shows a text that may come from a stranger: what a terminal would not
// print, or would use to reorder other text, is escaped as in Go; and it is
// cut after so many characters.
func Text(s string, length int) string {
	var b strings.Builder
	for n, rest := 0, s; rest != ""; n++ {
		if n == length {
			return b.String() + "…"
		}
		r, size := utf8.DecodeRuneInString(rest)
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, rest[0])
		case unicode.IsPrint(r):
			b.WriteRune(r)
		default:
			b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
		}
		rest = rest[size:]
	}
	return b.String()
}
