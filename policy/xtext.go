package policy

import (
	"strconv"
	"strings"
)

// DecodeXtext decodes xtext (RFC 3461, section 4), as which Sendmail writes logins: "+2B" is
// a plus, in upper or lower case. What is none stays as it is.
func DecodeXtext(s string) string {
	if !strings.Contains(s, "+") {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '+' && i+2 < len(s) {
			if c, err := strconv.ParseUint(s[i+1:i+3], 16, 8); err == nil {
				b.WriteByte(byte(c))
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
