package policy

import "gatemilter/policy/received"

// A Role says what the search for the source made of a Received field.
type Role string

// The roles, in words for people.
const (
	RoleSource       Role = "the source"
	RoleNoHop        Role = "skipped: no hop"
	RoleGateway      Role = "skipped: a gateway"
	RoleNotPublic    Role = "skipped: not a public address"
	RolePassed       Role = "skipped, although not recognised"
	RoleStop         Role = "search ends: not recognised"
	RoleNotConsulted Role = "not consulted"
)

// findSource finds the address from which the outside handed over the message.
// The gateway is the one that vouches for it, or nil.
//
// The client is the source unless it is a gateway. Behind a gateway, the topmost
// hop that is public and no gateway is; or, without detection, the topmost
// hop.
func findSource(g *gateway, c *Client, header []Field) Source {
	if !c.IP.IsValid() {
		return Source{}
	}
	direct := Source{IP: c.IP, Outcome: External, HELO: c.HELO}
	if g == nil {
		return direct
	}
	hops := parseHops(header)
	choice, passed := g.chooseHop(hops)
	switch {
	case choice >= 0 && hops[choice].Role == RoleSource:
		return Source{IP: hops[choice].IP, Outcome: External, HELO: hops[choice].HELO, Hops: hops}
	case choice >= 0 && hops[choice].Role == RoleStop, choice < 0 && passed:
		direct.Outcome, direct.Hops = Fallback, hops
		return direct
	case choice < 0 && !g.DetectExternalIP:
		// There is no hop before the gateway at all.
		direct.Outcome, direct.Hops = Fallback, hops
		return direct
	}
	return Source{Outcome: Internal, Hops: hops}
}

// parseHops reads all Received fields.
func parseHops(header []Field) []Hop {
	var hops []Hop
	for i := range header {
		if header[i].Is("Received") {
			hops = append(hops, Hop{Hop: received.Parse(header[i].Value), Role: RoleNotConsulted})
		}
	}
	return hops
}

// chooseHop gives each hop its role and returns the index of the one that ended
// the search, or -1. Passed says whether an unrecognised hop was skipped.
func (g *gateway) chooseHop(hops []Hop) (choice int, passed bool) {
	for i := range hops {
		hops[i].Role = g.role(&hops[i].Hop)
		switch hops[i].Role {
		case RoleSource, RoleStop:
			return i, passed
		case RolePassed:
			passed = true
		case RoleNotPublic:
			if !g.DetectExternalIP {
				return i, passed
			}
		}
	}
	return -1, passed
}

func (g *gateway) role(h *received.Hop) Role {
	switch {
	case h.Kind == received.NotAHop:
		return RoleNoHop
	case h.Kind != received.Relay && (g.StopAtUnrecognised || !g.DetectExternalIP):
		return RoleStop
	case h.Kind != received.Relay:
		return RolePassed
	case nonPublicKind(h.IP) != "":
		return RoleNotPublic
	case g.DetectExternalIP && g.chain.Contains(h.IP):
		return RoleGateway
	}
	return RoleSource
}

// reasons tells how the source was found.
func (s *Source) reasons(g *gateway) []Reason {
	if s.Outcome == NoSource {
		return nil
	}
	if g == nil {
		return []Reason{{SourceFound, "the client itself"}}
	}
	var reasons []Reason
	if s.Doubtful() {
		reasons = append(reasons, Reason{UnrecognisedHop, "a hop was passed that is not recognised, so the source could be forged: unrecognized_hop = stop forbids that"})
	}
	switch s.Outcome {
	case External:
		return append(reasons, Reason{SourceFound, s.IP.String() + " handed the message to the gateway"})
	case Internal:
		return append(reasons, Reason{SourceInternal, "no hop is outside of the gateway and our networks"})
	}
	return append(reasons, Reason{SourceFallback, "no source could be recognised behind the gateway, so the client counts"})
}
