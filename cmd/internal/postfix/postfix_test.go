package postfix

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatemilter/cmd/internal/lab"
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
		if got := without(c.list, c.add); got != c.without {
			t.Errorf("%q without %q: %q, want %q", c.list, c.add, got, c.without)
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
		step(false, 1, strings.TrimSuffix("unix:gatemilter/milter.sock, "+old, ", "))
		step(false, 0, strings.TrimSuffix("unix:gatemilter/milter.sock, "+old, ", "))
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
		// postconf waits for a main.cf that may still be being written.
		if err := os.Chtimes(filepath.Join(dir, "main.cf"), time.Time{}, time.Now().Add(-time.Minute)); err != nil {
			t.Fatal(err)
		}
		line, err := Postfix{ConfigDir: dir}.routeLine(t.Context(), "unix:g.sock")
		if err != nil || !strings.HasPrefix(line, c.begin) {
			t.Errorf("beside %q: %q, error %v", c.master, line, err)
		}
	}
}

func TestChangeString(t *testing.T) {
	c := Change{Command: []string{"postconf", "-e", "smtpd_milters = unix:a"}}
	if got, want := c.String(), "postconf -e 'smtpd_milters = unix:a'"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
