package sendmail

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"gatemilter/policy"
)

// The questions of these tests are as Sendmail 8.17 asks them.

func TestParseConnection(t *testing.T) {
	full := Connection{User: true, Port: 587, Addr: netip.MustParseAddr("192.0.2.1"), TLS: "tlsv1.3", Fingerprint: "aabb",
		Hosts: []Host{{"smtp.partner.example", false}}, Host: "smtp.partner.example", Login: "alice+x@lab.test", Sender: "alice@partner.example"}
	clear := Connection{Port: 25, Addr: netip.MustParseAddr("2001:db8::1"), Hosts: []Host{{"2001:db8::1", false}, {"b.example", false}}, Host: "2001:db8::1"}
	domain := Connection{Port: 25, Addr: netip.MustParseAddr("127.0.0.1"), Hosts: []Host{{"d.example", true}, {"e.example", true}}, Host: "mx1.d.example", Sender: `"a>;<b"@lab.test`}
	for key, want := range map[string]Connection{
		"user:587;192.0.2.1;tlsv1.3;aa:bb;<[smtp.partner.example]>;<[smtp.partner.example]>;<alice+2bx@lab.test>;<alice@partner.example>": full,
		"user:587;192.0.2.1;tlsv1.3;AA:BB;<[SMTP.partner.example.]>;<smtp.partner.example.>;<alice+2Bx@lab.test>;<alice@partner.example>": full,
		"route:25;IPv6:2001:db8::1;;;<[IPv6:2001:db8::1]:[b.example]>;<[IPv6:2001:db8::1]>;<>;<>":                                         clear,
		"route:25;ipv6:2001:db8:0:0:0:0:0:1;none;;<[ipv6:2001:db8::1]:[b.example]>;<[ipv6:2001:db8::1]>;<>;<>":                            clear,
		`route:25;127.0.0.1;;;<d.example:e.example>;<mx1.d.example>;<>;<"a>;<b"@lab.test>`:                                                domain,
	} {
		got, err := ParseConnection(key)
		if err != nil {
			t.Errorf("%s: %v", key, err)
		} else if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
			t.Errorf("%s: -want +got\n%s", key, diff)
		}
	}
	for _, key := range []string{
		"", ";", "user:587;192.0.2.1;;;", "user:587;192.0.2.1;;;<h>;<h>;<l>", "user:587;192.0.2.1;;;<h>;<h>;<l>;<s>;<x>", "user:587;192.0.2.1;;;<h>;<h>;<l>;<s>x",
		"user:587;192.0.2.1;;;<h>;<h>;<l>;s", "else:587;192.0.2.1;;;<h>;<h>;<l>;<s>", "user;192.0.2.1;;;<h>;<h>;<l>;<s>", "user:70000;192.0.2.1;;;<h>;<h>;<l>;<s>",
		"user:587;localhost;;;<h>;<h>;<l>;<s>", `user:587;192.0.2.1;;;<h>;<h>;<l>;<"s>`, "user:587;;;;<h>;<h>;<l>;<s>",
	} {
		if got, err := ParseConnection(key); err == nil {
			t.Errorf("%q is read as %+v", key, got)
		}
	}
}

func TestParseQuestions(t *testing.T) {
	login, sender, recipient, err := ParseOwn(`<a+3cb>;<"x>;<y"@lab.test>;<to@far.test.>`)
	if login != "a<b" || sender != `"x>;<y"@lab.test` || recipient != "to@far.test." || err != nil {
		t.Errorf("own: %q, %q, %q, %v", login, sender, recipient, err)
	}
	if sender, recipient, err := ParseRoute("<>;<to@far.test.>"); sender != "" || recipient != "to@far.test." || err != nil {
		t.Errorf("route: %q, %q, %v", sender, recipient, err)
	}
	for _, key := range []string{"", "<>", "<a>;<b>;<c>;<d>", "a;b", "<a>,<b>", "<a>;<b"} {
		if _, _, err := ParseRoute(key); err == nil {
			t.Errorf("route: %q is read", key)
		}
		if _, _, _, err := ParseOwn(key); err == nil {
			t.Errorf("own: %q is read", key)
		}
	}
}

// FuzzParse looks for questions that are read in two ways: what is read, written again, reads
// the same.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"<a>;<b@c>;<d>", `<a>;<"x>;<y"@z>;<d>`, `<\>>;<">;<d>`, "<>;<>;<>",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, key string) {
		ParseConnection(key)
		texts, ok := cutQuoted(key, 3)
		if !ok {
			return
		}
		again, ok := cutQuoted("<"+strings.Join(texts, ">;<")+">", 3)
		if !ok || !slices.Equal(again, texts) {
			t.Errorf("%q is read as %q, and that as %q", key, texts, again)
		}
	})
}

// R3, R4: Sendmail tries hosts in the order given, with the port of the mailer.
func TestWays(t *testing.T) {
	inOrder := func(int) int { return 0 }
	hosts := func(mx bool, hosts ...policy.Host) *policy.Route {
		return &policy.Route{Name: "r", Primary: hosts[:1], Secondary: hosts[1:], MXLookup: mx}
	}
	for _, c := range []struct {
		route     *policy.Route
		want, err string
	}{
		{hosts(false, policy.Host{Name: "a.example", Port: 25, Load: 100}, policy.Host{Name: "2001:db8::1", Port: 25, Load: 100}), "gatemilter-25:[a.example]:[IPv6:2001:db8::1]", ""},
		{hosts(true, policy.Host{Name: "a.example", Port: 2525, Load: 100}), "gatemilter-2525:a.example", ""},
		{hosts(false, policy.Host{Name: "192.0.2.1", Port: 25, Load: 100}, policy.Host{Name: "b.example", Port: 587, Load: 100}), "",
			"route r has hosts with the ports 25 and 587, of which Sendmail can try only one for a message"},
	} {
		got, err := RouteWay(c.route, c.route.Hosts(inOrder))
		if got != c.want || (err != nil) != (c.err != "") || err != nil && err.Error() != c.err {
			t.Errorf("%+v: %q, %v", c.route, got, err)
		}
	}
	server := policy.UserGateway{Host: "smtp.partner.example", Port: 587}
	if got, err := UserWay(&server); got != "gatemilter-user-587:[smtp.partner.example]" || err != nil {
		t.Errorf("user's server: %q, %v", got, err)
	}
	server.TLS = policy.ImplicitTLS
	if got, err := UserWay(&server); err == nil {
		t.Errorf("TLS from the start: %q", got)
	}
}

// What stands in a reason can't end it, or be taken for an instruction.
func TestText(t *testing.T) {
	for reason, want := range map[string]string{
		`"mx" (x) <a@b>; $#error \ {y}`:  "'mx' x a@b #error y",
		"two  blanks\n\tand more\x00 üx": "two blanks and more x",
	} {
		if got := Text(reason); got != want {
			t.Errorf("%q becomes %q, want %q", reason, got, want)
		}
	}
}

func TestLogin(t *testing.T) {
	g := policy.UserGateway{Username: "alice", Password: policy.NewSecret(`a"b c`)}
	if got := Login(&g); got != `"U=YWxpY2U=" "I=YWxpY2U=" "P=YSJiIGM=" "M:PLAIN LOGIN CRAM-MD5"` {
		t.Error(got)
	}
}
