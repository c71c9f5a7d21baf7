package debtest

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// ownState is what dpkg, apt and the tools that they call write for themselves, and what the test does.
var ownState = []string{
	"/proc", "/tmp",
	"/var/lib/dpkg", "/var/lib/apt", "/var/cache/apt", "/var/cache/debconf", "/var/log",
	// What these files were before the user was made.
	"/etc/passwd-", "/etc/group-", "/etc/shadow-", "/etc/gshadow-",
}

// accounts are the files in which the user stays.
var accounts = []string{"/etc/passwd", "/etc/group", "/etc/shadow", "/etc/gshadow"}

// listing is the kind, mode, owner and contents of every file of the system, but for [ownState].
func (d *debian) listing() map[string]string {
	d.t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(d.root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(path, d.root)
		if slices.Contains(ownState, name) {
			if entry.IsDir() {
				return filepath.SkipDir
			}
			return nil
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		owner := info.Sys().(*syscall.Stat_t)
		contents, err := contents(path, name, info.Mode())
		files[name] = fmt.Sprintf("%v %d:%d %s", info.Mode(), owner.Uid, owner.Gid, contents)
		return err
	})
	if err != nil {
		d.t.Fatal(err)
	}
	return files
}

// contents is a word for what is in a file, or where a link leads.
func contents(path, name string, mode fs.FileMode) (string, error) {
	switch {
	case mode&fs.ModeSymlink != 0:
		return os.Readlink(path)
	case !mode.IsRegular():
		return "", nil
	}
	text, err := os.ReadFile(path)
	if slices.Contains(accounts, name) {
		text = withoutUser(text)
	}
	return fmt.Sprintf("%x", sha256.Sum256(text)), err
}

func withoutUser(text []byte) []byte {
	var others []byte
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "gatemilter:") {
			others = append(others, line...)
		}
	}
	return others
}
