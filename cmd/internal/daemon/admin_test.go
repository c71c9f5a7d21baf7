package daemon

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"gatemilter/milter"
	"gatemilter/milter/lookup"
)

// adminDaemon is a daemon whose configuration has admin pages.
func adminDaemon(t *testing.T, text string) *daemon {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "gatemilter.conf")
	server := fmt.Sprintf("[server]\nmilter = unix:%s/m\nlookup = unix:%s/l\nadmin = unix:%s/a\nauthserv_id = mx.example.com\n", dir, dir, dir)
	if err := os.WriteFile(path, []byte(server+text), 0o600); err != nil {
		t.Fatal(err)
	}
	g, err := read(path)
	if err != nil {
		t.Fatal(err)
	}
	log, _ := observedLog()
	d := &daemon{path: path, log: log, started: g.config}
	d.current.Store(g)
	d.monitor(g, "1.2.3")
	return d
}

// S6: all that the daemon does at the same time, it may tell at the same time.
func TestS6ToldAtOnce(t *testing.T) {
	d := adminDaemon(t, "[route r]\nhost = mail.example.com\n[outbound]\ngateway = r\n")
	services, err := d.open(d.started)
	if err != nil {
		t.Fatal(err)
	}
	defer closeAll(services)
	d.serving(services)
	tables := d.tables()
	var all sync.WaitGroup
	for _, act := range []func(){
		func() { d.message(record(func(*milter.Record) {})) },
		func() { tables[TableRoute].Lookup(t.Context(), lookup.Peer{}, "a@example.com") },
		func() { d.reload() },
		d.admin.Stopping,
	} {
		all.Go(func() {
			for range 50 {
				act()
			}
		})
	}
	all.Wait()
}

// Without the key, nothing is kept and nobody listens.
func TestS6OnlyWhereWanted(t *testing.T) {
	d := adminDaemon(t, "")
	os.WriteFile(d.path, []byte("[server]\nmilter = inet:127.0.0.1:0\nauthserv_id = mx.example.com\n"), 0o600)
	g, err := read(d.path)
	if err != nil {
		t.Fatal(err)
	}
	quiet := &daemon{log: d.log}
	quiet.monitor(g, "1.2.3")
	services, err := quiet.open(g.config)
	if err != nil {
		t.Fatal(err)
	}
	defer closeAll(services)
	if quiet.admin != nil || len(services) != 1 {
		t.Errorf("monitor %v, %d services", quiet.admin, len(services))
	}
}

// Lines that are lost are counted until the process ends, whoever has read of them in the log.
func TestS6CountsDroppedLines(t *testing.T) {
	before := linesDropped.Load()
	stuck := make(chan struct{})
	q := newLogQueue(writerFunc(func(p []byte) (int, error) { <-stuck; return len(p), nil }), func(uint64) []byte { return nil })
	for range queuedLines + 100 {
		q.Write([]byte(strings.Repeat("x", 10)))
	}
	close(stuck)
	if n := linesDropped.Load() - before; n < 98 || n > 100 {
		t.Errorf("%d lines are lost, want 98 to 100", n)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
