// Package debtest tests the Debian package that "make deb" builds, with Debian's own dpkg, apt, systemd tools and
// Postfix, on fresh Debian systems in directories of their own (see [debian]). What a package has to do when it is
// installed, upgraded, removed and purged is said in the Debian Policy Manual, chapters 6 (maintainer scripts), 9.2
// (users) and 10.7 (configuration files): https://www.debian.org/doc/debian-policy/.
package debtest

import (
	"bytes"
	"debug/buildinfo"
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gatemilter/cmd/internal/lab"
)

const (
	config  = "/etc/gatemilter/gatemilter.conf"
	secrets = "/etc/gatemilter/secrets"
	confDir = "/etc/gatemilter/conf.d"
	keys    = "/etc/gatemilter/identities.key"
	state   = "/var/lib/gatemilter"
	sockets = "/var/spool/postfix/gatemilter"
	socket  = sockets + "/milter.sock"
)

// gateways is the configuration of the README's beginner, in force.
const gateways = `[inbound-gateway filter]
addresses    = 192.0.2.2
domains      = example.com
reject_other = yes
`

func TestS9LintianHasNothingToSay(t *testing.T) {
	args := []string{"--allow-root", "--fail-on", "error,warning", "--tag-display-limit", "0"}
	if out := run(t, command(t, "lintian", append(args, build(t))...)); out != "" {
		t.Errorf("lintian says:\n%s", out)
	}
}

// Every manual page and every completion of the sources is where man(1) and the shells look.
func TestS9ManualAndCompletionAreInstalled(t *testing.T) {
	places := map[string]string{
		"man/*.5":           "/usr/share/man/man5/%s.gz",
		"man/*.8":           "/usr/share/man/man8/%s.gz",
		"completion/*.bash": "/usr/share/bash-completion/completions/gatemilter",
		"completion/*.fish": "/usr/share/fish/vendor_completions.d/gatemilter.fish",
		"completion/_*":     "/usr/share/zsh/vendor-completions/_gatemilter",
	}
	files := run(t, command(t, "dpkg-deb", "--contents", build(t)))
	for pattern, place := range places {
		sources, err := filepath.Glob("../../../packaging/" + pattern)
		if err != nil || sources == nil {
			t.Fatalf("packaging/%s: %q, %v", pattern, sources, err)
		}
		for _, source := range sources {
			if want := strings.Replace(place, "%s", filepath.Base(source), 1); !strings.Contains(files, " ."+want+"\n") {
				t.Errorf("%s is not installed as %s", source, want)
			}
		}
	}
}

// Whoever gets the program gets the licences of all that is linked into it.
func TestS9CopyrightNamesEveryModule(t *testing.T) {
	tree := t.TempDir()
	run(t, command(t, "dpkg-deb", "--extract", build(t), tree))
	info, err := buildinfo.ReadFile(filepath.Join(tree, "usr/sbin/gatemilter"))
	if err != nil {
		t.Fatal(err)
	}
	copyright, err := os.ReadFile(filepath.Join(tree, "usr/share/doc/gatemilter/copyright"))
	if err != nil {
		t.Fatal(err)
	}
	for _, module := range info.Deps {
		if !strings.Contains(string(copyright), "\nFiles: vendor/"+module.Path+"/*\n") {
			t.Errorf(`packaging/debian/copyright has no paragraph "Files: vendor/%s/*": write one, from the module's LICENSE`, module.Path)
		}
	}
	if len(info.Deps) == 0 {
		t.Error("the program says nothing of its modules")
	}
}

// Without Postfix the daemon runs too, as for Sendmail; and when Postfix comes, it finds its way to the sockets.
func TestS9PostfixComesLater(t *testing.T) {
	d := newDebian(t)
	d.install(build(t))
	d.wantOwner(sockets, "gatemilter:gatemilter 2750")
	d.wantClean()
	daemon := d.startDaemon()
	d.wantOwner(socket, "gatemilter:gatemilter 660")
	daemon.stop()

	d.installPostfix()
	d.wantOwner(sockets, "gatemilter:postfix 2750")
	d.wantAsked("gatemilter.service start", "gatemilter.service restart") // of those about our unit
	d.startDaemon()
	d.wantOwner(socket, "gatemilter:postfix 660")
	d.wantAnswer("postfix")

	d.installPostfix("--reinstall")
	d.wantAsked() // an upgrade of Postfix is no reason to restart
	d.wantAnswer("postfix")
}

func TestS9InstalledBesidePostfix(t *testing.T) {
	d := newPostfix(t)
	d.install(build(t))

	d.wantOwner("/usr/sbin/gatemilter", "root:root 755")
	d.wantOwner(config, "root:gatemilter 640")
	d.wantOwner(secrets, "root:gatemilter 750")
	d.wantOwner(confDir, "root:gatemilter 750")
	d.wantOwner(keys, "root:gatemilter 640")
	d.wantOwner(sockets, "gatemilter:postfix 2750")
	d.wantClean()
	if key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(d.read(keys))); err != nil || len(key) != 32 {
		t.Errorf("the key has %d octets, %v", len(key), err)
	}
	if got, want := d.run("gatemilter", "version"), "gatemilter "+d.version()+"\n"; got != want {
		t.Errorf("version: %q, want %q", got, want)
	}
	if out := d.run("systemd-analyze", "verify", "--man=no", "gatemilter.service"); out != "" {
		t.Errorf("systemd-analyze verify says:\n%s", out)
	}
	if out := d.run("systemctl", "--root=/", "is-enabled", "gatemilter.service"); out != "enabled\n" {
		t.Errorf("the unit is %q", out)
	}

	daemon := d.startDaemon()
	d.wantOwner(socket, "gatemilter:postfix 660")
	d.wantAnswer("postfix")
	if out, err := d.ask("www-data"); err == nil || !strings.Contains(out, "Permission denied") {
		t.Errorf("another user's way to the socket: %q, %v", out, err)
	}
	daemon.stop()

	d.run("rm", "-r", sockets)
	d.run("systemd-tmpfiles", "--create", "--boot", "gatemilter.conf") // as at each boot
	d.wantOwner(sockets, "gatemilter:postfix 2750")
}

// The README's steps lead to a Postfix that refuses mail around the gateway.
func TestS9PostfixAsksThePackagesDaemon(t *testing.T) {
	d := newPostfix(t)
	d.install(build(t))
	d.write(config, gateways)
	d.startDaemon()
	d.run("gatemilter", "mta-setup", "postfix", "--apply")
	replies := d.run("/bin/sh", "-c", smtpSession, "sh",
		"EHLO client.test",
		"XCLIENT ADDR=203.0.113.66 NAME=[UNAVAILABLE]",
		"EHLO client.test",
		"MAIL FROM:<sender@friend.example>",
		"RCPT TO:<user@example.com>")
	if want := "550 5.7.1 "; !strings.HasPrefix(lastLine(replies), want) {
		t.Errorf("around the gateway, RCPT is answered\n%s\nwant %s", replies, want)
	}
}

// An upgrade leaves the daemon alone until the new files are there, restarts it once, and keeps what the
// administrator wrote.
func TestS9UpgradeKeepsTheConfiguration(t *testing.T) {
	d := newPostfix(t)
	first := build(t)
	d.install(first)
	d.wantAsked("gatemilter.service start")
	d.write(config, gateways)
	d.write(secrets+"/alice", "hunter2\n")
	d.startDaemon()
	key := d.read(keys)

	d.install(later(t, first, "+b", nil))
	if got := d.read(config); got != gateways {
		t.Errorf("the configuration was changed:\n%s", cmp.Diff(gateways, got))
	}
	if d.read(keys) != key {
		t.Error("the upgrade has replaced the key")
	}
	d.wantAsked("gatemilter.service restart")
	d.wantAnswer("postfix")

	// Where the package's configuration has changed as well, dpkg asks, unless it was told the answer.
	d.install(later(t, first, "+c", func(tree string) {
		appendTo(t, filepath.Join(tree, config), "; news\n")
	}), "-o", "DPkg::Options::=--force-confold")
	if got := d.read(config); got != gateways {
		t.Errorf("the configuration was changed:\n%s", cmp.Diff(gateways, got))
	}
	if news := d.read(config + ".dpkg-dist"); !strings.HasSuffix(news, "; news\n") {
		t.Error("the new configuration is not beside the old one")
	}
	d.wantOwner(config, "root:gatemilter 640")
	d.wantOwner(secrets, "root:gatemilter 750")
	d.wantAsked("gatemilter.service restart")
	d.wantAnswer("postfix")
}

// Removing the package keeps the configuration, and purging it leaves nothing but the locked user, with and without
// Postfix.
func TestS9PurgeLeavesNothing(t *testing.T) {
	for name, system := range map[string]func(*testing.T) *debian{"without Postfix": newDebian, "with Postfix": newPostfix} {
		d := system(t)
		before := d.listing()
		d.install(build(t))
		d.write(config, gateways)
		d.write(secrets+"/alice", "hunter2\n")
		d.write(confDir+"/users.conf", "[user alice]\n")
		d.run("install", "-d", "-o", "gatemilter", "-g", "gatemilter", "-m", "0700", state) // as StateDirectory= does
		for _, file := range []string{state + "/identities.db", state + "/identities.db-wal", state + "/identities.snapshot", keys + ".ab12CD"} {
			d.write(file, "x")
		}
		key := d.read(keys)
		d.startDaemon().kill() // so that its socket stays behind
		d.wantAsked("gatemilter.service start")

		d.run("apt-get", "-y", "remove", "gatemilter")
		d.wantAsked("gatemilter.service stop")
		for _, gone := range []string{"/usr/sbin/gatemilter", sockets} {
			if _, err := os.Lstat(d.path(gone)); err == nil {
				t.Errorf("removed, and %s is still there", gone)
			}
		}
		if d.read(config) != gateways || d.read(secrets+"/alice") != "hunter2\n" || d.read(keys) != key || d.read(state+"/identities.db") != "x" {
			t.Error("the removal changed the configuration, the key or the database")
		}

		d.run("apt-get", "-y", "purge", "gatemilter")
		if diff := cmp.Diff(before, d.listing()); diff != "" {
			t.Errorf("%s, before and after differ:\n%s", name, diff)
		}
		for file, want := range map[string]string{
			"/etc/passwd": ":/nonexistent:/usr/sbin/nologin\n",
			"/etc/shadow": "gatemilter:!*:",
		} {
			if !strings.Contains(d.read(file), want) {
				t.Errorf("%s has no %q: the user should be there, locked", file, want)
			}
		}
	}
}

// Without gatemilter, a Postfix that asks it defers all mail.
func TestS9RemovalWarnsOfPostfix(t *testing.T) {
	d := newPostfix(t)
	d.install(build(t))
	d.run("gatemilter", "mta-setup", "postfix", "--apply")
	const warning = "Postfix still asks gatemilter"
	if out := d.run("apt-get", "-y", "remove", "gatemilter"); !strings.Contains(out, warning) {
		t.Errorf("no warning in\n%s", out)
	}
	d.install(build(t))
	d.run("gatemilter", "mta-setup", "postfix", "--remove")
	if out := d.run("apt-get", "-y", "remove", "gatemilter"); strings.Contains(out, warning) {
		t.Errorf("a warning for nothing in\n%s", out)
	}
}

// wantClean fails unless the daemon's user finds its configuration without errors and warnings.
func (d *debian) wantClean() {
	d.t.Helper()
	out := d.run(append(asUser("gatemilter"), "gatemilter", "check")...)
	if !strings.HasPrefix(out, config+": no errors, 0 warnings,") {
		d.t.Errorf("check says:\n%s", out)
	}
}

// wantOwner fails unless a file has this "user:group mode".
func (d *debian) wantOwner(path, want string) {
	d.t.Helper()
	if got := strings.TrimSpace(d.run("stat", "-c", "%U:%G %a", path)); got != want {
		d.t.Errorf("%s: %s, want %s", path, got, want)
	}
}

// wantAnswer fails unless the daemon answers a user of the system.
func (d *debian) wantAnswer(user string) {
	d.t.Helper()
	if out, err := d.ask(user); err != nil || out != "O" {
		d.t.Errorf("the user %s asked the daemon and got %q, %v", user, out, err)
	}
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}

func appendTo(t *testing.T, path, text string) {
	t.Helper()
	old, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, append(bytes.Clone(old), text...), 0)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// needTools installs what the tests themselves use.
func needTools(t *testing.T) {
	t.Helper()
	if err := lab.NeedPackages(t.Context(), t.Logf, "build-essential", "debhelper", "lintian", "debootstrap"); err != nil {
		t.Fatal(err)
	}
}
