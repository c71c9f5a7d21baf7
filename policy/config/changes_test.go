package config_test

import (
	"os"
	"strings"
	"testing"

	"gatemilter/policy/config"
)

// S4: what a reload changes, setting by setting, with secrets masked.
func TestS4Changes(t *testing.T) {
	const old = `[server]
mode = observe
[inbound-gateway filter]
addresses = 192.0.2.2
require_header = ^X-Key: hunter2$
[route r]
host = r.example
[outbound]
gateway = r
[user alice@example.com]
[user-gateway alice@example.com alice@partner.example]
server = smtp.partner.example
password = hunter2
[sender @gone.example]
route = r
`
	for _, c := range []struct {
		what    string
		replace []string
		want    []config.Change
	}{
		{"nothing", nil, nil},
		{"comments, order and case of names", []string{"[server]", "; hello\n[server]", "[user alice@example.com]", "[user Alice@example.com]"}, nil},
		{"the default written out", []string{"host = r.example", "host = r.example\nrequire_tls = yes"}, nil},
		{"a value", []string{"host = r.example", "host = r2.example"}, []config.Change{{"route r", "host", "r.example", "r2.example"}}},
		{"to the default", []string{"mode = observe\n", ""}, []config.Change{{"server", "mode", "observe", "enforce"}}},
		{"a new key", []string{"password = hunter2", "password = hunter2\nusername = al"}, []config.Change{{"user-gateway alice@example.com alice@partner.example", "username", "", "al"}}},
		{"secrets", []string{"password = hunter2", "password = hunter3", "hunter2$", "hunter3$"}, []config.Change{
			{"inbound-gateway filter", "require_header", "<secret>", "<secret>"},
			{"user-gateway alice@example.com alice@partner.example", "password", "<secret>", "<secret>"}}},
		{"a section gone, and one come", []string{"[sender @gone.example]", "[recipient @come.example]"}, []config.Change{
			{"recipient @come.example", "route", "", "r"}, {"sender @gone.example", "route", "r", ""}}},
	} {
		compare(t, c.what, parsed(t, strings.NewReplacer(c.replace...).Replace(old)).Changes(parsed(t, old)), c.want)
	}
}

func parsed(t *testing.T, text string) *config.Config {
	t.Helper()
	c, err := config.Parse("x", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// S4: another password in the same file is a change too.
func TestS4ChangedPasswordFile(t *testing.T) {
	password := write(t, "hunter2\n")
	path := write(t, "[outbound]\nallow_user_gateways = yes\n[user a@example.com]\n[user-gateway a@example.com a@partner.example]\nserver = smtp.partner.example\npassword_file = "+password+"\n")
	before := load(t, path)
	if err := os.WriteFile(password, []byte("hunter3\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	compare(t, "changes", load(t, path).Changes(before), []config.Change{{"user-gateway a@example.com a@partner.example", "password_file", password, password + " (with another password in it)"}})
	compare(t, "unchanged", load(t, path).Changes(load(t, path)), []config.Change(nil))
}
