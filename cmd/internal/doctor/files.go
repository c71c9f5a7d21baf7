package doctor

import (
	"fmt"
	"io/fs"
	"os"
	"strings"

	"gatemilter/policy/config"
)

// files looks at who can read and write each file that the configuration consists of. That
// secrets are not for everybody is seen to where the configuration is read.
func (x *examination) files() []Check {
	var checks []Check
	for _, f := range x.config.Files() {
		if f.Key != keyFileKey { // see keys
			checks = append(checks, x.file(f))
		}
	}
	return checks
}

func (x *examination) file(f config.File) Check {
	what := f.Path
	if f.Key != "" {
		what = f.Key + " " + f.Path
	}
	info, err := os.Stat(f.Path)
	if err != nil {
		return warn(onFiles, what, err.Error(), "check the path, and run doctor as root")
	}
	if strangers := writableByAll(f.Path, info); strangers != "" {
		return fail(onFiles, what, "every user of this host can replace it, for "+strangers+" is writable by all", command("chmod", "o-w", strangers))
	}
	found := modeOf(info) + ": " + readers(info)
	if x.daemon == nil {
		return ok(onFiles, what, found)
	}
	blocked, err := x.daemon.obstacleTo(f.Path, mayRead)
	switch {
	case err != nil:
		return warn(onFiles, what, found+fmt.Sprintf("; whether gatemilter's user %s can read it is not known: %s", x.daemon.Name, err), "run doctor as root")
	case blocked != nil:
		return fail(onFiles, what, fmt.Sprintf("gatemilter's user %s can't read it at the next reload: %s is %s", x.daemon.Name, blocked.path, modeOf(blocked.info)), blocked.admit(*x.daemon, "r"))
	}
	return ok(onFiles, what, found)
}

// writableByAll returns the file, or the directory above it, in which every user can put
// something else in its place, or "".
func writableByAll(path string, info fs.FileInfo) string {
	if info.Mode().Perm()&mayWrite != 0 {
		return path
	}
	for _, dir := range above(path) {
		d, err := os.Stat(dir)
		if err == nil && d.Mode().Perm()&mayWrite != 0 && d.Mode()&fs.ModeSticky == 0 {
			return dir
		}
	}
	return ""
}

// readers says in words who can read a file.
func readers(info fs.FileInfo) string {
	mode := info.Mode().Perm()
	owner, group, _ := strings.Cut(strings.Fields(modeOf(info))[0], ":")
	switch {
	case mode&mayRead != 0:
		return "every user of this host can read it"
	case mode&(mayRead<<3) != 0:
		return "read by " + owner + " and the group " + group
	}
	return "read by " + owner + " only"
}

// admit is a command that lets the account pass, and nobody else whom there is a way to
// leave out: its own group becomes that of the file, where that gives the file's group
// nothing yet.
func (o *obstacle) admit(a Account, permission string) string {
	if o.dir {
		permission = "x"
	}
	if ownedBy(o.info, a.UID) {
		return command("chmod", "u+"+permission, o.path)
	}
	for _, gid := range a.Groups {
		if owned(o.info, gid) {
			return command("chmod", "g+"+permission, o.path)
		}
	}
	switch grouped := o.info.Mode().Perm()&0o070 != 0; {
	case grouped && o.dir:
		return command("chmod", "o+x", o.path)
	case grouped && !owned(o.info, 0):
		// It is others' too, who must not lose it.
		_, group, _ := strings.Cut(strings.Fields(modeOf(o.info))[0], ":")
		return command("adduser", a.Name, group) + " && systemctl restart gatemilter"
	}
	return command("chgrp", groupName(a.GID), o.path) + " && " + command("chmod", "g+"+permission, o.path)
}
