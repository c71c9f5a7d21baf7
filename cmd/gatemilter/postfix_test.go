package main

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"gatemilter/cmd/internal/lab"
)

// The tests of this file run the program behind a real Postfix. Clients reach it by
// SMTP on loopback; XCLIENT gives them the address, name and login of a test.

// domainsConfig has one gateway for each thing to be tested, each with a domain
// of its own; free.example is behind none.
const domainsConfig = `
[authentication]
spf   = no
dkim  = no
dmarc = off

[inbound]
internal_networks = 198.18.0.0/15
allowlist = 203.0.113.77

[inbound-gateway filter]
addresses    = 192.0.2.2, 192.0.2.55, 2001:db8:5::/48
domains      = example.com
reject_other = yes
require_tls  = yes
spam_header  = ^X-(?:spam|phishy): (0\.\d*|1\.0*)$
spam_score   = 0.50

[inbound-gateway marker]
addresses   = 192.0.2.100
domains     = marked.example
spam_header = ^X-Spam-Gw: spam$

[inbound-gateway rejecter]
addresses   = 192.0.2.101
domains     = reject.example
spam_header = ^X-Spam-Gw: spam$
spam_action = reject

[inbound-gateway holder]
addresses   = 192.0.2.102
domains     = hold.example
spam_header = ^X-Spam-Gw: spam$
spam_action = quarantine

[inbound-gateway dropper]
addresses   = 192.0.2.103
domains     = drop.example
spam_header = ^X-Spam-Gw: spam$
spam_action = discard

[inbound-gateway certified]
addresses       = 192.0.2.104
domains         = certified.example
reject_other    = yes
tls_certificate = gw.certified.example

[inbound-gateway secretive]
addresses      = 192.0.2.105
domains        = secret.example
reject_other   = yes
require_header = ^X-Filter-Key: 4711-secret$
`

// A site is a mail server with gatemilter, and what they log.
type site struct {
	mta
	t      *testing.T
	daemon *process
	ca     *lab.CA
}

// newSite starts a Postfix that is wired to gatemilter as the README says, and
// gatemilter with these further settings.
func newSite(t *testing.T, settings string, change func(*lab.Config)) *site {
	t.Helper()
	ca := must(lab.NewCA("Test CA"))
	cfg := lab.Config{
		Mailboxes: []string{"user@example.com", "other@example.com", "user@free.example", "user@marked.example", "user@reject.example",
			"user@hold.example", "user@drop.example", "user@certified.example", "user@secret.example"},
		Milter:   "unix:gatemilter/milter.sock",
		Cert:     must(ca.Issue(lab.Subject{CommonName: "mx.lab.test", Hosts: []string{"mx.lab.test"}})),
		ClientCA: ca,
	}
	if change != nil {
		change(&cfg)
	}
	s := &site{mta: startPostfix(t, cfg), t: t, ca: ca}
	s.startDaemon(settings)
	return s
}

// newSendmailSite is newSite with a Sendmail.
func newSendmailSite(t *testing.T, settings string) *site {
	t.Helper()
	ca := must(lab.NewCA("Test CA"))
	s := &site{t: t, ca: ca}
	s.mta = startSendmail(t, lab.SendmailConfig{
		Mailboxes: []string{"user@example.com", "other@example.com"},
		Domains:   []string{"free.example", "marked.example", "reject.example", "hold.example", "drop.example", "certified.example", "secret.example"},
		Cert:      must(ca.Issue(lab.Subject{CommonName: "mx.lab.test", Hosts: []string{"mx.lab.test"}})),
		ClientCA:  ca,
	})
	startIsolatedDNS(t, clientNames)
	s.startDaemon(settings)
	s.wireSendmail()
	return s
}

// newSiteOn is a site with either mail server.
func newSiteOn(t *testing.T, on, settings string) *site {
	if on == onSendmail {
		return newSendmailSite(t, settings)
	}
	return newSite(t, settings, nil)
}

// with is the site in a subtest.
func (s *site) with(t *testing.T) *site { return &site{s.mta, t, s.daemon, s.ca} }

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// A process is a running gatemilter and what it logs.
type process struct {
	cmd    *exec.Cmd
	stderr io.Closer
	done   chan struct{}
	mu     sync.Mutex
	log    []entry
}

// An entry is a line of the log.
type entry map[string]any

func (e entry) String() string { return string(must(json.Marshal(e))) }

// startDaemon starts gatemilter with the socket in the queue directory.
func (s *site) startDaemon(settings string) {
	s.t.Helper()
	if err := os.MkdirAll(s.sockets(), 0o755); err != nil {
		s.t.Fatal(err)
	}
	s.daemon = startProcess(s.t, s.writeConfig(settings))
}

func (s *site) writeConfig(settings string) string {
	s.t.Helper()
	path := s.config()
	server := fmt.Sprintf("[server]\nmilter = unix:%s/milter.sock\n%s", s.sockets(), s.socketGroup())
	if strings.HasPrefix(settings, "mode") {
		mode, rest, _ := strings.Cut(settings, "\n")
		server, settings = server+mode+"\n", rest
	}
	text := server + "[log]\nformat = json\nlevel = debug\n" + settings
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return path
}

func startProcess(t *testing.T, config string) *process {
	t.Helper()
	p := &process{cmd: exec.Command("gatemilter", "serve", "--config", config), done: make(chan struct{})}
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.stderr = stderr
	go p.read(stderr)
	t.Cleanup(func() {
		p.stop(syscall.SIGTERM)
		if t.Failed() {
			for _, e := range p.entries() {
				t.Log(e)
			}
		}
	})
	p.wait(t, "started", func(e entry) bool { return e["message"] == "started" })
	return p
}

func (p *process) read(r io.Reader) {
	defer close(p.done)
	for lines := bufio.NewScanner(r); lines.Scan(); {
		e := entry{}
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			e = entry{"message": lines.Text()}
		}
		p.mu.Lock()
		p.log = append(p.log, e)
		p.mu.Unlock()
	}
}

func (p *process) entries() []entry {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.log)
}

// wait returns the first log entry that is meant.
func (p *process) wait(t *testing.T, what string, meant func(entry) bool) entry {
	t.Helper()
	var found entry
	err := lab.Until(t.Context(), "a log line: "+what, func() bool {
		i := slices.IndexFunc(p.entries(), meant)
		if i >= 0 {
			found = p.entries()[i]
		}
		return i >= 0
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// stop signals the process and waits for its end.
func (p *process) stop(signal os.Signal) error {
	p.cmd.Process.Signal(signal)
	<-p.done
	return p.cmd.Wait()
}

// A caller is a client in the eyes of Postfix.
type caller struct {
	ip    string
	name  string
	login string
	tls   *tls.Config
}

// withTLS lets the caller use STARTTLS, with a certificate if one is given.
func (c caller) withTLS(s *site, certs ...*lab.Cert) caller {
	c.tls = &tls.Config{RootCAs: s.ca.Pool(), ServerName: "mx.lab.test"}
	for _, cert := range certs {
		c.tls.Certificates = append(c.tls.Certificates, cert.TLS)
	}
	return c
}

// connect opens an SMTP session as the caller.
func (s *site) connect(c caller) *lab.Client {
	s.t.Helper()
	if s.onSendmail() {
		return s.callSendmail(c)
	}
	client, err := lab.Dial(s.t.Context(), s.Addr())
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { client.Close() })
	s.ok(client.Ehlo("test.example"))
	s.ok(client.XClient(lab.Identity{Addr: netip.MustParseAddr(c.ip), Name: c.name, Login: c.login}))
	s.ok(client.Ehlo("client.example"))
	if c.tls != nil {
		s.ok(client.StartTLS(c.tls))
		s.ok(client.Ehlo("client.example"))
	}
	return client
}

func (s *site) ok(r lab.Reply, err error) {
	s.t.Helper()
	if err != nil || !r.OK() {
		s.t.Fatalf("reply %v, error %v", r, err)
	}
}

// send sends one message in a session of its own and returns the replies in
// short: "250 250,550 250".
func (s *site) send(c caller, to string, message string) (replies, queueID string) {
	s.t.Helper()
	return s.sendOn(s.connect(c), to, message)
}

func (s *site) sendOn(client *lab.Client, to string, message string) (replies, queueID string) {
	s.t.Helper()
	t, err := client.Send(lab.Envelope{From: "sender@outside.example", To: strings.Fields(to)}, message)
	if err != nil {
		s.t.Fatal(err)
	}
	var rcpt []string
	for _, r := range t.Rcpt {
		rcpt = append(rcpt, code(r))
	}
	parts := []string{code(t.Mail)}
	if len(rcpt) > 0 {
		parts = append(parts, strings.Join(rcpt, ","))
	}
	if t.End.Code != 0 {
		parts = append(parts, code(t.End))
	}
	return strings.Join(parts, " "), t.End.QueueID()
}

// code is a reply's code, with the enhanced one if it refuses.
func code(r lab.Reply) string {
	if r.OK() {
		return fmt.Sprint(r.Code)
	}
	return fmt.Sprintf("%d(%s)", r.Code, r.Enhanced)
}

// logged returns what gatemilter logged of a message.
func (s *site) logged(queueID string) entry {
	s.t.Helper()
	return s.daemon.wait(s.t, "about "+queueID, func(e entry) bool { return e["queue_id"] == queueID && e["verdict"] != nil })
}

// delivered returns the message with this subject from a mailbox, or nil when it
// isn't there once the queue is idle.
func (s *site) delivered(mailbox, subject string) *lab.Message {
	s.t.Helper()
	if err := s.WaitIdle(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	messages, err := s.Mailbox(mailbox)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, m := range messages {
		if slices.Equal(m.Values("Subject"), []string{subject}) {
			return &m
		}
	}
	return nil
}

// letter is a message with these header fields above its subject.
func letter(subject string, fields ...string) string {
	return strings.Join(append(fields, "From: sender@outside.example", "Subject: "+subject, "", "Hello."), "\n") + "\n"
}

const (
	receivedOutside = "Received: from mail.outside.example (mail.outside.example [198.51.100.7])\n\tby gw.filter.example with ESMTPS; Mon, 1 Jan 2024 00:00:00 +0000"
	receivedAllowed = "Received: from friend.example (friend.example [203.0.113.77])\n\tby gw.filter.example with ESMTPS; Mon, 1 Jan 2024 00:00:00 +0000"
)

var (
	gateway  = caller{ip: "192.0.2.2", name: "gw.filter.example"}
	stranger = caller{ip: "198.51.100.99"}
)

// The inbound gateway, on either mail server.
func TestInbound(t *testing.T) { onBoth(t, testInbound) }

func testInbound(t *testing.T, on string) {
	s := newSiteOn(t, on, domainsConfig)
	gatewayTLS := gateway.withTLS(s)
	good := must(s.ca.Issue(lab.Subject{CommonName: "gw.certified.example"}))
	other := must(s.ca.Issue(lab.Subject{CommonName: "else.example"}))
	untrusted := must(lab.SelfSigned(lab.Subject{CommonName: "gw.certified.example"}))
	expired := must(s.ca.Issue(lab.Subject{CommonName: "gw.certified.example", NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(-time.Hour)}))

	for _, c := range []struct {
		name   string
		caller caller
		to     string
		fields []string
		want   string // replies
		fate   string // delivered, held, gone
		header map[string][]string
		log    map[string]any
		// postfixOnly is why it can't be the same on Sendmail, or "".
		postfixOnly string
	}{
		{name: "I3 accept from the gateway", caller: gatewayTLS, to: "user@example.com", fields: []string{receivedOutside},
			want: "250 250 250", fate: "delivered", header: map[string][]string{"X-Spam-Flag": nil},
			log: map[string]any{"verdict": "accept", "gateway": "filter", "source_ip": "198.51.100.7", "source_helo": "mail.outside.example", "client_ip": "192.0.2.2", "tls": "1.3", "client_name": "gw.filter.example", "source": "external"}},
		{name: "I3 IPv6 gateway", caller: caller{ip: "2001:db8:5::9"}.withTLS(s), to: "user@example.com", fields: []string{receivedOutside},
			want: "250 250 250", fate: "delivered", log: map[string]any{"gateway": "filter", "source_ip": "198.51.100.7"}},
		{name: "I4 internal", caller: gatewayTLS, to: "user@example.com",
			want: "250 250 250", fate: "delivered", log: map[string]any{"gateway": "filter", "source_ip": nil, "source": "internal"}},
		{name: "I7 direct mail to a domain without gateway", caller: stranger, to: "user@free.example", fields: []string{receivedOutside},
			want: "250 250 250", fate: "delivered", log: map[string]any{"gateway": nil, "source_ip": "198.51.100.99"}},
		{name: "I10 around the gateway", caller: stranger, to: "user@example.com",
			want: "250 550(5.7.1)", fate: "gone"},
		{name: "I10 per recipient", caller: stranger, to: "user@example.com user@free.example",
			want: "250 550(5.7.1),250 250", fate: "delivered",
			log: map[string]any{"recipients": 2.0, "refused_recipients": []any{"user@example.com"}, "verdict": "accept"}},
		{name: "I11 without TLS", caller: gateway, to: "user@example.com", fields: []string{receivedOutside},
			want: "530(5.7.0)", fate: "gone"},
		{name: "I13 authenticated", caller: caller{ip: stranger.ip, login: "alice"}, to: "user@example.com", fields: []string{"X-Spam-Flag: NO"},
			want: "250 250 250", fate: "delivered", header: map[string][]string{"X-Spam-Flag": {"NO"}}, log: map[string]any{"login": "alice", "reasons": []any{"exempt-login"}}},
		{name: "I13 internal network", caller: caller{ip: "198.18.5.5"}, to: "user@example.com",
			want: "250 250 250", fate: "delivered", log: map[string]any{"reasons": []any{"exempt-internal-network"}}},
		{name: "I13 loopback", caller: caller{ip: "127.0.0.1"}, to: "user@example.com",
			want: "250 250 250", fate: "delivered", log: map[string]any{"reasons": []any{"exempt-local"}}},
		{name: "I14 spam by match", caller: caller{ip: "192.0.2.100"}, to: "user@marked.example", fields: []string{"x-SPAM-gw: spam"},
			want: "250 250 250", fate: "delivered", header: map[string][]string{"X-Spam-Flag": {"YES"}, "X-Spam-Status": {"Yes, gateway=marker"}}},
		{name: "I14 spam by match, folded", caller: caller{ip: "192.0.2.100"}, to: "user@marked.example", fields: []string{"X-Spam-Gw:\n\tspam"},
			want: "250 250 250", fate: "delivered", header: map[string][]string{"X-Spam-Flag": {"YES"}}},
		{name: "I14 no match", caller: caller{ip: "192.0.2.100"}, to: "user@marked.example", fields: []string{"X-Spam-Gw: ham"},
			want: "250 250 250", fate: "delivered", header: map[string][]string{"X-Spam-Flag": nil, "X-Spam-Gw": {"ham"}}},
		{name: "I15 spam by score", caller: gatewayTLS, to: "user@example.com", fields: []string{receivedOutside, "X-phishy: 0.70"},
			want: "250 250 250", fate: "delivered", header: map[string][]string{"X-Spam-Flag": {"YES"}, "X-Spam-Status": {"Yes, score=0.70 required=0.50 gateway=filter"}},
			log: map[string]any{"spam_score": 0.7}},
		{name: "I15 below the score", caller: gatewayTLS, to: "user@example.com", fields: []string{receivedOutside, "X-phishy: 0.30"},
			want: "250 250 250", fate: "delivered", header: map[string][]string{"X-Spam-Flag": nil}, log: map[string]any{"spam_score": 0.3}},
		{name: "I16 a forged tag on other mail", caller: stranger, to: "user@free.example", fields: []string{"X-Spam: 0.99", "X-Spam-Gw: spam"},
			want: "250 250 250", fate: "delivered", header: map[string][]string{"X-Spam-Flag": nil, "X-Spam": {"0.99"}}},
		{name: "I17 reject", caller: caller{ip: "192.0.2.101"}, to: "user@reject.example", fields: []string{"X-Spam-Gw: spam"},
			want: "250 250 550(5.7.1)", fate: "gone"},
		{name: "I17 quarantine", caller: caller{ip: "192.0.2.102"}, to: "user@hold.example", fields: []string{"X-Spam-Gw: spam"},
			want: "250 250 250", fate: "held", log: map[string]any{"verdict": "quarantine"}},
		{name: "I17 discard", caller: caller{ip: "192.0.2.103"}, to: "user@drop.example", fields: []string{"X-Spam-Gw: spam"},
			want: "250 250 250", fate: "gone", log: map[string]any{"verdict": "discard"}},
		{name: "I17 forged fields removed", caller: stranger, to: "user@free.example",
			fields: []string{"X-Spam-Flag: NO", "x-spam-FLAG:\n no,\n\treally", "X-Kept: 1", "X-Gatemilter-Route: smtp:[evil]", "X-SPAM-STATUS : No", "x-gatemilter-ROUTE: again", "X-Spam-Flag :NO", "X-Spam-Flag: last"},
			want:   "250 250 250", fate: "delivered",
			header: map[string][]string{"X-Spam-Flag": nil, "X-Spam-Status": nil, "X-Gatemilter-Route": nil, "X-Kept": {"1"}}},
		{name: "I17 forged fields replaced on spam", caller: caller{ip: "192.0.2.100"}, to: "user@marked.example",
			fields: []string{"X-Spam-Flag: NO", "X-Spam-Gw: spam", "X-Spam-Flag: NO"},
			want:   "250 250 250", fate: "delivered", header: map[string][]string{"X-Spam-Flag": {"YES"}}},
		{name: "I19 allowlisted source", caller: gatewayTLS, to: "user@example.com", fields: []string{receivedAllowed, "X-Spam: 0.99"},
			want: "250 250 250", fate: "delivered", header: map[string][]string{"X-Spam-Flag": nil}, log: map[string]any{"source_ip": "203.0.113.77"}},
		{name: "I23 certificate", caller: caller{ip: "192.0.2.104"}.withTLS(s, good), to: "user@certified.example",
			want: "250 250 250", fate: "delivered", log: map[string]any{"gateway": "certified"}},
		{name: "I23 no certificate", caller: caller{ip: "192.0.2.104"}.withTLS(s), to: "user@certified.example", want: "250 550(5.7.1)", fate: "gone"},
		{name: "I23 no TLS", caller: caller{ip: "192.0.2.104"}, to: "user@certified.example", want: "250 550(5.7.1)", fate: "gone"},
		{name: "I23 another name", caller: caller{ip: "192.0.2.104"}.withTLS(s, other), to: "user@certified.example", want: "250 550(5.7.1)", fate: "gone"},
		{name: "I23 self-signed", caller: caller{ip: "192.0.2.104"}.withTLS(s, untrusted), to: "user@certified.example", want: "250 550(5.7.1)", fate: "gone"},
		{name: "I23 expired", caller: caller{ip: "192.0.2.104"}.withTLS(s, expired), to: "user@certified.example", want: "250 550(5.7.1)", fate: "gone"},
		{name: "I23 secret", caller: caller{ip: "192.0.2.105"}, to: "user@secret.example", fields: []string{"x-filter-KEY: 4711-secret"},
			want: "250 250 250", fate: "delivered", header: map[string][]string{"X-Filter-Key": nil}, log: map[string]any{"gateway": "secretive"}},
		{name: "I23 a secret that came another way is not delivered", caller: stranger, to: "user@free.example", fields: []string{"X-Filter-Key: 4711-secret"},
			want: "250 250 250", fate: "delivered", header: map[string][]string{"X-Filter-Key": nil}},
		{name: "I17 a forged field that can't be removed", caller: stranger, to: "user@free.example", fields: []string{"X-Gatemilter-" + strings.Repeat("a", 300) + ": x"},
			want: "250 250 554(5.6.0)", fate: "gone",
			postfixOnly: "a name of more than 100 octets ends the header for Sendmail: it is text of the body"},
		{name: "I23 no secret", caller: caller{ip: "192.0.2.105"}, to: "user@secret.example", want: "250 250 550(5.7.1)", fate: "gone"},
		{name: "I24 a neighbour", caller: caller{ip: "192.0.2.3"}, to: "user@free.example", want: "250 250 250", fate: "delivered",
			log: map[string]any{"reasons": []any{"not-from-gateway", "likely-missing-gateway", "source-external"}}},
		{name: "I24 a name like the gateway's", caller: caller{ip: "198.51.100.200", name: "new.filter.example"}, to: "user@free.example", want: "250 250 250", fate: "delivered",
			log: map[string]any{"reasons": []any{"not-from-gateway", "likely-missing-gateway", "source-external"}}},
	} {
		if c.postfixOnly != "" && on == onSendmail {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			s := s.with(t)
			replies, id := s.send(c.caller, c.to, letter(c.name, c.fields...))
			if replies != c.want {
				t.Fatalf("replies %s, want %s", replies, c.want)
			}
			s.checkFate(c.fate, c.to, c.name, id, c.header)
			if c.log == nil {
				return
			}
			entry := s.logged(id)
			for key, want := range c.log {
				if got := entry[key]; fmt.Sprint(got) != fmt.Sprint(want) {
					t.Errorf("logged %s = %v, want %v", key, got, want)
				}
			}
		})
	}
	s.noWarnings()
	for _, e := range s.daemon.entries() {
		if strings.Contains(e.String(), "4711-secret") {
			t.Errorf("a secret is in the log: %s", e)
		}
	}
}

// I10: a recipient is what Postfix makes of it, however the client writes it; on Sendmail, which does
// not tell, it is behind every gateway if that can be doubted.
func TestOddRecipients(t *testing.T) { onBoth(t, testOddRecipients) }

func testOddRecipients(t *testing.T, on string) {
	var s *site
	if on == onSendmail {
		s = newSendmailSite(t, domainsConfig)
	} else {
		s = newSite(t, domainsConfig, func(c *lab.Config) {
			c.Main = "myorigin = example.com\nmydestination = mx.lab.test\nsmtpd_hard_error_limit = 1000\nsmtpd_error_sleep_time = 0\n"
		})
	}
	client := s.connect(stranger)
	s.ok(client.Mail("sender@outside.example"))
	for _, to := range []string{
		"<user@example.com>", "<USER@EXAMPLE.COM>", "<user@example.com.>", "<user%example.com>", "<example.com!user>", "<user%example.com@[127.0.0.1]>", "<user@[127.0.0.1]>", "<user@[IPv6:::1]>",
		`<"user@example.com">`, `<user@"example.com">`, `<user@exam\ple.com>`, "<user@example.com(x@free.example)>", "<user@example.com (x@free.example)>",
		"<user@(c)example.com>", "<user@example(c).com>", "<<user@example.com>>", "<user@ example.com>", "<user@example .com>", "<user@example.com >",
		"<user@example.com\t>", "<user>", "<user%example.com@mx.lab.test>", `<"user@example.com"@mx.lab.test>`, "<example.com!user@mx.lab.test>",
		"<@free.example:user@example.com>", "user@example.com", "<user@free.example@example.com>",
	} {
		r, err := client.Cmd("RCPT TO:" + to)
		if err != nil {
			t.Fatal(err)
		}
		if r.OK() {
			t.Errorf("%s is accepted around the gateway: %v", to, r)
		}
	}
	s.ok(client.Rcpt("user@free.example"))
	_, end, err := client.Data(letter("odd"))
	if err != nil || !end.OK() {
		t.Fatalf("reply %v, error %v", end, err)
	}
	// (On Sendmail, this user is the one of free.example.)
	if m := s.delivered("user@example.com", "odd"); m != nil && on == onPostfix {
		t.Error("delivered around the gateway")
	}
}

// S8: observe mode refuses nothing, not even what is too large to be examined; nor
// is exempt mail.
func TestS8PostfixTooLarge(t *testing.T) {
	s := newSite(t, domainsConfig, func(c *lab.Config) { c.Main = "message_size_limit = 0\nheader_size_limit = 200000\n" })
	large := letter("large", slices.Repeat([]string{"X-Field: x"}, 20001)...)
	if replies, _ := s.send(stranger, "user@free.example", large); replies != "250 250 552(5.3.4)" {
		t.Errorf("enforce: %s", replies)
	}
	if replies, _ := s.send(caller{ip: stranger.ip, login: "alice"}, "user@free.example", large); replies != "250 250 552(5.3.4)" {
		t.Errorf("our own user, who may not forge fields either: %s", replies)
	}
	if replies, _ := s.send(caller{ip: "127.0.0.1"}, "user@free.example", large); replies != "250 250 250" {
		t.Errorf("exempt: %s", replies)
	}
	s.writeConfig("mode = observe\n" + domainsConfig)
	s.daemon.cmd.Process.Signal(syscall.SIGHUP)
	s.daemon.wait(t, "reloaded", func(e entry) bool { return e["message"] == "configuration reloaded" })
	if replies, _ := s.send(stranger, "user@free.example", large); replies != "250 250 250" {
		t.Errorf("observe: %s", replies)
	}
}

// When nobody reads the log any more, mail goes on.
func TestPostfixLogGone(t *testing.T) {
	s := newSite(t, domainsConfig, nil)
	s.daemon.stderr.Close()
	for n := range 3 {
		subject := fmt.Sprint("log gone ", n)
		if replies, _ := s.send(gateway.withTLS(s), "user@example.com", letter(subject, receivedOutside)); replies != "250 250 250" {
			t.Errorf("message %d: %s", n, replies)
		}
	}
}

// checkFate compares where a message ended up, and in which form.
func (s *site) checkFate(fate, to, subject, id string, header map[string][]string) {
	s.t.Helper()
	recipients := strings.Fields(to)
	m := s.delivered(recipients[len(recipients)-1], subject)
	held := slices.ContainsFunc(must(s.Queue(s.t.Context())), func(q lab.Queued) bool { return q.ID == id && q.Queue == "hold" })
	got := "gone"
	switch {
	case m != nil:
		got = "delivered"
	case held:
		got = "held"
	}
	if got != fate {
		s.t.Fatalf("the message is %s, want %s", got, fate)
	}
	for name, want := range header {
		if got := m.Values(name); !slices.Equal(got, want) {
			s.t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

// noWarnings fails if the mail server complained about its milter.
func (s *site) noWarnings() {
	s.t.Helper()
	for _, line := range s.complaints() {
		s.t.Errorf("the mail server complains: %s", line)
	}
}

// Several messages on one connection, refused ones among them, each with its own
// header, sender and verdict.
func TestSeveralMessages(t *testing.T) { onBoth(t, testSeveralMessages) }

func testSeveralMessages(t *testing.T, on string) {
	s := newSiteOn(t, on, domainsConfig)
	client := s.connect(gateway.withTLS(s))
	for i, c := range []struct{ to, field, want, spam string }{
		{"user@example.com", "X-Spam: 0.9", "250 250 250", "[YES]"},
		{"user@example.com", "X-Other: 1", "250 250 250", "[]"},
		{"user@secret.example", "X-Other: 1", "250 550(5.7.1)", ""},
		{"user@secret.example user@certified.example other@example.com", "X-Spam: 0.6", "250 550(5.7.1),550(5.7.1),250 250", "[YES]"},
		{"user@example.com", "X-Other: 1", "250 250 250", "[]"},
	} {
		subject := fmt.Sprint("message ", i)
		replies, _ := s.sendOn(client, c.to, letter(subject, receivedOutside, c.field))
		if replies != c.want {
			t.Fatalf("message %d: replies %s, want %s", i, replies, c.want)
		}
		recipients := strings.Fields(c.to)
		m := s.delivered(recipients[len(recipients)-1], subject)
		if (m != nil) != (c.spam != "") {
			t.Fatalf("message %d: delivered %v", i, m != nil)
		}
		if m != nil && fmt.Sprint(m.Values("X-Spam-Flag")) != c.spam {
			t.Errorf("message %d: X-Spam-Flag %v, want %s", i, m.Values("X-Spam-Flag"), c.spam)
		}
	}
	s.noWarnings()
}

// STARTTLS in the middle of a session: refused before, taken after.
func TestStartTLSLater(t *testing.T) { onBoth(t, testStartTLSLater) }

func testStartTLSLater(t *testing.T, on string) {
	s := newSiteOn(t, on, domainsConfig)
	client := s.connect(gateway)
	if replies, _ := s.sendOn(client, "user@example.com", letter("clear", receivedOutside)); replies != "530(5.7.0)" {
		t.Fatalf("in clear: %s", replies)
	}
	s.ok(client.StartTLS(gateway.withTLS(s).tls))
	s.ok(client.Ehlo("client.example"))
	if replies, _ := s.sendOn(client, "user@example.com", letter("tls", receivedOutside)); replies != "250 250 250" {
		t.Fatalf("with TLS: %s", replies)
	}
}

// I13: mail by the sendmail command.
func TestPostfixSendmailCommand(t *testing.T) {
	s := newSite(t, domainsConfig, nil)
	if err := s.postfix().Sendmail(t.Context(), letter("local", "X-Spam-Flag: NO"), "-f", "root@example.com", "user@example.com"); err != nil {
		t.Fatal(err)
	}
	err := lab.Until(t.Context(), "local mail", func() bool { return s.delivered("user@example.com", "local") != nil })
	if err != nil {
		t.Fatal(err)
	}
	s.daemon.wait(t, "exempt-local", func(e entry) bool { return fmt.Sprint(e["reasons"]) == "[exempt-local]" })
}

// S8: in observe mode all is decided and logged, nothing changed or refused.
func TestS8Observe(t *testing.T) { onBoth(t, testS8Observe) }

func testS8Observe(t *testing.T, on string) {
	s := newSiteOn(t, on, "mode = observe\n"+domainsConfig)
	for _, c := range []struct {
		name    string
		caller  caller
		to      string
		fields  []string
		verdict string
	}{
		{"around", stranger, "user@example.com", nil, "reject"},
		{"no TLS", gateway, "user@example.com", []string{receivedOutside}, "reject"},
		{"spam", gateway.withTLS(s), "user@example.com", []string{receivedOutside, "X-Spam: 0.9"}, "accept"},
		{"reject", caller{ip: "192.0.2.101"}, "user@reject.example", []string{"X-Spam-Gw: spam"}, "reject"},
		{"hold", caller{ip: "192.0.2.102"}, "user@hold.example", []string{"X-Spam-Gw: spam"}, "quarantine"},
		{"drop", caller{ip: "192.0.2.103"}, "user@drop.example", []string{"X-Spam-Gw: spam"}, "discard"},
		{"secret", caller{ip: "192.0.2.105"}, "user@secret.example", []string{"X-Spam-Flag: NO"}, "reject"},
	} {
		replies, id := s.send(c.caller, c.to, letter(c.name, append(c.fields, "X-Spam-Flag: NO")...))
		if replies != "250 250 250" {
			t.Errorf("%s: replies %s", c.name, replies)
		}
		m := s.delivered(c.to, c.name)
		if m == nil || !slices.Contains(m.Values("X-Spam-Flag"), "NO") || slices.Contains(m.Values("X-Spam-Flag"), "YES") {
			t.Errorf("%s: not delivered unchanged: %v", c.name, m)
		}
		if e := s.logged(id); e["verdict"] != c.verdict || e["mode"] != "observe" {
			t.Errorf("%s: logged %v", c.name, e)
		}
	}
}

// The daemon is killed in the middle of a message: the client is told to come
// again, nothing is queued, and the next daemon takes the message.
func TestDaemonKilled(t *testing.T) { onBoth(t, testDaemonKilled) }

func testDaemonKilled(t *testing.T, on string) {
	s := newSiteOn(t, on, domainsConfig)
	for _, at := range []string{"mail", "rcpt", "data"} {
		t.Run(at, func(t *testing.T) {
			s := s.with(t)
			client := s.connect(gateway.withTLS(s))
			s.ok(client.Mail("sender@outside.example"))
			if at != "mail" {
				s.ok(client.Rcpt("user@example.com"))
			}
			if at == "data" {
				s.ok(client.Cmd("DATA"))
			}
			s.daemon.stop(syscall.SIGKILL)
			var r lab.Reply
			var err error
			switch at {
			case "mail":
				r, err = client.Rcpt("user@example.com")
			case "rcpt":
				r, _, err = client.Data(letter("killed"))
			case "data":
				r, err = client.Cmd(strings.ReplaceAll(letter("killed"), "\n", "\r\n") + ".")
			}
			if err != nil || r.Code/100 != 4 {
				t.Errorf("killed at %s: reply %v, error %v; want a temporary failure", at, r, err)
			}
			// Postfix drops the queue file of a refused DATA with the session.
			client.Close()
			if m := s.delivered("user@example.com", "killed"); m != nil {
				t.Error("the message was delivered all the same")
			}
			if q := must(s.Queue(t.Context())); len(q) > 0 {
				t.Errorf("still queued: %v", q)
			}
		})
		// Also removes the socket that the killed one has left behind.
		s.startDaemon(domainsConfig)
		if replies, _ := s.send(gateway.withTLS(s), "user@example.com", letter("again after "+at, receivedOutside)); replies != "250 250 250" {
			t.Errorf("after the restart: %s", replies)
		}
	}
}

// Without the daemon, mail is refused for the time being.
func TestDaemonDown(t *testing.T) { onBoth(t, testDaemonDown) }

func testDaemonDown(t *testing.T, on string) {
	s := newSiteOn(t, on, domainsConfig)
	if err := s.daemon.stop(syscall.SIGTERM); err != nil {
		t.Errorf("after SIGTERM: %v", err)
	}
	want := map[string]string{onPostfix: "451(4.7.1)", onSendmail: "451(4.3.2)"}[on]
	if replies, _ := s.send(stranger, "user@free.example", letter("down")); replies != want {
		t.Errorf("replies %s", replies)
	}
	s.startDaemon(domainsConfig)
	if replies, _ := s.send(stranger, "user@free.example", letter("up")); replies != "250 250 250" {
		t.Errorf("replies %s", replies)
	}
}

// S10: a message in progress finishes although the daemon is told to stop.
func TestS10GracefulStop(t *testing.T) { onBoth(t, testS10GracefulStop) }

func testS10GracefulStop(t *testing.T, on string) {
	s := newSiteOn(t, on, domainsConfig)
	client := s.connect(stranger)
	s.ok(client.Mail("sender@outside.example"))
	s.ok(client.Rcpt("user@free.example"))
	stopped := make(chan error, 1)
	go func() { stopped <- s.daemon.stop(syscall.SIGTERM) }()
	s.daemon.wait(t, "stopping", func(e entry) bool { return strings.HasPrefix(fmt.Sprint(e["message"]), "stopping") })
	_, end, err := client.Data(letter("in progress", "X-Spam-Flag: NO"))
	if err != nil || !end.OK() {
		t.Fatalf("reply %v, error %v", end, err)
	}
	if m := s.delivered("user@free.example", "in progress"); m == nil || len(m.Values("X-Spam-Flag")) != 0 {
		t.Errorf("not delivered as decided: %v", m)
	}
	if err := <-stopped; err != nil {
		t.Errorf("exit: %v", err)
	}
}

// S3: SIGHUP. A good configuration is in force for the next message, a bad one
// leaves the old in force, and a connection outlives both.
func TestS3Reload(t *testing.T) { onBoth(t, testS3Reload) }

func testS3Reload(t *testing.T, on string) {
	s := newSiteOn(t, on, domainsConfig)
	client := s.connect(stranger)
	try := func(subject, want string) {
		t.Helper()
		if replies, _ := s.sendOn(client, "user@free.example", letter(subject)); replies != want {
			t.Errorf("%s: replies %s, want %s", subject, replies, want)
		}
	}
	try("before", "250 250 250")
	s.writeConfig(domainsConfig + "\n[inbound-gateway all]\naddresses = 192.0.2.200\nreject_other = yes\n")
	s.daemon.cmd.Process.Signal(syscall.SIGHUP)
	s.daemon.wait(t, "reloaded", func(e entry) bool { return e["message"] == "configuration reloaded" })
	try("after", "250 550(5.7.1)")
	s.writeConfig("[inbound-gateway all]\naddresses = 10.0.0.1\n")
	s.daemon.cmd.Process.Signal(syscall.SIGHUP)
	refused := s.daemon.wait(t, "refused", func(e entry) bool { return strings.Contains(fmt.Sprint(e["message"]), "old one stays") })
	if !strings.Contains(fmt.Sprint(refused["problem"]), `"10.0.0.1" is not public`) {
		t.Errorf("logged %v", refused)
	}
	try("refused", "250 550(5.7.1)")
}

// S3: under load, with reloads all the time, every message arrives, and each has seen one
// configuration from its beginning to its end.
func TestS3ReloadUnderLoad(t *testing.T) {
	const sessions, messages = 4, 60
	generation := func(name string) string {
		return "authserv_id = " + name + ".example\n[authentication]\nspf = no\ndkim = yes\ndmarc = off\n[inbound-gateway " + name + "]\naddresses = 192.0.2.2\nspam_header = ^X-Spam: yes$\n"
	}
	r := newRelay(t, generation("a"), func(c *lab.Config) { c.Main += "in_flow_delay = 0\n" })
	var sending sync.WaitGroup
	for n := range sessions {
		client := r.connect(gateway)
		sending.Go(func() {
			for i := range messages {
				subject := fmt.Sprintf("%d.%d", n, i)
				done, err := client.Send(lab.Envelope{From: "sender@outside.example", To: []string{"user@home.example"}}, letter(subject, receivedOutside, "X-Spam: yes"))
				if err != nil || !done.End.OK() {
					t.Errorf("%s: %+v, %v", subject, done, err)
					return
				}
			}
		})
	}
	sent := make(chan bool)
	go func() { sending.Wait(); close(sent) }()
	reloads := 0
	for busy := true; busy; reloads++ {
		r.reload(generation(string("ba"[reloads%2])))
		select {
		case <-sent:
			busy = false
		default:
		}
	}
	r.idle()
	seen := map[string]int{}
	for _, m := range must(r.Mailbox("user@home.example")) {
		results, status := fmt.Sprint(m.Values("Authentication-Results")), fmt.Sprint(m.Values("X-Spam-Status"))
		seen[results[1:2]]++
		if len(results) < 2 || !strings.HasPrefix(results[2:], ".example") || status != "[Yes, gateway="+results[1:2]+"]" {
			t.Errorf("%v: %s, but %s", m.Values("Subject"), results, status)
		}
	}
	t.Logf("%d reloads, messages by configuration: %v", reloads, seen)
	if seen["a"]+seen["b"] != sessions*messages || seen["a"] == 0 || seen["b"] == 0 {
		t.Errorf("messages by configuration: %v, want %d in all, and some of each", seen, sessions*messages)
	}
}

// Chrooted as on Debian, with the same relative socket path.
func TestPostfixChrooted(t *testing.T) {
	s := newSite(t, domainsConfig, func(c *lab.Config) { c.Chroot = true })
	replies, _ := s.send(gateway.withTLS(s), "user@example.com", letter("chrooted", receivedOutside, "X-Spam: 0.8"))
	if m := s.delivered("user@example.com", "chrooted"); replies != "250 250 250" || m == nil || fmt.Sprint(m.Values("X-Spam-Flag")) != "[YES]" {
		t.Errorf("replies %s, message %v", replies, m)
	}
}
