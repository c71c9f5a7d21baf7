package daemon

import (
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"gatemilter/policy/config"
)

func unix(path string) config.Server {
	return config.Server{Milter: []config.Listener{{Network: "unix", Address: path}}, SocketMode: 0o660}
}

func TestListenSocketMode(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.sock")
	s := unix(path)
	group, err := user.LookupGroupId(fmt.Sprint(os.Getgid()))
	if err != nil {
		t.Fatal(err)
	}
	s.SocketGroup = group.Name
	listeners, err := listen(s.Milter, s)
	if err != nil {
		t.Fatal(err)
	}
	defer listeners[0].Close()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode(); got != fs.ModeSocket|0o660 {
		t.Errorf("mode %v", got)
	}
	if got := info.Sys().(*syscall.Stat_t).Gid; int(got) != os.Getgid() {
		t.Errorf("group %d", got)
	}
}

// A killed process leaves its socket behind; the next one takes its place. A living
// one keeps it, and so does a file that is none.
func TestListenStaleSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.sock")
	stale, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	stale.(*net.UnixListener).SetUnlinkOnClose(false)
	stale.Close()
	listeners, err := listen(unix(path).Milter, unix(path))
	if err != nil {
		t.Fatalf("stale socket: %v", err)
	}
	if _, err := listen(unix(path).Milter, unix(path)); err == nil || !strings.Contains(err.Error(), "another process listens on it") {
		t.Errorf("living process: %v", err)
	}
	listeners[0].Close()
	if _, err := os.Stat(path); err == nil {
		t.Error("the socket is left behind")
	}
}

// All sockets open, or none stays open.
func TestListenAllOrNothing(t *testing.T) {
	dir := t.TempDir()
	s := unix(filepath.Join(dir, "m.sock"))
	s.Milter = append(s.Milter, config.Listener{Network: "unix", Address: filepath.Join(dir, "missing", "m.sock")})
	if _, err := listen(s.Milter, s); err == nil || !strings.Contains(err.Error(), "create the directory") {
		t.Errorf("error %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "m.sock")); err == nil {
		t.Error("the first socket is left behind")
	}
}

func TestListenTCP(t *testing.T) {
	listeners, err := listen([]config.Listener{{Network: "tcp", Address: "127.0.0.1:0"}, {Network: "tcp", Address: "[::1]:0"}}, config.Server{})
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range listeners {
		l.Close()
	}
}
