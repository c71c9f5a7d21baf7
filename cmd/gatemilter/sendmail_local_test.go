package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"gatemilter/cmd/internal/lab"
)

// The tests of this file are about features of Sendmail that choose other recipients, hosts or
// senders than were written, or another time: none of them may lead around what gatemilter answers.

// A crossing is a Sendmail at which each kind of mail has a host of its own: mail of lab.test, that
// of all others, and that of each of two users' own servers.
type crossing struct {
	*relay
	settings                  string
	lab, others, alice, carol *lab.Sink
}

// A known user of the system is what Sendmail wants for a .forward and a hub.
const systemUser = "games"

// lmtpScript is a program that takes mail by LMTP (RFC 2033), of one recipient, and lmtpMailer the
// mailer for mailbox@home.example that runs it.
const (
	lmtpScript = `echo 220 ready
while read -r line; do
	case $line in
	DATA*) echo 354 go; while read -r line; do case $line in .*) break;; esac; done; echo 250 delivered;;
	QUIT*) echo 221 bye; exit;;
	*) echo 250 fine;;
	esac
done
`
	lmtpMailer = "MAILER_DEFINITIONS\nMlablmtp, P=/bin/sh, F=lsDFMSPhn9Xz, S=EnvFromSMTP/HdrFromL, R=EnvToL/HdrToL, E=\\r\\n, T=DNS/RFC822/SMTP, A=sh LAB_DIR/etc/lmtp\n" +
		"LOCAL_RULE_0\nRmailbox < @ home . example . >\t$#lablmtp $: mailbox\n"
)

// newCrossing starts one; further settings stand in front of the others.
func newCrossing(t *testing.T, settings string, c lab.SendmailConfig) *crossing {
	t.Helper()
	ca := must(lab.NewCA("Partner CA"))
	trust(t, ca)
	x := &crossing{lab: newSink(t, nil), others: newSink(t, nil)}
	x.alice = newServer(t, lab.SinkConfig{Cert: certified(ca), Logins: map[string]string{"alice": alicesPassword}})
	x.carol = newServer(t, lab.SinkConfig{Cert: certified(ca), Logins: map[string]string{"carol": bobsPassword}})
	x.settings = settings + inClear("lab", x.lab) + inClear("others", x.others) +
		"[sender @lab.test]\nroute = lab\n[outbound]\ngateway = others\nallow_user_gateways = yes\n[user alice@lab.test]\n[user carol@lab.test]\n" +
		own("alice@lab.test", "alice@partner.example", x.alice, "alice", alicesPassword) +
		own("carol@lab.test", "carol@partner.example", x.carol, "carol", bobsPassword)
	c.Features += "define(`confFORWARD_PATH', `LAB_DIR/etc/forward.$u')dnl\nMODIFY_MAILER_FLAGS(`LOCAL', `+w')dnl\n"
	x.relay = newSendmailRelay(t, x.settings, c)
	x.rebuild(x.sendmailM4() + c.MC)
	return x
}

// rebuild lets Sendmail have this m4 file.
func (x *crossing) rebuild(m4 string) {
	x.t.Helper()
	if err := x.sendmail().Rebuild(x.t.Context(), m4+"LOCAL_CONFIG\nC{LabUser} "+systemUser+"\n"); err != nil {
		x.t.Fatal(err)
	}
}

// file writes a file that the configuration names as LAB_DIR/etc/NAME.
func (x *crossing) file(name, text string) {
	x.t.Helper()
	if err := os.WriteFile(filepath.Join(x.sendmail().Dir(), "etc", name), []byte(text), 0o644); err != nil {
		x.t.Fatal(err)
	}
}

// at says where a recipient's mail must have arrived, and nowhere else: with which sender, and by
// his own server with that user's login.
func (x *crossing) at(to, host, sender string) {
	x.t.Helper()
	hosts := map[string]*lab.Sink{"lab": x.lab, "others": x.others, "alice": x.alice, "carol": x.carol, "direct": x.direct}
	if names := arrived(hosts, to); !slices.Equal(names, []string{host}) {
		x.t.Errorf("%s: arrived at %q, want %q", to, names, host)
		return
	}
	login := ""
	if host == "alice" || host == "carol" {
		login = host
	}
	if m := taken(hosts[host], to); m.From != sender || m.Login != login || m.TLS != (login != "") {
		x.t.Errorf("%s: arrived as %+v, want sender %q and login %q", to, m, sender, login)
	}
}

// flush lets Sendmail try all mail again.
func (x *crossing) flush() {
	x.t.Helper()
	if err := x.Flush(x.t.Context()); err != nil {
		x.t.Fatal(err)
	}
}

// sendmailCommand runs the sendmail command, and waits for the end of what that has begun.
func (x *crossing) sendmailCommand(args ...string) {
	x.t.Helper()
	if out, err := x.sendmail().Command(x.t.Context(), args...).CombinedOutput(); err != nil {
		x.t.Fatalf("sendmail %q: %v\n%s", args, err, out)
	}
	x.idle()
}

// O2, O4, O10: what an alias or a .forward sends on takes the way of the envelope sender, and by a
// user's own server only what that user writes. Where an alias has an owner, who is the sender then,
// it takes his way, in the next queue run if that is another one.
func TestSendmailForward(t *testing.T) {
	isolated(t, func() {
		x := newCrossing(t, "", lab.SendmailConfig{MC: lmtpMailer, Aliases: "out: far@remote.example\nlist: mailbox@home.example, member@remote.example\nowner-list: keeper@lab.test\n" +
			"near: neighbour@remote.example\nowner-near: keeper@lab.test\nalices: last@remote.example\nowner-alices: alice@partner.example"})
		x.file("forward."+systemUser, "forwarded@remote.example\n")
		x.file("lmtp", lmtpScript)
		sends := func(to, host, sender string, send func()) {
			t.Helper()
			before := len(x.lab.Taken()) + len(x.others.Taken()) + len(x.alice.Taken())
			send()
			x.idle()
			if n := len(x.lab.Taken()) + len(x.others.Taken()) + len(x.alice.Taken()) - before; n != 1 {
				t.Errorf("from %q to %s: arrived %d times", sender, to, n)
			}
			all := map[string]*lab.Sink{"lab": x.lab, "others": x.others, "alice": x.alice}[host].Taken()
			if len(all) == 0 || !slices.Equal(all[len(all)-1].To, []string{to}) || all[len(all)-1].From != sender || (all[len(all)-1].Login != "") != (host == "alice") {
				t.Errorf("from %q to %s: at %s is %+v", sender, to, host, all)
			}
		}
		const forwarded, here = "forwarded@remote.example", systemUser + "@home.example"
		for sender, host := range map[string]string{"x@outside.example": "others", "bob@lab.test": "lab", "alice@partner.example": "others", "": "others"} {
			sends(forwarded, host, sender, func() { x.mail(sender, here) })
			sends("far@remote.example", host, sender, func() { x.mail(sender, "out@home.example") })
		}
		sends(forwarded, "lab", "alice@lab.test", func() { x.write("alice@lab.test", "alice@lab.test", by("alice@lab.test", "as herself"), here) })
		sends(here, "alice", "alice@partner.example", func() { x.write("alice@lab.test", "alice@lab.test", by("alice@partner.example", "all of it"), here) })
		sends(forwarded, "alice", "alice@partner.example", func() {
			x.write("alice@lab.test", "alice@lab.test", by("alice@partner.example", "a name without domain is one here"), systemUser)
		})

		sends("neighbour@remote.example", "lab", "keeper@lab.test", func() { x.mail("bob@lab.test", "near@home.example") })
		x.mail("x@outside.example", "list@home.example")
		x.write("carol@lab.test", "carol@lab.test", by("carol@lab.test", "an owner's server is not hers"), "alices@home.example")
		for _, to := range []string{"member@remote.example", "last@remote.example"} {
			if reason := x.deferred(to); !strings.Contains(reason, "the sender has changed") {
				t.Errorf("%s: deferred: %s", to, reason)
			}
		}
		var waiting []string
		for _, q := range must(x.Queue(t.Context())) {
			for _, rcpt := range q.Recipients {
				waiting = append(waiting, rcpt.Address)
			}
		}
		if slices.Sort(waiting); !slices.Equal(waiting, []string{"last@remote.example", "member@remote.example"}) || !strings.Contains(x.Log(), "mailer=lablmtp, ") {
			t.Errorf("mail for %q waits", waiting)
		}
		x.flush()
		x.at("member@remote.example", "lab", "keeper@lab.test")
		x.at("last@remote.example", "others", "alice@partner.example")

		// Without an answer, that it is the same way is not assumed.
		before := len(x.lab.Taken()) + len(x.others.Taken())
		x.rebuild(strings.Replace(x.sendmailM4(), "$(gmsame < ", "$(gmsame malformed < ", 1))
		x.mail("bob@lab.test", "near@home.example")
		if reason := x.deferred("neighbour@remote.example"); !strings.Contains(reason, "no answer") {
			t.Errorf("deferred: %s", reason)
		}
		if n := len(x.lab.Taken()) + len(x.others.Taken()); n != before {
			t.Errorf("%d messages left all the same", n-before)
		}
	})
}

// I10, O2, O4, O10: virtual users, and hosts for local and for unknown users. What the client has
// written is behind a gateway, whomever that is replaced by. Outside, it takes the sender's way, and
// none while gatemilter is down; inside, it goes to the host that the administrator has named.
func TestSendmailVirtualUsersAndHubs(t *testing.T) {
	isolated(t, func() {
		hub, unknown := newServer(t, lab.SinkConfig{IP: "127.0.0.78", Port: 25}), newServer(t, lab.SinkConfig{IP: "127.0.0.79", Port: 25})
		x := newCrossing(t, "[inbound-gateway filter]\naddresses = 192.0.2.2\ndomains = virtual.example\nreject_other = yes\n[recipient boss@ruled.example]\nroute = lab\n", lab.SendmailConfig{
			Domains: []string{"ruled.example"},
			Features: "define(`MAIL_HUB', `esmtp:[127.0.0.78]')dnl\ndefine(`LUSER_RELAY', `esmtp:[127.0.0.79]')dnl\n" +
				"FEATURE(`virtusertable', `text -z: -k0 -v1 LAB_DIR/etc/virtual')dnl\nVIRTUSER_DOMAIN(`virtual.example')dnl\n"})
		x.file("virtual", "out@virtual.example:far@remote.example\nin@virtual.example:"+systemUser+"\nwho@virtual.example:user@home.example\n")
		outside := x.connect(caller{ip: "203.0.113.9"})
		x.ok(outside.Mail("x@outside.example"))
		for _, to := range []string{"out@virtual.example", "in@virtual.example", "OUT@Virtual.Example.", "out%virtual.example@home.example", "@home.example:out@virtual.example",
			`"out@virtual.example"@home.example`, "virtual.example!out"} {
			if reply := must(outside.Rcpt(to)); reply.Code != 550 || reply.Enhanced != "5.7.1" {
				t.Errorf("around the gateway, to %s: %v", to, reply)
			}
		}
		send := func(client *lab.Client, from string, to ...string) {
			t.Helper()
			if done := must(client.Send(lab.Envelope{From: from, To: to}, letter("virtual"))); !done.End.OK() {
				t.Errorf("from %s to %q: %+v", from, to, done)
			}
			x.idle()
		}
		// The client writes another domain, and that is none behind a gateway.
		x.file("forward."+systemUser, "")
		send(x.connect(caller{ip: "192.0.2.2"}), "x@outside.example", "out@virtual.example", "in@virtual.example", "who@virtual.example")
		x.at("far@remote.example", "others", "x@outside.example")
		if !got(hub, systemUser+"@[127.0.0.78]") || !got(unknown, "user@[127.0.0.79]") {
			t.Errorf("at the hub %+v, at that for unknown users %+v", hub.Taken(), unknown.Taken())
		}
		x.mail("x@outside.example", "boss@ruled.example") // for whom there is a rule
		x.write("alice@lab.test", "alice@lab.test", by("alice@partner.example", "own"), "out@virtual.example", "who@virtual.example")
		x.idle()
		x.at("boss@ruled.example", "lab", "x@outside.example")
		if m := taken(x.alice, "out@virtual.example"); m == nil || !slices.Contains(m.To, "who@virtual.example") || m.Login != "alice" {
			t.Errorf("at alice's server: %+v", x.alice.Taken())
		}

		x.daemon.stop(syscall.SIGKILL)
		x.file("virtual", "out@virtual.example:later@remote.example\nin@virtual.example:"+systemUser+"\nwho@virtual.example:user@home.example\n")
		if err := x.sendmail().Submit(t.Context(), letter("down"), "-f", "bob@lab.test", "out@virtual.example", "in@virtual.example", "who@virtual.example"); err != nil {
			t.Fatal(err)
		}
		x.flush()
		if reason := x.deferred("out@virtual.example"); !strings.Contains(reason, "gmroute") {
			t.Errorf("deferred: %s", reason)
		}
		if len(hub.Taken()) != 2 || len(unknown.Taken()) != 2 || len(x.direct.Taken()) > 0 {
			t.Errorf("at the hub %+v, at that for unknown users %+v, by the smart host %+v", hub.Taken(), unknown.Taken(), x.direct.Taken())
		}
		x.start(x.settings)
		x.flush()
		x.at("later@remote.example", "lab", "bob@lab.test")
	})
}

// O4, O5, O10: queue runs for some mail only, of the administrator's (sendmail -qR, -qS) and of a
// client's (ETRN), lead no other way than others do. A client who has logged in and asks for one is
// not who wrote what waits. While a host, or gatemilter, is down, no other host takes it.
func TestSendmailQueueRuns(t *testing.T) {
	isolated(t, func() {
		// The fallbacks are where no host and no way has an answer, with the port of either.
		x := newCrossing(t, "", lab.SendmailConfig{Features: "define(`confFALLBACK_MX', `[127.0.0.77]')dnl\ndefine(`confFALLBACK_SMARTHOST', `[127.0.0.77]')dnl\n"})
		hosts := []*lab.Sink{x.lab, x.others, x.alice, x.carol}
		var fallbacks []*lab.Sink
		for _, s := range append(hosts, x.direct) {
			fallbacks = append(fallbacks, newServer(t, lab.SinkConfig{IP: "127.0.0.77", Port: s.Addr().Port()}))
		}
		for _, s := range hosts {
			x.refuse(s)
		}
		waiting := map[string][2]string{
			"carols@one.example": {"carol", "carol@partner.example"}, "bobs@one.example": {"lab", "bob@lab.test"},
			"strangers@two.example": {"others", "x@outside.example"}, "alices@two.example": {"alice", "alice@partner.example"},
			"theirs@three.example": {"others", "carol@partner.example"}, "nobodys@two.example": {"others", "alice@partner.example"},
		}
		x.write("carol@lab.test", "carol@lab.test", by("carol@partner.example", "carol's"), "carols@one.example")
		x.write("alice@lab.test", "alice@lab.test", by("alice@partner.example", "alice's"), "alices@two.example")
		x.mail("bob@lab.test", "bobs@one.example")
		x.mail("x@outside.example", "strangers@two.example")
		x.mail("carol@partner.example", "theirs@three.example") // not hers: nobody has logged in
		x.mail("alice@partner.example", "nobodys@two.example")
		for to := range waiting {
			x.deferred(to)
		}
		x.daemon.stop(syscall.SIGKILL)
		for _, s := range hosts {
			x.open(s)
		}
		x.sendmailCommand("-qRone.example")
		x.sendmailCommand("-qSpartner.example")
		x.flush()
		for _, s := range append(append(hosts, fallbacks...), x.direct) {
			if all := s.Taken(); len(all) > 0 {
				t.Errorf("left without gatemilter, to %v: %+v", s.Addr(), all)
			}
		}
		x.start(x.settings)
		leaves := func(addresses ...string) {
			t.Helper()
			for _, to := range addresses {
				x.at(to, waiting[to][0], waiting[to][1])
				delete(waiting, to)
			}
			if n := len(must(x.Queue(t.Context()))); n != len(waiting) {
				t.Errorf("after %q left, %d messages wait, want %d", addresses, n, len(waiting))
			}
		}
		x.sendmailCommand("-qRalices@two")
		leaves("alices@two.example")
		client := x.connect(caller{ip: "127.0.0.9", login: "alice@lab.test"})
		x.ok(client.Cmd("ETRN one.example"))
		x.idle()
		leaves("carols@one.example", "bobs@one.example")
		x.ok(client.Cmd("ETRN @two.example"))
		x.idle()
		leaves("strangers@two.example", "nobodys@two.example")
		x.sendmailCommand("-qSpartner.example")
		leaves("theirs@three.example")
	})
}

// O4, O5: who logs in between the messages of a session, or gives one up before, is who writes those
// after that.
func TestSendmailLoginWithinSession(t *testing.T) {
	isolated(t, func() {
		x := newCrossing(t, "", lab.SendmailConfig{})
		client := x.connect(caller{ip: "127.0.0.9"})
		send := func(from, to string) {
			t.Helper()
			if done := must(client.Send(lab.Envelope{From: from, To: []string{to}}, by(from, to))); !done.End.OK() {
				t.Errorf("from %s: %+v", from, done)
			}
		}
		send("x@outside.example", "before@remote.example")
		x.ok(client.Mail("x@outside.example"))
		x.ok(client.Rcpt("never@remote.example"))
		x.ok(client.Reset())
		if reply := must(client.Mail("x@a@b@outside.example")); reply.OK() {
			t.Errorf("reply %v", reply)
		}
		x.ok(client.Auth("alice@lab.test", "any"))
		send("alice@partner.example", "after@remote.example")
		send("alice@lab.test", "home@remote.example")
		x.idle()
		x.at("before@remote.example", "others", "x@outside.example")
		x.at("after@remote.example", "alice", "alice@partner.example")
		x.at("home@remote.example", "lab", "alice@lab.test")
	})
}

// O2, O6, R2: where senders are masqueraded, the way is that of the sender with whom the message
// leaves; but at a user's own server he writes as the address that is his. A bounce does not wait.
func TestSendmailMasquerade(t *testing.T) {
	isolated(t, func() {
		x := newCrossing(t, "", lab.SendmailConfig{
			Domains: []string{"partner.example", "inner.example"},
			Features: "MASQUERADE_AS(`lab.test')dnl\nFEATURE(`masquerade_envelope')dnl\nFEATURE(`allmasquerade')dnl\n" +
				"FEATURE(`genericstable', `text -z: -k0 -v1 LAB_DIR/etc/generics')dnl\nGENERICS_DOMAIN(`inner.example partner.example')dnl\n"})
		x.file("generics", "bob@inner.example:bob.b@lab.test\nzed@inner.example:zed@outside.example\nalice@partner.example:alice@lab.test\n")
		for sender, leaves := range map[string][2]string{
			"root@mx.lab.test": {"lab", "root@lab.test"}, "bob@inner.example": {"lab", "bob.b@lab.test"}, "zed@inner.example": {"others", "zed@outside.example"},
			"x@outside.example": {"others", "x@outside.example"}, `"a b"@inner.example`: {"lab", `"a b"@lab.test`}, "": {"others", ""},
		} {
			to := x.far()
			x.mail(sender, to)
			x.idle()
			x.at(to, leaves[0], leaves[1])
		}
		cron, own := x.far(), x.far()
		if err := x.sendmail().Submit(t.Context(), letter(cron), cron); err != nil {
			t.Fatal(err)
		}
		x.write("alice@lab.test", "alice@lab.test", by("alice@partner.example", own), own)
		x.idle()
		x.at(cron, "lab", "root@lab.test")
		x.at(own, "alice", "alice@partner.example")
		if m := taken(x.alice, own); m == nil || !slices.Equal(field(t, m, "From"), []string{"alice@partner.example"}) {
			t.Errorf("at alice's server: %+v", m)
		}
		x.lab.Answer(func(line string) string {
			if strings.HasPrefix(strings.ToUpper(line), "RCPT TO:<NOBODY@") {
				return "550 5.1.1 unknown"
			}
			return ""
		})
		x.mail("bob@lab.test", "nobody@remote.example")
		x.idle()
		x.at("bob@lab.test", "others", "")
		if found := regexp.MustCompile("(?m)^.*the sender has changed.*$").FindString(x.Log()); found != "" {
			t.Error(found)
		}
	})
}
