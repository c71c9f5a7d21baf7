package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"

	"gatemilter/policy/config"
)

// serviceDir is the directory that packaging/systemd/gatemilter.service makes.
const serviceDir = "/var/spool/postfix/gatemilter"

// Preflight says what would keep a daemon with this configuration from starting on this
// host, as far as that can be seen without trying.
func Preflight(c *config.Config) []error {
	var found []error
	if name := c.Server.SocketGroup; name != "" {
		if _, err := groupID(name); err != nil {
			found = append(found, err)
		}
	}
	listeners := slices.Concat(c.Server.Milter, c.Server.Admin, c.Portal.Listen)
	if err := checkIdentities(c.Identities); err != nil {
		found = append(found, err)
	}
	if _, err := newUserServers(c); err != nil {
		found = append(found, err)
	}
	if c.Settings.AsksLookup() {
		listeners = slices.Concat(listeners, c.Server.Lookup)
	}
	seen := make(map[string]bool)
	for _, l := range listeners {
		if dir := filepath.Dir(l.Address); l.Network == "unix" && !seen[dir] {
			seen[dir] = true
			if _, err := os.Stat(dir); err != nil {
				found = append(found, fmt.Errorf("there is no directory %s; create it, owned by the user that runs gatemilter (its systemd service makes %s itself)", dir, serviceDir))
			}
		}
	}
	return found
}

// listen opens sockets at all these addresses, or none.
func listen(addresses []config.Listener, s config.Server) (listeners []net.Listener, err error) {
	defer func() {
		if err != nil {
			for _, l := range listeners {
				l.Close()
			}
			listeners = nil
		}
	}()
	for _, address := range addresses {
		l, err := listenOn(address, s)
		if err != nil {
			return listeners, fmt.Errorf("can't listen on %s: %w", address, err)
		}
		listeners = append(listeners, l)
	}
	return listeners, nil
}

func listenOn(address config.Listener, s config.Server) (net.Listener, error) {
	if address.Network != "unix" {
		return net.Listen(address.Network, address.Address)
	}
	if err := removeStale(address.Address); err != nil {
		return nil, err
	}
	// Nobody may connect before the permissions are as configured.
	mask := syscall.Umask(0o177)
	l, err := net.Listen("unix", address.Address)
	syscall.Umask(mask)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w; create the directory %s, owned by the user that runs gatemilter", err, filepath.Dir(address.Address))
	}
	if err != nil {
		return nil, err
	}
	if err := permit(address.Address, s); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// removeStale removes a socket that a killed process has left behind. A living
// process keeps its own.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("%s exists and is no socket; remove it or choose another path", path)
	}
	conn, err := net.Dial("unix", path)
	if err == nil {
		conn.Close()
		return fmt.Errorf("another process listens on it; stop that one first")
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return err
	}
	return os.Remove(path)
}

// permit gives a socket its group and mode.
func permit(path string, s config.Server) error {
	if s.SocketGroup != "" {
		gid, err := groupID(s.SocketGroup)
		if err != nil {
			return err
		}
		if err := os.Chown(path, -1, gid); err != nil {
			return fmt.Errorf("%w; run gatemilter as root or as a member of group %s", err, s.SocketGroup)
		}
	}
	return os.Chmod(path, s.SocketMode)
}

func groupID(name string) (int, error) {
	g, err := user.LookupGroup(name)
	if err == nil {
		return strconv.Atoi(g.Gid)
	}
	if gid, number := strconv.Atoi(name); number == nil {
		return gid, nil
	}
	return 0, fmt.Errorf("there is no group %q; correct socket_group", name)
}

// describe tells where we listen, and who may connect: the mail server's user must
// be able to.
func describe(at net.Addr) string {
	if at.Network() != "unix" {
		return "inet:" + at.String()
	}
	text := "unix:" + at.String()
	info, err := os.Stat(at.String())
	if err != nil {
		return text
	}
	owner := info.Sys().(*syscall.Stat_t)
	return fmt.Sprintf("%s (%s:%s %#o)", text, userName(owner.Uid), groupName(owner.Gid), info.Mode().Perm())
}

func userName(uid uint32) string {
	id := strconv.Itoa(int(uid))
	if u, err := user.LookupId(id); err == nil {
		return u.Username
	}
	return id
}

func groupName(gid uint32) string {
	id := strconv.Itoa(int(gid))
	if g, err := user.LookupGroupId(id); err == nil {
		return g.Name
	}
	return id
}
