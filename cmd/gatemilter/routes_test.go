package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"gatemilter/cmd/internal/lab"
)

// The tests of this file run the program behind a real Postfix, which mta-setup has
// wired to it, and look at what arrives at mail hosts on loopback.

// A relay is a site whose outgoing mail takes routes.
type relay struct {
	*site
	direct *lab.Sink // where mail goes that takes no route
	sent   int
	before map[string]string // the files before mta-setup
}

// newRelay starts a Postfix as changed, and gatemilter with these settings, and wires them by
// mta-setup.
func newRelay(t *testing.T, settings string, change func(*lab.Config)) *relay {
	t.Helper()
	r := &relay{site: &site{t: t}, direct: newSink(t, nil)}
	cfg := lab.Config{Mailboxes: homeMailboxes, Relay: at(r.direct)}
	if change != nil {
		change(&cfg)
	}
	r.mta = startPostfix(t, cfg)
	r.before = r.files()
	r.start(settings)
	r.setUp("--apply")
	return r
}

// homeMailboxes are those of relays.
var homeMailboxes = []string{"user@home.example", "boss@home.example"}

// newRelayOn is newRelay with either mail server; change is for Postfix only.
func newRelayOn(t *testing.T, on, settings string, change func(*lab.Config)) *relay {
	t.Helper()
	if on == onPostfix {
		return newRelay(t, settings, change)
	}
	return newSendmailRelay(t, settings, lab.SendmailConfig{})
}

// newSendmailRelay is newRelay with a Sendmail.
func newSendmailRelay(t *testing.T, settings string, c lab.SendmailConfig) *relay {
	t.Helper()
	r := &relay{site: &site{t: t}, direct: newSink(t, nil)}
	c.Mailboxes, c.Relay = homeMailboxes, at(r.direct)
	r.mta = startSendmail(t, c)
	r.start(settings)
	r.wireSendmail()
	return r
}

// newSink starts a mail host, with STARTTLS where it has a certificate.
func newSink(t *testing.T, cert *lab.Cert) *lab.Sink {
	t.Helper()
	s, err := lab.StartSink("127.0.0.1", cert)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// at writes a host as in main.cf.
func at(s *lab.Sink) string { return fmt.Sprintf("[%s]:%d", s.Addr().Addr(), s.Addr().Port()) }

// configure writes the configuration; a first line that is no section is one of [server].
func (r *relay) configure(settings string) (path string) {
	r.t.Helper()
	first, rest := "", settings
	if !strings.HasPrefix(settings, "[") {
		first, rest, _ = strings.Cut(settings, "\n")
	}
	dir := r.sockets()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		r.t.Fatal(err)
	}
	path = r.config()
	text := fmt.Sprintf("[server]\nmilter = unix:%s/milter.sock\nlookup = unix:%s/lookup.sock\n%s%s\n[log]\nformat = json\n%s", dir, dir, r.mtaUser(), first, rest)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
	return path
}

func (r *relay) start(settings string) { r.daemon = startProcess(r.t, r.configure(settings)) }

// reload puts other settings in force.
func (r *relay) reload(settings string) {
	r.t.Helper()
	r.configure(settings)
	reloads := func() (n int) {
		for _, e := range r.daemon.entries() {
			if e["message"] == "configuration reloaded" {
				n++
			}
		}
		return n
	}
	before := reloads()
	r.daemon.cmd.Process.Signal(syscall.SIGHUP)
	if err := lab.Until(r.t.Context(), "the reload", func() bool { return reloads() > before }); err != nil {
		r.t.Fatal(err)
	}
}

// setUp runs mta-setup, and has Postfix read what it has written.
func (r *relay) setUp(option ...string) (out string) {
	r.t.Helper()
	if r.onSendmail() {
		r.wireSendmail()
		return ""
	}
	args := append([]string{"mta-setup", "postfix", "--postfix-config", r.postfix().ConfigDir(), "--config", r.config()}, option...)
	text, err := exec.Command("gatemilter", args...).CombinedOutput()
	if err != nil && len(option) > 0 {
		r.t.Fatalf("%v: %s", err, text)
	}
	if err := r.postfix().Reload(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
	return string(text)
}

// far returns a new recipient elsewhere: Postfix keeps the way to one that it knows for a
// while.
func (r *relay) far() string {
	r.sent++
	return fmt.Sprintf("far%d@remote.example", r.sent)
}

// mail hands a message over, in a session of its own.
func (r *relay) mail(from string, to ...string) {
	r.t.Helper()
	client := must(lab.Dial(r.t.Context(), r.Addr()))
	defer client.Close()
	if _, err := client.Ehlo("client.example"); err != nil {
		r.t.Error(err)
		return
	}
	done, err := client.Send(lab.Envelope{From: from, To: to}, letter(to[0]))
	if err != nil || !done.End.OK() {
		r.t.Errorf("from %q to %q: %+v, error %v", from, to, done, err)
	}
}

// idle waits until all mail is delivered or deferred.
func (r *relay) idle() {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), retryLimit) // there may be a thousand
	defer cancel()
	if err := r.WaitIdle(ctx); err != nil {
		r.t.Fatal(err)
	}
}

// got tells whether a whole message for the recipient has arrived.
func got(s *lab.Sink, to string) bool {
	return slices.ContainsFunc(s.Taken(), func(m lab.Taken) bool { return m.Data != "" && slices.Contains(m.To, to) })
}

// arrived returns the names of the hosts where a message has arrived.
func arrived(hosts map[string]*lab.Sink, to string) (names []string) {
	for name, s := range hosts {
		if got(s, to) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// retryLimit is within what time Postfix tries a message again, by itself: a minute after its
// scan of the queue has met the message while an attempt was just ending.
const retryLimit = 2 * time.Minute

// arrives waits for a message at any of these hosts.
func (r *relay) arrives(to string, hosts ...*lab.Sink) {
	r.t.Helper()
	limit := retryLimit
	if r.onSendmail() {
		limit /= 4
	}
	ctx, cancel := context.WithTimeout(r.t.Context(), limit)
	defer cancel()
	err := lab.Until(ctx, "mail for "+to+" to arrive", func() bool {
		if r.onSendmail() && r.WaitIdle(ctx) == nil && !slices.ContainsFunc(hosts, func(s *lab.Sink) bool { return got(s, to) }) {
			r.Flush(ctx) // which it would do by itself, in minutes
		}
		return slices.ContainsFunc(hosts, func(s *lab.Sink) bool { return got(s, to) })
	})
	if err != nil {
		r.t.Fatal(err)
	}
}

// deferred waits until a message to the recipient waits in the queue, and returns why.
func (r *relay) deferred(to string) (reason string) {
	r.t.Helper()
	err := lab.Until(r.t.Context(), "mail for "+to+" to be deferred", func() bool {
		for _, q := range must(r.Queue(r.t.Context())) {
			for _, rcpt := range q.Recipients {
				if rcpt.Address == to && rcpt.Delay != "" {
					reason = rcpt.Delay
				}
			}
		}
		return reason != ""
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return reason
}

// trust makes an authority count instead of the system's, for all programs that the test
// starts from now on.
func trust(t *testing.T, ca *lab.CA) {
	t.Helper()
	t.Setenv("SSL_CERT_FILE", writeCA(t, ca))
}

// inClear is a route without demands.
func inClear(name string, s *lab.Sink) string {
	return fmt.Sprintf("[route %s]\nhost = %s\nrequire_tls = no\n", name, s.Addr())
}

// O1, O2, R1, R2, R5, R6, R7: the sender's address decides, then his domain, then the outbound
// gateway; mail for this server stays here.
func TestRoutesBySender(t *testing.T) { onAll(t, testRoutesBySender) }

// onAll is onBoth, on Postfix both chrooted and not.
func onAll(t *testing.T, scenario func(t *testing.T, on string, chroot bool)) {
	onBoth(t, func(t *testing.T, on string) {
		if on == onSendmail {
			scenario(t, on, false)
			return
		}
		for _, chroot := range []bool{false, true} {
			t.Run(fmt.Sprintf("chroot %v", chroot), func(t *testing.T) { scenario(t, on, chroot) })
		}
	})
}

func testRoutesBySender(t *testing.T, on string, chroot bool) {
	ca := must(lab.NewCA("Relay CA"))
	hosts := map[string]*lab.Sink{
		"address": newSink(t, must(ca.Issue(lab.Subject{Hosts: []string{"127.0.0.1"}}))),
		"domain":  newSink(t, nil),
		"gateway": newSink(t, nil),
	}
	routes := fmt.Sprintf("[route address]\nhost = %s\n", hosts["address"].Addr()) + inClear("domain", hosts["domain"]) + inClear("gateway", hosts["gateway"]) +
		"[sender alice@lab.test]\nroute = address\n[sender @lab.test]\nroute = domain\n[sender alice+direct@lab.test]\nroute = domain\n"
	const gateway = "[outbound]\ngateway = gateway\n"
	trust(t, ca)
	r := newRelayOn(t, on, routes+gateway, func(c *lab.Config) { c.Chroot = chroot })
	hosts["direct"] = r.direct
	hosts["address"].Answer(func(line string) string {
		if strings.HasPrefix(strings.ToUpper(line), "RCPT TO:<NOBODY@") {
			return "550 5.1.1 unknown"
		}
		return ""
	})

	type way struct{ from, host string }
	check := func(ways []way) {
		t.Helper()
		to := make([]string, len(ways))
		for i, w := range ways {
			to[i] = r.far()
			r.mail(w.from, to[i])
		}
		r.idle()
		for i, w := range ways {
			if names := arrived(hosts, to[i]); !slices.Equal(names, []string{w.host}) {
				t.Errorf("from %q: arrived at %q, want %q", w.from, names, w.host)
			}
		}
	}
	check([]way{
		{"alice@lab.test", "address"}, {"ALICE@Lab.TEST", "address"}, {"alice+news@lab.test", "address"}, {`"alice"@lab.test`, "address"},
		{"alice+direct@lab.test", "domain"}, {"bob@lab.test", "domain"}, {"bob@LAB.test", "domain"}, {`"a b"@lab.test`, "domain"},
		{"bob@sub.lab.test", "gateway"}, {"list@outside.example", "gateway"}, {"", "gateway"},
	})

	// Of two recipients, the one at home stays there.
	both := r.far()
	r.mail("alice@lab.test", both, "user@home.example")
	r.idle()
	if names, m := arrived(hosts, both), r.delivered("user@home.example", both); !slices.Equal(names, []string{"address"}) || m == nil {
		t.Errorf("two recipients: arrived at %q and at home as %v", names, m)
	}
	// A bounce has the null sender.
	r.mail("alice@lab.test", "nobody@remote.example")
	r.arrives("alice@lab.test", hosts["gateway"])
	for _, m := range hosts["address"].Taken() {
		if !m.TLS {
			t.Errorf("sent in clear: %+v", m)
		}
	}

	r.reload(routes)
	check([]way{{"alice@lab.test", "address"}, {"list@outside.example", "direct"}, {"", "direct"}})
	r.reload("mode = observe\n" + routes + gateway)
	check([]way{{"alice@lab.test", "direct"}, {"bob@lab.test", "direct"}, {"", "direct"}})
}

// mta-setup: shows the difference, does nothing twice, leaves to the maps that were there what
// gatemilter has no route for, takes the wiring out where there are no routes any more, and
// leaves the files as they were.
func TestRoutesMTASetup(t *testing.T) {
	a, theirs := newSink(t, nil), newSink(t, nil)
	settings := inClear("r", a) + "[sender @lab.test]\nroute = r\n"
	theirMap := "inline:{ { carol@outside.example = smtp:" + at(theirs) + " } }"
	r := newRelay(t, settings, func(c *lab.Config) {
		c.Main += "# A comment of theirs.\nsmtpd_milters = { unix:none.sock, default_action=accept }\nsender_dependent_default_transport_maps = " + theirMap + "\n"
		c.Master += "# Another one.\ntheirs unix - - n - - smtp\n    -o syslog_name=theirs\n"
	})
	const unchanged = "Postfix needs no change.\n"
	for _, option := range [][]string{nil, {"--apply"}} {
		if out := r.setUp(option...); out != unchanged {
			t.Errorf("wired already, %v: %s", option, out)
		}
	}
	ours, carols := r.far(), r.far()
	r.mail("alice@lab.test", ours)
	r.mail("carol@outside.example", carols)
	r.arrives(ours, a)
	r.arrives(carols, theirs)

	r.configure("")
	r.setUp("--apply")
	want := maps.Clone(r.before)
	want["main.cf"] = strings.Replace(want["main.cf"], "\nsmtpd_milters = ", "\nsmtpd_milters = { unix:gatemilter/milter.sock, default_action=tempfail }, ", 1)
	if got := r.files(); !maps.Equal(got, want) {
		t.Errorf("without routes:\n%s\nwant\n%s", got, want)
	}
	r.setUp("--remove")
	if got := r.files(); !maps.Equal(got, r.before) {
		t.Errorf("removed:\n%s\nwant\n%s", got, r.before)
	}
	r.configure(settings)
	out := r.setUp()
	for _, line := range []string{
		"sender_dependent_default_transport_maps  is       " + theirMap,
		"                                         becomes  socketmap:unix:gatemilter/lookup.sock:route, " + theirMap,
		"postfix -c " + r.postfix().ConfigDir() + " reload",
	} {
		if !strings.Contains(out, line+"\n") {
			t.Errorf("does not show %q:\n%s", line, out)
		}
	}
}

// files returns the text of Postfix's configuration files.
func (r *relay) files() map[string]string {
	r.t.Helper()
	texts := map[string]string{}
	for _, name := range []string{"main.cf", "master.cf"} {
		texts[name] = string(must(os.ReadFile(filepath.Join(r.postfix().ConfigDir(), name))))
	}
	return texts
}
