package config

import (
	"net/netip"
	"slices"

	"gatemilter/policy"
)

// owners are the gateways that list a range, in the order of the files.
type owners []*gateway

// compare looks for lists that contradict each other; inbound is the section
// [inbound].
func compare(s *policy.Settings, gateways []*gateway, inbound fields) {
	listed := make(networkSet[owners])
	for _, g := range gateways {
		for _, p := range g.Addresses {
			listed[p] = append(listed[p], g)
		}
	}
	compareInternal(s.InternalNetworks, gateways, listed, inbound)
	compareAllowlist(s.Allowlist, listed, inbound)
	compareGateways(gateways, listed)
	compareRefusals(gateways)
}

// compareInternal refuses gateways in internal networks: their mail would be
// exempt from the very rules that are set for it.
func compareInternal(internal []netip.Prefix, gateways []*gateway, listed networkSet[owners], inbound fields) {
	networks := make(networkSet[bool])
	for _, p := range internal {
		networks[p] = true
	}
	for _, g := range gateways {
		for _, p := range g.Addresses {
			if wider, _, ok := networks.holding(p); ok {
				g.problem("addresses", "%s is in %s of internal_networks (%s:%d), whose mail is exempt from all rules: remove it from one of the lists",
					quote(showNetwork(p)), showNetwork(wider), inbound.sec.file, inbound.line("internal_networks"))
			}
		}
	}
	for _, p := range internal {
		wider, group, ok := listed.holding(p)
		if ok && wider != p {
			g := group[0]
			g.problem("addresses", "%s holds %s of internal_networks (%s:%d), whose mail is exempt from all rules: list the gateway's hosts without it",
				quote(showNetwork(wider)), showNetwork(p), inbound.sec.file, inbound.line("internal_networks"))
		}
	}
}

// compareAllowlist warns of entries that are never a source: the search for the
// source passes over gateways.
func compareAllowlist(allowlist []netip.Prefix, listed networkSet[owners], inbound fields) {
	for _, p := range allowlist {
		if wider, group, ok := listed.holding(p); ok {
			inbound.doubt("allowlist", "%s has no effect: it belongs to the gateway %s (%s, %s:%d), and a gateway is never the source; list the servers before the gateway",
				quote(showNetwork(p)), group[0].Name, showNetwork(wider), group[0].sec.file, group[0].line("addresses"))
		}
	}
}

// compareGateways warns of addresses that two gateways list for the same domain:
// it can't be said which of them sent a message.
func compareGateways(gateways []*gateway, listed networkSet[owners]) {
	for _, g := range gateways {
		for _, p := range g.Addresses {
			if other, wider := sharing(g, p, listed); other != nil {
				g.doubt("addresses", "%s is also of the gateway %s (%s, %s:%d), which serves the same domain: list it for one of them",
					quote(showNetwork(p)), other.Name, showNetwork(wider), other.sec.file, other.line("addresses"))
			}
		}
	}
}

// sharing returns another gateway that lists p or a range around it, and serves a
// domain of g's. Of two that list the very same range, only the later one shares it.
func sharing(g *gateway, p netip.Prefix, listed networkSet[owners]) (*gateway, netip.Prefix) {
	for bits := range p.Bits() + 1 {
		wider, _ := p.Addr().Prefix(bits)
		for _, other := range listed[wider] {
			if other == g && wider == p {
				break
			}
			if other != g && sameDomain(g, other) {
				return other, wider
			}
		}
	}
	return nil, netip.Prefix{}
}

// sameDomain says whether there is a domain that both gateways serve.
func sameDomain(a, b *gateway) bool {
	return slices.ContainsFunc(a.served(), func(d string) bool { return slices.Contains(b.served(), d) })
}

// compareRefusals warns of domains that two gateways serve, of which only one has
// reject_other: it decides for the other too.
func compareRefusals(gateways []*gateway) {
	lenient := make(map[string]*gateway)
	for _, g := range gateways {
		for _, domain := range g.served() {
			if !g.RejectOther && lenient[domain] == nil {
				lenient[domain] = g
			}
		}
	}
	for _, g := range gateways {
		at := slices.IndexFunc(g.served(), func(domain string) bool { return lenient[domain] != nil })
		if !g.RejectOther || at < 0 {
			continue
		}
		other := lenient[g.served()[at]]
		g.doubt("reject_other", "the gateway %s (%s:%d) serves %s too, without reject_other, but mail that comes from neither is refused for both: set it there too, or remove it here",
			other.Name, other.sec.file, other.line("reject_other"), g.served()[at])
	}
}
