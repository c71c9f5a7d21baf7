package received

import (
	"net/netip"
	"strings"
)

// readTCPInfo reads "[name] address [rest]", of which the caller has read two
// words. The name is its owner's to choose, so it may look like an address; a
// second word in brackets is the address then. Without one the first word is
// it, or holds it; before and after are the lexers before and behind the second.
func readTCPInfo(first, second string, before, after lexer) remark {
	if strings.HasPrefix(second, "[") {
		ip, ok := literal(trimComma(second))
		if !ok {
			return remark{kind: blank}
		}
		return readRest(ip, &after, false)
	}
	if ip, ok := clientAddress(first); ok {
		return readRest(ip, &before, strings.HasSuffix(first, ","))
	}
	if isEscaped(first) {
		return readEscaped(second, &after)
	}
	if strings.HasPrefix(first, "[") {
		return remark{kind: blank}
	}
	return remark{kind: other}
}

// clientAddress reads an address, or one that follows an ident and @, or one in
// brackets glued to a host name. The ident is the client's, and may hold an @.
func clientAddress(s string) (netip.Addr, bool) {
	s = trimComma(s)
	if i := strings.LastIndexByte(s, '@'); i >= 0 {
		s = s[i+1:]
	}
	if i := strings.LastIndexByte(s, '['); i >= 0 {
		return literal(s[i:])
	}
	return bare(s)
}

// readRest looks through what follows the address. The client's text in it may
// be an address where the server set it apart, as helo=x, "EHLO x" or, behind
// an address without brackets and a comma, HELO x. Any other address is doubt.
func readRest(ip netip.Addr, l *lexer, comma bool) remark {
	r := remark{kind: tcpInfo, ip: ip}
	for w, ok := l.nextWord(); ok; w, ok = l.nextWord() {
		if helo, ok := setApart(w); ok {
			r.claim(helo)
			continue
		}
		helo := isHELO(w)
		if helo {
			w, _ = l.nextWord()
			r.claim(w)
		}
		if contradicts(w, ip) && (!helo || !comma || w[0] == '[') {
			return remark{kind: unclear}
		}
	}
	if l.broken {
		return remark{kind: unclear}
	}
	return r
}

// contradicts tells whether a word stands where an address would and isn't ip.
func contradicts(w string, ip netip.Addr) bool {
	w = trimComma(w)
	if strings.HasPrefix(w, "[") {
		other, ok := literal(w)
		return !ok || other != ip
	}
	other, ok := bare(w)
	return ok && other != ip
}

// isEscaped tells whether a name holds quoted pairs: this server escapes what
// others choose, so spaces may follow, and the brackets are its own.
func isEscaped(name string) bool {
	return strings.Contains(name, `\(`) || strings.Contains(name, `\)`)
}

// readEscaped reads the remaining words of an escaped name, and the one address
// after it.
func readEscaped(w string, l *lexer) remark {
	for ok := true; ok; w, ok = l.nextWord() {
		if strings.HasPrefix(w, "[") {
			ip, ok := literal(w)
			if !ok {
				return remark{kind: blank}
			}
			return readRest(ip, l, false)
		}
	}
	return remark{kind: other}
}
