package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gatemilter/cmd/internal/lab"
)

// serviceFiles are what is installed beside the unit and the program: a configuration whose
// password is a credential of systemd's, and what the test adds to the unit. Six seconds
// are the shortest watchdog that a busy machine keeps.
var serviceFiles = map[string]string{
	"gatemilter.conf": "[server]\nmode = enforce\nsocket_group = postfix\nauthserv_id = mx.example.com\n" +
		"[outbound]\nallow_user_gateways = yes\n[user alice@example.com]\n[user-gateway alice@example.com alice@partner.example]\n" +
		"server = smtp.partner.example:587\npassword_file = /run/credentials/gatemilter.service/alice-partner\n",
	"secret":        "sesame\n",
	"local.conf":    "[Service]\nLoadCredential=alice-partner:/etc/gatemilter/secret\nWatchdogSec=6s\n",
	"journald.conf": "[Journal]\nStorage=volatile\nReadKMsg=no\nAudit=\nForwardToWall=no\n",
	"test.target":   "[Unit]\nWants=systemd-journald.socket systemd-journald.service steps.service\n",
	"steps.service": "[Service]\nType=oneshot\nStandardError=file:/run/test/trace\nExecStart=/bin/sh -x /run/test/steps.sh\n",
}

// A real systemd starts the unit in its sandbox, reloads, watches and stops it: boot.sh boots
// one, and steps.sh is what happens there.
func TestS5Service(t *testing.T) {
	if err := lab.NeedPostfix(t.Context(), t.Logf); err != nil { // for its user, group and directory
		t.Fatal(err)
	}
	if err := lab.NeedPackages(t.Context(), t.Logf, "systemd"); err != nil {
		t.Fatal(err)
	}
	dir := bootService(t)
	read := func(name string) string { return string(must(os.ReadFile(filepath.Join(dir, name)))) }
	socket := "/var/spool/postfix/gatemilter"
	for name, want := range map[string]string{
		"active":  "active\n",
		"status":  "enforce: gateways 0, routes 0, users 1; milter at " + socket + "/milter.sock, lookup at " + socket + "/lookup.sock\n",
		"sockets": fmt.Sprintf("%s gatemilter:postfix 2750\n%[1]s/lookup.sock gatemilter:postfix 660\n%[1]s/milter.sock gatemilter:postfix 660\n", socket),
		"result":  "success\n",
	} {
		if diff := cmp.Diff(want, read(name)); diff != "" {
			t.Errorf("%s: -want +got\n%s", name, diff)
		}
	}
	for _, line := range []string{`NoNewPrivs:\s1`, `Seccomp:\s2`, `CapBnd:\s0+`, `CapEff:\s0+`} {
		if !regexp.MustCompile(`(?m)^` + line + `$`).MatchString(read("process")) {
			t.Errorf("the process has no %s:\n%s", line, read("process"))
		}
	}
	var messages []string
	for line := range strings.Lines(read("journal")) {
		var entry struct{ MESSAGE string }
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(entry.MESSAGE, "a socket of ours does not answer") { // on a machine that is too busy
			messages = append(messages, entry.MESSAGE)
		}
	}
	want := []string{"started", "configuration reloaded", "setting changed", "configuration refused, the old one stays in force", "started", "stopping: messages in progress finish first", "stopped"}
	if diff := cmp.Diff(want, messages); diff != "" {
		t.Errorf("journal: -want +got\n%s", diff)
	}
}

// bootService runs boot.sh and returns the directory of results.
func bootService(t *testing.T) string {
	dir := t.TempDir()
	for name, text := range serviceFiles {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{"../../packaging/systemd/gatemilter.service", "testdata/systemd/steps.sh"} {
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(path)), must(os.ReadFile(path)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// Not this binary: its race detector, if any, needs what the sandbox forbids.
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", dir, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	group := filepath.Base(filepath.Dir(dir)) // t.TempDir's unique part
	boot := exec.CommandContext(ctx, "sh", must(filepath.Abs("testdata/systemd/boot.sh")), dir, group)
	boot.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	out, err := boot.CombinedOutput()
	if err := lab.RemoveCgroup(t.Context(), group); err != nil {
		t.Error(err)
	}
	if _, done := os.Stat(filepath.Join(dir, "done")); err != nil || done != nil {
		trace, _ := os.ReadFile(filepath.Join(dir, "trace"))
		t.Fatalf("%v, %v\n%s\n…%s", err, done, out, trace[max(0, len(trace)-2000):])
	}
	return dir
}
