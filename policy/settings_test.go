package policy

import (
	"net/netip"
	"strings"
	"testing"
)

// I2: a gateway's addresses are public; the documentation networks count as such.
func TestI2CheckPublic(t *testing.T) {
	for _, c := range []struct{ prefix, want string }{
		{"192.0.2.0/24", ""}, {"198.51.100.7/32", ""}, {"203.0.113.0/24", ""}, {"2001:db8::/32", ""},
		{"8.8.8.8/32", ""}, {"2a00:1450::/32", ""}, {"11.0.0.0/8", ""}, {"100.128.0.0/9", ""},
		{"10.1.2.3/32", `"10.1.2.3" is not public: it is private (10.0.0.0/8)`},
		{"172.31.0.0/16", "private"}, {"192.168.0.0/24", "private"}, {"127.0.0.1/32", "loopback"},
		{"169.254.1.1/32", "link-local"}, {"100.64.0.0/10", "carrier-grade NAT"}, {"0.0.0.0/32", "unspecified"},
		{"224.0.0.1/32", "multicast"}, {"255.255.255.255/32", "reserved"},
		{"::1/128", "loopback"}, {"::/128", "unspecified"}, {"fc00::/8", "unique local"}, {"fe80::1/128", "link-local"},
		{"ff02::1/128", "multicast"},
		{"0.0.0.0/0", "too wide"}, {"::/0", "too wide"}, {"172.0.0.0/8", "too wide"}, {"192.0.0.0/8", "too wide"}, {"64.0.0.0/2", "too wide"},
	} {
		err := CheckPublic(netip.MustParsePrefix(c.prefix))
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", c.prefix, err, c.want)
		}
	}
}

func TestDomain(t *testing.T) {
	for address, want := range map[string]string{
		"user@example.com":           "example.com",
		"user@EXAMPLE.Com.":          "example.com",
		"user@Bücher.Example":        "xn--bcher-kva.example",
		"user@XN--BCHER-KVA.example": "xn--bcher-kva.example",
		`"a@b"@example.com`:          "example.com",
		"postmaster":                 "",
		"":                           "",
		"user@":                      "",
		"user@[192.0.2.1]":           "[192.0.2.1]",
	} {
		if got := Domain(address); got != want {
			t.Errorf("%q: %q, want %q", address, got, want)
		}
	}
}
