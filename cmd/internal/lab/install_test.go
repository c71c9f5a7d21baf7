package lab

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// TestInstalled also holds after an installation by NeedPostfix: nothing runs, and nothing stays behind.
func TestInstalled(t *testing.T) {
	needPostfix(t)
	if text, err := os.ReadFile(policyFile); err == nil && string(text) == policyText {
		t.Errorf("%s is left over", policyFile)
	}
	if missing, err := missingPackages([]string{"postfix", "libsasl2-modules"}); missing != nil || err != nil {
		t.Errorf("missing %v, error %v", missing, err)
	}
	if _, err := uidOf("postfix"); err != nil {
		t.Error(err)
	}
}

// TestPrivate: an instance changes nothing of the system's Postfix, and does not start or stop it.
func TestPrivate(t *testing.T) {
	needPostfix(t)
	before := snapshot(t, systemConfig)
	p, err := Start(t.Context(), Config{Mailboxes: []string{"alice@lab.test"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Sendmail(t.Context(), "Subject: hello\n", "alice@lab.test"); err != nil {
		t.Error(err)
	}
	if err := p.Stop(); err != nil {
		t.Error(err)
	}
	if after := snapshot(t, systemConfig); before != after {
		t.Errorf("the system's Postfix was changed from\n%s\nto\n%s", before, after)
	}
}

// snapshot tells every file below dir with its mode and time, and whether the system's master(8) runs.
func snapshot(t *testing.T, dir string) string {
	t.Helper()
	running, err := newFamily(filepath.Join(systemQueue, pidFile))
	all := fmt.Sprintln(running, err)
	err = filepath.Walk(dir, func(path string, info fs.FileInfo, err error) error {
		if err == nil {
			all += fmt.Sprintln(path, info.Mode(), info.ModTime())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
