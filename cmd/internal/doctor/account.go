package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// An Account is a user of this host, with all groups, as processes that run as it have them.
type Account struct {
	Name   string
	UID    uint32
	GID    uint32
	Groups []uint32
}

// accountOf finds a user by name or number.
func accountOf(name string) (Account, error) {
	u, err := user.Lookup(name)
	if err != nil {
		u, err = user.LookupId(name)
	}
	if err != nil {
		return Account{}, fmt.Errorf("there is no user %q on this host", name)
	}
	ids, err := u.GroupIds()
	if err != nil {
		return Account{}, fmt.Errorf("groups of the user %q are not known: %w", name, err)
	}
	a := Account{Name: u.Username}
	numbers := append([]string{u.Uid, u.Gid}, ids...)
	for _, text := range numbers {
		n, err := strconv.ParseUint(text, 10, 32)
		if err != nil {
			return Account{}, fmt.Errorf("number %q of the user %q: %w", text, name, err)
		}
		a.Groups = append(a.Groups, uint32(n))
	}
	a.UID, a.GID, a.Groups = a.Groups[0], a.Groups[1], a.Groups[1:]
	return a, nil
}

// The permissions of one class of users, as in a mode.
const (
	mayRead   fs.FileMode = 4
	mayWrite  fs.FileMode = 2
	maySearch fs.FileMode = 1
)

// may says whether a mode gives the account a permission. The first class that it is in
// decides (path_resolution(7)); root may all.
func (a Account) may(info fs.FileInfo, want fs.FileMode) bool {
	owner := info.Sys().(*syscall.Stat_t)
	mode := info.Mode().Perm()
	switch {
	case a.UID == 0:
		return true
	case owner.Uid == a.UID:
		mode >>= 6
	case slices.Contains(a.Groups, owner.Gid):
		mode >>= 3
	}
	return mode&want == want
}

// An obstacle is what keeps an account from a file: itself, or a directory above it.
type obstacle struct {
	path string
	info fs.FileInfo
	dir  bool
}

// errUnseen says that we ourselves may not look.
var errUnseen = errors.New("it can't be seen by the user who runs this")

// obstacleTo returns the first thing on the way to a file that doesn't let the account
// pass, or nil.
func (a Account) obstacleTo(path string, want fs.FileMode) (*obstacle, error) {
	real, err := filepath.EvalSymlinks(path)
	if errors.Is(err, fs.ErrPermission) {
		return nil, errUnseen
	}
	if err != nil {
		return nil, err
	}
	for _, dir := range above(real) {
		info, err := os.Stat(dir)
		if err != nil {
			return nil, err
		}
		if !a.may(info, maySearch) {
			return &obstacle{dir, info, true}, nil
		}
	}
	info, err := os.Stat(real)
	if err != nil || a.may(info, want) {
		return nil, err
	}
	return &obstacle{real, info, false}, nil
}

// above are the directories in which a file lies, the root first.
func above(path string) []string {
	var dirs []string
	for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
		dirs = append([]string{dir}, dirs...)
		if dir == "/" || dir == "." {
			return dirs
		}
	}
}

// modeOf shows owner, group and permissions.
func modeOf(info fs.FileInfo) string {
	s := info.Sys().(*syscall.Stat_t)
	return fmt.Sprintf("%s:%s %#o", userName(s.Uid), groupName(s.Gid), info.Mode().Perm())
}

func userName(uid uint32) string {
	id := strconv.FormatUint(uint64(uid), 10)
	if u, err := user.LookupId(id); err == nil {
		return u.Username
	}
	return id
}

func groupName(gid uint32) string {
	id := strconv.FormatUint(uint64(gid), 10)
	if g, err := user.LookupGroupId(id); err == nil {
		return g.Name
	}
	return id
}

func ownedBy(info fs.FileInfo, uid uint32) bool { return info.Sys().(*syscall.Stat_t).Uid == uid }

func owned(info fs.FileInfo, gid uint32) bool { return info.Sys().(*syscall.Stat_t).Gid == gid }

// command writes a command as for a shell.
func command(words ...string) string {
	for i, w := range words {
		if strings.ContainsFunc(w, func(r rune) bool { return !strings.ContainsRune(plain, r) }) {
			words[i] = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
		}
	}
	return strings.Join(words, " ")
}

// plain are the characters that mean themselves to every shell.
const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./:@%+=,-"
