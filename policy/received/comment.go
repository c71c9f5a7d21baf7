package received

import (
	"net/netip"
	"strings"
)

// A remark is what one comment of the from clause says.
type remark struct {
	kind   remarkKind
	text   string
	broken bool       // its quotation marks don't match
	ip     netip.Addr // of tcpInfo only: the client's

	claimed bool // the comment tells the HELO
	helo    string
	asides  asides
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

func readComment(inside lexer) remark {
	r := remark{text: inside.text, broken: inside.misquoted()}
	r.read(inside)
	return r
}

func (r *remark) read(l lexer) {
	whole := l
	first, ok := l.nextWord()
	switch {
	case !ok:
		r.kind = blank
		return
	case isOneOf(first, "from", "by", "for", "via"):
		r.kind = note
		r.readTrace(first, l)
		return
	case isClaim(first):
		r.readClaim(whole)
		return
	}
	mark := l
	second, _ := l.nextWord()
	switch {
	case isLocal(first, second):
		r.kind = unix
		return
	case isAssertion(first, second):
		r.kind = claim
		forwarded, _ := l.nextWord()
		r.asides.add(forwarded)
		return
	}
	if r.readTCPInfo(first, second, mark, l); r.kind != other {
		return
	}
	switch {
	case strings.EqualFold(first, "account"):
		r.readClaim(whole)
	case isNote(first) || strings.EqualFold(second, "authenticated"):
		r.kind = note
	}
}

// readTrace reads "from x by y", the client's as long as there is no more:
// behind its own by a server writes at least a protocol.
func (r *remark) readTrace(first string, l lexer) {
	name, _ := l.nextWord()
	by, _ := l.nextWord()
	l.nextWord()
	if _, more := l.nextWord(); !more && !hasParens(r.text) && isOneOf(first, "from") && isOneOf(by, "by") {
		r.asides.add(name)
	}
}

// readClaim reads the comments of the mirror layouts: (HELO x), (helo=x
// ident=y), (port=1 helo=x), (account u HELO x).
func (r *remark) readClaim(l lexer) {
	r.kind = claim
	for w, ok := l.nextWord(); ok; w, ok = l.nextWord() {
		if r.readMarked(w) || !isHELO(w) {
			continue
		}
		helo, _ := l.nextWord()
		r.claim(helo)
		// HELO [192.0.2.1] may be the TCP-info of a host with that name.
		if !strings.HasPrefix(helo, "[") {
			r.excuse(helo)
		}
	}
}

// readMarked reads a word with the client's text set apart in it: helo=x,
// "EHLO x", ident=x.
func (r *remark) readMarked(w string) bool {
	if hasPrefixFold(w, "ident=") {
		r.excuse(w)
		return true
	}
	helo, ok := setApart(w)
	if ok {
		r.claim(helo)
		r.excuse(helo)
	}
	return ok
}

func (r *remark) claim(helo string) {
	if !r.claimed {
		r.claimed, r.helo = true, trimComma(helo)
	}
}

// excuse takes the client's text, unless an @ is in it: what stands before that
// may be an ident, and the server's address behind it.
func (r *remark) excuse(s string) {
	if strings.IndexByte(s, '@') < 0 {
		r.asides.add(s)
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
