package postfix

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gatemilter/cmd/internal/lab"
)

func TestMilterLists(t *testing.T) {
	const ours = "unix:g"
	for _, c := range []struct{ list, inFront, without string }{
		{"unix:g", "unix:g", "unix:g"},
		{"unix:a unix:g, unix:b", "unix:g, unix:a, unix:b", "unix:a, unix:g, unix:b"},
		{"unix:a, { unix:g, default_action=accept, protocol=6 }", "{ unix:g, default_action=accept, protocol=6 }, unix:a", "unix:a, { unix:g, protocol=6 }"},
		{"{ unix:a, default_action=accept }, {unix:g,default_action=accept}", "{unix:g,default_action=accept}, { unix:a, default_action=accept }", "{ unix:a, default_action=accept }, unix:g"},
	} {
		if got := InFront(c.list, ours); got != c.inFront {
			t.Errorf("%q in front: %q, want %q", c.list, got, c.inFront)
		}
		if got := WithoutOption(c.list, ours, "default_action"); got != c.without {
			t.Errorf("%q without: %q, want %q", c.list, got, c.without)
		}
	}
	want := []Milter{{"unix:a", map[string]string{}}, {"unix:g", map[string]string{"default_action": "accept", "protocol": "2"}}}
	if diff := cmp.Diff(want, Milters("unix:a { unix:g default_action=accept, protocol=2}")); diff != "" {
		t.Error(diff)
	}
}

// What a real Postfix says of its settings, and what it warns of.
func TestSettings(t *testing.T) {
	if err := lab.NeedPostfix(t.Context(), t.Logf); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, text := range map[string]string{
		"main.cf": "compatibility_level = 3.6\nfilters = unix:a\nsmtpd_milters = $filters, unix:g\nslip = 1\n",
		"master.cf": "smtp inet n - n - - smtpd\nsubmission inet n - y - - smtpd -o smtpd_milters= -o { milter_default_action = accept }\n" +
			"127.0.0.1:10025 inet n - n - - smtpd -o smtpd_milters=$filters\nsmtp unix - - y - - smtp -o smtpd_milters=x\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	settle(t, dir)
	s, err := Postfix{ConfigDir: dir}.Settings(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []Server{
		{"127.0.0.1:10025/inet", map[string]string{"smtpd_milters": "unix:a"}},
		{"smtp/inet", map[string]string{}},
		{"submission/inet", map[string]string{"smtpd_milters": "", "milter_default_action": "accept"}},
	}
	if diff := cmp.Diff(want, s.Servers); diff != "" {
		t.Error(diff)
	}
	if s.Main["smtpd_milters"] != "unix:a, unix:g" || s.Milters != "$filters, unix:g" || s.Main["mail_owner"] != "postfix" {
		t.Errorf("smtpd_milters = %q, written %q; mail_owner = %q", s.Main["smtpd_milters"], s.Milters, s.Main["mail_owner"])
	}
	if diff := cmp.Diff([]string{filepath.Join(dir, "main.cf") + ": unused parameter: slip=1"}, s.Warnings); diff != "" {
		t.Error(diff)
	}
}

// What a table has counts, whatever postmap warns of; a table that can't be asked is an error.
func TestQuery(t *testing.T) {
	if err := lab.NeedPostfix(t.Context(), t.Logf); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, text := range map[string]string{"main.cf": "compatibility_level = 3.6\nslip = 1\n", "table": "a x\na y\n", "expressions": "/(/ x\n/^a/ y\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	settle(t, dir)
	p := Postfix{ConfigDir: dir}
	for _, c := range []struct{ table, key, want string }{
		{"texthash:" + dir + "/table", "a", "x"},
		{"texthash:" + dir + "/table", "b", ""},
		{"regexp:" + dir + "/expressions", "a", "y"},
		{"regexp:" + dir + "/expressions", "b", ""},
		{"static:x", "b", "x"},
	} {
		if got, err := p.Query(t.Context(), c.table, c.key); err != nil || got[c.key] != c.want {
			t.Errorf("%s has %q for %s, error %v; want %q", c.table, got, c.key, err, c.want)
		}
	}
	for _, table := range []string{"regexp:/nowhere", "texthash:" + dir + "/nowhere", "no-such-type:x"} {
		got, err := p.Query(t.Context(), table, "a")
		if err == nil || !strings.HasPrefix(err.Error(), "postmap: ") || strings.Count(err.Error(), "postmap: ") != 1 || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %q, error %v", table, got, err)
		}
	}
}
