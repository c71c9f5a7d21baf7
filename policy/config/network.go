package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// networks reads a list of addresses and CIDR ranges.
func (f fields) networks(key string) []netip.Prefix {
	var prefixes []netip.Prefix
	for _, item := range f.list(key) {
		prefix, err := parseNetwork(item)
		if err != nil {
			f.problem(key, "%s", err)
			continue
		}
		prefixes = append(prefixes, prefix)
	}
	return prefixes
}

// distinct returns the ranges without those that others in the list hold, and
// warns of these.
func (f fields) distinct(key string, prefixes []netip.Prefix) []netip.Prefix {
	first := make(networkSet[int])
	for i, p := range prefixes {
		if _, twice := first[p]; !twice {
			first[p] = i
		}
	}
	var kept []netip.Prefix
	for i, p := range prefixes {
		switch wider, at, _ := first.holding(p); {
		case wider != p:
			f.doubt(key, "%q need not be listed: it is in %s, which is listed too", showNetwork(p), wider)
		case at != i:
			f.doubt(key, "%q is listed twice: remove one of them", showNetwork(p))
		default:
			kept = append(kept, p)
		}
	}
	return kept
}

// parseNetwork reads an IP address or a range in CIDR notation (RFC 4632, section
// 3.1; RFC 4291, section 2.3). IPv4 addresses that are mapped into IPv6 become
// IPv4 again.
func parseNetwork(s string) (netip.Prefix, error) {
	if ip, err := netip.ParseAddr(s); err == nil {
		if ip.Zone() != "" {
			return netip.Prefix{}, fmt.Errorf("%s has a zone: write the address alone, %s", quote(s), ip.WithZone(""))
		}
		ip = ip.Unmap()
		return netip.PrefixFrom(ip, ip.BitLen()), nil
	}
	prefix, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%s is not an IP address or range: %s", quote(s), networkHint(s))
	}
	if prefix.Addr().Is4In6() {
		if prefix.Bits() < 96 {
			return netip.Prefix{}, fmt.Errorf("%s reaches beyond the IPv4 addresses that it is written with: write an IPv4 or an IPv6 range", quote(s))
		}
		prefix = netip.PrefixFrom(prefix.Addr().Unmap(), prefix.Bits()-96)
	}
	if prefix != prefix.Masked() {
		return netip.Prefix{}, fmt.Errorf("%s is no range, its address has bits beyond the /%d: write %s for the range, or %s for the one address", quote(s), prefix.Bits(), prefix.Masked(), prefix.Addr())
	}
	return prefix, nil
}

// networkHint says how to write what somebody may have meant.
func networkHint(s string) string {
	address, _, hasBits := strings.Cut(s, "/")
	switch {
	case hintFor(s, "") != "":
		return hintFor(s, "")
	case strings.ContainsAny(s, " \t"):
		return "put commas between the addresses"
	case bracketed(s) != "":
		return "write " + bracketed(s) + ", without brackets"
	case netmask(s) != "":
		return "write " + netmask(s)
	case startsWithAddress(s, "-"):
		return "write a range as address/bits, for example 192.0.2.0/24"
	case startsWithAddress(s, ":"):
		return "write the address without port"
	case hasBits && isAddress(address):
		return "the number after the / is at most 32 for IPv4 and 128 for IPv6, without zeros before it"
	case octetTooLarge(address):
		return "write four numbers up to 255, as in 192.0.2.1 or 192.0.2.0/24"
	case strings.Trim(s, "0123456789abcdefABCDEF.:/*") == "":
		return "write it in full, as in 192.0.2.1, 192.0.2.0/24, 2001:db8::1 or 2001:db8::/48"
	}
	return "write the addresses of a host, not its name, as in 192.0.2.1 or 2001:db8::/48"
}

// bracketed returns the address or range in "[address]" or "[address]/bits".
func bracketed(s string) string {
	inner, bits, ok := strings.Cut(strings.TrimPrefix(s, "["), "]")
	if !ok || !strings.HasPrefix(s, "[") {
		return ""
	}
	if _, err := parseNetwork(inner + bits); err != nil {
		return ""
	}
	return inner + bits
}

// netmask returns the CIDR form of "address/255.255.255.0".
func netmask(s string) string {
	address, mask, _ := strings.Cut(s, "/")
	ip, err1 := netip.ParseAddr(address)
	m, err2 := netip.ParseAddr(mask)
	if err1 != nil || err2 != nil || !ip.Is4() || !m.Is4() {
		return ""
	}
	octets := m.As4()
	ones, bits := net.IPMask(octets[:]).Size()
	if bits == 0 {
		return ""
	}
	return netip.PrefixFrom(ip, ones).Masked().String()
}

func startsWithAddress(s, separator string) bool {
	address, _, ok := strings.Cut(s, separator)
	return ok && isAddress(address)
}

func isAddress(s string) bool {
	_, err := netip.ParseAddr(s)
	return err == nil
}

// octetTooLarge says whether a part of a dotted address is above 255.
func octetTooLarge(address string) bool {
	return slices.ContainsFunc(strings.Split(address, "."), func(octet string) bool {
		_, err := strconv.ParseUint(octet, 10, 8)
		return errors.Is(err, strconv.ErrRange)
	})
}

// showNetwork writes a range of one address as that address.
func showNetwork(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}

// A networkSet finds the ranges that hold an address or a range, whatever their
// number.
type networkSet[T any] map[netip.Prefix]T

// holding returns the widest range of the set that holds all of p.
func (s networkSet[T]) holding(p netip.Prefix) (wider netip.Prefix, value T, ok bool) {
	for bits := range p.Bits() + 1 {
		wider, _ = p.Addr().Prefix(bits)
		if value, ok = s[wider]; ok {
			return wider, value, true
		}
	}
	return netip.Prefix{}, value, false
}
