package config

import (
	"net/netip"
	"slices"

	"gatemilter/policy"
)

// compareRoutes looks for routes that contradict each other, and for those that
// lead to this server itself.
func compareRoutes(routes []*route, server Server) {
	type demanding struct {
		*route
		key string
	}
	first := make(map[string]demanding)
	for _, r := range routes {
		for _, key := range hostTables {
			for _, h := range r.table(key) {
				r.checkOurselves(key, h, server)
				nexthop := r.Nexthop(h)
				other, known := first[nexthop]
				switch {
				case !known:
					first[nexthop] = demanding{r, key}
				case other.TLS != r.TLS:
					// The mail server asks for the demand by host and port only.
					r.problem(key, "%s is in the route %s too (%s:%d), with other demands on TLS: make require_tls, require_ca, verify_hostname and ca_file the same in both",
						quote(showHost(h)), other.Name, other.sec.file, other.line(other.key))
				}
			}
		}
	}
}

// checkOurselves looks for a way back from a route. A filter on another port of this
// server, and MX hosts that it is one of, are none.
func (r *route) checkOurselves(key string, h policy.Host, server Server) {
	if h.Name == server.AuthservID && (h.Port != policy.PortSMTP || r.MXLookup) {
		server.AuthservID = ""
	}
	checkOurselves(r.fields, key, h, server)
}

// checkOurselves looks for a way back to this server. Which of its other addresses
// and names are this server's, the configuration doesn't tell.
func checkOurselves(f fields, key string, h policy.Host, server Server) {
	switch {
	case h.Port == policy.PortSMTP && isLoopback(h.Name):
		f.problem(key, "%s is this server itself, so that mail would go in a circle: name another host (other ports of this one may be those of a filter)", quote(showHost(h)))
	case (h.Port == policy.PortSubmission || h.Port == policy.PortSubmissions) && isLoopback(h.Name):
		f.doubt(key, "%s is this server's own submission service, if it has one: mail would go in a circle", quote(showHost(h)))
	case server.listensAt(h):
		f.problem(key, "%s is where gatemilter listens for the mail server: name a mail host", quote(showHost(h)))
	case h.Name == server.AuthservID:
		f.doubt(key, "%s has the name that authserv_id gives to this server: mail would go in a circle", quote(showHost(h)))
	}
}

// listensAt says whether a host is one of our own sockets.
func (s Server) listensAt(h policy.Host) bool {
	for _, l := range slices.Concat(s.Milter, s.Lookup, s.Admin) {
		at, err := netip.ParseAddrPort(l.Address)
		if err != nil || at.Port() != h.Port {
			continue
		}
		if at.Addr().String() == h.Name || isLoopback(h.Name) && (at.Addr().IsUnspecified() || at.Addr().IsLoopback() && !isAddress(h.Name)) {
			return true
		}
	}
	return false
}
