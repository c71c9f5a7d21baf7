package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"gatemilter/cmd/internal/lab"
)

// README.Debian has root copy the database while the daemon is stopped: it can, and leaves nothing
// in the way of the user to whom it belongs.
func TestU6RootCopiesTheDatabase(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("files of other users need root: run as root")
	}
	if err := lab.NeedPackages(t.Context(), t.Logf, "sqlite3"); err != nil {
		t.Fatal(err)
	}
	const uid = 12345
	h := newIdentityHost(t, "")
	state, copied := filepath.Join(h.dir, "state"), filepath.Join(h.dir, "copy.db")
	for dir := h.dir; dir != "/tmp" && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chown(state, uid, uid); err != nil {
		t.Fatal(err)
	}
	if said, done := h.run("", "add", "alice@example.com", "alice@partner.example"); !done {
		t.Fatal(said)
	}
	if out, err := exec.CommandContext(t.Context(), "sqlite3", filepath.Join(state, "identities.db"), ".backup "+copied).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, path := range must(filepath.Glob(filepath.Join(state, "*"))) {
		if owner := must(os.Stat(path)).Sys().(*syscall.Stat_t); owner.Uid != uid {
			t.Errorf("%s belongs to %d", path, owner.Uid)
		}
	}
	if !bytes.Contains(must(os.ReadFile(copied)), []byte("alice@partner.example")) {
		t.Error("the copy lacks an address")
	}
	if said, done := h.run("", "disable", "alice@example.com", "alice@partner.example"); !done {
		t.Error(said)
	}
}
