package received

import (
	"net/netip"
	"strings"
)

// maxAddress bounds what is tried as an address: the longest IPv6 text with
// tag, zone and port is well below it.
const maxAddress = 96

// literal reads what servers write in square brackets, which may be followed by
// a port:
//
//	[192.0.2.1]  [192.0.2.1]:25  [192.0.2.1:25]  [192.0.2.1.25]  [IPv6:2001:db8::1]  [fe80::1%eth0]
func literal(s string) (netip.Addr, bool) {
	inside, ok := bracketed(s)
	if !ok {
		return netip.Addr{}, false
	}
	return withPort(inside)
}

// withPort reads an address as bare does, or followed by a port as fifth part,
// which Exim 3 wrote.
func withPort(s string) (netip.Addr, bool) {
	if ip, ok := bare(s); ok {
		return ip, true
	}
	if i := strings.LastIndexByte(s, '.'); i > 0 && isPort(s[i+1:]) && strings.Count(s, ".") == 4 {
		return parseAddr(s[:i])
	}
	return netip.Addr{}, false
}

// bracketed returns the inside of "[…]" or "[…]:port".
func bracketed(s string) (inside string, ok bool) {
	if len(s) < 2 || s[0] != '[' {
		return "", false
	}
	closing := strings.IndexByte(s, ']')
	if closing < 0 {
		return "", false
	}
	rest := s[closing+1:]
	if rest != "" && (rest[0] != ':' || !isPort(rest[1:])) {
		return "", false
	}
	return s[1:closing], true
}

// bare reads an address without brackets: 192.0.2.1, 192.0.2.1:25, 2001:db8::1,
// IPv6:2001:db8::1. An IPv6 address has no port here: it could be part of it.
func bare(s string) (netip.Addr, bool) {
	const tag = "IPv6:"
	if hasPrefixFold(s, tag) {
		ip, ok := parseAddr(s[len(tag):])
		return ip, ok && strings.IndexByte(s[len(tag):], ':') >= 0
	}
	if i := strings.IndexByte(s, ':'); i > 0 && isPort(s[i+1:]) {
		s = s[:i]
	}
	return parseAddr(s)
}

// parseAddr returns the address unmapped and without its zone.
func parseAddr(s string) (netip.Addr, bool) {
	if i := strings.IndexByte(s, '%'); i > 0 && i < len(s)-1 && strings.IndexByte(s[:i], ':') >= 0 {
		s = s[:i]
	}
	if !looksLikeAddr(s) {
		return netip.Addr{}, false
	}
	ip, err := netip.ParseAddr(s)
	return ip.Unmap(), err == nil
}

// looksLikeAddr saves netip's error value, an allocation, for the names that
// stand where an address could.
func looksLikeAddr(s string) bool {
	if len(s) == 0 || len(s) > maxAddress {
		return false
	}
	dots, colons, letters := 0, 0, 0
	for i := range len(s) {
		switch c := s[i]; {
		case c == '.':
			dots++
		case c == ':':
			colons++
		case '0' <= c && c <= '9':
		case 'a' <= c|0x20 && c|0x20 <= 'f':
			letters++
		default:
			return false
		}
	}
	if colons == 0 {
		return dots == 3 && letters == 0
	}
	return colons >= 6 || strings.Contains(s, "::")
}

func isPort(s string) bool {
	n := 0
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' || i == 5 {
			return false
		}
		n = n*10 + int(s[i]-'0')
	}
	return 0 < n && n <= 65535
}

func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}

func isNumber(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

func trimComma(s string) string { return strings.TrimSuffix(s, ",") }

func isOneOf(s string, words ...string) bool {
	for _, w := range words {
		if strings.EqualFold(s, w) {
			return true
		}
	}
	return false
}

func hasSuffixFold(s, suffix string) bool {
	return len(s) >= len(suffix) && strings.EqualFold(s[len(s)-len(suffix):], suffix)
}
