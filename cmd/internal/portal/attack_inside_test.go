package portal

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"gatemilter/cmd/internal/lab"
)

// A user names servers inside, in every way there is. None is connected to, and he can't tell
// the names that exist.
func TestAttackInside(t *testing.T) {
	s := newStage(t)
	inside := s.sink(lab.SinkConfig{Cert: s.cert("inside.example.com"), Logins: map[string]string{"alice@partner.example": partnersSecret}})
	for name, ips := range map[string][]string{
		"inside.example.com": {"10.0.0.1"}, "rebound.example": {"127.0.0.1"}, "metadata.example": {"169.254.169.254"}, "both.example": {"10.0.0.1", "fd00::1"}, "also.example": {"8.8.0.1", "10.0.0.1"}, "mapped.example": {"::ffff:127.0.0.1"},
		"nat64.example": {"64:ff9b::7f00:1"}, "sixtofour.example": {"2002:7f00:1::1"}, "zero.example": {"0.0.0.0"}, "six.example": {"::1"},
	} {
		for _, ip := range ips {
			s.dns[name] = append(s.dns[name], netip.MustParseAddr(ip))
		}
	}
	s.note(func() { s.hosts[netip.MustParseAddrPort("10.0.0.1:587")] = inside.Addr() })
	b := s.alice()
	s.note(func() { s.dialed = nil })
	pages := make(map[string]string)
	try := func(host string) reply {
		s.portal.limits = newLimits(s.time)
		return b.post("/add/server", server("host", host)...)
	}
	for host := range s.dns {
		if host != "mail.example.com" {
			pages[host] = strings.ReplaceAll(try(host).text, host, "HOST")
		}
	}
	unknown := strings.ReplaceAll(try("unknown.example").text, "unknown.example", "HOST")
	for host, page := range pages {
		if page != unknown {
			t.Errorf("%s is told from a name that doesn't exist", host)
		}
	}
	for _, host := range []string{"127.0.0.1", "[127.0.0.1]", "10.0.0.1", "::1", "[::1]", "::ffff:127.0.0.1", "64:ff9b::127.0.0.1", "169.254.169.254", "fd00::1", "fe80::1", "127.0.0.1.", "http://127.0.0.1/", "https://[::1]/x", "smtp://10.0.0.1", "[::1]:587", "127.0.0.1:587", "0.0.0.0", "::", "255.255.255.255", "224.0.0.1", "100.64.0.1"} {
		if r := try(host); r.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(r.text, "is not an address of the public Internet") && !strings.Contains(r.text, "not the full name of a server") {
			t.Errorf("%s: %s %s", host, r.Status, r.words())
		}
	}
	for _, host := range []string{"localhost", "127.1", "2130706433", "0x7f.1", "0177.0.0.1", "127.0.0.1..", "smtp.partner.example:x", "smtp.partner.example:0", "smtp.partner.example:65536", "smtp.partner.example:25:587", "http://user@127.0.0.1/", "http:///x", "://", ":587", "user@10.0.0.1", "10.0.0.1/24", "fe80::1%lo", "[::1", "a b.example", "-x.example", "x..example", strings.Repeat("a.", 200) + "example"} {
		if r := try(host); r.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(r.text, "not the full name of a server") {
			t.Errorf("%s: %s %s", host, r.Status, r.words())
		}
	}
	for _, host := range []string{"127.0.0.1:25", "smtp.partner.example:25", "smtp.partner.example:6379", "[::1]:25"} {
		if r := try(host); r.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(r.text, "takes only the name of the server") && !strings.Contains(r.text, "not the full name of a server") {
			t.Errorf("%s: %s %s", host, r.Status, r.words())
		}
	}
	for _, host := range []string{"mail.example.com", "mail.example.com.", "https://mail.example.com/", "mail.example.com:587"} {
		try(host).has(t, "This is our own server")
	}
	if len(s.dialed) > 0 || len(inside.Attempts()) > 0 {
		t.Errorf("connected to %q", s.dialed)
	}
	// The log tells the administrator what it was.
	if !slices.Contains(s.results(Tested), "inside-address") {
		t.Errorf("%v", s.results(Tested))
	}
	// He may allow a network.
	s.portal.Config.AllowedNetworks = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	if r := try("inside.example.com"); r.StatusCode != http.StatusSeeOther {
		t.Errorf("an allowed network: %s %s", r.Status, r.words())
	}
}

// A name that leads somewhere else when it is looked up again is not looked up again.
func TestAttackRebinding(t *testing.T) {
	s := newStage(t)
	s.partner()
	s.dns["rebinding.example"] = []netip.Addr{netip.MustParseAddr("8.8.9.9")}
	b := s.alice()
	s.note(func() { s.dialed = nil })
	b.post("/add/server", server("host", "rebinding.example")...)
	s.dns["rebinding.example"] = []netip.Addr{netip.MustParseAddr("127.0.0.1")}
	b.post("/add/server", server("host", "rebinding.example")...)
	if !slices.Equal(s.dialed, []string{"8.8.9.9:587"}) {
		t.Errorf("connected to %q", s.dialed)
	}
}

// Only the ports that are offered can be chosen.
func TestAttackPorts(t *testing.T) {
	s := newStage(t)
	s.partner()
	b := s.alice()
	s.note(func() { s.dialed = nil })
	for _, port := range []string{"", "22", "22 starttls", "80 starttls", "6379 starttls", "465 starttls", "587 implicit", "587 none", "587", "0 starttls", "-1 starttls", "65536 starttls", "587 starttls ", " 587 starttls", "+587 starttls", "587\nstarttls", "0587 starttls"} {
		if r := b.post("/add/server", server("port", port)...); r.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(r.text, "choose one of the ports") {
			t.Errorf("%q: %s", port, r.Status)
		}
	}
	// Neither by what DNS suggests.
	s.srv["_submissions._tcp.partner.example"] = []*net.SRV{{Target: "smtp.partner.example.", Port: 6379}, {Target: "inside.example.", Port: 465}, {Target: ".", Port: 465}, {Target: "127.0.0.1", Port: 465}}
	s.dns["inside.example"] = []netip.Addr{netip.MustParseAddr("10.0.0.1")}
	delete(s.dns, "smtp.partner.example")
	if page := b.post("/add", "address", "alice@partner.example"); strings.Contains(page.text, " checked>") || strings.Contains(page.text, "inside.example") || strings.Contains(page.text, `"6379 `) {
		t.Error("a suggestion leads inside")
	}
	if len(s.dialed) > 0 {
		t.Errorf("connected to %q", s.dialed)
	}
}
