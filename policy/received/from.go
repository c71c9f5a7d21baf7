package received

import (
	"net/netip"
	"strings"
)

// pickup is what IIS calls its drop directory: the one local sender with spaces
// in its name.
var pickup = [...]string{"mail", "pickup", "service"}

// A client is what the from clause says about the sending host.
type client struct {
	tokens int // words and comments so far
	words  int
	picked int    // how many words are those of pickup
	head   string // the word directly after from
	second remark // the comment directly behind head
	helo   string

	info netip.Addr // in the TCP-info comment
	tail netip.Addr // a literal after head, outside comments
	lead netip.Addr // head itself, as a literal
	bare netip.Addr // head itself, without brackets
	ipAt int        // which token the last of info and tail is, counted from 1

	asides  asides // besides head and second
	account string // the comment with the account that it logged in to

	claimed bool // a comment tells the HELO, the account, or whom the client speaks for
	blank   bool // a TCP-info has no valid address
	unix    bool // a comment says that there was no network
	unnamed bool // a comment that may be about the client tells no address
	settled bool // such comments stand before tail: those behind it don't count
	broken  bool // the quotation marks of a comment don't match
	unclear bool // a comment contradicts itself
}

func (c *client) word(s string) {
	if s == "[" || s == "]" {
		return // MDaemon writes [(192.0.2.1)]
	}
	if c.words < len(pickup) && strings.EqualFold(s, pickup[c.words]) {
		c.picked++
	}
	c.tokens++
	c.words++
	s = strings.TrimSuffix(s, ";")
	ip, ok := literal(s)
	switch {
	case c.tokens == 1:
		c.head, c.lead = s, ip
		c.bare, _ = bare(s)
	case ok:
		c.tail, c.ipAt = ip, c.tokens
		// Comments before the server's own literal were about the name.
		c.settled = c.tokens > 2
		c.unnamed = false
	}
}

func (c *client) comment(inside lexer) {
	c.tokens++
	r := readComment(inside)
	if c.tokens == 2 {
		c.second = r
	}
	switch r.kind {
	case tcpInfo:
		c.info, c.ipAt = r.ip, c.tokens
		c.asides.addAll(&r.asides)
	case note:
		c.asides.addAll(&r.asides)
		if hasPrefixFold(r.text, "Authenticated sender:") {
			c.account = r.text
		}
	case blank:
		c.blank = true
	case unix:
		c.unix = true
	case claim:
		c.claimed = true
	case unclear:
		c.unclear = true
	case other:
		c.unnamed = c.unnamed || !c.settled
	}
	c.broken = c.broken || r.broken
	if r.claimed && c.helo == "" {
		c.helo = r.helo
	}
}

func (c *client) isPickup() bool { return c.words == len(pickup) && c.picked == len(pickup) }
