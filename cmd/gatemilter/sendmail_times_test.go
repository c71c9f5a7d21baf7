package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"gatemilter/cmd/internal/lab"
)

// The tests of this file are about when and by which process Sendmail delivers, and what clients may
// try: each message takes its own way, once.

// O2, O4, O5, O10: in each delivery mode, messages of one session keep their own ways, whatever the
// one before has left behind in the process.
func TestSendmailDeliveryModes(t *testing.T) {
	isolated(t, func() {
		x := newCrossing(t, "", lab.SendmailConfig{})
		for _, mode := range []string{"interactive", "queueonly", "defer"} {
			x.rebuild(x.sendmailM4() + "define(`confDELIVERY_MODE', `" + mode + "')dnl\ndefine(`confSAFE_QUEUE', `PostMilter')dnl\n")
			want := make(map[string][2]string)
			send := func(client *lab.Client, from, header, host, sender string) {
				t.Helper()
				to := x.far()
				if done := must(client.Send(lab.Envelope{From: from, To: []string{to}}, by(header, to))); !done.End.OK() {
					t.Errorf("from %s: %+v", from, done)
				}
				want[to] = [2]string{host, sender}
			}
			alice, outside := x.connect(caller{ip: "127.0.0.9", login: "alice@lab.test"}), x.connect(caller{ip: "127.0.0.9"})
			for range 2 {
				send(alice, "alice@partner.example", "alice@partner.example", "alice", "alice@partner.example")
				send(alice, "alice@lab.test", "alice@lab.test", "lab", "alice@lab.test")
				send(alice, "alice@lab.test", "alice@partner.example", "alice", "alice@partner.example")
				send(outside, "x@outside.example", "x@outside.example", "others", "x@outside.example")
				send(outside, "bob@lab.test", "bob@lab.test", "lab", "bob@lab.test")
				send(outside, "alice@partner.example", "alice@partner.example", "others", "alice@partner.example")
				send(outside, "", "mailer@outside.example", "others", "")
			}
			x.idle()
			if n := len(must(x.Queue(t.Context()))); (n == len(want)) != (mode != "interactive") {
				t.Errorf("%s: %d of %d messages wait", mode, n, len(want))
			}
			x.flush()
			for to, at := range want {
				x.at(to, at[0], at[1])
			}
		}
	})
}

// O4, O5, O10: where a message has many recipients, and is split for queue groups or into several
// transactions, all of it takes its user's way, once. A queue runner that stays mixes nobody's mail
// with another's.
func TestSendmailSplit(t *testing.T) {
	isolated(t, func() {
		x := newCrossing(t, "", lab.SendmailConfig{Features: "FEATURE(`access_db', `text -z| -k0 -v1 -T<TMPF> LAB_DIR/etc/access')dnl\nFEATURE(`queuegroup', `second')dnl\n"})
		second := filepath.Join(x.sendmail().Dir(), "mqueue", "second")
		if err := os.Mkdir(second, 0o700); err != nil {
			t.Fatal(err)
		}
		x.file("access", "none|none\n")
		x.rebuild(x.sendmailM4() + "QUEUE_GROUP(`second', `P=LAB_DIR/mqueue/second, F=f, r=40, R=2, J=50')dnl\n" +
			"define(`confDELIVERY_MODE', `queueonly')dnl\ndefine(`confMAX_QUEUE_CHILDREN', `4')dnl\n")
		want := make(map[string]*lab.Sink)
		for name, host := range map[string]*lab.Sink{"alice": x.alice, "carol": x.carol, "bob": x.lab} {
			var to []string
			for i := range 130 {
				to = append(to, fmt.Sprintf("%s%d@remote%d.example", name, i, i%3))
				want[to[i]] = host
			}
			login, from := name+"@lab.test", name+"@partner.example"
			if name == "bob" {
				login, from = "", "bob@lab.test"
			}
			if reply := x.write(login, from, by(from, "many"), to...); !reply.OK() {
				t.Error(reply)
			}
		}
		if n := len(must(filepath.Glob(filepath.Join(second, "qf*")))); n != 12 {
			t.Errorf("split into %d messages", n)
		}
		runner := x.sendmail().Command(t.Context(), "-qp1s")
		if err := runner.Start(); err != nil {
			t.Fatal(err)
		}
		err := lab.Until(t.Context(), "the queues to be empty", func() bool {
			return len(must(filepath.Glob(filepath.Join(second, "*f*"))))+len(must(x.Queue(t.Context()))) == 0
		})
		runner.Process.Signal(syscall.SIGTERM)
		runner.Wait()
		if err != nil {
			t.Error(err)
		}
		x.once(want)
	})
}

// once says where each recipient's mail must have arrived, once, and by a user's own server with that
// user's address and login.
func (x *crossing) once(want map[string]*lab.Sink) {
	x.t.Helper()
	for _, s := range []*lab.Sink{x.alice, x.carol, x.lab, x.others, x.direct} {
		for _, m := range s.Taken() {
			for _, to := range m.To {
				if want[to] != s || s != x.lab && (m.Login+"@partner.example" != m.From || !strings.HasPrefix(to, m.Login)) {
					x.t.Errorf("%s: arrived, perhaps again, from %s with login %q", to, m.From, m.Login)
				}
				delete(want, to)
			}
		}
	}
	if len(want) > 0 {
		x.t.Errorf("%d recipients got nothing", len(want))
	}
}

// O4, O5, O10, I13: what local users and programs send (submit.cf) takes the way of its sender, and
// nobody's own server without his login, whichever address or macros they name. While gatemilter is
// down, it waits in the queue of the MSP.
func TestSendmailMSP(t *testing.T) {
	isolated(t, func() {
		x := newCrossing(t, "", lab.SendmailConfig{})
		msp := must(x.sendmail().NewMSP(t.Context()))
		submit := func(message string, args ...string) {
			t.Helper()
			if err := msp.Submit(t.Context(), message, args...); err != nil {
				t.Error(err)
			}
			x.idle()
		}
		submit(by("alice@partner.example", "another's"), "-f", "alice@partner.example", "own@remote.example")
		submit(by("alice@partner.example", "forged"), "-M{gmLogin}alice@lab.test", "-M{auth_authen}alice@lab.test", "-f", "alice@partner.example", "forged@remote.example")
		submit(letter("home"), "-f", "bob@lab.test", "home@remote.example")
		submit("To: cron@remote.example\nBcc: hidden@remote.example\nSubject: cron\n\nx\n", "-t")
		x.daemon.stop(syscall.SIGKILL)
		submit(letter("later"), "-f", "bob@lab.test", "later@remote.example")
		if n := msp.Waiting(); n != 1 {
			t.Errorf("%d messages wait at the MSP", n)
		}
		x.start(x.settings)
		if err := msp.Flush(t.Context()); err != nil {
			t.Error(err)
		}
		x.idle()
		for to, at := range map[string][2]string{
			"own@remote.example": {"others", "alice@partner.example"}, "forged@remote.example": {"others", "alice@partner.example"}, "home@remote.example": {"lab", "bob@lab.test"},
			"cron@remote.example": {"others", "root@mx.lab.test"}, "hidden@remote.example": {"others", "root@mx.lab.test"}, "later@remote.example": {"lab", "bob@lab.test"},
		} {
			x.at(to, at[0], at[1])
		}
		if n := msp.Waiting(); n > 0 {
			t.Errorf("%d messages are left at the MSP", n)
		}
	})
}

// O5, O6, R3, O10: a message of a user's that could never be tried goes back to him by the usual way,
// not by his own server; what is held keeps its way when it is released.
func TestSendmailTimedOutAndHeld(t *testing.T) {
	isolated(t, func() {
		x := newCrossing(t, "", lab.SendmailConfig{MC: "define(`confDELIVERY_MODE', `queueonly')dnl\n"})
		x.write("alice@lab.test", "alice@lab.test", by("alice@partner.example", "held"), "held@remote.example")
		x.write("carol@lab.test", "carol@lab.test", by("carol@partner.example", "late"), "late@remote.example")
		x.sendmailCommand("-Qheld", "-qRheld@")
		x.daemon.stop(syscall.SIGKILL)
		x.sendmailCommand("-qf", "-OTimeout.queuereturn=now", "-OTimeout.queuereturn.dsn=5d")
		x.start(x.settings)
		x.flush()
		x.at("carol@partner.example", "others", "")
		if all := must(x.Queue(t.Context())); len(all) != 1 || all[0].Queue != "hold" {
			t.Errorf("queue %+v", all)
		}
		x.sendmailCommand("-Q", "-qQ")
		x.flush()
		x.at("held@remote.example", "alice", "alice@partner.example")
		if all := x.carol.Taken(); len(all) > 0 {
			t.Errorf("at carol's server: %+v", all)
		}
	})
}

// O4, O8: whoever is no user's login is nobody's, however it is written; no client becomes another
// within a session, nor by what else a client may say.
func TestSendmailLogins(t *testing.T) {
	isolated(t, func() {
		x := newCrossing(t, "", lab.SendmailConfig{})
		x.reload(strings.Replace(x.settings, "[outbound]\n", "[outbound]\nunknown_sender = accept\n", 1))
		send := func(client *lab.Client, from, host, sender string, args ...string) {
			t.Helper()
			to := x.far()
			x.ok(client.Mail(from, args...))
			x.ok(client.Rcpt(to))
			_, end, err := client.Data(by(from, to))
			x.ok(end, err)
			x.idle()
			x.at(to, host, sender)
		}
		for _, login := range []string{"=nobody", "alice@lab.test(x)", "(x)alice", "alice@lab.test>", "<alice@lab.test>", "alice@lab.test;x", "alice@lab.test,x", `alice@lab.test\`, `"alice@lab.test"`,
			"alice @lab.test", "$&f", "$)", "$|", "#alice@lab.test", "alice%lab.test", "alice+40lab.test", "älice@lab.test", strings.Repeat("a", 150) + "@lab.test"} {
			client := x.connect(caller{ip: "127.0.0.9", login: login})
			send(client, "alice@partner.example", "others", "alice@partner.example")
			client.Close()
		}
		client := x.connect(caller{ip: "127.0.0.9"})
		x.givesUp(client)
		send(client, "alice@partner.example", "others", "alice@partner.example", "AUTH=alice@lab.test")
		x.ok(client.Auth("carol@lab.test", "any"))
		for range 2 {
			if reply := must(client.Auth("alice@lab.test", "any")); reply.Code != 503 {
				t.Errorf("another login: %v", reply)
			}
			send(client, "alice@partner.example", "lab", "carol@lab.test", "AUTH=alice@lab.test")
			send(client, "carol@partner.example", "carol", "carol@partner.example", "BODY=8BITMIME")
			x.ok(client.Mail("carol@partner.example"))
			x.ok(client.Reset())
			x.ok(client.Helo("again"))
		}
		if i := slices.IndexFunc(x.alice.Attempts(), func(lab.Attempt) bool { return true }); i >= 0 {
			t.Errorf("login at alice's server: %+v", x.alice.Attempts()[i])
		}
	})
}

// givesUp begins to log in, and gives up.
func (x *crossing) givesUp(client *lab.Client) {
	x.t.Helper()
	if reply := must(client.Cmd("AUTH PLAIN")); reply.Code != 334 {
		x.t.Errorf("AUTH: %v", reply)
	}
	if reply := must(client.Cmd("*")); reply.Code != 501 {
		x.t.Errorf("given up: %v", reply)
	}
}
