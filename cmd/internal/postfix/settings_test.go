package postfix

import (
	"os"
	"path/filepath"
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
