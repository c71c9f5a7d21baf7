package tlsprobe

import (
	"strings"
	"testing"
)

// R2: name or address, and which ports. 465 is for TLS from the start alone.
func TestParseTarget(t *testing.T) {
	const implicit = true
	for _, c := range []struct {
		text     string
		implicit bool
		want     Target
		problem  string
	}{
		{"relay.example.com", false, Target{Host: "relay.example.com", Port: 25}, ""},
		{"Relay.Example.com.:587", false, Target{Host: "relay.example.com", Port: 587}, ""},
		{"relay.example.com:1024", false, Target{Host: "relay.example.com", Port: 1024}, ""},
		{"relay.example.com:65535", implicit, Target{Host: "relay.example.com", Port: 65535, Implicit: true}, ""},
		{"relay.example.com", implicit, Target{Host: "relay.example.com", Port: 465, Implicit: true}, ""},
		{"[relay.example.com]:587", false, Target{Host: "relay.example.com", Port: 587}, ""},
		{"bücher.example", false, Target{Host: "xn--bcher-kva.example", Port: 25}, ""},
		{"192.0.2.1", false, Target{Host: "192.0.2.1", Port: 25}, ""},
		{"192.0.2.1:587", false, Target{Host: "192.0.2.1", Port: 587}, ""},
		{"2001:DB8::25", false, Target{Host: "2001:db8::25", Port: 25}, ""},
		{"[2001:db8::25]", false, Target{Host: "2001:db8::25", Port: 25}, ""},
		{"[2001:db8::25]:587", false, Target{Host: "2001:db8::25", Port: 587}, ""},
		{"::ffff:192.0.2.1", false, Target{Host: "192.0.2.1", Port: 25}, ""},

		{"relay.example.com:465", false, Target{}, "port 465 is for TLS from the start, which a route can't use"},
		{"relay.example.com:80", false, Target{}, "port 80 is not for mail: use 25, 587, or one from 1024 to 65535"},
		{"relay.example.com:1023", implicit, Target{}, "port 1023 is not for mail"},
		{"relay.example.com:0", false, Target{}, "port 0 is not for mail"},
		{"relay.example.com:65536", false, Target{}, `"65536" is no port: write a number such as 25 or 587`},
		{"relay.example.com:smtp", false, Target{}, `"smtp" is no port`},
		{"relay.example.com:", false, Target{}, `has a colon but no port`},
		{"[2001:db8::25", false, Target{}, "write it as in [2001:db8::25]:587"},
		{"[2001:db8::25]587", false, Target{}, "write it as in [2001:db8::25]:587"},
		{"[2001:db8::25]:", false, Target{}, "write it as in [2001:db8::25]:587"},
		{"fe80::1%eth0", false, Target{}, "has a zone"},
		{"2001:db8::zz", false, Target{}, "is no host name"},
		{"", false, Target{}, `"" is no host name: write one such as relay.example.com, or an IP address`},
		{"relay..example.com", false, Target{}, "is no host name"},
		{"-relay.example.com", false, Target{}, "is no host name"},
		{"user@example.com", false, Target{}, "is no host name"},
		{"relay.example.com\r\nQUIT", false, Target{}, "is no host name"},
		{"192.0.2", false, Target{}, "is neither a host name nor a complete IP address"},
		{"300.1.2.3", false, Target{}, "is neither a host name nor a complete IP address"},
		{strings.Repeat("a", 64) + ".example", false, Target{}, "is no host name"},
		{strings.Repeat("a.", 130), false, Target{}, "it has 259 octets, at most 253 are allowed"},
	} {
		got, err := ParseTarget(c.text, c.implicit)
		switch {
		case c.problem == "" && (err != nil || got != c.want):
			t.Errorf("%q: got %+v, %v; want %+v", c.text, got, err, c.want)
		case c.problem != "" && (err == nil || !strings.Contains(err.Error(), c.problem)):
			t.Errorf("%q: got %+v, %v; want the error %q", c.text, got, err, c.problem)
		}
	}
}
