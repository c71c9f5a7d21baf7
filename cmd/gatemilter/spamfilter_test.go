package main

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"gatemilter/cmd/internal/lab"
)

// rspamdFiles are what Debian's rspamd is told beside its own configuration: it is a milter
// and nothing else, and knows spam by its subject.
func rspamdFiles(queue, dns string) map[string]string {
	const off = "enabled = false;\n"
	return map[string]string{
		"local.d/worker-controller.inc": off, "local.d/worker-fuzzy.inc": off, "local.d/worker-normal.inc": off,
		"local.d/worker-proxy.inc": "bind_socket = \"" + queue + "/rspamd/milter.sock mode=0666\";\nmilter = yes;\ncount = 1;\nupstream \"local\" { default = yes; self_scan = yes; }\n",
		"local.d/logging.inc":      "type = \"console\"; level = \"info\";\n",
		"local.d/options.inc":      "dns { nameserver = [\"" + dns + "\"]; timeout = 0.2s; retransmits = 1; }\n",
		"local.d/settings.conf":    string(must(os.ReadFile("../../packaging/rspamd/settings.conf"))),
		"rspamd.local.lua":         "config['regexp']['LAB_SPAM'] = { re = 'Subject=/buy now/H', score = 100 }\n",
	}
}

// startRspamd runs a private rspamd as a milter of that Postfix, with our snippet, and
// returns the path of its log.
func startRspamd(t *testing.T, p *lab.Postfix) (log string) {
	t.Helper()
	dns := startDNS(t, ". SOA ns.example. admin.example. 1 3600 600 86400 60\n")
	dir := filepath.Join(p.QueueDir(), "rspamd")
	for _, sub := range []string{"local.d", "run", "db", "log"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range rspamdFiles(p.QueueDir(), dns.Addr()) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	owner := must(user.Lookup("_rspamd"))
	uid, gid := must(strconv.Atoi(owner.Uid)), must(strconv.Atoi(owner.Gid))
	filepath.Walk(dir, func(path string, _ os.FileInfo, _ error) error { return os.Chown(path, uid, gid) })
	log = filepath.Join(dir, "output")
	out := must(os.Create(log))
	defer out.Close()
	cmd := exec.Command("rspamd", "-f", "-u", "_rspamd", "-g", "_rspamd",
		"--var=LOCAL_CONFDIR="+dir, "--var=RUNDIR="+dir+"/run", "--var=DBDIR="+dir+"/db", "--var=LOGDIR="+dir+"/log")
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
		if t.Failed() {
			t.Logf("rspamd:\n%s", must(os.ReadFile(log)))
		}
	})
	err := lab.Until(t.Context(), "rspamd to listen", func() bool {
		conn, err := net.Dial("unix", filepath.Join(dir, "milter.sock"))
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return log
}

// I18: mail of a gateway that alone evaluates spam is not scanned by Debian's rspamd, by our
// snippet where it has to show a secret, and by not asking rspamd at all where its address
// is proof enough. All other mail is.
func TestI18Rspamd(t *testing.T) {
	if err := lab.NeedPackages(t.Context(), t.Logf, "rspamd"); err != nil {
		t.Fatal(err)
	}
	const gateways = "gateway_milters = unix:gatemilter/milter.sock\n[authentication]\nspf = no\ndkim = no\ndmarc = off\n[inbound-gateway filter]\naddresses = 192.0.2.2\nspam_evaluation = %s\n" +
		"[inbound-gateway keyed]\naddresses = 192.0.2.3\nspam_evaluation = %[1]s\nrequire_header = ^X-Key: hunter2$\ndomains = keyed.example\n"
	r := newRelay(t, fmt.Sprintf(gateways, "gateway-only"), func(c *lab.Config) {
		c.Main += "smtpd_milters = unix:rspamd/milter.sock\n"
		c.Mailboxes = []string{"user@home.example", "user@keyed.example"}
	})
	log := startRspamd(t, r.postfix())
	// send returns whether the message was taken, and whether rspamd was shown it.
	send := func(ip, to, id string, fields ...string) (taken, shown bool) {
		t.Helper()
		client := must(lab.Dial(t.Context(), r.Addr()))
		defer client.Close()
		r.ok(client.Ehlo("gw.example"))
		r.ok(client.XClient(lab.Identity{Addr: netip.MustParseAddr(ip)}))
		r.ok(client.Ehlo("gw.example"))
		done, err := client.Send(lab.Envelope{From: "a@outside.example", To: []string{to}}, by("a@outside.example", "buy now", append(fields, "Message-ID: <"+id+"@outside.example>")...))
		if err != nil {
			t.Fatal(err)
		}
		return done.End.OK(), strings.Contains(string(must(os.ReadFile(log))), "<"+id+"@outside.example>")
	}
	const key = "X-Key: hunter2"
	for _, c := range []struct {
		what, ip, to, id, field string
		taken, shown            bool
	}{
		{"the gateway, known by its address", "192.0.2.2", "user@home.example", "address", "X-A: b", true, false},
		{"the gateway with its secret", "192.0.2.3", "user@keyed.example", "secret", key, true, true},
		{"without its secret", "192.0.2.3", "user@keyed.example", "none", "X-A: b", false, true},
		{"a stranger", "198.51.100.9", "user@home.example", "stranger", "X-A: b", false, true},
		{"a stranger who says it is evaluated", "198.51.100.9", "user@home.example", "forged", "X-Gatemilter-Spam-Evaluation: gateway-only", false, true},
	} {
		if taken, shown := send(c.ip, c.to, c.id, c.field); taken != c.taken || shown != c.shown {
			t.Errorf("%s: taken %v, shown to rspamd %v; want %v, %v", c.what, taken, shown, c.taken, c.shown)
		}
	}
	r.reload(fmt.Sprintf(gateways, "local"))
	for _, c := range []struct{ ip, to string }{{"192.0.2.2", "user@home.example"}, {"192.0.2.3", "user@keyed.example"}} {
		if taken, shown := send(c.ip, c.to, "local"+c.ip, key); taken || !shown {
			t.Errorf("spam_evaluation = local, %s: taken %v, shown to rspamd %v", c.ip, taken, shown)
		}
	}
}
