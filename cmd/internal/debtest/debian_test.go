package debtest

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"gatemilter/cmd/internal/lab"
)

// A debian is a fresh Debian system in a directory of its own. What runs in it is chrooted there, with processes,
// mounts and network (of which there is none) of its own. So nothing of it reaches this machine, and nothing stays
// mounted, even if the test is killed: the kernel takes a process's mounts away with it.
type debian struct {
	t    *testing.T
	root string
}

// newDebian is a system without Postfix.
func newDebian(t *testing.T) *debian { return unpack(t, small(t)) }

// newPostfix is a system with Postfix, as Debian configures it.
func newPostfix(t *testing.T) *debian { return unpack(t, withPostfix(t)) }

func unpack(t *testing.T, system string) *debian {
	t.Helper()
	d := &debian{t, tempDir(t)}
	run(t, command(t, "tar", "-C", d.root, "--numeric-owner", "-xpf", system))
	return d
}

// enter mounts /proc, which belongs to the system's own processes, brings the loopback interface up, without which
// Postfix can't be installed (SIOCSIFFLAGS, as there is no ip(8)), and then is the command.
const enter = `mount -t proc proc /proc &&
perl -e 'use Socket; socket(S, AF_INET, SOCK_DGRAM, 0); $up = pack("a16 s x22", "lo", 1); ioctl(S, 0x8914, $up) or die' &&
exec "$@"`

func (d *debian) command(args ...string) *exec.Cmd {
	cmd := exec.CommandContext(d.t.Context(), "/bin/sh", append([]string{"-c", enter, "sh"}, args...)...)
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", "HOME=/root", "DEBIAN_FRONTEND=noninteractive"}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Chroot:       d.root,
		Cloneflags:   syscall.CLONE_NEWPID | syscall.CLONE_NEWNET | syscall.CLONE_NEWIPC,
		Unshareflags: syscall.CLONE_NEWNS,
		Pdeathsig:    syscall.SIGKILL,
	}
	return cmd
}

// run returns what a command in the system prints.
func (d *debian) run(args ...string) string {
	d.t.Helper()
	return run(d.t, d.command(args...))
}

// install installs a package of this machine, with options of apt-get. What it depends on has to be there.
func (d *debian) install(deb string, options ...string) {
	d.t.Helper()
	const inside = "/tmp/package.deb"
	run(d.t, command(d.t, "cp", deb, d.path(inside)))
	d.aptInstall(append(options, inside)...)
	if err := os.Remove(d.path(inside)); err != nil {
		d.t.Fatal(err)
	}
}

// installPostfix installs Postfix, with its dependencies and options of apt-get, from the packages at hand.
func (d *debian) installPostfix(options ...string) {
	d.t.Helper()
	debs, err := filepath.Glob(d.path("/var/cache/apt/archives/*.deb"))
	if err != nil || debs == nil {
		d.t.Fatalf("the packages of Postfix: %q, %v", debs, err)
	}
	for _, deb := range debs {
		options = append(options, strings.TrimPrefix(deb, d.root))
	}
	d.aptInstall(options...)
}

func (d *debian) aptInstall(args ...string) {
	d.t.Helper()
	d.run(append([]string{"apt-get", "-q", "-y", "--no-install-recommends", "install"}, args...)...)
}

// version is that of the installed package.
func (d *debian) version() string { return d.run("dpkg-query", "-W", "-f", "${Version}", "gatemilter") }

// path is where a file of the system is for us.
func (d *debian) path(name string) string { return filepath.Join(d.root, name) }

func (d *debian) read(name string) string {
	d.t.Helper()
	text, err := os.ReadFile(d.path(name))
	if err != nil {
		d.t.Fatal(err)
	}
	return string(text)
}

// write changes a file as an editor does that keeps its owner and mode, or makes one.
func (d *debian) write(name, text string) {
	d.t.Helper()
	if err := os.WriteFile(d.path(name), []byte(text), 0o640); err != nil {
		d.t.Fatal(err)
	}
}

// wantAsked fails unless maintainer scripts wanted this to be done with our service, since it was last asked.
func (d *debian) wantAsked(want ...string) {
	d.t.Helper()
	var got []string
	for line := range strings.Lines(d.read(policyLog)) {
		if strings.HasPrefix(line, "gatemilter") {
			got = append(got, strings.TrimSpace(line))
		}
	}
	if strings.Join(got, ", ") != strings.Join(want, ", ") {
		d.t.Errorf("maintainer scripts wanted %q, want %q", got, want)
	}
	d.write(policyLog, "")
}

// asUser begins a command that runs as a user of the system and without any privilege.
func asUser(name string) []string {
	return []string{"setpriv", "--reuid=" + name, "--regid=" + name, "--init-groups", "--no-new-privs", "--inh-caps=-all", "--pdeathsig=KILL"}
}

// A daemon is the package's, running as its unit says but for the sandbox.
type daemon struct {
	d     *debian
	cmd   *exec.Cmd
	ended chan error
}

// startDaemon starts the daemon and waits for its socket.
func (d *debian) startDaemon() *daemon {
	d.t.Helper()
	unit := d.read("/lib/systemd/system/gatemilter.service")
	r := &daemon{d, d.command(append(asUser(setting(unit, "User")), strings.Fields(setting(unit, "ExecStart"))...)...), make(chan error, 1)}
	var log bytes.Buffer
	r.cmd.Stdout, r.cmd.Stderr = &log, &log
	if err := r.cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	go func() { r.ended <- r.cmd.Wait() }()
	err := lab.Until(d.t.Context(), socket, func() bool {
		_, err := os.Lstat(d.path(socket))
		return err == nil || len(r.ended) > 0
	})
	if err != nil || len(r.ended) > 0 {
		r.kill()
		d.t.Fatalf("%q does not listen: %v\n%s", r.cmd.Args, err, log.String())
	}
	d.t.Cleanup(r.kill)
	return r
}

// stop ends the daemon as systemd does.
func (r *daemon) stop() {
	r.d.t.Helper()
	if err := r.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		r.d.t.Fatal(err)
	}
	err := <-r.ended
	r.ended <- err
	if err != nil {
		r.d.t.Errorf("the daemon ends with %v", err)
	}
}

// kill ends the daemon, if it lives, at once.
func (r *daemon) kill() {
	r.cmd.Process.Kill()
	r.ended <- <-r.ended
}

// setting is the value of a key of a unit file.
func setting(unit, key string) string {
	for line := range strings.Lines(unit) {
		if value, ok := strings.CutPrefix(line, key+"="); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
