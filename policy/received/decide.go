package received

import (
	"net/netip"
	"strings"
)

// What [Hop].Why can say.
const (
	inTCPInfo   = "address in the TCP-info comment"
	behindName  = "literal behind the client's name"
	literalOnly = "literal after from"
	bareOnly    = "address after from"

	noFrom     = "no from clause"
	submission = "local submission"

	tooLong   = "field longer than 8 KiB"
	unbounded = "no telling where the from clause ends"
	several   = "several addresses, and no telling which is the client's"
	invalid   = "TCP-info without a valid address"
	nameOnly  = "comment about the client without its address"
	hidden    = "client logged in, its address may be hidden"
	noAddress = "no client address"
)

// decide weighs what the from clause holds, best evidence first. Whatever else
// looks like an address in the evidence must be the client's own text.
func (f *field) decide(evidence string) (netip.Addr, Kind, string) {
	ip, kind, why := f.weigh()
	if f.enclosed && why == noAddress {
		kind, why = NotAHop, submission
	}
	excused := 0
	if kind == Relay {
		excused = f.excused(ip)
	}
	if kind != Unrecognised && strays(evidence, ip) != excused {
		return netip.Addr{}, Unrecognised, several
	}
	return ip, kind, why
}

func (f *field) weigh() (netip.Addr, Kind, string) {
	c, s := &f.client, &f.server
	var none netip.Addr
	switch {
	case c.unclear:
		return none, Unrecognised, several
	case c.blank:
		return none, Unrecognised, invalid
	case c.info.IsValid():
		return c.info, Relay, inTCPInfo
	case c.unix, s.local, c.isPickup():
		return none, NotAHop, submission
	case !c.tail.IsValid() && !c.lead.IsValid() && !c.bare.IsValid():
		return none, Unrecognised, noAddress
	case c.unnamed:
		return none, Unrecognised, nameOnly
	case c.tail.IsValid():
		return c.tail, Relay, behindName
	case c.lead.IsValid() && s.auth && !c.claimed:
		return none, Unrecognised, hidden
	case c.lead.IsValid():
		return c.lead, Relay, literalOnly
	case s.http || c.claimed:
		return c.bare, Relay, bareOnly
	}
	return none, Unrecognised, noAddress
}

// helo returns the HELO of a hop: the claim's, else the word that the TCP-info
// comment is about.
func (f *field) helo() string {
	c := &f.client
	helo := c.helo
	if !c.claimed && helo == "" && c.info.IsValid() && c.words == 1 && !f.server.http && !strings.EqualFold(c.head, "unknown") {
		helo = c.head
	}
	if !isPlain(helo) {
		return ""
	}
	return helo
}
