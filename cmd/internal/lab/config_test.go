package lab

import (
	"slices"
	"strings"
	"testing"
)

// TestMainReplacesSettings: a parameter that is given twice makes every daemon of Postfix log a warning.
func TestMainReplacesSettings(t *testing.T) {
	text := mainCF(Config{Main: "# relayhost = a\nrelayhost=b\nmyhostname =\n  mx.other.test\n", Relay: "c"}, layout{"/lab"})
	var got []string
	for line := range strings.Lines(text) {
		if name, value, _ := strings.Cut(line, "="); strings.HasPrefix(name, "relayhost") || strings.HasPrefix(name, "myhostname") {
			got = append(got, strings.TrimSpace(name)+":"+strings.TrimSpace(value))
		}
	}
	if want := []string{"relayhost:b", "myhostname:"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestMailboxTables(t *testing.T) {
	mailboxes := []string{"b@two.test", "a@one.test", "@two.test"}
	if got, want := domains(mailboxes), []string{"one.test", "two.test"}; !slices.Equal(got, want) {
		t.Errorf("domains %q, want %q", got, want)
	}
	want := "inline:{ { b@two.test = two.test/b/ } { a@one.test = one.test/a/ } { @two.test = two.test/@/ } }"
	if got := mailboxMap(mailboxes); got != want {
		t.Errorf("map %q, want %q", got, want)
	}
}

func TestMasterListensOnEachService(t *testing.T) {
	text := masterCF(Config{Chroot: true, Services: map[string]string{"s": "-o a=b"}},
		map[string]string{"": "127.0.0.1:1", "s": "127.0.0.1:2"})
	want := "127.0.0.1:1 inet n - y - - smtpd \n127.0.0.1:2 inet n - y - - smtpd -o a=b\n\npickup     unix      n - y 60    1 pickup\n"
	if !strings.HasPrefix(text, want) {
		t.Errorf("%q does not begin with %q", text, want)
	}
}
