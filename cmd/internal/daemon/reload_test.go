package daemon

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
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
		warnings := logs.FilterLevelExact(zap.WarnLevel).Len()
		all := logs.TakeAll()
		if warnings != c.want || all[0].Message != "configuration reloaded" {
			t.Errorf("reload to %s: %d warnings, want %d: %v", c.socket, warnings, c.want, all)
		}
	}
}

// S4: a reload logs what it has changed, setting by setting, and secrets masked; one that
// is refused changes nothing.
func TestS4ReloadLogsChanges(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gatemilter.conf")
	log, logs := observedLog()
	d := &daemon{path: path, log: log}
	reload := func(text string) (lines []string) {
		t.Helper()
		if err := os.WriteFile(path, []byte("[server]\nauthserv_id = mx.example.com\n"+text), 0o600); err != nil {
			t.Fatal(err)
		}
		if d.started == nil {
			g, err := read(path)
			if err != nil {
				t.Fatal(err)
			}
			d.started = g.config
			d.current.Store(g)
			return nil
		}
		d.reload()
		for _, e := range logs.TakeAll() {
			line := e.Message
			for _, key := range []string{"section", "key", "old", "new", "not_shown"} {
				if value, ok := e.ContextMap()[key]; ok {
					line += fmt.Sprintf(" %s=%v", key, value)
				}
			}
			lines = append(lines, line)
		}
		return lines
	}
	gateway := "[inbound-gateway filter]\naddresses = 192.0.2.2\nrequire_header = ^X-Key: %s$\n"
	reload(fmt.Sprintf(gateway, "hunter2"))
	want := []string{
		"configuration reloaded",
		"setting changed section=inbound-gateway filter key=addresses old=192.0.2.2 new=192.0.2.3",
		"setting changed section=inbound-gateway filter key=require_header old=<secret> new=<secret>",
	}
	if diff := cmp.Diff(want, reload(strings.Replace(fmt.Sprintf(gateway, "hunter3"), "192.0.2.2", "192.0.2.3", 1))); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	want = []string{
		"configuration reloaded",
		"setting changed section=route r key=host old= new=r.example",
		"setting changed section=route r key=mx_lookup old= new=no",
		"setting changed section=route r key=require_tls old= new=yes",
		"setting changed section=route r key=require_ca old= new=yes",
		"setting changed section=route r key=verify_hostname old= new=yes",
		"setting changed section=outbound key=gateway old= new=r",
		"Postfix needs other settings now: run gatemilter mta-setup postfix --apply, and postfix reload",
	}
	withRoute := strings.Replace(fmt.Sprintf(gateway, "hunter3"), "192.0.2.2", "192.0.2.3", 1) + "[route r]\nhost = r.example\n[outbound]\ngateway = r\n"
	if diff := cmp.Diff(want, slices.DeleteFunc(reload(withRoute), func(line string) bool { return strings.Contains(line, "restart") })); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	reload(strings.Replace(fmt.Sprintf(gateway, "hunter3"), "192.0.2.2", "192.0.2.3", 1))
	want = []string{"configuration refused, the old one stays in force"}
	if diff := cmp.Diff(want, reload(strings.Replace(fmt.Sprintf(gateway, "hunter4"), "192.0.2.2", "10.0.0.1", 1))); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	want = []string{"configuration reloaded", "no setting changed"}
	if diff := cmp.Diff(want, reload(strings.Replace(fmt.Sprintf(gateway, "hunter3"), "192.0.2.2", "192.0.2.3", 1))); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	many := ""
	for n := range maxChanges + 1 {
		many += fmt.Sprintf("[sender @d%d.example]\nroute = r\n", n)
	}
	lines := reload("[route r]\nhost = r.example\n" + many)
	shown := len(slices.DeleteFunc(slices.Clone(lines), func(line string) bool { return !strings.HasPrefix(line, "setting changed ") }))
	if more := lines[len(lines)-2]; shown != maxChanges || !strings.HasPrefix(more, "more settings changed not_shown=") {
		t.Errorf("%d settings, then %q", shown, more)
	}
}
