package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gatemilter/cmd/internal/lab"
)

// secretLines are what the configuration of TestO9NoPasswordShows may hold more of: with
// faults that quote what they are about.
var secretLines = map[string]string{
	"good":               "",
	"given twice":        "password = hunter2\n",
	"a file too":         "password_file = /nowhere/hunter-file\n",
	"misspelled":         "pasword = hunter2\n",
	"in another section": "[outbound]\npassword = hunter2\n",
	"continued":          "password = hunter2,\n  hunter2\n",
	"no key":             "hunter2\n",
	"quoted":             "password = \"\"\"hunter2\"\"\"\n",
	"with a colon":       "password: hunter2\n",
	"too long":           "password = hunter2" + strings.Repeat("x", 2000) + "\n",
}

// O9: whatever is run on a configuration with passwords, and whatever is wrong with it, none
// of them shows. (What is logged of mail is looked at where mail is sent: checkSecrets.)
func TestO9NoPasswordShows(t *testing.T) {
	if err := lab.NeedPostfix(t.Context(), t.Logf); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	secret, message := filepath.Join(dir, "secret"), filepath.Join(dir, "message")
	for name, text := range map[string]string{secret: "hunter3\n", message: "From: alice@partner.example\nSubject: x\n\nHello.\n"} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	postfix := filepath.Join(dir, "postfix")
	if err := os.Mkdir(postfix, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"main.cf": "compatibility_level = 3.6\n", "master.cf": ""} {
		if err := os.WriteFile(filepath.Join(postfix, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	shown := 0
	for name, more := range secretLines {
		config := filepath.Join(dir, "gatemilter.conf")
		text := "[server]\nlookup = unix:/nowhere/lookup.sock, unix:/var/spool/postfix/gatemilter/lookup.sock\n" +
			"[outbound]\nallow_user_gateways = yes\n[user alice@example.com]\n[user bob@example.com]\n" +
			"[user-gateway bob@example.com bob@partner.example]\nserver = smtp.partner.example\npassword_file = " + secret + "\n" +
			"[user-gateway alice@example.com alice@partner.example]\nserver = smtp.partner.example\npassword = hunter2\n" + more
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, args := range [][]string{
			{"check"},
			{"explain", "--client-ip", "203.0.113.9", "--user", "alice@example.com", "--mail-from", "alice@example.com", message},
			{"explain", "--json", "--client-ip", "203.0.113.9", "--user", "alice@example.com", "--mail-from", "alice@example.com", message},
			{"route", "--user", "alice@example.com", "alice@partner.example"},
			{"route", "--json", "--user", "bob@example.com", "bob@partner.example"},
			{"mta-setup", "postfix", "--postfix-config", postfix},
			{"verify-tls", "no-such-route"},
			{"serve"}, // whose milter socket has no directory
		} {
			if args[0] == "serve" && name == "good" {
				continue
			}
			args = append(args[:1:1], append([]string{"--config", config}, args[1:]...)...)
			var out bytes.Buffer
			run(context.Background(), args, stdio{strings.NewReader(""), &out, &out})
			shown += out.Len()
			if text := strings.ReplaceAll(out.String(), "hunter-file", ""); strings.Contains(text, "hunter") {
				t.Errorf("%s: gatemilter %s shows a password:\n%s", name, strings.Join(args, " "), text)
			}
		}
	}
	if shown == 0 {
		t.Error("nothing was shown at all")
	}
}
