package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	systemConfig = "/etc/postfix"
	systemQueue  = "/var/spool/postfix"
	// installLock keeps test binaries that run side by side from installing at the same time. In /run only root can
	// put something in its place.
	installLock = "/run/gatemilter-lab.lock"
	// installLimit bounds an installation, and waiting for another's: package lists and packages may come slowly.
	installLimit = 10 * time.Minute
	// policyFile is asked by Debian's maintainer scripts before they start a service; 101 forbids it
	// (invoke-rc.d(8)).
	policyFile    = "/usr/sbin/policy-rc.d"
	policyForbids = 101
	policyText    = "#!/bin/sh\n# Written by gatemilter's tests while they install Postfix; may be deleted.\nexit 101\n"
)

// NeedPostfix returns nil if Postfix is installed. If it is not, it installs Debian's package, unconfigured and without
// starting it, and tells logf so. It refuses to install where that would remove another mail server, touch an existing
// /etc/postfix, or start a service.
func NeedPostfix(ctx context.Context, logf func(format string, args ...any)) error {
	if err := needRoot(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, installLimit)
	defer cancel()
	unlock, err := lockInstall(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := os.Stat(program("postfix")); err == nil {
		return nil
	}
	if _, err := exec.LookPath("apt-get"); err != nil {
		return errors.New("postfix is not installed and there is no apt-get to install it: install Postfix 3.7 or newer")
	}
	if _, err := os.Lstat(systemConfig); err == nil {
		return fmt.Errorf("postfix is not installed, but %q is there and an installation would change it: "+
			"install postfix yourself, or move the directory away", systemConfig)
	}
	logf("lab: installing the Debian package postfix, unconfigured and not started")
	return install(ctx)
}

// lockInstall waits for the lock, which also ends with its process.
func lockInstall(ctx context.Context) (unlock func(), err error) {
	f, err := os.OpenFile(installLock, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	err = Until(ctx, "the lock "+installLock, func() bool {
		return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil
	})
	if err != nil {
		f.Close()
		return nil, err
	}
	return func() { f.Close() }, nil
}

// install runs apt-get, first with the package lists as they are, then with new ones.
func install(ctx context.Context) error {
	allow, err := forbidServices(ctx)
	if err != nil {
		return err
	}
	defer allow()
	answer := strings.NewReader("postfix postfix/main_mailer_type select No configuration\n")
	if err := run(command(ctx, "debconf-set-selections"), answer); err != nil {
		return err
	}
	if err = aptInstall(ctx); err != nil { // the lists may be missing, or name files that are gone
		if err = run(command(ctx, "apt-get", "-q", "update"), nil); err == nil {
			err = aptInstall(ctx)
		}
	}
	if err != nil {
		return fmt.Errorf("%w\ninstall postfix yourself", err)
	}
	if _, err := newFamily(filepath.Join(systemQueue, pidFile)); err == nil {
		return errors.New("the installation started the system's Postfix: stop it (postfix stop)")
	}
	return nil
}

func aptInstall(ctx context.Context) error {
	return run(command(ctx, "apt-get", "-q", "-y",
		"--no-remove", // another mail server would have to go
		"--no-install-recommends",
		"-o", "DPkg::Lock::Timeout=120",
		"install",
		"postfix",
		"libsasl2-modules", // without it Postfix's smtp client knows no login mechanism
	), nil)
}

// forbidServices makes sure that package scripts start nothing, until allow is called. A policy that is there already
// must forbid it by itself: it belongs to somebody.
func forbidServices(ctx context.Context) (allow func(), err error) {
	f, err := os.OpenFile(policyFile, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if errors.Is(err, fs.ErrExist) {
		return adoptPolicy(ctx)
	}
	if err != nil {
		return nil, err
	}
	allow = func() { os.Remove(policyFile) }
	_, err = f.WriteString(policyText)
	if err := errors.Join(err, f.Chmod(0o755), f.Close()); err != nil {
		allow()
		return nil, err
	}
	return allow, nil
}

// adoptPolicy takes over a policy that an earlier, killed run of ours left behind, and checks any other.
func adoptPolicy(ctx context.Context) (allow func(), err error) {
	text, err := os.ReadFile(policyFile)
	if err != nil {
		return nil, err
	}
	if string(text) == policyText {
		return func() { os.Remove(policyFile) }, nil
	}
	var exit *exec.ExitError
	err = command(ctx, policyFile, "postfix", "start").Run()
	if errors.As(err, &exit) && exit.ExitCode() == policyForbids {
		return func() {}, nil
	}
	return nil, fmt.Errorf("%q would let the installation start Postfix: install postfix yourself", policyFile)
}
