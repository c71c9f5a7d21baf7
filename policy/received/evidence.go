package received

import (
	"net/netip"
	"strings"
)

// strays counts the addresses in a text that differ from ip. It is blind to
// parentheses, quotation marks and backslashes, which a client may write so that
// they hide what the server wrote. No address hides from this count that has no
// letter, digit or hyphen glued to it.
func strays(s string, ip netip.Addr) int {
	n := 0
	for i := 0; i < len(s); i++ {
		start := i
		dots, colons := 0, 0
		for ; i < len(s) && isAddressByte[s[i]]; i++ {
			switch s[i] {
			case '.':
				dots++
			case ':':
				colons++
			}
		}
		if dots < 3 && colons < 2 {
			continue
		}
		if other, ok := anyReading(s[start:i]); ok && other != ip && !endsMailbox(s[i:]) {
			n++
		}
	}
	return n
}

var isAddressByte = func() (table [256]bool) {
	const set = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.:-"
	for i := range len(set) {
		table[set[i]] = true
	}
	return table
}()

// anyReading reads an address with whatever tag, port or punctuation.
func anyReading(s string) (netip.Addr, bool) {
	if ip, ok := withPort(s); ok {
		return ip, true
	}
	s = strings.Trim(s, ".:-")
	if ip, ok := withPort(s); ok {
		return ip, true
	}
	return parseAddr(s[strings.LastIndexByte(s, ':')+1:])
}

// endsMailbox tells whether a mail address ends here, as in <user@[192.0.2.1]>.
// No server writes its client's address so.
func endsMailbox(rest string) bool { return strings.HasPrefix(rest, "]>") }

// lastBy returns where the last by stands in a text, or -1. Like strays it sees
// neither comments nor quoted strings.
func lastBy(s string) int {
	for i := len(s) - 2; i >= 0; i-- {
		if s[i]|0x20 == 'b' && s[i+1]|0x20 == 'y' &&
			(i == 0 || isEdge(s[i-1])) && (i+2 == len(s) || isEdge(s[i+2])) {
			return i
		}
	}
	return -1
}

func isEdge(c byte) bool { return isSpace(c) || isParen(c) }

// excused counts the strays that the client, and surely not the server, wrote:
// its name directly before the address or beside a marker, and what else asides
// holds. Nothing is excused in a field without by.
func (f *field) excused(ip netip.Addr) int {
	c := &f.client
	if f.server.bys == 0 {
		return 0
	}
	n := c.asides.strays(ip)
	if f.server.auth && isEnclosed(c.account) {
		n += strays(c.account, ip)
	}
	// Yahoo writes 127.0.0.1 for a client whose name it didn't look up.
	if c.second.kind == claim && c.ipAt == 3 && c.bare.IsLoopback() {
		n += strays(c.head, ip)
	}
	switch {
	case c.ipAt == 2 && isEnclosed(c.head):
		n += strays(c.head, ip)
	case c.second.kind != claim || !isEnclosed(c.second.text):
	case c.ipAt == 3, c.ipAt == 0 && f.server.communigate:
		n += strays(c.second.text, ip)
	case c.ipAt == 0:
		n += c.second.asides.strays(ip)
	}
	return n
}

// asides are words of the from clause that are the client's for sure: a server
// never writes its client's address there. What doesn't fit is not excused.
type asides struct {
	words [4]string
	n     int
}

func (a *asides) add(s string) {
	if a.n < len(a.words) && isEnclosed(s) {
		a.words[a.n] = s
		a.n++
	}
}

func (a *asides) addAll(b *asides) {
	for _, s := range b.words[:b.n] {
		a.add(s)
	}
}

func (a *asides) strays(ip netip.Addr) int {
	n := 0
	for _, s := range a.words[:a.n] {
		n += strays(s, ip)
	}
	return n
}

// isEnclosed tells whether a text can't reach beyond one word or comment,
// however it is read.
func isEnclosed(s string) bool {
	return !hasParens(s) && lastBy(s) < 0
}

func hasParens(s string) bool {
	return strings.IndexByte(s, '(') >= 0 || strings.IndexByte(s, ')') >= 0
}
