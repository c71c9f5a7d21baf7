package dns

import (
	"fmt"
	"strings"
)

// The limits of RFC 1035, section 2.3.4, for a name as text without its final dot.
const (
	maxName  = 253
	maxLabel = 63
)

// A question is what a server is asked. Its name is in presentation format (RFC
// 4343, section 2.1), in lower case, without the final dot.
type question struct {
	name string
	typ  uint16
}

// presentation escapes a name as text. It is false for what is no name.
func presentation(name string) (string, bool) {
	name = strings.TrimSuffix(name, ".")
	if name == "" || len(name) > maxName {
		return "", false
	}
	label, plain := 0, true
	for i := range len(name) {
		switch c := name[i]; {
		case c != '.':
			label++
			plain = plain && isPlain(c)
		case label == 0:
			return "", false
		default:
			label = 0
		}
		if label > maxLabel {
			return "", false
		}
	}
	if plain {
		return name, label > 0
	}
	return escape(name), label > 0
}

// isPlain tells whether an octet of a question's name stands for itself.
func isPlain(c byte) bool {
	return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_'
}

// escape writes a name as the DNS library does, so that names can be compared as text.
func escape(name string) string {
	var b strings.Builder
	for i := range len(name) {
		switch c := name[i]; {
		case 'A' <= c && c <= 'Z':
			b.WriteByte(c + 'a' - 'A')
		case c < ' ' || c > '~':
			fmt.Fprintf(&b, `\%03d`, c)
		case strings.IndexByte(` '@;()"\`, c) >= 0:
			b.WriteByte('\\')
			b.WriteByte(c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// isText tells whether something in presentation format is the same as text.
func isText(s string) bool { return s != "" && strings.IndexByte(s, '\\') < 0 }

// unescape turns a string of a TXT record in presentation format into its octets.
func unescape(s string) string {
	if isText(s) {
		return s
	}
	octets := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '\\' && i+3 < len(s) && isDigits(s[i+1:i+4]) {
			c = (s[i+1]-'0')*100 + (s[i+2]-'0')*10 + s[i+3] - '0'
			i += 3
		} else if c == '\\' && i+1 < len(s) {
			i++
			c = s[i]
		}
		octets = append(octets, c)
	}
	return string(octets)
}

func isDigits(s string) bool {
	return strings.Trim(s, "0123456789") == ""
}
