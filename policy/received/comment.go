package received

import (
	"net/netip"
	"strings"
)

// A remark is what one comment of the from clause says.
type remark struct {
	kind remarkKind
	ip   netip.Addr // tcpInfo: the client's; else some address that is no HELO

	claimed bool // the comment tells the HELO
	helo    string
	twofold bool // it reads "HELO [address]": a claim, or the TCP-info of a host named HELO
}

type remarkKind uint8

const (
	other   remarkKind = iota // a host name without address, or nothing known
	tcpInfo                   // the address of the client's socket
	blank                     // a TCP-info whose address was left out or is none
	unix                      // no network: a Unix socket, a local user
	claim                     // what the client called itself, without its address
	note                      // on TLS, authentication or the envelope
	unclear                   // several addresses, and no telling which is the client's
)

func readComment(inside string) remark {
	l := lexer{text: inside}
	first, ok := l.nextWord()
	switch {
	case !ok:
		return remark{kind: blank}
	case isOneOf(first, "from", "by", "for", "via"):
		return remark{kind: note, ip: anyAddress(inside)}
	case isClaim(first):
		return readClaim(inside)
	}
	mark := l
	second, _ := l.nextWord()
	switch {
	case isLocal(first, second) && anyAddress(inside).IsValid():
		return remark{kind: unclear}
	case isLocal(first, second):
		return remark{kind: unix}
	case isAssertion(first, second):
		return remark{kind: claim}
	}
	if r := readTCPInfo(first, second, mark, l); r.kind != other {
		return r
	}
	return readNote(first, second, inside)
}

func readNote(first, second, inside string) remark {
	switch {
	case strings.EqualFold(first, "account"):
		return readClaim(inside)
	case isNote(first) || strings.EqualFold(second, "authenticated"):
		return remark{kind: note, ip: anyAddress(inside)}
	}
	return remark{kind: other, ip: anyAddress(inside)}
}

// readClaim reads the comments of the mirror layouts: (HELO x), (helo=x
// ident=y), (port=1 helo=x), (account u HELO x).
func readClaim(inside string) remark {
	r := remark{kind: claim}
	l := lexer{text: inside}
	for i := 0; ; i++ {
		w, ok := l.nextWord()
		if !ok {
			return r
		}
		if helo, ok := setApart(w); ok {
			r.claim(helo)
		} else if isHELO(w) {
			helo, _ := l.nextWord()
			r.claim(helo)
			r.twofold = i == 0 && strings.HasPrefix(helo, "[")
		} else if ip, ok := clientAddress(w); ok && !hasPrefixFold(w, "ident=") {
			r.ip = ip
		}
	}
}

func (r *remark) claim(helo string) {
	if !r.claimed {
		r.claimed, r.helo = true, trimComma(helo)
	}
}

// setApart reads helo=x and "EHLO x".
func setApart(s string) (helo string, ok bool) {
	if hasPrefixFold(s, "helo=") {
		return s[len("helo="):], true
	}
	if len(s) < 2 || s[0] != '"' || s[len(s)-1] != '"' {
		return "", false
	}
	l := lexer{text: s[1 : len(s)-1]}
	if w, _ := l.nextWord(); !isHELO(w) {
		return "", false
	}
	helo, _ = l.nextWord()
	return helo, true
}

func isHELO(s string) bool { return isOneOf(s, "HELO", "EHLO", "LHLO") }

// isClaim knows the first words of a claim. A host may bear such a name: then
// the address that follows it counts against any other.
func isClaim(first string) bool {
	return isHELO(first) || hasPrefixFold(first, "helo=") || hasPrefixFold(first, "ident=") ||
		hasPrefixFold(first, "port=") || isOneOf(first, "claimed", "claims", "claiming")
}

// isAssertion knows "proxying for x": somebody else's client.
func isAssertion(first, second string) bool {
	return strings.EqualFold(first, "proxying") && strings.EqualFold(second, "for")
}

func isNote(first string) bool {
	for _, prefix := range [...]string{
		"using", "no", "not", "client", "authenticated", "auth", "ssl", "tls", "version=", "cipher", "envelope", "may",
	} {
		if hasPrefixFold(first, prefix) {
			return true
		}
	}
	return false
}

// isLocal knows how servers write that there was no socket address. The words
// count only where the address would stand: anywhere else they may be the
// client's.
func isLocal(first, second string) bool {
	switch {
	case strings.EqualFold(first, "uid"):
		return isNumber(second)
	case second == "":
		return strings.EqualFold(first, "[local]") || hasSuffixFold(first, "@localhost")
	case isOneOf(first, "[unix", "[[UNIX:"):
		return isOneOf(second, "socket]", "localhost]]")
	}
	return isOneOf(second, "[local]", "[unix", "[[UNIX:")
}

// anyAddress returns the first address among the words of a comment.
func anyAddress(inside string) netip.Addr {
	l := lexer{text: inside}
	for w, ok := l.nextWord(); ok; w, ok = l.nextWord() {
		if ip, ok := clientAddress(w); ok {
			return ip
		}
	}
	return netip.Addr{}
}
