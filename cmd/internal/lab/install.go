package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

const (
	// installLock keeps test binaries that run side by side from installing at the same time. In /run only root can
	// put something in its place.
	installLock = "/run/gatemilter-lab.lock"
	// installLimit bounds an installation, and waiting for another's: package lists and packages may come slowly.
	installLimit = 10 * time.Minute
	// policyFile is asked by Debian's maintainer scripts before they start a service; 101 forbids it
	// (invoke-rc.d(8)).
	policyFile    = "/usr/sbin/policy-rc.d"
	policyForbids = 101
	policyText    = "#!/bin/sh\n# Written by gatemilter's tests while they install packages; may be deleted.\nexit 101\n"
)

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
func install(ctx context.Context, packages []debianPackage) error {
	allow, err := forbidServices(ctx)
	if err != nil {
		return err
	}
	defer allow()
	var names []string
	for _, p := range packages {
		if p.answers != "" {
			if err := run(command(ctx, "debconf-set-selections"), strings.NewReader(p.answers)); err != nil {
				return err
			}
		}
		names = append(append(names, p.name), p.with...)
	}
	if err = aptInstall(ctx, names); err != nil { // the lists may be missing, or name files that are gone
		if err = run(command(ctx, "apt-get", "-q", "update"), nil); err == nil {
			err = aptInstall(ctx, names)
		}
	}
	if err != nil {
		return fmt.Errorf("%w\ninstall %s yourself", err, list(packages))
	}
	for _, p := range packages {
		err = errors.Join(err, p.checkStopped())
	}
	return err
}

func aptInstall(ctx context.Context, names []string) error {
	return run(command(ctx, "apt-get", append([]string{"-q", "-y",
		"--no-remove", // another mail server would have to go
		"--no-install-recommends",
		"-o", "DPkg::Lock::Timeout=120",
		"install"}, names...)...), nil)
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
	err = command(ctx, policyFile, "any-service", "start").Run()
	if errors.As(err, &exit) && exit.ExitCode() == policyForbids {
		return func() {}, nil
	}
	return nil, fmt.Errorf("%q would let an installation start services: install the packages yourself", policyFile)
}
