package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// unpack downloads Debian's packages and unpacks them to a new directory root, below labCache. That installs nothing: no
// script runs, and what the system has stays as it is.
func unpack(ctx context.Context, root string, packages []string) error {
	debs := filepath.Join(root, "deb")
	if err := errors.Join(os.RemoveAll(root), os.MkdirAll(debs, 0o755), os.Chmod(labCache, 0o755)); err != nil {
		return err
	}
	err := aptDownload(ctx, debs, packages)
	if err != nil { // the lists may be missing, or name files that are gone
		if err = run(command(ctx, "apt-get", "-q", "update"), nil); err == nil {
			err = aptDownload(ctx, debs, packages)
		}
	}
	if err != nil {
		return err
	}
	for _, name := range packages {
		found, err := filepath.Glob(filepath.Join(debs, name+"_*.deb"))
		if err != nil || len(found) != 1 {
			return fmt.Errorf("downloaded %q, want one package %s", found, name)
		}
		if err := run(command(ctx, "dpkg", "-x", found[0], root), nil); err != nil {
			return err
		}
	}
	return errors.Join(os.Chmod(root, 0o755), os.RemoveAll(debs))
}

func aptDownload(ctx context.Context, dir string, packages []string) error {
	cmd := command(ctx, "apt-get", append([]string{"-q", "download"}, packages...)...)
	cmd.Dir = dir
	return run(cmd, nil)
}

// unpackOnce has packages unpacked to root by do, unless the file complete says that this was done by an earlier run. The
// installing is what other processes wait for.
func unpackOnce(ctx context.Context, logf func(format string, args ...any), packages []string, root, complete string, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, installLimit)
	defer cancel()
	unlock, err := lockInstall(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := os.Stat(complete); err == nil {
		return nil
	}
	logf("lab: unpacking Debian's %s to %s", strings.Join(packages, ", "), root)
	if err := do(ctx); err != nil {
		return fmt.Errorf("%w\nsee that apt-get download works, or fill %s yourself", err, root)
	}
	return os.WriteFile(complete, nil, 0o644)
}
