package lookup

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// testLimit bounds every wait of a test.
const testLimit = 20 * time.Second

// nobody is an unprivileged user that every system has.
const nobody = 65534

// askEnv makes this binary a client, which asks the server on the unix socket
// of that name as the user nobody.
const askEnv = "LOOKUP_TEST_ASK"

func TestMain(m *testing.M) {
	if address := os.Getenv(askEnv); address != "" {
		err := syscall.Setuid(nobody)
		if err == nil {
			err = askOnce("unix", address, os.Stdout)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// askOnce asks the table "login" and writes the reply to w.
func askOnce(network, address string, w interface{ WriteString(string) (int, error) }) error {
	conn, err := net.DialTimeout(network, address, testLimit)
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(testLimit))
	if _, err := conn.Write(request("login alice")); err != nil {
		return err
	}
	reply := make([]byte, 200)
	n, err := conn.Read(reply)
	w.WriteString(string(reply[:n]))
	return err
}

// A table with secrets answers only whom it admits, and over TCP nobody. Another
// user is one of another process: this needs root, to become somebody else.
func TestUsers(t *testing.T) {
	own := uint32(os.Geteuid())
	var mu sync.Mutex
	var reports []string
	s := &Server{
		Tables: map[string]Table{"login": {
			Lookup: func(_ context.Context, p Peer, _ string) Answer {
				if p.PID != int32(os.Getpid()) {
					return OK("another process")
				}
				return OK("alice:secret")
			},
			Admits: func(uid uint32) bool { return uid == own },
		}},
		Report: func(_ string, err error) {
			mu.Lock()
			defer mu.Unlock()
			reports = append(reports, err.Error())
		},
	}
	// The kernel chooses both addresses. That of the unix socket is no file, so
	// that nobody can reach it.
	unix, tcp := listen(t, s, "unix", ""), listen(t, s, "tcp", "127.0.0.1:0")

	var replies []string
	for _, address := range []net.Addr{unix, tcp} {
		var reply strings.Builder
		if err := askOnce(address.Network(), address.String(), &reply); err != nil {
			t.Error(err)
		}
		replies = append(replies, reply.String())
	}
	other := exec.CommandContext(t.Context(), must(os.Executable()))
	other.Env = []string{askEnv + "=" + unix.String()}
	var trouble strings.Builder
	other.Stderr = &trouble
	out, err := other.Output()
	if err != nil {
		t.Errorf("%v: %s (root can become another user; run as root)", err, trouble.String())
	}
	replies = append(replies, string(out))

	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if want := []string{"15:OK alice:secret,", "22:TEMP not for this user,", "22:TEMP not for this user,"}; !slices.Equal(replies, want) {
		t.Errorf("replies %q, want %q", replies, want)
	}
	want := []string{
		`table "login": refused to a peer whose user is unknown: only a unix socket tells it; ask there`,
		`table "login": refused to the user with id 65534`,
	}
	if !slices.Equal(reports, want) {
		t.Errorf("reports %q, want %q", reports, want)
	}
}

// listen serves on a socket until Shutdown.
func listen(t *testing.T, s *Server, network, address string) net.Addr {
	t.Helper()
	ln, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(ln) }()
	t.Cleanup(func() {
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return ln.Addr()
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
