package sendmail

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"gatemilter/policy"
	"gatemilter/policy/config"
)

// The questions of these tests are as Sendmail 8.17 asks them.

func TestParseConnection(t *testing.T) {
	user := Connection{User: true, Port: 587, Addr: netip.MustParseAddr("192.0.2.1"), TLS: "tlsv1.3", Fingerprint: "aabb",
		Hosts: []Host{{"smtp.partner.example", false}}, Login: "alice+x@lab.test"}
	route := Connection{Port: 25, Addr: netip.MustParseAddr("2001:db8::1"), Hosts: []Host{{"2001:db8::1", false}, {"b.example", false}}}
	domain := Connection{Port: 25, Addr: netip.MustParseAddr("127.0.0.1"), Hosts: []Host{{"d.example", true}, {"e.example", true}}, MXHost: "mx1.d.example"}
	login := Connection{User: true, Port: 587, Addr: netip.MustParseAddr("192.0.2.1"), Hosts: []Host{{"smtp.partner.example", false}}, Login: "alice", Sender: `"a>;<b"@lab.test`}
	for _, c := range []struct {
		parse func(string) (Connection, error)
		key   string
		want  Connection
	}{
		{ParseConnection, "user:587;192.0.2.1;tlsv1.3;aa:bb;<[smtp.partner.example]>;<alice+2bx@lab.test>", user},
		{ParseConnection, "user:587;192.0.2.1;tlsv1.3;AA:BB;<[SMTP.partner.example.]>;<alice+2Bx@lab.test>", user},
		{ParseConnection, "route:25;IPv6:2001:db8::1;;;<[IPv6:2001:db8::1]:[b.example]>;<>", route},
		{ParseConnection, "route:25;ipv6:2001:db8:0:0:0:0:0:1;none;;<[ipv6:2001:db8::1]:[b.example]>;<>", route},
		{ParseConnection, "route:25;127.0.0.1;;;<d.example:e.example>;<mx1.d.example.>", domain},
		{ParseLogin, `user:587;192.0.2.1;<[smtp.partner.example]>;<alice>;<"a>;<b"@lab.test>`, login},
	} {
		got, err := c.parse(c.key)
		if err != nil {
			t.Errorf("%s: %v", c.key, err)
		} else if diff := cmp.Diff(c.want, got, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
			t.Errorf("%s: -want +got\n%s", c.key, diff)
		}
	}
	for _, key := range []string{
		"", ";", "user:587;192.0.2.1;;;", "user:587;192.0.2.1;;;<h>", "user:587;192.0.2.1;;;<h>;<l>;<x>", "user:587;192.0.2.1;;;<h>;<l>x", "user:587;192.0.2.1;;;<h>;l",
		"else:587;192.0.2.1;;;<h>;<l>", "user;192.0.2.1;;;<h>;<l>", "user:70000;192.0.2.1;;;<h>;<l>", "user:587;localhost;;;<h>;<l>", `user:587;192.0.2.1;;;<h>;<"l>`, "user:587;;;;<h>;<l>",
		"route:587;192.0.2.1;<h>;<l>;<s>", "user:587;192.0.2.1;<h>;<l>", "user:587;x;<h>;<l>;<s>",
	} {
		if got, err := ParseConnection(key); err == nil {
			t.Errorf("%q is read as %+v", key, got)
		}
		if got, err := ParseLogin(key); err == nil {
			t.Errorf("%q is read as %+v", key, got)
		}
	}
	// Sendmail cuts what is longer.
	_, _, err := ParseRoute("ID;<" + strings.Repeat("x", 252))
	if err == nil || !strings.Contains(err.Error(), "too long for Sendmail") {
		t.Errorf("cut question: %v", err)
	}
}

func TestParseQuestions(t *testing.T) {
	login, sender, err := ParseOwn(`<a+3cb>;<"x>;<y"@lab.test>`)
	if login != "a<b" || sender != `"x>;<y"@lab.test` || err != nil {
		t.Errorf("own: %q, %q, %v", login, sender, err)
	}
	if to, err := ParseTo("<to@far.test.>"); to != "to@far.test." || err != nil {
		t.Errorf("to: %q, %v", to, err)
	}
	if id, sender, err := ParseRoute("6AM2b;<>"); id != "6AM2b" || sender != "" || err != nil {
		t.Errorf("route: %q, %q, %v", id, sender, err)
	}
	if login, before, now, err := ParseSame(`<=nobody>;<"x>;<y"@lab.test>;<>`); login != "=nobody" || before != `"x>;<y"@lab.test` || now != "" || err != nil {
		t.Errorf("same: %q, %q, %q, %v", login, before, now, err)
	}
	for _, key := range []string{"", "<>;<>;<>;<>", "<>;<>", "<a>;<b>;c", "<a>;<b>;<c"} {
		if _, _, _, err := ParseSame(key); err == nil {
			t.Errorf("same: %q is read", key)
		}
	}
	for _, key := range []string{"", "<>;<>;<>", "a;b", "<a>,<b>", "<a>;<b", ";", "x;<a>y"} {
		if _, _, err := ParseRoute(key); err == nil {
			t.Errorf("route: %q is read", key)
		}
		if _, _, err := ParseOwn(key); err == nil {
			t.Errorf("own: %q is read", key)
		}
		if _, err := ParseTo(key); err == nil {
			t.Errorf("to: %q is read", key)
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
		ParseLogin(key)
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
		{hosts(false, policy.Host{Name: strings.Repeat("a", 60) + ".example", Port: 25, Load: 100}, policy.Host{Name: strings.Repeat("b", 70) + ".example", Port: 25, Load: 100}), "",
			"route r has hosts whose names have 151 octets together, and Sendmail can't ask about more than 140"},
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

// U4: where users attach servers themselves, there are mailers for all ports that these may have,
// as long as they are allowed; and no sender's domain is replaced.
func TestSelfService(t *testing.T) {
	const allowed = "[server]\nmta_user = root\n[outbound]\nallow_user_gateways = yes\n[identities]\ndatabase = sqlite:/x.db\n"
	for _, c := range []struct{ text, mailers, err string }{
		{allowed + "[portal]\nports = 2525, 25\n", "gatemilter-user-25 gatemilter-user-2525", ""},
		{allowed + "[portal]\nports = 25\n[user a@home.example]\n[user-gateway a@home.example a@partner.example]\nserver = smtp.partner.example\npassword = p\n", "gatemilter-user-25 gatemilter-user-587", ""},
		{strings.Replace(allowed, "= yes", "= no", 1), "", ""},
		{allowed, "", "[portal] ports allows 465, where TLS is from the start, and Sendmail can't do that; write ports = 25, 587"},
		{strings.Replace(allowed, "= root", "= postfix", 1) + "[portal]\nports = 587\n", "", `[server] mta_user is "postfix", but it is Sendmail that has to be told the logins: write mta_user = root, as which Sendmail delivers`},
	} {
		cfg, err := config.Parse("x", []byte(c.text))
		if err != nil {
			t.Fatal(err)
		}
		text, err := File("x", cfg)
		if err == nil && c.err != "" || err != nil && err.Error() != c.err {
			t.Errorf("%s: error %v, want %s", c.text, err, c.err)
		}
		var mailers []string
		for line := range strings.Lines(text) {
			if name, ok := strings.CutPrefix(line, "Mgatemilter-user"); ok {
				name, _, _ = strings.Cut(name, ",")
				mailers = append(mailers, "gatemilter-user"+name)
			}
		}
		if got := strings.Join(mailers, " "); got != c.mailers || strings.Contains(text, "Nor are those of any sender") != (c.mailers != "") {
			t.Errorf("%s: mailers %q, want %q", c.text, got, c.mailers)
		}
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
