package main

import (
	"bytes"
	"context"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gatemilter/cmd/internal/lab"
	"gatemilter/policy/auth/dnstest"
)

// An mta is a real mail server, as far as Postfix and Sendmail are alike.
type mta interface {
	Addr() string
	Log() string
	WaitLog(ctx context.Context, re *regexp.Regexp) (string, error)
	Mailbox(address string) ([]lab.Message, error)
	Queue(ctx context.Context) ([]lab.Queued, error)
	Flush(ctx context.Context) error
	WaitIdle(ctx context.Context) error
}

// On which mail server a scenario runs.
const (
	onPostfix  = "Postfix"
	onSendmail = "Sendmail"
)

// onBoth runs a scenario on Postfix, and on Sendmail in isolation.
func onBoth(t *testing.T, scenario func(t *testing.T, on string)) {
	t.Helper()
	t.Run(onPostfix, func(t *testing.T) { scenario(t, onPostfix) })
	t.Run(onSendmail, func(t *testing.T) { isolated(t, func() { scenario(t, onSendmail) }) })
}

// isolationMark is set where the test binary runs again, in isolation.
const isolationMark = "GATEMILTER_TEST_ISOLATED"

// isolated lets a test run in isolation, by this binary once more: Sendmail needs a host name with a
// dot, and clients with addresses of their own.
func isolated(t *testing.T, test func()) {
	t.Helper()
	if os.Getenv(isolationMark) != "" {
		if err := lab.EnterIsolation(t.Context(), t.Logf); err != nil {
			t.Fatal(err)
		}
		test()
		return
	}
	for _, need := range []func(context.Context, func(string, ...any)) error{lab.NeedIsolation, lab.NeedSendmail} {
		if err := need(t.Context(), t.Logf); err != nil {
			t.Fatal(err)
		}
	}
	name := "^" + strings.ReplaceAll(regexp.QuoteMeta(t.Name()), "/", "$/^") + "$"
	again := exec.CommandContext(t.Context(), must(os.Executable()), "-test.run="+name, "-test.v", "-test.timeout=5m")
	again.Env = append(os.Environ(), isolationMark+"=1")
	lab.Isolate(again)
	out, err := again.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("--- PASS: "+t.Name()+" ")) {
		t.Errorf("in isolation: %v\n%s", err, out)
	}
}

// startSendmail starts a Sendmail for one test, which shows its log if it fails.
func startSendmail(t testing.TB, c lab.SendmailConfig) *lab.Sendmail {
	t.Helper()
	s, err := lab.StartSendmail(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log of Sendmail:\n%s", s.Log())
		}
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// dir is the directory of a site's configuration; its sockets are in sockets.
func (s *site) dir() string {
	if sendmail, ok := s.mta.(*lab.Sendmail); ok {
		return sendmail.Dir()
	}
	return s.postfix().QueueDir()
}

func (s *site) sockets() string {
	if sendmail, ok := s.mta.(*lab.Sendmail); ok {
		return sendmail.SocketDir()
	}
	return filepath.Join(s.dir(), "gatemilter")
}

func (s *site) config() string { return filepath.Join(s.dir(), "gatemilter.conf") }

func (s *site) onSendmail() bool { _, ok := s.mta.(*lab.Sendmail); return ok }

// on is which mail server it is.
func (s *site) on() string {
	if s.onSendmail() {
		return onSendmail
	}
	return onPostfix
}

// postfix is the mail server of a site that has this one.
func (s *site) postfix() *lab.Postfix { return s.mta.(*lab.Postfix) }

func (s *site) sendmail() *lab.Sendmail { return s.mta.(*lab.Sendmail) }

// sendmailM4 is what mta-setup prints for the site's configuration.
func (s *site) sendmailM4() string {
	s.t.Helper()
	out, err := exec.Command("gatemilter", "mta-setup", "sendmail", "--config", s.config()).Output()
	if err != nil {
		s.t.Fatalf("mta-setup: %v", err)
	}
	return string(out)
}

// clientNames are the names of clients, for Sendmail to look up: it has no XCLIENT.
const clientNames = `
2.2.0.192.in-addr.arpa      PTR gw.filter.example
gw.filter.example           A   192.0.2.2
200.100.51.198.in-addr.arpa PTR new.filter.example
new.filter.example          A   198.51.100.200
. SOA ns.example. admin.example. 1 3600 600 86400 60
`

// startIsolatedDNS starts the name server that all ask in isolation.
func startIsolatedDNS(t *testing.T, zone string) *dnstest.Server {
	t.Helper()
	server, err := dnstest.StartOn(lab.IsolatedDNS+":53", zone)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	return server
}

// socketGroup is the setting that lets Postfix use the sockets; Sendmail runs as root.
func (s *site) socketGroup() string {
	if s.onSendmail() {
		return ""
	}
	return "socket_group = postfix\n"
}

// mtaUser is the setting for who is told logins; Postfix's user is the default. It comes with
// socketGroup.
func (s *site) mtaUser() string {
	if s.onSendmail() {
		return "mta_user = root\n"
	}
	return s.socketGroup()
}

// wireSendmail has Sendmail use what mta-setup prints.
func (s *site) wireSendmail() {
	s.t.Helper()
	if err := s.sendmail().Rebuild(s.t.Context(), s.sendmailM4()); err != nil {
		s.t.Fatal(err)
	}
}

// callSendmail connects as the caller to Sendmail, which has no XCLIENT: from his address, and with a
// real login.
func (s *site) callSendmail(c caller) *lab.Client {
	s.t.Helper()
	from, to := netip.MustParseAddr(c.ip), s.Addr()
	if from.Is6() {
		to = s.sendmail().Addr6()
	}
	client, err := lab.DialFrom(s.t.Context(), from, to)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { client.Close() })
	s.ok(client.Ehlo("client.example"))
	if c.tls != nil {
		s.ok(client.StartTLS(c.tls))
		s.ok(client.Ehlo("client.example"))
	}
	if c.login != "" {
		s.ok(client.Auth(c.login, "any"))
	}
	return client
}

// complaints are lines of the log in which the mail server complains of its milter or its tables.
func (s *site) complaints() []string {
	complaint := regexp.MustCompile(`(warning|error|fatal|panic):.*milter`)
	if s.onSendmail() {
		complaint = regexp.MustCompile(`SYSERR|Milter.*(to error state|lied|timeout|unsafe)`)
	}
	return slices.DeleteFunc(strings.Split(s.Log(), "\n"), func(line string) bool { return !complaint.MatchString(line) })
}
