package postfix

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatemilter/cmd/internal/lab"
	"gatemilter/policy"
	"gatemilter/policy/config"
)

func TestElements(t *testing.T) {
	for _, c := range []struct{ list, add, with, without string }{
		{"", "unix:g", "unix:g", ""},
		{"unix:g", "unix:g", "unix:g", ""},
		{"unix:a", "unix:g", "unix:g, unix:a", "unix:a"},
		{"unix:a unix:g\n\tunix:b", "unix:g", "unix:a unix:g\n\tunix:b", "unix:a, unix:b"},
		{"{ unix:a, default_action=accept }, unix:g", "unix:g", "{ unix:a, default_action=accept }, unix:g", "{ unix:a, default_action=accept }"},
		{"unix:a, { unix:g, default_action=tempfail }", "unix:g", "unix:a, { unix:g, default_action=tempfail }", "unix:a"},
		{"{unix:g}", "unix:g", "{unix:g}", ""},
		{"{ }", "unix:g", "unix:g, { }", "{ }"},
		{"$other_milters", "unix:g", "unix:g, $other_milters", "$other_milters"},
		{"unix:g2", "unix:g", "unix:g, unix:g2", "unix:g2"},
	} {
		if got := with(c.list, c.add); got != c.with {
			t.Errorf("%q with %q: %q, want %q", c.list, c.add, got, c.with)
		}
		if got := without(c.list, func(e string) bool { return named(e) == c.add }); got != c.without {
			t.Errorf("%q without %q: %q, want %q", c.list, c.add, got, c.without)
		}
	}
}

// An element of an earlier version gives way to today's, one with settings of the
// administrator's stays, and all of them go.
func TestElementIn(t *testing.T) {
	e := Element{Value: config.FailSafe("unix:g"), Former: func(e string) bool { return e == "unix:g" }}
	const ours = "{ unix:g, default_action=tempfail }"
	for list, want := range map[string][2]string{
		"":                      {ours, ""},
		"unix:a":                {ours + ", unix:a", "unix:a"},
		"unix:a, unix:g":        {ours + ", unix:a", "unix:a"},
		ours + ", unix:a":       {ours + ", unix:a", "unix:a"},
		"unix:a, {unix:g, x=y}": {"unix:a, {unix:g, x=y}", "unix:a"},
		"unix:a, {unix:b, x=y}": {ours + ", unix:a, {unix:b, x=y}", "unix:a, {unix:b, x=y}"},
	} {
		if got := [2]string{e.in(list, false), e.in(list, true)}; got != want {
			t.Errorf("%q becomes %q, want %q", list, got, want)
		}
	}
}

func TestAddress(t *testing.T) {
	unix := func(path string) config.Listener { return config.Listener{Network: "unix", Address: path} }
	tcp := config.Listener{Network: "tcp", Address: "127.0.0.1:9624"}
	for _, c := range []struct {
		listeners []config.Listener
		want      string
	}{
		{[]config.Listener{unix("/var/spool/postfix/gatemilter/milter.sock")}, "unix:gatemilter/milter.sock"},
		{[]config.Listener{unix("/run/g.sock"), tcp}, "inet:127.0.0.1:9624"},
		{[]config.Listener{tcp, unix("/var/spool/postfix/gatemilter/milter.sock")}, "unix:gatemilter/milter.sock"},
		{[]config.Listener{unix("/var/spool/postfix-other/g.sock")}, ""},
		{[]config.Listener{unix("/run/g.sock")}, ""},
	} {
		got, err := address("milter", c.listeners, "/var/spool/postfix")
		if got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%v: %q, %v; want %q", c.listeners, got, err, c.want)
		}
	}
}

// On a real Postfix: what was there stays there, doing it again changes nothing, and
// undoing it leaves the file as it was.
func TestRealPostfix(t *testing.T) {
	if err := lab.NeedPostfix(t.Context(), t.Logf); err != nil {
		t.Fatal(err)
	}
	for _, before := range []string{"", "smtpd_milters = unix:old.sock, { unix:other.sock, default_action=accept }\n"} {
		dir := t.TempDir()
		main := filepath.Join(dir, "main.cf")
		text := "queue_directory = /var/spool/postfix\n" + before
		if err := os.WriteFile(main, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "master.cf"), nil, 0o644); err != nil {
			t.Fatal(err)
		}
		p := Postfix{ConfigDir: dir}
		cfg, err := config.Parse("test", []byte("[server]\n"))
		if err != nil {
			t.Fatal(err)
		}
		wanted, err := p.Wanted(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		step := func(remove bool, changes int, value string) {
			t.Helper()
			plan, err := p.Plan(t.Context(), wanted, remove)
			if err != nil || len(plan) != changes {
				t.Fatalf("plan %v, error %v; want %d changes", plan, err, changes)
			}
			if err := p.Apply(t.Context(), plan); err != nil {
				t.Fatal(err)
			}
			if got, err := p.parameter(t.Context(), "smtpd_milters"); err != nil || got != value {
				t.Fatalf("smtpd_milters = %q, %v; want %q", got, err, value)
			}
		}
		old := strings.TrimSpace(strings.TrimPrefix(before, "smtpd_milters ="))
		step(false, 1, strings.TrimSuffix("{ unix:gatemilter/milter.sock, default_action=tempfail }, "+old, ", "))
		step(false, 0, strings.TrimSuffix("{ unix:gatemilter/milter.sock, default_action=tempfail }, "+old, ", "))
		step(true, 1, old)
		step(true, 0, old)
		after, err := os.ReadFile(main)
		if err != nil || string(after) != text {
			t.Errorf("main.cf is now\n%s\nwas\n%s", after, text)
		}
	}
}

// The client for routes is chrooted as that for other mail is.
func TestRouteChroot(t *testing.T) {
	if err := lab.NeedPostfix(t.Context(), t.Logf); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ master, begin string }{
		{"smtp unix - - y - - smtp\n", "gatemilter unix - - y - - smtp -o "},
		{"smtp unix - - n - - smtp\n", "gatemilter unix - - n - - smtp -o "},
		{"smtp unix - - - - - smtp\n", "gatemilter unix - - - - - smtp -o "},
		{"", "gatemilter unix - - - - - smtp -o "},
	} {
		dir := t.TempDir()
		for name, text := range map[string]string{"main.cf": "compatibility_level = 3.6\n", "master.cf": c.master} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		settle(t, dir)
		client, err := Postfix{ConfigDir: dir}.smtpClient(t.Context())
		if line := client.routes("unix:g.sock").Line; err != nil || !strings.HasPrefix(line, c.begin) {
			t.Errorf("beside %q: %q, error %v", c.master, line, err)
		}
	}
}

// What a configuration needed before goes when it needs something else, and nothing of the
// administrator's with it.
func TestFormerConfiguration(t *testing.T) {
	if err := lab.NeedPostfix(t.Context(), t.Logf); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	files := map[string]string{
		"main.cf": "queue_directory = /var/spool/postfix\ntransport_maps = hash:/etc/postfix/transport, pipemap:{inline:{ {x = y} },socketmap:unix:theirs:other}\n" +
			"milter_header_checks = pcre:/etc/postfix/checks\n",
		"master.cf": "smtp unix - - y - - smtp\ngatemilter-users-theirs inet n - y - - smtpd\n",
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	p := Postfix{ConfigDir: dir}
	const users = "[outbound]\nallow_user_gateways = yes\nuser_gateway_slots = 2\n[user a@home.example]\n[user-gateway a@home.example a@partner.example]\nserver = smtp.partner.example\npassword = p\n"
	const allUsers = "master.cf gatemilter-user/unix, master.cf gatemilter-users/unix, master.cf gatemilter-user-1/unix, master.cf gatemilter-users-1/unix, milter_header_checks"
	const route = "[route r]\nhost = r.example\n"
	changes := func(text string, remove bool) (names []string) {
		t.Helper()
		settle(t, dir)
		cfg, err := config.Parse("test", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		wanted, err := p.Wanted(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		plan, err := p.Plan(t.Context(), wanted, remove)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range plan {
			names = append(names, c.Parameter)
		}
		if err := p.Apply(t.Context(), plan); err != nil {
			t.Fatal(err)
		}
		return names
	}
	for _, c := range []struct {
		text   string
		remove bool
		want   string
	}{
		{users, false, allUsers + ", smtpd_milters"},
		{users, false, ""},
		{strings.Replace(users, "slots = 2", "slots = 1", 1), false, "master.cf gatemilter-user-1/unix, master.cf gatemilter-users-1/unix"},
		{route + "[recipient @plant.example]\nroute = r\n", false, "master.cf gatemilter/unix, milter_header_checks, sender_dependent_default_transport_maps, transport_maps, master.cf gatemilter-user/unix, master.cf gatemilter-users/unix"},
		{route + "[recipient @other.example]\nroute = r\n", false, "transport_maps"},
		{strings.Replace(users, "yes", "no", 1), false, "sender_dependent_default_transport_maps, transport_maps, master.cf gatemilter/unix"},
		// U4: where users attach servers themselves, all is there before the first one does.
		{"[outbound]\nallow_user_gateways = yes\nuser_gateway_slots = 2\n[identities]\ndatabase = sqlite:/x.db\n", false, allUsers},
		{"[identities]\ndatabase = sqlite:/x.db\n", false, "milter_header_checks, master.cf gatemilter-user/unix, master.cf gatemilter-users/unix, master.cf gatemilter-user-1/unix, master.cf gatemilter-users-1/unix"},
		{users, false, allUsers},
		{"[server]\n", true, "milter_header_checks, smtpd_milters, master.cf gatemilter-user/unix, master.cf gatemilter-users/unix, master.cf gatemilter-user-1/unix, master.cf gatemilter-users-1/unix"},
	} {
		if got := strings.Join(changes(c.text, c.remove), ", "); got != c.want {
			t.Errorf("%s\nchanges\n%s\nwant\n%s", c.text, got, c.want)
		}
	}
	for name, want := range files {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(got) != want {
			t.Errorf("%s is now\n%s\nwas\n%s (%v)", name, got, want, err)
		}
	}
}

// For which keys of Postfix's the table is asked, and with which rule, as Postfix's own
// client sees it.
func TestRecipientMap(t *testing.T) {
	if err := lab.NeedPostfix(t.Context(), t.Logf); err != nil {
		t.Fatal(err)
	}
	r := new(policy.Route)
	o := &policy.Outbound{Recipients: map[string]*policy.Route{"@plant.example.com": r, "boss+x@home.example": r, "o'x*!/?^|~`@home.example": r, "joe@home.example": r, "@xn--bcher-kva.example": r}}
	// Whatever gets through is answered with itself.
	table := strings.Replace(recipientMap(o, "unix:g.sock"), "socketmap:unix:g.sock:recipient", "regexp:{ {/(.*)/ $1} }", 1)
	dir := emptyConfig(t)
	for key, want := range map[string]string{
		"plant.example.com": "@plant.example.com", "Plant.Example.COM": "@plant.example.com", "sub.plant.example.com": "", ".plant.example.com": "", "x@plant.example.com": "",
		"boss+x@home.example": "boss+x@home.example", "boss@home.example": "", "o'x*!/?^|~`@home.example": "o'x*!/?^|~`@home.example", "JOE@home.example": "joe@home.example", "*": "",
		"xn--bcher-kva.example": "@xn--bcher-kva.example", "bücher.example": "@xn--bcher-kva.example", "BÜCHER.example": "@xn--bcher-kva.example", "bucher.example": "",
	} {
		out, err := exec.CommandContext(t.Context(), "/usr/sbin/postmap", "-c", dir, "-q", key, table).CombinedOutput()
		if got := strings.TrimSpace(string(out)); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: answered %q (%v), want %q", key, got, err, want)
		}
	}
}

func emptyConfig(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "main.cf"), []byte("compatibility_level = 3.6\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	settle(t, dir)
	return dir
}

// settle makes main.cf look old: postconf waits for one that may still be being written.
func settle(t *testing.T, dir string) {
	t.Helper()
	if err := os.Chtimes(filepath.Join(dir, "main.cf"), time.Time{}, time.Now().Add(-time.Minute)); err != nil {
		t.Fatal(err)
	}
}

func TestChangeString(t *testing.T) {
	c := Change{Command: []string{"postconf", "-e", "smtpd_milters = unix:a"}}
	if got, want := c.String(), "postconf -e 'smtpd_milters = unix:a'"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
