package lab

import (
	"crypto/tls"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// isolated says whether the test runs in isolation. If not, it lets it run again there.
func isolated(t *testing.T) bool {
	t.Helper()
	const mark = "LAB_ISOLATED"
	if os.Getenv(mark) == t.Name() {
		noError(t, EnterIsolation(t.Context(), t.Logf))
		return true
	}
	noError(t, NeedSendmail(t.Context(), t.Logf))
	noError(t, NeedIsolation(t.Context(), t.Logf))
	again := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	again.Env = append(os.Environ(), mark+"="+t.Name())
	Isolate(again)
	out, err := again.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
	return false
}

// sendmail starts an instance that ends with the test, and shows its log if the test fails.
func sendmail(t *testing.T, c SendmailConfig) *Sendmail {
	t.Helper()
	s, err := StartSendmail(t.Context(), c)
	noError(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(s.Log())
		}
		noError(t, s.Stop())
	})
	return s
}

// sendmailTo sends hello to the addresses and returns the replies for each.
func sendmailTo(t *testing.T, c *Client, to ...string) []string {
	t.Helper()
	sent, err := c.Send(Envelope{"x@client.test", to}, hello)
	noError(t, err)
	var replies []string
	for _, r := range sent.Rcpt {
		replies = append(replies, strings.TrimSpace(r.String()))
	}
	return replies
}

func inMailbox(t *testing.T, s *Sendmail, address string) []Message {
	t.Helper()
	noError(t, s.WaitIdle(t.Context()))
	all, err := s.Mailbox(address)
	noError(t, err)
	return all
}

func TestSendmailDelivers(t *testing.T) {
	if !isolated(t) {
		return
	}
	started := time.Now()
	s := sendmail(t, SendmailConfig{
		Mailboxes: []string{"alice@lab.test", "carol@catch.test", "@catch.test"},
		Domains:   []string{"other.test"},
		Aliases:   "staff: alice, carol@catch.test",
	})
	t.Logf("started in %v", time.Since(started))
	c := session(t, s.Addr())
	got := sendmailTo(t, c, "alice@lab.test", "bob@lab.test", "Alice+tag@other.test", "carol@catch.test", "anybody@catch.test",
		"staff@lab.test", "far@away.test")
	for i, want := range []string{
		"250 2.1.5 <alice@lab.test>... Recipient ok", "550 5.1.1 <bob@lab.test>... User unknown",
		"250 2.1.5 <Alice+tag@other.test>... Recipient ok", "250 2.1.5 <carol@catch.test>... Recipient ok",
		"250 2.1.5 <anybody@catch.test>... Recipient ok", "250 2.1.5 <staff@lab.test>... Recipient ok",
		"451 4.4.1 no way out: lab.SendmailConfig has no Relay",
	} {
		if got[i] != want {
			t.Errorf("reply %q, want %q", got[i], want)
		}
	}
	// To Sendmail alice and Alice+tag are two; who gets mail also by an alias gets it once.
	for address, want := range map[string][]string{
		"alice@lab.test": {"alice", "alice"}, "carol@catch.test": {"carol"}, "@catch.test": {"anybody@catch.test"}, "bob@lab.test": nil,
	} {
		var got []string
		for _, m := range inMailbox(t, s, address) {
			got = append(got, m.Values("Delivered-To")...)
			if body := ".a line with a dot\n"; m.Body != body {
				t.Errorf("%s: body %q, want %q", address, m.Body, body)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: Delivered-To %q, want %q", address, got, want)
		}
	}
	noError(t, s.Submit(t.Context(), hello, "-f", "y@client.test", "alice@lab.test"))
	if all := inMailbox(t, s, "alice@lab.test"); len(all) != 3 || all[2].Values("Return-Path")[0] != "<y@client.test>" {
		t.Errorf("after the sendmail command: %d messages, want 3, the last of y@client.test: %v", len(all), all)
	}
}

func TestSendmailSeesClients(t *testing.T) {
	if !isolated(t) {
		return
	}
	s := sendmail(t, SendmailConfig{Mailboxes: []string{"alice@lab.test"}})
	servers := map[string]string{"192.0.2.2": s.Addr(), "203.0.113.255": s.Addr(), "198.19.0.1": s.Addr()}
	if s.Addr6() != "" {
		servers["2001:db8:1:2:3:4:5:6"] = s.Addr6()
	}
	for client, addr := range servers {
		before := len(inMailbox(t, s, "alice@lab.test"))
		c, err := DialFrom(t.Context(), netip.MustParseAddr(client), addr)
		noError(t, err)
		accepted(t)(c.Ehlo("client.test"))
		sendmailTo(t, c, "alice@lab.test")
		accepted(t)(c.Quit())
		all := inMailbox(t, s, "alice@lab.test")
		if len(all) != before+1 || !strings.Contains(all[before].Values("Received")[0], client+"]") {
			t.Errorf("%s: %v", client, all[before:])
		}
	}
}

func TestSendmailLoginAndTLS(t *testing.T) {
	if !isolated(t) {
		return
	}
	ca := must[*CA](t)(NewCA("Lab CA"))
	s := sendmail(t, SendmailConfig{
		Mailboxes: []string{"alice@lab.test"},
		Cert:      must[*Cert](t)(ca.Issue(Subject{Hosts: []string{"mx.lab.test", "127.0.0.1"}})),
		ClientCA:  ca,
	})
	c := session(t, s.Addr())
	accepted(t)(c.Auth("alice", "anything"))
	sendmailTo(t, c, "alice@lab.test")
	c = session(t, s.Addr())
	accepted(t)(c.StartTLS(clientTLS(ca, must[*Cert](t)(ca.Issue(Subject{CommonName: "gw.example.org"})))))
	accepted(t)(c.Ehlo("client.test"))
	accepted(t)(c.Auth("bob", "anything"))
	sendmailTo(t, c, "alice@lab.test")
	all := inMailbox(t, s, "alice@lab.test")
	if len(all) != 2 {
		t.Fatalf("%d messages, want 2", len(all))
	}
	slices.SortFunc(all, func(a, b Message) int { // background deliveries may pass each other
		return strings.Compare(a.Values("Received")[0], b.Values("Received")[0])
	})
	for i, want := range []string{`\(authenticated bits=0\)\s+by mx.lab.test`, `\(authenticated bits=0\)\s+by .*\s\(version=TLSv1\.2 .* verify=OK\)`} {
		if got := all[i].Values("Received")[0]; !regexp.MustCompile(want).MatchString(got) {
			t.Errorf("Received %q, want %q", got, want)
		}
	}
	if _, err := session(t, s.Addr()).StartTLS(&tls.Config{ServerName: "mx.lab.test"}); err == nil {
		t.Error("certificate of an unknown authority was not shown")
	}
}

func TestSendmailRelaysAndQueues(t *testing.T) {
	if !isolated(t) {
		return
	}
	sink := must[*Sink](t)(StartSink("127.0.0.1", nil))
	t.Cleanup(sink.Close)
	s := sendmail(t, SendmailConfig{Relay: "[127.0.0.1]:" + port(t, sink.Addr().String())})
	c := session(t, s.Addr())
	sendmailTo(t, c, "far@away.test")
	noError(t, s.WaitIdle(t.Context()))
	if got := sink.Taken(); len(got) != 1 || got[0].To[0] != "far@away.test" {
		t.Fatalf("the sink took %+v", got)
	}
	noError(t, sink.Refuse())
	sent, err := c.Send(Envelope{"x@client.test", []string{"far@away.test", "near@by.test"}}, hello)
	noError(t, err)
	noError(t, s.WaitIdle(t.Context()))
	all := must[[]Queued](t)(s.Queue(t.Context()))
	if len(all) != 1 || all[0].Queue != "deferred" || all[0].Sender != "x@client.test" || len(all[0].Recipients) != 2 ||
		!strings.Contains(sent.End.Text, all[0].ID) || !strings.Contains(all[0].Recipients[0].Delay, "Connection refused") {
		t.Errorf("queue %+v after %v", all, sent.End)
	}
	noError(t, sink.Open())
	noError(t, s.Flush(t.Context()))
	if all := must[[]Queued](t)(s.Queue(t.Context())); len(all) > 0 || len(sink.Taken()) != 2 {
		t.Errorf("queue %+v, taken %+v", all, sink.Taken())
	}
}

func TestSendmailRebuilt(t *testing.T) {
	if !isolated(t) {
		return
	}
	s := sendmail(t, SendmailConfig{})
	old := s.members()
	open := session(t, s.Addr())
	noError(t, s.Rebuild(t.Context(), "define(`confSMTP_LOGIN_MSG', `$j after LAB_SOCKETS')dnl\n"))
	if now := s.members(); len(now) != 1 || slices.Contains(old, now[0]) {
		t.Errorf("processes %v, before %v", now, old)
	}
	if r, err := open.Cmd("NOOP"); err == nil && r.OK() {
		t.Errorf("an old session goes on: %v", r)
	}
	c := session(t, s.Addr())
	if want := " after " + s.SocketDir(); !strings.Contains(c.Greeting.String(), want) {
		t.Errorf("greeting %v, want %s", c.Greeting, want)
	}
	if err := s.Rebuild(t.Context(), "FEATURE(`nosuch')dnl\n"); err == nil || !strings.Contains(err.Error(), "correct the .mc text") {
		t.Errorf("error %v", err)
	}
}

func TestSendmailStopped(t *testing.T) {
	if !isolated(t) {
		return
	}
	s := must[*Sendmail](t)(StartSendmail(t.Context(), SendmailConfig{Relay: "[192.0.2.1]:25"}))
	sendmailTo(t, session(t, s.Addr()), "far@away.test") // an open session, and perhaps a delivery
	noError(t, s.Stop())
	noError(t, s.Stop())
	if left := s.members(); len(left) > 0 {
		t.Errorf("processes %v are left", left)
	}
	if _, err := os.Stat(s.Dir()); !os.IsNotExist(err) {
		t.Errorf("directory: %v, want %v", err, fs.ErrNotExist)
	}
}

func TestSendmailOutsideOfIsolation(t *testing.T) {
	if err := checkHostName("vm"); err == nil || !strings.HasSuffix(err.Error(), "call EnterIsolation first") {
		t.Errorf("error %v", err)
	}
	noError(t, checkHostName("mx.lab.test"))
	if err := EnterIsolation(t.Context(), t.Logf); err == nil || !strings.HasSuffix(err.Error(), "that went through Isolate") {
		t.Errorf("error %v", err)
	}
}
