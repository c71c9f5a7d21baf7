package lab

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// RemoveCgroup ends what is left in a control group (cgroups(7), version 2) and in those below it, and removes them.
func RemoveCgroup(ctx context.Context, name string) error {
	var failed error
	for _, root := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} { // where version 1 is mounted, too
		root = filepath.Join(root, name)
		os.WriteFile(filepath.Join(root, "cgroup.kill"), []byte("1"), 0) // if it is there at all
		var dirs []string
		filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				dirs = append([]string{path}, dirs...) // those below first
			}
			return nil
		})
		for _, dir := range dirs {
			failed = errors.Join(failed, Until(ctx, "the control group "+dir, func() bool { return syscall.Rmdir(dir) == nil }))
		}
	}
	return failed
}
