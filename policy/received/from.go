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
	helo   string

	info netip.Addr // in the TCP-info comment
	tail netip.Addr // a literal after head, outside comments
	lead netip.Addr // head itself, as a literal
	bare netip.Addr // head itself, without brackets

	strange netip.Addr // an address in a comment that is no TCP-info
	claimed bool       // a comment tells the HELO, the account, or whom the client speaks for
	twofold bool       // a claim may be a TCP-info
	blank   bool       // a TCP-info has no valid address
	unix    bool       // a comment says that there was no network
	unnamed bool       // a comment that may be about the client tells no address
	settled bool       // such comments stand before tail: those behind it don't count
	unclear bool       // addresses contradict each other
}

func (c *client) word(s string) {
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
		c.unclear = c.unclear || differ(c.tail, ip) || differ(c.info, ip)
		c.tail = ip
		// Comments before the server's own literal were about the name.
		c.settled = c.tokens > 2
		c.twofold, c.unnamed, c.strange = false, false, netip.Addr{}
	}
}

func (c *client) comment(inside string) {
	c.tokens++
	r := readComment(inside)
	switch r.kind {
	case tcpInfo:
		c.unclear = c.unclear || differ(c.info, r.ip) || differ(c.tail, r.ip)
		c.info = r.ip
	case blank:
		c.blank = true
	case unix:
		c.unix = true
	case claim:
		c.claimed = true
		c.twofold = c.twofold || r.twofold
	case unclear:
		c.unclear = true
	case other:
		c.unnamed = c.unnamed || !c.settled
	}
	if r.kind != tcpInfo && r.ip.IsValid() {
		c.strange = r.ip
	}
	if r.claimed && c.helo == "" {
		c.helo = r.helo
	}
}

func differ(a, b netip.Addr) bool { return a.IsValid() && a != b }

func (c *client) isPickup() bool { return c.words == len(pickup) && c.picked == len(pickup) }
