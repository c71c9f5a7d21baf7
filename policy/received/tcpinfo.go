package received

import (
	"net/netip"
	"strings"
)

// readTCPInfo reads "[name] address [rest]", of which the caller has read two
// words. The name is its owner's to choose, so it may look like an address; a
// second word in brackets is the address then. Without one the first word is
// it, or holds it; before and after are the lexers before and behind the second.
func (r *remark) readTCPInfo(first, second string, before, after lexer) {
	if strings.HasPrefix(second, "[") {
		r.asides.add(first)
		r.readAddress(trimComma(second), &after)
	} else if ip, ok := clientAddress(first); ok {
		r.asides.add(first[:max(0, strings.LastIndexByte(first, '@'))])
		r.kind, r.ip = tcpInfo, ip
		r.readRest(&before, strings.HasSuffix(first, ","))
	} else if isEscaped(first) {
		r.readEscaped(second, &after)
	} else if strings.HasPrefix(first, "[") {
		r.kind = blank
	}
}

func (r *remark) readAddress(w string, rest *lexer) {
	ip, ok := literal(w)
	if !ok {
		r.kind = blank
		return
	}
	r.kind, r.ip = tcpInfo, ip
	r.readRest(rest, false)
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

// readRest looks through what follows the address for the HELO: set apart, or,
// behind an address without brackets and a comma, as HELO x. Another word in
// brackets that is no address may be the client's, left out.
func (r *remark) readRest(l *lexer, comma bool) {
	for w, ok := l.nextWord(); ok; w, ok = l.nextWord() {
		if r.readMarked(w) {
			continue
		}
		if isHELO(w) {
			w, _ = l.nextWord()
			r.claim(w)
			if comma && !strings.HasPrefix(w, "[") {
				r.excuse(w)
			}
		}
		if _, ok := literal(trimComma(w)); !ok && strings.HasPrefix(w, "[") {
			r.kind = unclear
		}
	}
	if l.broken {
		r.kind = unclear
	}
}

// isEscaped tells whether a name holds quoted pairs: this server escapes what
// others choose, so spaces may follow, and the brackets are its own.
func isEscaped(name string) bool {
	return strings.Contains(name, `\(`) || strings.Contains(name, `\)`)
}

// readEscaped reads the remaining words of an escaped name, and the address
// after it.
func (r *remark) readEscaped(w string, l *lexer) {
	for ok := true; ok; w, ok = l.nextWord() {
		if strings.HasPrefix(w, "[") {
			r.readAddress(w, l)
			return
		}
	}
}
