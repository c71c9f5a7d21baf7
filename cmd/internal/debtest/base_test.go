package debtest

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"gatemilter/cmd/internal/lab"
)

const (
	// cache keeps the systems that the tests begin with, so that only their first run needs a mirror.
	cache    = "/var/cache/gatemilter-lab"
	codename = "bookworm" // Debian 12
	// policy, at policyPath, forbids maintainer scripts to start services (invoke-rc.d(8)), and notes in policyLog what
	// they wanted.
	policyPath = "/usr/sbin/policy-rc.d"
	policy     = "#!/bin/sh\necho \"$*\" >> " + policyLog + "\nexit 101\n"
	policyLog  = "/var/log/policy-rc.d"
)

// recipe turns an empty directory, $1, into a small Debian with systemd and procps, which every Debian machine has, and
// with the packages of Postfix at hand but not installed. /run/systemd/system is there where systemd runs: so
// maintainer scripts do what they do on a running system. Without package lists apt is fast, and dpkg need not wait for
// the disk.
const recipe = `set -e
debootstrap --variant=minbase --include=systemd,procps ` + codename + ` "$1" "$2"
chroot "$1" apt-get clean
chroot "$1" apt-get -q -y --no-install-recommends --download-only install postfix libsasl2-modules
rm -r "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/*.bin
mkdir -p "$1/run/systemd/system"
echo force-unsafe-io > "$1/etc/dpkg/dpkg.cfg.d/unsafe-io"
printf '%s' "$3" > "$1` + policyPath + `"
chmod 755 "$1` + policyPath + `"
`

// small returns the path of a tar file with the system of [recipe].
func small(t *testing.T) string {
	t.Helper()
	needTools(t)
	mirror := mirror(t)
	return cached(t, recipe+mirror+policy, func() string {
		t.Logf("making a small Debian %s from %s, once, in %s", codename, mirror, cache)
		root := tempDir(t)
		run(t, command(t, "/bin/sh", "-c", recipe, "sh", root, mirror, policy))
		return root
	})
}

// withPostfix returns the path of a tar file with that system, and Postfix installed.
func withPostfix(t *testing.T) string {
	t.Helper()
	system := small(t)
	return cached(t, system+" postfix", func() string {
		d := unpack(t, system)
		d.installPostfix()
		d.run("rm", policyLog)
		return d.root
	})
}

// cached returns the path of a tar file with what was made of these ingredients. If it isn't there, create returns a
// directory with it.
func cached(t *testing.T, ingredients string, create func() (dir string)) (path string) {
	t.Helper()
	if err := os.MkdirAll(cache, 0o755); err != nil {
		t.Fatal(err)
	}
	key := sha256.Sum256([]byte(ingredients))
	path = filepath.Join(cache, fmt.Sprintf("%s-%x.tar", codename, key[:6]))
	defer lock(t, path+".lock")()
	if _, err := os.Stat(path); err == nil {
		return path
	}
	dir := create()
	unfinished := filepath.Join(tempDir(t), "tar")
	run(t, command(t, "tar", "-C", dir, "--numeric-owner", "-cf", unfinished, "."))
	if err := os.Rename(unfinished, path); err != nil {
		t.Fatal(err)
	}
	return path
}

// mirror is where this machine gets Debian from, or else everybody.
func mirror(t *testing.T) string {
	t.Helper()
	out := run(t, command(t, "apt-get", "indextargets", "--format", "$(CODENAME) $(COMPONENT) $(REPO_URI)", "Created-By: Packages"))
	for line := range strings.Lines(out) {
		if uri, ok := strings.CutPrefix(line, codename+" main "); ok {
			return strings.TrimSpace(uri)
		}
	}
	return "http://deb.debian.org/debian/"
}

// lock waits until no other test binary makes the same.
func lock(t *testing.T, path string) (unlock func()) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute) // a mirror may be slow
	defer cancel()
	err = lab.Until(ctx, path, func() bool { return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil })
	if err != nil {
		t.Fatal(err)
	}
	return func() { f.Close() }
}

// tempDir is a directory for the test. It is beside the cache because a system in it needs devices, and room, which
// /tmp may not have.
func tempDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp(cache, "test-")
	if err == nil {
		err = os.Chmod(dir, 0o755) // it may become a root directory, which everybody has to pass
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}
