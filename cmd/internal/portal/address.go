package portal

import (
	"errors"
	"net/netip"
	"strings"
	"unicode"
	"unicode/utf8"

	"gatemilter/policy"
)

// Limits of what is entered, in octets.
const (
	maxAddress  = 254
	maxLocal    = 64
	maxHost     = 253
	maxName     = 200
	maxUsername = 254
	maxPassword = 1000
	maxCode     = 40
)

// localCharacters are those of a dot-string: atext (RFC 5322, section 3.2.3) and the point.
const localCharacters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!#$%&'*+-/=?^_`{|}~."

var (
	errAddress = errors.New("no address")
	errHost    = errors.New("no host name")
)

// parseAddress reads an address as the configuration takes them too, in canonical form.
func parseAddress(s string) (string, error) {
	s = strings.TrimSpace(s)
	at := strings.LastIndexByte(s, '@')
	if at < 1 || len(s) > maxAddress {
		return "", errAddress
	}
	local, domain := s[:at], policy.CanonicalDomain(s[at+1:])
	if len(local) > maxLocal || strings.Trim(local, localCharacters) != "" || strings.Contains("."+local+".", "..") || !isDomain(domain) {
		return "", errAddress
	}
	address := policy.CanonicalAddress(local + "@" + domain)
	if len(address) > maxAddress {
		return "", errAddress
	}
	return address, nil
}

// isDomain takes names of at least two labels, the last of which is no number.
func isDomain(name string) bool {
	labels := strings.Split(name, ".")
	if len(name) > maxHost || len(labels) < 2 {
		return false
	}
	for _, label := range labels {
		if label == "" || len(label) > 63 || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" || strings.Trim(label, "-") != label {
			return false
		}
	}
	return strings.Trim(labels[len(labels)-1], "0123456789") != ""
}

// parseHost reads the host of a server: a name, or an IP address, in brackets or not.
func parseHost(s string) (string, error) {
	s = strings.TrimSpace(s)
	if len(s) > maxHost {
		return "", errHost
	}
	if inner, ok := strings.CutPrefix(s, "["); ok {
		if inner, ok = strings.CutSuffix(inner, "]"); !ok {
			return "", errHost
		}
		s = inner
	}
	if ip, err := netip.ParseAddr(s); err == nil {
		if ip.Zone() != "" {
			return "", errHost
		}
		return ip.Unmap().String(), nil
	}
	name := policy.CanonicalDomain(s)
	if !isDomain(name) {
		return "", errHost
	}
	return name, nil
}

// oneLine says whether a text can stand in a message or a log as it is: characters that end
// lines, or that change what others look like, are none of a name or a password.
func oneLine(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool {
		return unicode.IsControl(r) || unicode.In(r, unicode.Zl, unicode.Zp) || isDirection(r) || r == '\uFFFD'
	})
}

// isDirection tells the characters that turn the direction of writing.
func isDirection(r rune) bool {
	return r == '\u200E' || r == '\u200F' || r == '\u061C' || '\u202A' <= r && r <= '\u202E' || '\u2066' <= r && r <= '\u2069'
}
