package daemon

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap/zapcore"
	sys "golang.org/x/sys/unix"

	"gatemilter/cmd/internal/lab"
)

// A manager stands for systemd: what it is told comes to a socket of the test's own.
type manager struct {
	*testing.T
	conn *net.UnixConn
}

func newManager(t *testing.T) *manager {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	return &manager{t, conn}
}

// told returns the next notification, as its assignments.
func (m *manager) told() map[string]string {
	m.Helper()
	b := make([]byte, 4096)
	m.conn.SetReadDeadline(time.Now().Add(20 * time.Second))
	n, err := m.conn.Read(b)
	if err != nil {
		m.Fatal(err)
	}
	state := make(map[string]string)
	for _, line := range strings.Split(string(b[:n]), "\n") {
		name, value, _ := strings.Cut(line, "=")
		state[name] = value
	}
	return state
}

// expect reads the next notification but those of the watchdog.
func (m *manager) expect(name, value, status string) map[string]string {
	m.Helper()
	for {
		state := m.told()
		if state["WATCHDOG"] == "1" && len(state) == 1 {
			continue
		}
		if state[name] != value || !strings.Contains(state["STATUS"], status) {
			m.Fatalf("told %q, want %s=%s and a status with %q", state, name, value, status)
		}
		return state
	}
}

// expectNothing looks whether anything has been told.
func (m *manager) expectNothing() {
	m.Helper()
	b := make([]byte, 4096)
	raw, err := m.conn.SyscallConn()
	if err != nil {
		m.Fatal(err)
	}
	raw.Control(func(fd uintptr) {
		if n, _, err := sys.Recvfrom(int(fd), b, sys.MSG_DONTWAIT); err != sys.EAGAIN {
			m.Errorf("told %q (%v), want nothing", b[:max(n, 0)], err)
		}
	})
}

// systemd is told when the daemon serves, reads its configuration again, with which
// outcome, and stops.
func TestS5Notify(t *testing.T) {
	m := newManager(t)
	t.Setenv("WATCHDOG_USEC", "300000")
	t.Setenv("GOMAXPROCS", "2")
	dir := t.TempDir()
	path, socket := filepath.Join(dir, "gatemilter.conf"), filepath.Join(dir, "m.sock")
	write := func(rest string) {
		if err := os.WriteFile(path, []byte("[server]\nauthserv_id = mx.example.com\nmilter = unix:"+socket+"\n"+rest), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("")
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	var log lockedLog
	go func() { ended <- Run(ctx, "1.2.3", path, &log) }()
	m.expect("READY", "1", "enforce: gateways 0, routes 0, users 0; milter at "+socket)
	for n := 0; n < 3; { // the watchdog, more than once
		if m.told()["WATCHDOG"] == "1" {
			n++
		}
	}

	write("mode = observe\n")
	before := monotonic()
	syscall.Kill(os.Getpid(), syscall.SIGHUP)
	state := m.expect("RELOADING", "1", "")
	if at, err := strconv.ParseInt(state["MONOTONIC_USEC"], 10, 64); err != nil || at < before || at > monotonic() {
		t.Errorf("reload at %q, which is not between %d and now", state["MONOTONIC_USEC"], before)
	}
	m.expect("READY", "1", "observe: ")

	write("mode = loud\n")
	syscall.Kill(os.Getpid(), syscall.SIGHUP)
	m.expect("RELOADING", "1", "")
	m.expect("READY", "1", "the last configuration was refused, see the log; observe: ")

	stop()
	m.expect("STOPPING", "1", "in progress")
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if text := log.String(); strings.Contains(text, "milter connection") {
		t.Errorf("the watchdog's connections are in the log:\n%s", text)
	}
}

func monotonic() int64 {
	var now sys.Timespec
	if err := sys.ClockGettime(sys.CLOCK_MONOTONIC, &now); err != nil {
		panic(err)
	}
	return now.Nano() / 1000
}

// Without systemd there is nothing to tell, and nothing to say about that; a systemd that
// is gone is no reason to go too.
func TestNotifyWithoutSystemd(t *testing.T) {
	for socket, want := range map[string]int{"": 0, filepath.Join(t.TempDir(), "gone"): 1} {
		t.Setenv("NOTIFY_SOCKET", socket)
		log, logs := observedLog()
		d := &daemon{log: log}
		d.notifyStopping()
		d.watch(t.Context(), nil) // returns, as there is no WATCHDOG_USEC
		if n := logs.FilterLevelExact(zapcore.WarnLevel).Len(); n != want || logs.Len() != want {
			t.Errorf("%q: %d entries, want %d", socket, logs.Len(), want)
		}
	}
}

// The watchdog is told nothing while a socket does not answer, although the kernel takes
// connections for it, and again once it does.
func TestS5Watchdog(t *testing.T) {
	for _, network := range []string{"unix", "tcp"} {
		t.Run(network, func(t *testing.T) {
			m := newManager(t)
			t.Setenv("WATCHDOG_USEC", "900000")
			l, err := net.Listen(network, map[string]string{"unix": filepath.Join(t.TempDir(), "m.sock"), "tcp": "127.0.0.1:0"}[network])
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			log, logs := observedLog()
			d := &daemon{log: log}
			ctx, stop := context.WithCancel(t.Context())
			ended := make(chan struct{})
			go func() {
				d.watch(ctx, []service{{name: "milter", listeners: []net.Listener{l}}})
				close(ended)
			}()
			if err := lab.Until(t.Context(), "two failures", func() bool { return logs.Len() >= 2 }); err != nil {
				t.Fatal(err)
			}
			if text := fmt.Sprint(logs.All()[0].ContextMap()); !strings.Contains(text, "milter: "+l.Addr().String()+": connected, but not served") {
				t.Errorf("logged %s", text)
			}
			m.expectNothing()
			go func() {
				for {
					conn, err := l.Accept()
					if err != nil {
						return
					}
					conn.Close() // as at the limit of connections
				}
			}()
			if state := m.told(); state["WATCHDOG"] != "1" {
				t.Errorf("told %q", state)
			}
			stop()
			<-ended
		})
	}
}

// A lockedLog may be read while it is written.
type lockedLog struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lockedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lockedLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
