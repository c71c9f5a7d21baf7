package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"gatemilter/cmd/internal/doctor"
	"gatemilter/cmd/internal/lab"
	"gatemilter/policy/auth/dnstest"
)

// A ward is a host for the doctor: a Postfix with gatemilter, mail hosts, and a DNS.
type ward struct {
	*relay
	settings string
}

// doctorZone has a domain whose mail comes to the gateway of the ward, 192.0.2.2 and
// 2001:db8:5::/48.
const doctorZone = `
example.com     MX 10 mx1.filter.example
example.com     MX 20 mx2.filter.example
mx1.filter.example A    192.0.2.2
mx2.filter.example AAAA 2001:db8:5::25
. SOA ns.example. admin.example. 1 3600 600 86400 60
`

// newWard sets everything up as it should be.
func newWard(t *testing.T) *ward {
	ca := must(lab.NewCA("Test CA"))
	cert := must(ca.Issue(lab.Subject{CommonName: "mx.lab.test", Hosts: []string{"mx.lab.test", "127.0.0.1"}, NotAfter: time.Now().Add(90 * 24 * time.Hour)}))
	users := newServer(t, lab.SinkConfig{Cert: cert, Logins: map[string]string{"alice": alicesPassword}})
	w := &ward{settings: fmt.Sprintf("[dns]\nservers = %s\n", dnstest.StartFor(t, doctorZone).Addr()) +
		"[inbound-gateway filter]\naddresses = 192.0.2.2, 2001:db8:5::/48\ndomains = example.com\nreject_other = yes\nrequire_tls = yes\ntls_certificate = gw.example\n" +
		fmt.Sprintf("[route relay]\nhost = %s\nverify_hostname = no\nca_file = %s\n", newSink(t, cert).Addr(), writeCA(t, ca)) +
		"[outbound]\ngateway = relay\nallow_user_gateways = yes\n[user alice@lab.test]\n" + own("alice@lab.test", "alice@partner.example", users, "alice", alicesPassword)}
	w.relay = newRelay(t, w.settings, func(c *lab.Config) {
		c.Cert, c.ClientCA = cert, ca
		c.Services = map[string]string{"submission": "-o smtpd_milters=unix:gatemilter/milter.sock"}
		trust(t, ca)
	})
	return w
}

// submission is the name of the second SMTP server.
func (w *ward) submission() string { return w.postfix().ServiceAddr("submission") + "/inet" }

// examine runs the doctor and returns all that it says, but for the time service, which is
// as this host has it.
func (w *ward) examine(args ...string) (checks []doctor.Check) {
	w.t.Helper()
	cmd := exec.Command("gatemilter", append([]string{"doctor", "--json", "--config", w.config(), "--postfix-config", w.postfix().ConfigDir()}, args...)...)
	out, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() != exitFinding) {
		w.t.Fatalf("%v: %s", err, exit.Stderr)
	}
	var doc checksJSON
	if err := json.Unmarshal(out, &doc); err != nil {
		w.t.Fatal(err)
	}
	if (doc.Failures > 0) != (err != nil) {
		w.t.Errorf("%d failures, and exit status of %v", doc.Failures, err)
	}
	return slices.DeleteFunc(doc.Checks, func(c doctor.Check) bool {
		// Neither this machine's clock, nor how busy it is.
		return c.What == "time service" || c.State == doctor.Warn && strings.HasPrefix(c.Found, "answers in ")
	})
}

// bad are the checks that are not ok.
func bad(checks []doctor.Check) []doctor.Check {
	return slices.DeleteFunc(slices.Clone(checks), func(c doctor.Check) bool { return c.State == doctor.OK })
}

func findCheck(checks []doctor.Check, what string, state doctor.State, found string) bool {
	return slices.ContainsFunc(checks, func(c doctor.Check) bool {
		return strings.Contains(c.What, what) && c.State == state && strings.Contains(c.Found, found)
	})
}

// shell runs a command as the administrator does, and lets Postfix take its files for
// complete.
func (w *ward) shell(command string) {
	w.t.Helper()
	cmd := exec.Command("sh", "-c", command)
	cmd.Env = append(os.Environ(), "PATH=/usr/sbin:/sbin:"+os.Getenv("PATH"), "LC_ALL=C")
	if out, err := cmd.CombinedOutput(); err != nil {
		w.t.Fatalf("%s: %v: %s", command, err, out)
	}
	old := time.Now().Add(-time.Minute)
	for _, name := range []string{"main.cf", "master.cf"} {
		if err := os.Chtimes(filepath.Join(w.postfix().ConfigDir(), name), old, old); err != nil {
			w.t.Fatal(err)
		}
	}
}

// postconf changes Postfix's settings.
func (w *ward) postconf(args ...string) {
	w.t.Helper()
	if out, err := w.postfix().Command(w.t.Context(), "postconf", args...).CombinedOutput(); err != nil {
		w.t.Fatalf("%q: %v: %s", args, err, out)
	}
	w.shell("true")
}

// edit puts a line into the section [server], in place of the one that has the key.
func (w *ward) edit(line string) {
	w.t.Helper()
	key, _, _ := strings.Cut(line, " =")
	text := string(must(os.ReadFile(w.config())))
	text = regexp.MustCompile(`(?m)^`+key+` =.*\n`).ReplaceAllString(text, "")
	if strings.Contains(line, "=") {
		text = strings.Replace(text, "[server]\n", "[server]\n"+line+"\n", 1)
	}
	if err := os.WriteFile(w.config(), []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

func (w *ward) restart() {
	w.t.Helper()
	w.daemon.stop(syscall.SIGTERM)
	w.daemon = startProcess(w.t, w.config())
}

// The forms of a fix that is no command of the shell alone.
var (
	writesLine = regexp.MustCompile(`^write into \[server\] of (\S+): ([^,]*)(?:, and run (.*))?$`)
	systemctl  = regexp.MustCompile(`(?: && |^)systemctl (?:restart|reload) gatemilter$`)
)

// carryOut does what a fix says. There is no systemd for the tests' daemon.
func (w *ward) carryOut(fix string) {
	w.t.Helper()
	if m := writesLine.FindStringSubmatch(fix); m != nil {
		if m[1] != w.config() {
			w.t.Errorf("%s: want the line in %s", fix, w.config())
		}
		w.edit(m[2])
		fix = m[3]
	}
	fix = strings.TrimPrefix(fix, "stop what listens there, and run ")
	rest := systemctl.ReplaceAllString(fix, "")
	if enable := "postfix -c " + w.postfix().ConfigDir() + " tls enable-server"; strings.HasPrefix(rest, enable) {
		// It looks for the path of openssl in the main.cf of the default instance, which
		// is not there; so its effect is brought about by hand.
		w.postconf("-e", "smtpd_tls_chain_files = "+filepath.Join(w.postfix().ConfigDir(), "cert.pem"))
		rest = strings.TrimPrefix(rest, enable+" && ")
	}
	if rest != "" {
		w.shell(rest)
	}
	if rest != fix {
		w.restart()
	}
}

// greet is a server of another protocol.
func greet(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		fmt.Fprint(conn, "220 not a milter\r\n")
		go func() {
			defer conn.Close()
			io.Copy(io.Discard, conn)
		}()
	}
}

// Each fault is found, with a fix that makes all well again. One Postfix goes through
// them all.
func TestDoctorFaults(t *testing.T) {
	w := newWard(t)
	const ours = "unix:gatemilter/milter.sock"
	if out := bad(w.examine()); len(out) > 0 {
		t.Fatalf("all is as it should be, but the doctor says %+v", out)
	}
	milter := filepath.Join(w.sockets(), "milter.sock")
	var impostor net.Listener
	for _, c := range []struct {
		fault  string
		commit func()
		what   string
		state  doctor.State
		found  string
	}{
		{"not wired", func() { w.postconf("-X", "smtpd_milters") }, "smtpd_milters", doctor.Fail, "is unset"},
		{"no table of routes", func() { w.postconf("-X", "sender_dependent_default_transport_maps") }, "sender_dependent_default_transport_maps", doctor.Fail, "is unset"},
		{"no transport", func() { w.postconf("-M", "-X", "gatemilter/unix") }, "master.cf gatemilter/unix", doctor.Fail, "is missing"},
		{"old transport", func() { w.postconf("-P", "gatemilter/unix/smtp_tls_security_level=may") }, "master.cf gatemilter/unix", doctor.Fail, "is not as this configuration needs it"},
		{"second milter", func() {
			w.postconf("-e", "smtpd_milters = { inet:127.0.0.1:1, default_action=accept }, { "+ours+", default_action=tempfail }")
		}, "smtpd_milters", doctor.Warn, "behind inet:127.0.0.1:1"},
		{"as it was wired before", func() { w.postconf("-e", "smtpd_milters = "+ours) }, "smtpd_milters", doctor.Fail, "is not used as configured"},
		{"ours lets all in", func() { w.postconf("-e", "smtpd_milters = { "+ours+", default_action=accept }") }, "default_action", doctor.Fail, "is accept"},
		{"a server with a list of its own lets all in", func() {
			w.postconf("-P", w.submission()+"/smtpd_milters="+ours, w.submission()+"/milter_default_action=accept")
		}, w.submission(), doctor.Fail, "is accept"},
		{"old protocol", func() { w.postconf("-e", "milter_protocol = 3") }, "milter_protocol", doctor.Warn, "macros"},
		{"ancient protocol", func() { w.postconf("-e", "milter_protocol = 1") }, "milter_protocol", doctor.Fail, "can't change"},
		{"submission without", func() { w.postconf("-P", w.submission()+"/smtpd_milters=") }, w.submission(), doctor.Warn, "without gatemilter"},
		{"submission with others", func() { w.postconf("-P", w.submission()+"/smtpd_milters={inet:127.0.0.1:1,default_action=accept}") }, w.submission(), doctor.Warn, "without gatemilter"},
		{"no milters", func() { w.postconf("-e", "receive_override_options = no_milters") }, "receive_override_options", doctor.Fail, "no milter is used"},
		{"submission without any", func() {
			w.postconf("-P", w.submission()+"/receive_override_options=no_unknown_recipient_checks,no_milters")
		}, w.submission(), doctor.Warn, "no_milters"},
		{"logins without", func() {
			w.postconf("-P", w.submission()+"/smtpd_milters=", w.submission()+"/smtpd_sasl_auth_enable=yes")
		}, w.submission(), doctor.Fail, "users log in here, and gatemilter does not see their mail"},
		{"logins without any milter", func() { w.postconf("-P", w.submission()+"/receive_override_options=no_milters") }, w.submission(), doctor.Fail, "never by their own servers"},
		{"a cleanup server without ways of users' mail", func() { w.postconf("-P", "cleanup/unix/milter_header_checks=") }, "cleanup/unix milter_header_checks", doctor.Fail, "other ways than configured"},
		{"masqueraded", func() { w.postconf("-e", "masquerade_domains = !other.example, example") }, "masquerade_domains", doctor.Fail, "example hides the domain of alice@partner.example"},
		{"no TLS", func() { w.postconf("-e", "smtpd_tls_security_level = none") }, "smtpd_tls_security_level", doctor.Fail, "TLS is not offered"},
		{"no certificate", func() { w.postconf("-X", "smtpd_tls_chain_files") }, "smtpd_tls_security_level", doctor.Fail, "has no certificate"},
		{"no client certificates", func() { w.postconf("-e", "smtpd_tls_ask_ccert = no") }, "smtpd_tls_ask_ccert", doctor.Fail, "can't show"},
		{"no authority for clients", func() { w.postconf("-X", "smtpd_tls_CAfile") }, "smtpd_tls_CAfile", doctor.Fail, "no client's certificate is verified"},
		{"slip in main.cf", func() { w.postconf("-e", "smtp_milters = x") }, "postconf", doctor.Warn, "unused parameter: smtp_milters"},
		{"other user", func() { w.edit("mta_user = nobody") }, "mail_owner", doctor.Fail, "told only to mta_user = nobody"},
		{"daemon stopped", func() { w.daemon.stop(syscall.SIGTERM) }, "milter unix:" + milter, doctor.Fail, "there is no such socket"},
		{"daemon killed", func() { w.daemon.stop(syscall.SIGKILL) }, "milter unix:" + milter, doctor.Fail, "nobody listens"},
		{"a file for a socket", func() {
			w.daemon.stop(syscall.SIGTERM)
			w.shell("touch " + milter)
		}, "milter unix:" + milter, doctor.Fail, "it is no socket"},
		{"another program", func() {
			w.daemon.stop(syscall.SIGTERM)
			impostor = must(net.Listen("unix", milter))
			go greet(impostor)
		}, "milter unix:" + milter, doctor.Fail, "does not speak milter"},
		{"closed directory", func() { w.shell("chmod 700 " + filepath.Dir(milter)) }, "milter for the user postfix", doctor.Fail, "can't reach it: " + filepath.Dir(milter) + " is root:root 0700"},
		{"socket of another group", func() { w.edit("socket_group"); w.restart() }, "lookup for the user postfix", doctor.Fail, "lookup.sock is root:root 0660"},
		{"socket without group", func() { w.edit("socket_mode = 0600"); w.restart() }, "milter for the user postfix", doctor.Fail, "milter.sock is root:postfix 0600"},
		{"socket elsewhere", func() {
			w.edit(fmt.Sprintf("milter = unix:%s, unix:%s/own.sock", milter, t.TempDir()))
			w.restart()
		}, "milter for a chrooted Postfix", doctor.Warn, "own.sock is not in the queue directory"},
		{"writable", func() { w.shell("chmod o+w " + w.config()) }, w.config(), doctor.Fail, "writable by all"},
		{"readable secret", func() { w.shell("chmod 644 " + w.config()) }, w.config(), doctor.Fail, "every user of this host can read the secret"},
		{"Postfix down", func() { w.shell("postfix -c " + w.postfix().ConfigDir() + " stop") }, "service", doctor.Warn, "does not run"},
	} {
		c.commit()
		checks := w.examine()
		if !findCheck(checks, c.what, c.state, c.found) {
			t.Errorf("%s: there is no %s of %q with %q in %+v", c.fault, c.state, c.what, c.found, bad(checks))
		}
		if impostor != nil {
			impostor.Close()
			impostor = nil
		}
		done := make(map[string]bool)
		for _, b := range bad(checks) {
			if !done[b.Fix] && b.What != "the rest" {
				w.carryOut(b.Fix)
			}
			done[b.Fix] = true
		}
		if left := bad(w.examine()); len(left) > 0 {
			t.Fatalf("%s: with the fixes of %+v carried out, there is %+v", c.fault, bad(checks), left)
		}
	}
	w.shell("postfix -c " + w.postfix().ConfigDir() + " stop") // not the one that the lab started any more
}

// What stands beside our settings and takes their effect is found, and what doesn't is not.
func TestDoctorBeside(t *testing.T) {
	w := newWard(t)
	w.postconf("-e", "transport_maps = inline:{ {x.example = smtp:[127.0.0.1]} }", "sender_canonical_maps = inline:{ { alice@partner.example = srs@lab.test } }",
		"canonical_maps = inline:{ { x@lab.test = y@lab.test } { alice@partner.example = alice@partner.example } }", "masquerade_domains = lab.test, partner.example",
		"smtp_header_checks = regexp:{ {/^Received:/ IGNORE} {/^From: .*@lab\\.test/ REPLACE From: x@lab.test} }")
	w.setUp("--apply")
	if out := bad(w.examine()); len(out) > 0 {
		t.Errorf("with tables that do no harm: %+v", out)
	}
	w.postconf("-e", "transport_maps = inline:{ {x.example = smtp:[127.0.0.1]} }, static:smtp:[127.0.0.9]", "smtpd_proxy_filter = 127.0.0.1:1",
		"canonical_maps = inline:{ { @partner.example = else@lab.test } }, regexp:/nowhere", "smtpd_milter_maps = cidr:{ {127.0.0.0/8 DISABLE} }",
		"smtp_header_checks = regexp:{ {/^From:/ REPLACE From: x@lab.test} }")
	w.postconf("-P", w.submission()+"/smtpd_proxy_filter=127.0.0.1:2")
	checks := w.examine()
	for _, c := range []struct {
		what  string
		state doctor.State
		found string
	}{
		{"transport_maps", doctor.Fail, "static:smtp:[127.0.0.9] sends all mail by smtp:[127.0.0.9]"},
		{"smtpd_proxy_filter", doctor.Fail, "is 127.0.0.1:1"},
		{w.submission() + " smtpd_proxy_filter", doctor.Fail, "is 127.0.0.1:2"},
		{"canonical_maps", doctor.Fail, "makes else@lab.test of @partner.example"},
		{"canonical_maps", doctor.Warn, "regexp:/nowhere can't be asked"},
		{"smtp_header_checks", doctor.Fail, `makes REPLACE From: x@lab.test of "From: alice@partner.example"`},
		{"smtpd_milter_maps", doctor.Warn, "cidr:{ {127.0.0.0/8 DISABLE} }"},
	} {
		if !findCheck(checks, c.what, c.state, c.found) {
			t.Errorf("there is no %s of %q with %q in %+v", c.state, c.what, c.found, bad(checks))
		}
	}
	if n := len(bad(checks)); n != 7 {
		t.Errorf("%d findings: %+v", n, bad(checks))
	}
}

// I22: mail for each domain has to come to its gateway; what is not known is never good.
func TestI22MXRecords(t *testing.T) {
	if err := lab.NeedPostfix(t.Context(), t.Logf); err != nil {
		t.Fatal(err)
	}
	zone := dnstest.StartFor(t, doctorZone+`
around.example     MX 10 mx1.filter.example
around.example     MX 20 backdoor.around.example
backdoor.around.example A 192.0.2.2
backdoor.around.example AAAA 2001:db8:6::25
other.example      MX 10 mail.other.example
mail.other.example A 203.0.113.9
none.example       A 192.0.2.2
null.example       MX 0 .
nowhere.example    MX 10 gone.nowhere.example
broken.example     SERVFAIL MX
half.example       MX 10 mx.half.example
mx.half.example    A 192.0.2.2
mx.half.example    SERVFAIL AAAA
second.example     MX 10 mx.second.example
mx.second.example  A 198.51.100.1
`)
	path := filepath.Join(t.TempDir(), "gatemilter.conf")
	const strict = "example.com, around.example, none.example, null.example, nowhere.example, missing.example, broken.example, half.example"
	text := fmt.Sprintf("[dns]\nservers = %s\n[inbound-gateway strict]\naddresses = 192.0.2.2, 2001:db8:5::/48\nreject_other = yes\ndomains = %s\n", zone.Addr(), strict) +
		"[inbound-gateway lenient]\naddresses = 192.0.2.3\ndomains = other.example, second.example\n[inbound-gateway also]\naddresses = 198.51.100.0/24\ndomains = second.example\n[inbound-gateway all]\naddresses = 192.0.2.2\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	out, _ := exec.Command("gatemilter", "doctor", "--json", "--config", path, "EXAMPLE.com", "asked.example").Output()
	var doc checksJSON
	if err := json.Unmarshal(out, &doc); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, c := range []struct {
		domain string
		state  doctor.State
		found  string
		fix    string
	}{
		{"example.com", doctor.OK, "leads to the gateway strict: mx1.filter.example 192.0.2.2, mx2.filter.example 2001:db8:5::25", ""},
		{"around.example", doctor.Fail, "leads elsewhere than to the gateway strict: backdoor.around.example 2001:db8:6::25; with reject_other = yes, that mail is refused", "add to addresses of [inbound-gateway strict]: 2001:db8:6::25"},
		{"none.example", doctor.Fail, "it has no MX record (no records of type MX)", "lead to the gateway strict"},
		{"missing.example", doctor.Fail, "it has no MX record (no such name)", "lead to the gateway strict"},
		{"null.example", doctor.Fail, "it takes no mail", "lead to the gateway strict"},
		{"nowhere.example", doctor.Fail, "gone.nowhere.example has no address", "nowhere.example. MX 10 gone.nowhere.example."},
		{"broken.example", doctor.Warn, "not known, as the DNS gives no answer", "run doctor again"},
		{"half.example", doctor.Warn, "not known, as the DNS gives no answer about mx.half.example", "run doctor again"},
		{"other.example", doctor.Warn, "leads elsewhere than to the gateway lenient: mail.other.example 203.0.113.9", "add to addresses of [inbound-gateway lenient]: 203.0.113.9"},
		{"second.example", doctor.OK, "leads to the gateways lenient, also: mx.second.example 198.51.100.1", ""},
		{"asked.example", doctor.Warn, "no such name", "lead to the gateway all"},
	} {
		i := slices.IndexFunc(doc.Checks, func(d doctor.Check) bool { return d.Subject == "MX records" && d.What == c.domain })
		if i < 0 {
			t.Errorf("nothing is said of %s", c.domain)
		} else if got := doc.Checks[i]; got.State != c.state || !strings.Contains(got.Found, c.found) || !strings.Contains(got.Fix, c.fix) {
			t.Errorf("%s: %+v, want %s with %q and %q", c.domain, got, c.state, c.found, c.fix)
		}
	}
}

// Mail hosts are judged by what is demanded of them, and name servers by their answers.
func TestDoctorNetwork(t *testing.T) {
	w := newWard(t)
	ca := must(lab.NewCA("Other CA"))
	soon := newSink(t, must(ca.Issue(lab.Subject{Hosts: []string{"127.0.0.1"}, NotAfter: time.Now().Add(10 * 24 * time.Hour)})))
	clear := newSink(t, nil)
	closed := newSink(t, nil)
	if err := closed.Refuse(); err != nil {
		t.Fatal(err)
	}
	const dead = "127.0.0.1:1" // no port that anybody is given
	server := regexp.MustCompile(`servers = \S+`).FindString(w.settings)
	text := strings.Replace(w.settings, server, server+", "+dead, 1) +
		fmt.Sprintf("[route soon]\nhost = %s\nverify_hostname = no\nca_file = %s\n[route untrusted]\nprimary = %s 100\nsecondary = %s 100\nverify_hostname = no\n", soon.Addr(), writeCA(t, ca), soon.Addr(), clear.Addr()) +
		fmt.Sprintf("[route lax]\nprimary = %s 100\nsecondary = %s 100\nrequire_tls = no\n", clear.Addr(), closed.Addr()) +
		"[sender a@lab.test]\nroute = soon\n[sender b@lab.test]\nroute = untrusted\n[sender c@lab.test]\nroute = lax\n"
	// One host can't have two demands: the routes are looked at in turn.
	for _, c := range []struct {
		without []string
		checks  []doctor.Check
	}{
		{[]string{"untrusted", "lax"}, []doctor.Check{
			{What: "route soon", State: doctor.Warn, Found: "expires on"},
			{What: "route relay", State: doctor.OK, Found: "TLS 1.3, certificate until"},
			{What: "users' server", State: doctor.OK, Found: "TLS 1.3, certificate until"},
			{What: "name server " + dead, State: doctor.Warn, Found: "gives no answer"},
		}},
		{[]string{"soon", "lax"}, []doctor.Check{
			{What: "route untrusted, [127.0.0.1]:" + fmt.Sprint(soon.Addr().Port()), State: doctor.Fail, Found: "require_ca fails"},
			{What: "route untrusted, [127.0.0.1]:" + fmt.Sprint(clear.Addr().Port()), State: doctor.Fail, Found: "require_tls fails"},
		}},
		{[]string{"soon", "untrusted"}, []doctor.Check{
			{What: "route lax, [127.0.0.1]:" + fmt.Sprint(clear.Addr().Port()), State: doctor.OK, Found: "nothing is demanded"},
			{What: "route lax, [127.0.0.1]:" + fmt.Sprint(closed.Addr().Port()), State: doctor.Fail, Found: "refused"},
		}},
	} {
		settings := text
		for _, name := range c.without {
			settings = regexp.MustCompile(`(?s)\[route `+name+`\].*?(\[|$)`).ReplaceAllString(settings, "$1")
			settings = regexp.MustCompile(`\[sender \S+\]\nroute = `+name+`\n`).ReplaceAllString(settings, "")
		}
		w.configure(settings)
		got := w.examine()
		for _, want := range c.checks {
			if !findCheck(got, want.What, want.State, want.Found) {
				t.Errorf("there is no %s of %q with %q in %+v", want.State, want.What, want.Found, got)
			}
		}
	}
	for _, check := range w.examine("--no-network") {
		if slices.Contains([]string{"MX records", "DNS", "mail hosts"}, check.Subject) {
			t.Errorf("--no-network, but %+v", check)
		}
	}
}
