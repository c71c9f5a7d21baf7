package daemon

import (
	"os"
	"path/filepath"
	"testing"
)

// What needs a restart is said at every reload that differs from what runs, not from
// the reload before.
func TestReloadComparesWithWhatRuns(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gatemilter.conf")
	write := func(socket string) {
		if err := os.WriteFile(path, []byte("[server]\nmilter = unix:"+socket+"\nauthserv_id = mx.example.com\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("/run/a.sock")
	g, err := read(path)
	if err != nil {
		t.Fatal(err)
	}
	log, logs := observedLog()
	d := &daemon{path: path, log: log, started: g.config}
	d.current.Store(g)
	for _, c := range []struct {
		socket string
		want   int
	}{{"/run/a.sock", 0}, {"/run/b.sock", 1}, {"/run/b.sock", 1}, {"/run/a.sock", 0}} {
		write(c.socket)
		d.reload()
		all := logs.TakeAll()
		if n := len(all) - 1; n != c.want || all[0].Message != "configuration reloaded" {
			t.Errorf("reload to %s: %d warnings, want %d: %v", c.socket, n, c.want, all)
		}
	}
}
