package policy

import (
	"slices"
	"strconv"
)

// Transport is the smtp client in Postfix's master.cf that delivers along routes.
const Transport = "gatemilter"

// MaxNexthops is how long all nexthops of a route may be together, with commas
// between them, in octets. Postfix cuts a queue file record at 2048 and takes what
// is behind for another transport (line_length_limit, postconf(5)).
const MaxNexthops = 2000

// The ports of mail hosts: SMTP (RFC 5321), submission (RFC 6409), and submission with
// TLS from the start (RFC 8314).
const (
	PortSMTP        = 25
	PortSubmission  = 587
	PortSubmissions = 465
)

// IsRoutePort says whether a route's host may have the port: one of those with
// STARTTLS, or one that any user can open, as content filters and tests do.
func IsRoutePort(port uint16) bool {
	return port == PortSMTP || port == PortSubmission || port >= 1024
}

// A Route is a way for outgoing mail: the hosts that take it, and what is demanded
// of the connections to them.
type Route struct {
	Name string
	// Primary hosts, of which there is at least one, share the mail in the
	// proportion of their loads. Secondary ones, likewise, are tried where no
	// primary takes a message. No host is twice in a table.
	Primary, Secondary []Host
	// MXLookup says that the hosts are domains, and their MX hosts take the mail.
	MXLookup bool
	TLS      TLSDemand
}

// A Host is one mail host of a route.
type Host struct {
	// Name is a host name of lower-case A-labels without a point at its end, or
	// an IP address.
	Name string
	// Port is one for which IsRoutePort holds.
	Port uint16
	// Load is the host's share of its table in percent, at least 1. Those of a
	// table add up to 100.
	Load int
}

// A TLSDemand says what must hold of the connection to a host before mail goes
// through it (STARTTLS, RFC 3207; names, RFC 9525).
type TLSDemand struct {
	// Required forbids to send in clear. Without it, the others are not set.
	Required bool
	// CA demands a certificate that a trusted authority has signed: one of the
	// system's, or of CAFile (an absolute path) where that is not "".
	CA     bool
	CAFile string
	// Hostname demands that the certificate bears the host's name, or, with
	// MXLookup, that of the MX host.
	Hostname bool
}

// Probed says whether Postfix has no words for the demand, so that the host has to be
// looked at: a certificate by a trusted authority whose name does not count, or
// the reverse, or authorities of the route's own.
func (d TLSDemand) Probed() bool { return d.CA != d.Hostname || d.CAFile != "" }

// Nexthop returns a host of the route as Postfix takes it.
func (r *Route) Nexthop(h Host) string {
	if r.MXLookup {
		// A domain, so never an address with colons of its own.
		return h.Name + ":" + strconv.Itoa(int(h.Port))
	}
	return nexthop(h.Name, h.Port)
}

// nexthop returns a host as Postfix takes it: brackets keep it from looking for MX
// records.
func nexthop(host string, port uint16) string {
	return "[" + host + "]:" + strconv.Itoa(int(port))
}

// Nexthops returns all hosts in the order in which one message tries them. The
// primaries come first, and each table in the order of a draw, in which a host's
// chance to be the next one is its share of the load of those that are left.
// Random returns a number from 0 to n-1, each as likely as the others. Joined with
// commas, the nexthops have at most [MaxNexthops] octets.
func (r *Route) Nexthops(random func(n int) int) []string {
	hosts := r.Hosts(random)
	hops := make([]string, len(hosts))
	for i, h := range hosts {
		hops[i] = r.Nexthop(h)
	}
	return hops
}

// Hosts are those of Nexthops.
func (r *Route) Hosts(random func(n int) int) []Host {
	return append(draw(r.Primary, random), draw(r.Secondary, random)...)
}

// draw returns the hosts of a table in a random order, weighted by their loads.
func draw(table []Host, random func(n int) int) []Host {
	drawn := slices.Clone(table)
	left := 0
	for _, h := range drawn {
		left += h.Load
	}
	for i := range drawn {
		j := i
		for n := random(left); n >= drawn[j].Load; j++ {
			n -= drawn[j].Load
		}
		drawn[i], drawn[j] = drawn[j], drawn[i]
		left -= drawn[i].Load
	}
	return drawn
}
