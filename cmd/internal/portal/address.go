package portal

import (
	"errors"
	"net"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"gatemilter/policy"
	"gatemilter/policy/identity"
)

// Limits of what is entered, in octets.
const (
	maxAddress  = 254 // as in a path (RFC 5321, section 4.5.3.1.3)
	maxHost     = 253
	maxName     = 200
	maxUsername = 254
	maxPassword = 1000
	maxCode     = 40
)

var errAddress = errors.New("no address")

// parseAddress reads an address of the Internet, in canonical form.
func parseAddress(s string) (string, error) {
	if len(s) > maxAddress {
		return "", errAddress
	}
	address, err := identity.ParseAddress(strings.TrimSpace(s))
	if err != nil || len(address) > maxAddress || !isDomain(policy.Domain(address)) {
		return "", errAddress
	}
	return address, nil
}

// hasForeignLocal says whether an address has other letters than those of ASCII before the @: such
// mail needs SMTPUTF8 (RFC 6531) all the way. A domain has a form without (RFC 5890).
func hasForeignLocal(s string) bool {
	local, _, found := strings.Cut(s, "@")
	return found && strings.ContainsFunc(local, func(r rune) bool { return r >= utf8.RuneSelf && unicode.IsGraphic(r) && r != utf8.RuneError })
}

// inLetters is an address, or a server with its port, with the letters that its A-labels stand for:
// what people read. Forms, links and messages of servers have the A-labels.
func inLetters(s string) string {
	before, domain := "", s
	if at := strings.LastIndexByte(s, '@') + 1; at > 0 {
		before, domain = s[:at], s[at:]
	}
	name, _, _ := strings.Cut(domain, ":")
	return before + policy.UnicodeDomain(name) + strings.TrimPrefix(domain, name)
}

// isDomain takes names of at least two labels, the last of which is no number: no host is
// found by others (RFC 3696, section 2), and none by a shorter name than its own.
func isDomain(name string) bool {
	dot := strings.LastIndexByte(name, '.')
	return dot > 0 && strings.Trim(name[dot+1:], "0123456789") != ""
}

// parseHost reads the host of a server: a full name, or an IP address, in brackets or not.
func parseHost(s string) (string, error) {
	s = strings.TrimSpace(s)
	if len(s) > maxHost {
		return "", errAddress
	}
	host, err := identity.ParseHost(s)
	if err != nil {
		return "", err
	}
	if !strings.ContainsAny(host, ".:") {
		return "", errAddress
	}
	return host, nil
}

// bareHost is what people mean who enter more than the name of a server: a URL, a name that ends
// with a point, or one with a port, which is returned as well, or 0.
func bareHost(s string) (host string, port uint16) {
	s = strings.TrimSpace(s)
	if _, rest, found := strings.Cut(s, "://"); found {
		s, _, _ = strings.Cut(rest, "/")
	}
	if name, number, err := net.SplitHostPort(s); err == nil {
		n, err := strconv.ParseUint(number, 10, 16)
		if err != nil || n == 0 {
			return s, 0
		}
		s, port = name, uint16(n)
	}
	return strings.TrimSuffix(s, "."), port
}

// oneLine says whether a text can stand in a message or a log as it is: characters that end
// lines, or that change what others look like, are none of a name or a password.
func oneLine(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsGraphic(r) || r == utf8.RuneError })
}
