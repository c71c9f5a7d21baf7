package config

import (
	"regexp"
	"testing"

	"gatemilter/policy"
)

// nexthop is what Postfix reads without fail: host_port(3) with valid_hostname(3),
// which takes no name that is all digits, or an address.
var nexthop = regexp.MustCompile(`^\[(?:(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?|(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)*[0-9][a-z0-9-]*[a-z-][a-z0-9-]*|[0-9]+(?:\.[0-9]+){3}|[0-9a-f:]*:[0-9a-f:.]*)\]:(?:25|587|[1-9][0-9]{3,4})$`)

// FuzzHost looks for a host that the mail server would not take, or that is
// another when it is written out and read again.
func FuzzHost(f *testing.F) {
	for _, s := range []string{"mail.example.com", "192.0.2.1:587", "[2001:db8::1]:25", "bücher.example:2525", "a.example:25 50", "1.2.3:25", "[::ffff:1.2.3.4]", "x:[y]:25", "ａ.example", "3com"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		h, err := parseHost(s)
		if err != nil {
			return
		}
		if hop := new(policy.Route).Nexthop(h); !nexthop.MatchString(hop) || len(hop) > maxDomain+len("[]:65535") {
			t.Errorf("%q gives the nexthop %q", s, hop)
		}
		if again, err := parseHost(showHost(h)); err != nil || again != h {
			t.Errorf("%q reads as %+v, and %q as %+v (%v)", s, h, showHost(h), again, err)
		}
	})
}

// FuzzSender looks for senders that no address could equal.
func FuzzSender(f *testing.F) {
	for _, s := range []string{"user@example.com", "@example.com", "A+b@BÜCHER.example", "*@a", "a@b@c", "o'x@y"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		key, err := parseRule(senderSection, s)
		if err != nil {
			return
		}
		route := new(policy.Route)
		p := policy.New(policy.Settings{Outbound: policy.Outbound{Senders: map[string]*policy.Route{key: route}}})
		address := key
		if key[0] == '@' {
			address = "anyone" + key
		}
		if got, why := p.RouteFor(address); got != route {
			t.Errorf("%q is the rule %q, but %q is not met: %+v", s, key, address, why)
		}
		if again, err := parseRule(senderSection, key); err != nil || again != key {
			t.Errorf("%q reads as %q, and that as %q (%v)", s, key, again, err)
		}
	})
}
