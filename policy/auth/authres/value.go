package authres

import (
	"strings"

	"gatemilter/policy"
)

const (
	// maxValueLen bounds the octets of a value. OpenDMARC cuts longer ones, and
	// of "…@example.com.attacker.example" may thus keep "…@example.com".
	maxValueLen = 253
	// maxProseLen bounds the octets of a reason or comment.
	maxProseLen = 200
	// maxIDLen bounds those of the authserv-id.
	maxIDLen = 253
)

// value returns s as a token or quoted string (RFC 8601, section 2.2), or "" if
// it can be neither in the narrow sense of this package.
func value(s string) string {
	switch {
	case s == "" || len(s) > maxValueLen || strings.ContainsFunc(s, isUnsafe):
		return ""
	case strings.ContainsFunc(s, isSpecial):
		return `"` + s + `"`
	default:
		return s
	}
}

// isUnsafe tells what no value may hold.
func isUnsafe(r rune) bool {
	return r <= ' ' || r > '~' || strings.ContainsRune(`"\;()`, r)
}

// isSpecial tells what no token may hold (RFC 2045, section 5.1: tspecials) of
// what is safe.
func isSpecial(r rune) bool {
	return strings.ContainsRune("<>@,:/[]?=", r)
}

// domain returns a domain, or a selector, as A-labels, or "".
func domain(s string) string {
	if len(s) > 4*maxValueLen { // in UTF-8
		return ""
	}
	s = policy.CanonicalDomain(s)
	if len(s) > maxValueLen || strings.ContainsFunc(s, isForeign) || hasEmptyLabel(s) {
		return ""
	}
	return s
}

func isForeign(r rune) bool {
	return (r < 'a' || r > 'z') && (r < '0' || r > '9') && !strings.ContainsRune("-_.", r)
}

func hasEmptyLabel(s string) bool {
	return strings.HasPrefix(s, ".") || strings.HasSuffix(s, ".") || strings.Contains(s, "..")
}

// mailbox returns "local-part@domain" (RFC 8601, section 2.2), or "@domain" where
// the local part is missing or doesn't fit.
func mailbox(address string) string {
	at := strings.LastIndexByte(address, '@')
	host := domain(address[at+1:])
	if at < 0 || host == "" {
		return ""
	}
	local := address[:at]
	if whole := local + "@" + host; isDotAtom(local) && len(whole) <= maxValueLen {
		return whole
	}
	return "@" + host
}

// isDotAtom tells whether a word is a dot-atom (RFC 5322, section 3.2.3).
func isDotAtom(s string) bool {
	return s != "" && !hasEmptyLabel(s) && !strings.ContainsFunc(s, func(r rune) bool {
		return isUnsafe(r) || strings.ContainsRune("<>@,:[]", r)
	})
}

// harmless has what stands in prose for characters that mean something to
// readers of the field.
var harmless = strings.NewReplacer(`"`, "'", `\`, "/", ";", ",", "(", "[", ")", "]", "=", ":",
	"\t", " ", "\r", " ", "\n", " ")

// prose returns a text for people in a form that fits into a comment or, between
// quotation marks, a quoted string.
func prose(s string) string {
	if len(s) > maxProseLen {
		s = s[:maxProseLen-3] + "..."
	}
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, harmless.Replace(s))
	return strings.Join(strings.Fields(s), " ")
}

// authservID returns the id as a host name, for readers must know it, and [Claims]
// must find it: in A-labels, without dots around it, and with a hyphen for what no
// name may hold.
func authservID(id string) string {
	if len(id) > maxIDLen {
		id = id[:maxIDLen]
	}
	id = strings.Map(func(r rune) rune {
		if isForeign(r) {
			return '-'
		}
		return r
	}, strings.Trim(policy.CanonicalDomain(id), "."))
	if id == "" {
		return "localhost"
	}
	return id
}
