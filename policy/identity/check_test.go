package identity_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"gatemilter/policy"
	"gatemilter/policy/config"
	"gatemilter/policy/identity"
)

// FuzzServer: an address, a host and a user name that are good for the database are good for
// a configuration as well, and mean the same there.
func FuzzServer(f *testing.F) {
	for _, s := range [][3]string{
		{"alice@partner.example", "smtp.partner.example", "alice"},
		{"A.B+c@Bücher.example", "SMTP.Bücher.example", "ä ö"},
		{"a@partner.example", "192.0.2.1", "a;b#c"},
		{"a@partner.example", "::ffff:192.0.2.1", `"a"\`},
		{"a@partner.example", "[2001:DB8::1]", "a@b"},
		{"a@partner.example", "2001:db8::1", " a"},
		{"a@1.2.3.4", "1.2.3", "a"},
		{"a@b@c", "a]:25,[b", "a:b"},
		{"", "", ""},
		{"a@xn--a.example", "xn--a.example", "\u00ad"},
		{"a@a..b", "fe80::1%1", "\x7f"},
	} {
		f.Add(s[0], s[1], s[2])
	}
	f.Fuzz(func(t *testing.T, address, host, username string) {
		address, badAddress := identity.ParseAddress(address)
		host, badHost := identity.ParseHost(host)
		if badAddress != nil || badHost != nil || identity.CheckUsername(username) != nil || strings.TrimSpace(username) != username {
			return
		}
		if again, err := identity.ParseAddress(address); err != nil || again != address {
			t.Errorf("%q became %q, error %v", address, again, err)
		}
		if again, err := identity.ParseHost(host); err != nil || again != host {
			t.Errorf("%q became %q, error %v", host, again, err)
		}
		server := host
		if ip, err := netip.ParseAddr(host); err == nil && ip.Is6() {
			server = "[" + host + "]"
		}
		text := fmt.Sprintf("[outbound]\nallow_user_gateways = yes\n[user login@example.com]\n[user-gateway login@example.com %s]\nserver = %s:587\nusername = %s\npassword = x\n", address, server, username)
		c, err := config.Parse("test.conf", []byte(text))
		if err != nil {
			t.Fatalf("%s%v", text, err)
		}
		for _, i := range c.Settings.Outbound.Users["login@example.com"].Identities {
			if i.Address == address && i.Gateway != nil && *i.Gateway != (policy.UserGateway{Host: host, Port: 587, Username: username, Password: i.Gateway.Password}) {
				t.Errorf("%s%+v", text, i.Gateway)
			}
		}
	})
}

func TestParse(t *testing.T) {
	for _, test := range []struct {
		parse    func(string) (string, error)
		in, want string
	}{
		{identity.ParseAddress, "Alice@Example.COM", "alice@example.com"},
		{identity.ParseAddress, "a@bücher.example", "a@xn--bcher-kva.example"},
		{identity.ParseAddress, "o'neill+x@example.com", "o'neill+x@example.com"},
		{identity.ParseAddress, `"a b"@example.com`, ""},
		{identity.ParseAddress, "a@[192.0.2.1]", ""},
		{identity.ParseAddress, "a@192.0.2.1\u00ad", ""},
		{identity.ParseHost, "[2001:DB8:0::1]", "2001:db8::1"},
		{identity.ParseHost, "2001:db8::1", "2001:db8::1"},
		{identity.ParseHost, "::ffff:192.0.2.1", "192.0.2.1"},
		{identity.ParseHost, "SMTP.example.com", "smtp.example.com"},
		{identity.ParseHost, "localhost", "localhost"},
		{identity.ParseHost, "smtp.example.com.", ""},
		{identity.ParseHost, "smtp.example.com:25", ""},
		{identity.ParseHost, "256.1.1.1", ""},
		{identity.ParseHost, "255.255.255.255", ""},
		{identity.ParseHost, "[smtp.example.com]", ""},
	} {
		if got, err := test.parse(test.in); got != test.want || (err == nil) != (test.want != "") {
			t.Errorf("%q: got %q, error %v, want %q", test.in, got, err, test.want)
		}
	}
}
