package config

import (
	"net/netip"

	"gatemilter/policy"
)

// No network of one's own is wider than these: 10.0.0.0/8 and fc00::/7.
const (
	minInternalBits4 = 8
	minInternalBits6 = 7
)

func (f fields) internalNetworks() []netip.Prefix {
	const key = "internal_networks"
	prefixes := f.networks(key)
	for _, p := range prefixes {
		least := minInternalBits4
		if p.Addr().Is6() {
			least = minInternalBits6
		}
		if p.Bits() < least {
			f.problem(key, "%q is too wide for networks of your own: mail from all of it would be exempt from all rules; list your networks", p)
		}
	}
	return f.distinct(key, prefixes)
}

func (f fields) allowlist() []netip.Prefix {
	const key = "allowlist"
	prefixes := f.networks(key)
	for _, p := range prefixes {
		if p.Bits() == 0 {
			f.problem(key, "%q is every address, so nothing would be spam: list the senders that you trust, or remove spam_header to switch tagging off", p)
		} else if err := policy.CheckPublic(p); err != nil {
			f.doubt(key, "%s; source IPs are always public, so this has no effect there", err)
		}
	}
	return f.distinct(key, prefixes)
}
