package tlsprobe

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
)

// PublicOnly returns a [Prober.Dial] that connects to the public Internet only, and to the
// allowed networks. It is for hosts that somebody else names: what he must not reach through
// us are the hosts that only we reach. Everything else is [Inside], and no packet is sent.
//
// A name is resolved once, by the Prober, and this sees the address that came of it: another
// answer of DNS a moment later changes nothing. Of a name with several addresses it sees only
// the one that is dialled: [RefuseInside] sees to all.
func PublicOnly(allowed []netip.Prefix) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		to, err := netip.ParseAddrPort(address)
		if err != nil {
			return nil, Finding{Inside, fmt.Sprintf("%s is no address with a port", quote(address))}
		}
		if err := CheckPublic(to.Addr(), allowed); err != nil {
			return nil, err
		}
		return new(net.Dialer).DialContext(ctx, network, to.String())
	}
}

// RefuseInside returns a [Prober.Refuse] that rules out a host of which any address is inside:
// Postfix takes those of a name in random order, and asks nobody.
func RefuseInside(allowed []netip.Prefix) func(netip.Addr) error {
	return func(ip netip.Addr) error { return CheckPublic(ip, allowed) }
}

// CheckPublic returns a [Finding] that says why an address is not one of the public
// Internet, or nil. Those in the allowed networks pass, and those of our own interfaces
// don't.
func CheckPublic(ip netip.Addr, allowed []netip.Prefix) error {
	return checkPublic(ip, allowed, net.InterfaceAddrs)
}

func checkPublic(ip netip.Addr, allowed []netip.Prefix, interfaces func() ([]net.Addr, error)) error {
	if !ip.IsValid() || ip.Zone() != "" {
		return Finding{Inside, fmt.Sprintf("%s is an address within one network", ip)}
	}
	ip = ip.Unmap()
	if inAny(allowed, ip) {
		return nil
	}
	ours, err := interfaces()
	if err != nil {
		return Finding{Inside, fmt.Sprintf("whether %s is an address of this host is not known: %v", ip, err)}
	}
	for _, form := range forms(ip) {
		switch {
		case inAny(allowed, form) && form != ip:
			return nil
		case !public(form):
			return Finding{Inside, fmt.Sprintf("%s is not an address of the public Internet", ip)}
		case slices.ContainsFunc(ours, func(a net.Addr) bool { return hostOf(a) == form }):
			return Finding{Inside, fmt.Sprintf("%s is an address of this host", ip)}
		}
	}
	return nil
}

// nat64 is the prefix under which networks without IPv4 show its addresses (RFC 6052). A
// network's own prefix for that can't be told from other addresses.
var nat64 = netip.MustParsePrefix("64:ff9b::/96")

// forms are the addresses that one leads to: itself, or the IPv4 address in it.
func forms(ip netip.Addr) []netip.Addr {
	if !nat64.Contains(ip) {
		return []netip.Addr{ip}
	}
	octets := ip.As16()
	return []netip.Addr{netip.AddrFrom4([4]byte(octets[12:]))}
}

// globalUnicast is all of IPv6 that is in use for hosts of the Internet (RFC 4291, section
// 2.4). Outside of it are loopback, link-local and site-local addresses, unique local ones,
// multicast, IPv4 in IPv6, and what is not assigned.
var globalUnicast = netip.MustParsePrefix("2000::/3")

// notPublic are the networks with a special purpose, of IANA's registries (RFC 6890), in
// which no mail server of somebody else is.
var notPublic = prefixes(
	"0.0.0.0/8",       // this network; 0.0.0.0 connects to this host
	"10.0.0.0/8",      // private (RFC 1918)
	"100.64.0.0/10",   // carrier-grade NAT (RFC 6598)
	"127.0.0.0/8",     // loopback
	"169.254.0.0/16",  // link-local; clouds tell their hosts' secrets at 169.254.169.254
	"172.16.0.0/12",   // private
	"192.0.0.0/24",    // protocol assignments (RFC 6890)
	"192.0.2.0/24",    // documentation (RFC 5737)
	"192.88.99.0/24",  // relays of 6to4, no longer in use (RFC 7526)
	"192.168.0.0/16",  // private
	"198.18.0.0/15",   // benchmarks (RFC 2544)
	"198.51.100.0/24", // documentation
	"203.0.113.0/24",  // documentation
	"224.0.0.0/4",     // multicast
	"240.0.0.0/4",     // reserved, and broadcast
	"2001::/23",       // protocol assignments: Teredo (RFC 4380), ORCHID, benchmarks
	"2001:db8::/32",   // documentation (RFC 3849)
	"2002::/16",       // 6to4: leads to the IPv4 address in it, no longer in use (RFC 7526)
	"3fff::/20",       // documentation (RFC 9637)
)

func prefixes(texts ...string) []netip.Prefix {
	var list []netip.Prefix
	for _, text := range texts {
		list = append(list, netip.MustParsePrefix(text))
	}
	return list
}

func public(ip netip.Addr) bool {
	return (ip.Is4() || globalUnicast.Contains(ip)) && !inAny(notPublic, ip)
}

func inAny(list []netip.Prefix, ip netip.Addr) bool {
	return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(ip) })
}

// hostOf is the address of an interface.
func hostOf(a net.Addr) netip.Addr {
	if n, ok := a.(*net.IPNet); ok {
		ip, _ := netip.AddrFromSlice(n.IP)
		return ip.Unmap()
	}
	return netip.Addr{}
}
