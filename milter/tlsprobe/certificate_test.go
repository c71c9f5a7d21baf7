package tlsprobe

import (
	"net/netip"
	"slices"
	"testing"
)

// R7: RFC 9525, section 6.3: a wildcard is the whole leftmost label and stands for
// one label.
func TestNames(t *testing.T) {
	for _, c := range []struct {
		name, host string
		want       bool
	}{
		{"relay.lab.test", "relay.lab.test", true},
		{"relay.lab.test", "RELAY.lab.test.", true},
		{"Relay.Lab.Test", "relay.lab.test", true},
		{"*.lab.test", "relay.lab.test", true},
		{"*.LAB.test", "relay.lab.test", true},
		{"*.lab.test", "a.relay.lab.test", false},
		{"*.lab.test", "lab.test", false},
		{"*.test", "lab.test", false},
		{"*", "relay", false},
		{"*.*.test", "relay.lab.test", false},
		{"relay.*.test", "relay.lab.test", false},
		{"rel*.lab.test", "relay.lab.test", false},
		{".lab.test", "relay.lab.test", false},
		{"lab.test", "relay.lab.test", false},
		{"relay.lab.test\x00.evil.test", "relay.lab.test", false},
		{"relay.lab.test.", "relay.lab.test", false},
		{"ban\u212a.lab.test", "bank.lab.test", false},
		{"", "relay.lab.test", false},
	} {
		if got := matches(c.name, c.host); got != c.want {
			t.Errorf("%q for %q: %v", c.name, c.host, got)
		}
	}
}

// What can stand in "verify match=": no keyword, no separator, no leading point
// (which would match every subdomain), and an IP address only alone.
func TestMatchNames(t *testing.T) {
	ip := netip.MustParseAddr("192.0.2.1")
	for _, c := range []struct {
		certificate Certificate
		want        []string
	}{
		{Certificate{Names: []string{"a.test", "*.lab.test", "a.test"}, IPs: []netip.Addr{ip}}, []string{"a.test", "*.lab.test"}},
		{Certificate{Names: []string{"Relay Server", "a:b.test", "a|b", "a,b", ".test", "*.test", "*", "192.0.2.1", "nexthop", "HostName", "dot-nexthop", ""}}, nil},
		{Certificate{Names: []string{"Relay Server"}, IPs: []netip.Addr{ip, netip.MustParseAddr("192.0.2.2")}}, []string{"192.0.2.1"}},
		{Certificate{}, nil},
	} {
		r := Report{Chain: []Certificate{c.certificate}}
		if got := r.MatchNames(); !slices.Equal(got, c.want) {
			t.Errorf("%+v: %q, want %q", c.certificate, got, c.want)
		}
	}
	if got := new(Report).MatchNames(); got != nil {
		t.Errorf("without a certificate: %q", got)
	}
}

// The example of FIPS 180-2, appendix B.1, in the form of Postfix.
func TestFingerprint(t *testing.T) {
	const want = "BA:78:16:BF:8F:01:CF:EA:41:41:40:DE:5D:AE:22:23:B0:03:61:A3:96:17:7A:9C:B4:10:FF:61:F2:00:15:AD"
	if got := fingerprint([]byte("abc")); got != want {
		t.Errorf("got %s", got)
	}
}
