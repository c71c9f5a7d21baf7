package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"gatemilter/cmd/internal/lab"
	"gatemilter/policy/config"
)

// A journald is a real systemd-journald of a test's own. It needs no systemd: it makes its
// sockets itself where none are handed to it. They are in /run/systemd/journal, which is why
// such a test runs in a mount namespace, where that and the journal itself are empty
// filesystems in memory.
type journald struct {
	t   *testing.T
	cmd *exec.Cmd
}

// inNamespace tells the test in the namespace from the one that waits for it.
const inNamespace = "GATEMILTER_TEST_NAMESPACE"

// withJournald runs the test with a journald.
func withJournald(t *testing.T, test func(*journald)) {
	if os.Getenv(inNamespace) == t.Name() {
		j := &journald{t: t}
		j.mount()
		j.start()
		t.Cleanup(j.kill)
		test(j)
		return
	}
	if err := lab.NeedPackages(t.Context(), t.Logf, "systemd"); err != nil {
		t.Fatal(err)
	}
	again := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.v", "-test.run", "^"+t.Name()+"$")
	again.Env = append(os.Environ(), inNamespace+"="+t.Name())
	again.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	out, err := again.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("--- PASS: "+t.Name())) {
		t.Errorf("in the namespace: %v\n%s", err, out)
	}
}

// journaldConfig keeps it from the kernel's log, its audit, and terminals, and lets it take
// as much as comes.
const journaldConfig = `[Journal]
Storage=volatile
ReadKMsg=no
Audit=
ForwardToWall=no
RateLimitIntervalSec=0
`

func (j *journald) mount() {
	for _, dir := range []string{"/run/systemd", "/run/log", "/var/lib/systemd/catalog"} {
		j.must(os.MkdirAll(dir, 0o755))
		j.must(syscall.Mount("tmpfs", dir, "tmpfs", 0, "mode=755"))
	}
	j.must(os.Mkdir("/run/log/journal", 0o755))
	file := filepath.Join(j.t.TempDir(), "journald.conf")
	j.must(os.WriteFile(file, []byte(journaldConfig), 0o644))
	j.must(syscall.Mount(file, "/etc/systemd/journald.conf", "", syscall.MS_BIND, ""))
}

func (j *journald) start() {
	os.Remove(journalPath)
	j.cmd = exec.Command("/lib/systemd/systemd-journald")
	j.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	j.cmd.Stderr = os.Stderr
	j.must(j.cmd.Start())
	j.must(lab.Until(j.t.Context(), "the journal's socket", func() bool {
		s, err := dialJournal(journalPath)
		if err == nil {
			s.conn.Close()
		}
		return err == nil
	}))
}

func (j *journald) kill() {
	j.cmd.Process.Kill()
	j.cmd.Wait()
}

func (j *journald) must(err error) {
	j.t.Helper()
	if err != nil {
		j.t.Fatal(err)
	}
}

// log opens the log of a daemon whose configuration wants the journal.
func (j *journald) log() *eventLog {
	return newEventLog(config.Log{Target: "journal", Format: "console", Level: "debug"}, os.Stderr)
}

// journalctl runs it on the journal, once all that was sent has been taken.
func (j *journald) journalctl(args ...string) string {
	j.t.Helper()
	for _, arguments := range [][]string{{"--sync"}, append([]string{"--no-pager", "--quiet", "-D", "/run/log/journal"}, args...)} {
		cmd := exec.CommandContext(j.t.Context(), "journalctl", arguments...)
		out, err := cmd.Output()
		if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && len(exit.Stderr) > 0 || err != nil && len(out) > 0 {
			j.t.Fatalf("journalctl %q: %v\n%s", arguments, err, exit.Stderr)
		}
		if arguments[0] != "--sync" {
			return string(out)
		}
	}
	return ""
}

// entries are what the journal holds of gatemilter, without the journal's own fields. A
// value is a string, a list of them, or of octets where it isn't text.
func (j *journald) entries(matches ...string) (list []map[string]any) {
	j.t.Helper()
	text := j.journalctl(append([]string{"-o", "json", "--all", "-t", journalIdentifier}, matches...)...)
	for line := range strings.Lines(text) {
		var entry map[string]any
		j.must(json.Unmarshal([]byte(line), &entry))
		for name := range entry {
			if name[0] == '_' {
				delete(entry, name)
			}
		}
		list = append(list, entry)
	}
	return list
}

// serve runs the test again as a daemon, with stderr as systemd gives it to a service, and
// stops it once it serves.
func (j *journald) serve(configuration string) {
	dir := j.t.TempDir()
	path, socket := filepath.Join(dir, "gatemilter.conf"), filepath.Join(dir, "m.sock")
	j.must(os.WriteFile(path, []byte("[server]\nmilter = unix:"+socket+"\nauthserv_id = mx.example.com\n"+configuration), 0o600))
	cmd := exec.Command("systemd-cat", "-t", "a-service", "sh", "-c", `JOURNAL_STREAM=$(stat -L -c %d:%i /proc/self/fd/2) exec "$@"`, "sh", "/proc/self/exe")
	cmd.Args[len(cmd.Args)-1] = must(os.Executable())
	cmd.Args = append(cmd.Args, "-test.run", "^"+j.t.Name()+"$")
	cmd.Env = append(os.Environ(), serveConfig+"="+path)
	j.must(cmd.Start())
	j.must(lab.Until(j.t.Context(), "the socket", func() bool { _, err := os.Stat(socket); return err == nil }))
	j.must(cmd.Process.Signal(syscall.SIGTERM))
	j.must(cmd.Wait())
}

// serveConfig is the configuration of a daemon that a test has started.
const serveConfig = "GATEMILTER_TEST_SERVE"

// serving runs the daemon in a process that serve has started.
func serving(t *testing.T) bool {
	path := os.Getenv(serveConfig)
	if path == "" {
		return false
	}
	if err := Run(context.Background(), "1.2.3", path, os.Stderr); err != nil {
		t.Fatal(err)
	}
	return true
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
