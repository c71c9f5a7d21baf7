package debtest

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gatemilter/cmd/internal/lab"
)

// bootFiles turn a system into one that boots only to run steps.sh, in which maintainer scripts may start services.
var bootFiles = map[string]string{
	"/etc/systemd/system/test.target":   "[Unit]\nWants=systemd-journald.socket systemd-journald.service steps.service\n",
	"/etc/systemd/system/steps.service": "[Service]\nType=oneshot\nStandardOutput=file:/steps/trace\nStandardError=file:/steps/trace\nExecStart=/bin/sh -x /steps/steps.sh\n",
	policyPath:                          "#!/bin/sh\nexit 0\n",
}

// portalConfig has the portal of a beginner, and nobody in his database.
const portalConfig = `[outbound]
allow_user_gateways = yes
domains = example.com
[portal]
listen = inet:127.0.0.1:8080
url = https://mail.example.com/addresses
trusted_proxies = 127.0.0.1
submission = mail.example.com
`

// A real systemd runs the package's unit in its sandbox: from the installation on, with Postfix's group once there is
// Postfix, as a new process after an upgrade, and not after removal.
func TestS9UnderSystemd(t *testing.T) {
	first := build(t)
	d := newDebian(t)
	d.run("mkdir", "/steps")
	for name, text := range bootFiles {
		d.write(name, text)
	}
	d.write("/steps/portal.conf", portalConfig)
	run(t, command(t, "cp", "testdata/steps.sh", first, d.path("/steps")))
	for name, deb := range map[string]string{"first": first, "later": later(t, first, "+b", nil), "last": later(t, first, "+c", nil)} {
		run(t, command(t, "cp", deb, d.path("/steps/"+name+".deb")))
	}
	boot(t, d)
	want := `without Postfix: active, gatemilter:gatemilter 660, 0 restarts by systemd
Postfix installed: active, gatemilter:postfix 660, 0 restarts by systemd
upgraded: active, gatemilter:postfix 660, 0 restarts by systemd
it is another process
the portal answers
gatemilter:gatemilter 700 /var/lib/gatemilter
gatemilter:gatemilter 600 /var/lib/gatemilter/identities.db
gatemilter:gatemilter 600 /var/lib/gatemilter/identities.snapshot
alice@example.com  alice@partner.example  [2001:db8::25]:587  active
in force: the user's own server
in the journal: identity added
ok database
ok passwords
disabled, upgraded: disabled
removed: inactive, success
`
	if diff := cmp.Diff(want, d.read("/steps/notes")); diff != "" {
		t.Errorf("-want +got\n%s\n%s", diff, d.read("/steps/trace"))
	}
}

// boot runs the system until it ends by itself.
func boot(t *testing.T, d *debian) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	group := "debtest-" + filepath.Base(d.root)
	cmd := exec.CommandContext(ctx, "sh", "testdata/boot.sh", d.root, group)
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	out, err := cmd.CombinedOutput()
	if err := lab.RemoveCgroup(t.Context(), group); err != nil {
		t.Error(err)
	}
	if _, done := os.Stat(d.path("/steps/done")); err != nil || done != nil {
		trace, _ := os.ReadFile(d.path("/steps/trace"))
		t.Fatalf("%v, %v\n%s\n…%s", err, done, out, trace[max(0, len(trace)-4000):])
	}
}
