package lab

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	got, err := parseStat("42 (a) R (b) S 1 40 39 0 -1 4194560 6 7 8 9 10 11 12 13 20 0 1 0 987654 1 2 3\n")
	if want := (process{42, "S", 40, "987654", 210 * time.Millisecond, 1}); err != nil || got != want {
		t.Errorf("%+v, %v; want %+v", got, err, want)
	}
	for _, text := range []string{"", "42 (a) S 1 40", "42 a S 1 40", "x (a) S 1 40 39 0 -1 4194560 6 7 8 9 10 11 12 13 20 0 1 0 987654", ") ("} {
		if got, err := parseStat(text); err == nil {
			t.Errorf("%q: %+v", text, got)
		}
	}
}

func TestFamily(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "sh", "-c", "cat <&0 & cat") // some processes, until their input ends
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdin, err := cmd.StdinPipe()
	noError(t, err)
	noError(t, cmd.Start())
	pidFile := filepath.Join(t.TempDir(), "master.pid")
	noError(t, os.WriteFile(pidFile, []byte("  "+strconv.Itoa(cmd.Process.Pid)+"\n"), 0o644))

	f, err := newFamily(pidFile)
	if err != nil || f.master != cmd.Process.Pid || !f.has(f.master) {
		t.Fatalf("%+v, %v; want the one of process %d", f, err, cmd.Process.Pid)
	}
	noError(t, Until(t.Context(), "two members", func() bool { return len(f.members()) >= 2 }))
	if f := (family{f.master, "another time"}); len(f.members()) > 0 {
		t.Errorf("processes %v belong to an earlier owner of their group's number", f.members())
	}
	if f := (family{}); len(f.members()) > 0 {
		t.Errorf("no family has members %v", f.members())
	}
	noError(t, stdin.Close())
	noError(t, Until(t.Context(), "all to end, and the master to be left as a zombie", func() bool { return len(f.members()) == 0 }))
	if p, err := processAt("/proc/" + strconv.Itoa(f.master)); err != nil || p.state != "Z" {
		t.Errorf("master %+v, %v", p, err)
	}
	noError(t, cmd.Wait())
	if f, err := newFamily(pidFile); err == nil {
		t.Errorf("%+v was born of a pid file without a process", f)
	}
}
