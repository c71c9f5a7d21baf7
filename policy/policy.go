package policy

import (
	"context"
	"io"
	"maps"
	"net/netip"
	"slices"

	"github.com/gaissmai/bart"
)

// A Policy is a compiled configuration. It is immutable and safe for use by
// several goroutines.
type Policy struct {
	mode     Mode
	internal *bart.Lite
	allow    *bart.Lite
	dmarc    DMARCMode
	gateways []*gateway
	// byDomain holds the gateways that name a domain, rest those that serve all
	// others.
	byDomain map[string][]*gateway
	rest     []*gateway
	// near leads from a network of neighbours to the gateway in it.
	near     map[netip.Prefix]*gateway
	outbound Outbound
	// users are those of outbound and, where there is a database, of that. As long as nobody
	// knows who is in it, incomplete is set.
	users      *Directory
	incomplete bool
}

// New compiles settings. They must be as package config makes them: checked.
func New(s Settings) *Policy {
	p := &Policy{
		mode:     s.Mode,
		internal: table(s.InternalNetworks),
		allow:    table(s.Allowlist),
		dmarc:    s.DMARC,
		byDomain: make(map[string][]*gateway),
		near:     make(map[netip.Prefix]*gateway),
		outbound: s.Outbound,

		users:      NewDirectory(maps.Values(s.Outbound.Users)),
		incomplete: s.Outbound.SelfService,
	}
	for _, settings := range s.Gateways {
		g := &gateway{Gateway: settings, hosts: table(settings.Addresses), chain: table(settings.Addresses)}
		p.gateways = append(p.gateways, g)
		if len(g.Domains) == 0 {
			p.rest = append(p.rest, g)
		}
		for _, domain := range g.Domains {
			p.byDomain[domain] = append(p.byDomain[domain], g)
		}
		for _, prefix := range g.Addresses {
			p.near[neighbours(prefix.Addr())] = g
		}
	}
	link(p.rest)
	for _, group := range p.byDomain {
		link(group)
	}
	return p
}

// WithDirectory returns the policy with these users instead of those of the settings, which
// have to be among them. As long as a policy with SelfService has not been told them, it defers
// what may be a user's whom it does not know yet.
func (p *Policy) WithDirectory(users *Directory) *Policy {
	next := *p
	next.users, next.incomplete = users, false
	return &next
}

// Directory returns the users that the policy knows.
func (p *Policy) Directory() *Directory { return p.users }

// link makes each of the gateways that serve a domain together know the hosts of
// the others.
func link(group []*gateway) {
	for _, g := range group {
		for _, other := range group {
			g.chain.Union(other.hosts)
		}
	}
}

func table(prefixes []netip.Prefix) *bart.Lite {
	t := new(bart.Lite)
	for _, p := range prefixes {
		t.Insert(p)
	}
	return t
}

// neighbours returns the network in which the hosts of one gateway are usually
// found together: /24 or /48.
func neighbours(ip netip.Addr) netip.Prefix {
	bits := 24
	if ip.Is6() {
		bits = 48
	}
	// Prefix fails only for an invalid address or too many bits.
	network, _ := ip.Prefix(bits)
	return network
}

// Mode says whether verdicts of this policy take effect.
func (p *Policy) Mode() Mode { return p.mode }

// Evaluate runs a whole message through the policy, as a [Transaction] does it
// step by step. Without a checker, which may be nil, nothing is authenticated. When
// ctx ends before all rules have spoken, or the body can't be read, the
// message is refused for the time being.
func (p *Policy) Evaluate(ctx context.Context, m *Message, checker Checker) Verdict {
	t := p.Begin(m.Client, m.Login, m.Sender)
	for _, recipient := range m.Recipients {
		t.Rcpt(recipient, "")
	}
	if t.Header(ctx, m.Header, checker) && m.Body != nil {
		if _, err := io.Copy(bodyWriter{t}, m.Body); err != nil {
			t.Abort()
			t.verdict.refuse(refuse(Reply{451, "4.3.0", "message could not be read, try again later"}, Reason{BodyUnreadable, err.Error()}))
		}
	}
	return t.Finish(ctx)
}

// bodyWriter is the transaction as an io.Writer.
type bodyWriter struct{ *Transaction }

func (w bodyWriter) Write(p []byte) (int, error) {
	w.Body(p)
	return len(p), nil
}

// GatewayOf returns the name of a gateway that lists the client's address, or
// "".
func (p *Policy) GatewayOf(ip netip.Addr) string {
	for _, g := range p.gateways {
		if ip.IsValid() && g.hosts.Contains(ip) {
			return g.Name
		}
	}
	return ""
}

// SkipsLocalFilter says whether all mail from that address is of gateways that alone
// evaluate spam. The address has to be proof enough of each that lists it: what else a
// gateway has to show, nobody knows when the client connects.
func (p *Policy) SkipsLocalFilter(ip netip.Addr) bool {
	listing := p.listing(ip)
	return len(listing) > 0 && p.mode == Enforce &&
		!slices.ContainsFunc(listing, func(g *gateway) bool { return !g.GatewayOnly || !g.knownByAddress() })
}

// serving returns the gateways behind which a recipient is. Resolved is the address as
// the mail server resolved it, or "" if it didn't tell. What a client writes may
// mean another domain than it seems to: "user%example.com@here" and the like are
// for the mail server to read. In doubt, the recipient is behind every gateway.
func (p *Policy) serving(address, resolved string) []*gateway {
	domain := Domain(resolved)
	if domain == "" && isPlain(address) {
		domain = Domain(address)
	}
	// The mail server may be the host of an address literal, and deliver to the same
	// mailbox as for any of its domains.
	if domain == "" || domain[0] == '[' {
		return p.gateways
	}
	if group, ok := p.byDomain[domain]; ok {
		return group
	}
	return p.rest
}

// listing returns the gateways that have the address among their hosts.
func (p *Policy) listing(ip netip.Addr) []*gateway {
	if !ip.IsValid() {
		return nil
	}
	var found []*gateway
	for _, g := range p.gateways {
		if g.hosts.Contains(ip) {
			found = append(found, g)
		}
	}
	return found
}

// isGateway says whether any gateway has the address.
func (p *Policy) isGateway(ip netip.Addr) bool {
	return slices.ContainsFunc(p.gateways, func(g *gateway) bool { return g.hosts.Contains(ip) })
}
