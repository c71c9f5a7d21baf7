package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"gatemilter/cmd/internal/doctor"
	"gatemilter/cmd/internal/lab"
	"gatemilter/milter"
	"gatemilter/policy"
)

// The tests of this file are about what Sendmail does in its own way: see cmd/internal/sendmail.

// O10, S7: without gatemilter's answer, mail waits. It never leaves by the default smart host, and
// leaves in the right way when there is an answer again. Mail for here does not wait.
func TestSendmailLookupDown(t *testing.T) {
	isolated(t, func() {
		a := newSink(t, nil)
		settings := inClear("r", a) + "[outbound]\ngateway = r\n"
		r := newSendmailRelay(t, settings, lab.SendmailConfig{})
		for _, trouble := range []struct {
			name  string
			begin func()
			end   func() // of questions that wait for an answer
		}{
			{"stopped", func() { r.daemon.stop(syscall.SIGTERM) }, func() {}},
			{"killed", func() { r.daemon.stop(syscall.SIGKILL) }, func() {}},
			{"socket gone", func() { os.Remove(filepath.Join(r.sockets(), "lookup.sock")) }, func() { r.daemon.stop(syscall.SIGTERM) }},
			{"hanging, then killed", func() { r.daemon.cmd.Process.Signal(syscall.SIGSTOP) }, func() { r.daemon.stop(syscall.SIGKILL) }},
		} {
			t.Log(trouble.name)
			trouble.begin()
			to, submitted := r.far(), make(chan error, 1)
			// The sendmail command asks no milter, which would refuse too. (Where the socket is gone,
			// it complains of that, and takes the message.)
			go func() {
				submitted <- r.sendmail().Submit(t.Context(), letter(to), "-f", "alice@lab.test", to, "user@home.example")
			}()
			trouble.end()
			if err := <-submitted; err != nil && !strings.Contains(err.Error(), "exit status 71") {
				t.Fatal(err)
			}
			r.idle()
			if r.delivered("user@home.example", to) == nil {
				t.Error("mail for here waits too")
			}
			if reason := r.deferred(to); !strings.Contains(reason, "gmroute") {
				t.Errorf("deferred: %s", reason)
			}
			if err := r.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
			r.start(settings)
			r.arrives(to, a)
		}
		if taken := r.direct.Taken(); len(taken) > 0 {
			t.Errorf("left by the smart host: %v", taken)
		}
	})
}

// O10: a way that sendmail.cf does not know, as after a change without mta-setup, is no other way:
// mail waits, in the queue and at RCPT, until sendmail.cf knows it.
func TestSendmailUnknownMailer(t *testing.T) {
	isolated(t, func() {
		a, b := newSink(t, nil), newSink(t, nil)
		r := newSendmailRelay(t, inClear("r", a)+"[outbound]\ngateway = r\n", lab.SendmailConfig{})
		r.refuse(a)
		waits := r.far()
		r.mail("alice@lab.test", waits)
		r.deferred(waits)
		r.reload(inClear("r", b) + "[outbound]\ngateway = r\n")
		r.daemon.wait(t, "that Sendmail has to be told", func(e entry) bool {
			return strings.HasPrefix(fmt.Sprint(e["message"]), "Sendmail needs other settings now")
		})
		client := r.connect(caller{ip: "127.0.0.1"})
		r.ok(client.Mail("alice@lab.test"))
		if reply := must(client.Rcpt(r.far())); reply.Code != 451 || !strings.Contains(reply.Text, "sendmail.cf does not know this way") {
			t.Errorf("a new message: %v", reply)
		}
		client.Close()
		if err := r.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		r.deferred(waits)
		r.setUp()
		r.arrives(waits, b)
		if n := len(r.direct.Taken()); n > 0 {
			t.Errorf("%d messages left by the smart host", n)
		}
	})
}

// O4, S4: in one queue run, each message has a connection of its own, with the login of its user;
// what is wrong with one user's login or demand holds no other's mail back.
func TestSendmailConnectionCache(t *testing.T) {
	isolated(t, func() {
		ca := must(lab.NewCA("Partner CA"))
		trust(t, ca)
		partner := newServer(t, lab.SinkConfig{Cert: certified(ca), Logins: map[string]string{"alice": alicesPassword, "bob": bobsPassword}})
		settings := "[outbound]\nallow_user_gateways = yes\nuser_gateway_slots = 3\n"
		names := []string{"alice", "bob", "carol"}
		for i, name := range names {
			password := map[string]string{"alice": alicesPassword, "bob": bobsPassword, "carol": "wrong"}[name]
			settings += fmt.Sprintf("[user %s@lab.test]\n", name) + own(name+"@lab.test", "team@partner.example", partner, name, password, fmt.Sprintf("slot = %d", i)) +
				own(name+"@lab.test", name+"@partner.example", partner, name, password)
		}
		r := newSendmailRelay(t, settings, lab.SendmailConfig{})
		partner.Close()
		var to []string
		for range 3 {
			for _, name := range names {
				for _, address := range []string{"team@partner.example", name + "@partner.example"} {
					to = append(to, r.far())
					r.write(name+"@lab.test", address, by(address, to[len(to)-1]), to[len(to)-1])
				}
			}
		}
		r.idle()
		r.open(partner)
		if err := r.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		for i, to := range to {
			name := names[i/2%len(names)]
			m := taken(partner, to)
			switch {
			case name == "carol" && m != nil:
				t.Errorf("carol's mail left, with the login of %s", m.Login)
			case name != "carol" && (m == nil || m.Login != name):
				t.Errorf("%s's mail %s arrived as %+v", name, to, m)
			}
		}
		r.checkSecrets()
	})
}

// O5, S10: where our milter changes the sender, the recipients are chosen anew with all they were
// given: aliases are not expanded twice, and DSN parameters stay.
func TestSendmailReaddress(t *testing.T) {
	isolated(t, func() {
		ca := must(lab.NewCA("Partner CA"))
		trust(t, ca)
		partner := newServer(t, lab.SinkConfig{Cert: certified(ca), Logins: map[string]string{"alice": alicesPassword}})
		r := newSendmailRelay(t, "[outbound]\nallow_user_gateways = yes\n[user alice@lab.test]\n"+own("alice@lab.test", "alice@partner.example", partner, "alice", alicesPassword),
			lab.SendmailConfig{Aliases: "team: user, elsewhere@remote.example"})
		partner.Answer(func(line string) string {
			if strings.HasPrefix(strings.ToUpper(line), "RCPT TO:<NOBODY") {
				return "550 5.1.1 unknown"
			}
			return ""
		})
		client := r.connect(caller{ip: "127.0.0.9", login: "alice@lab.test"})
		send := func(from, subject string, recipients ...string) {
			t.Helper()
			r.ok(client.Mail("alice@lab.test"))
			for _, to := range recipients {
				to, args, _ := strings.Cut(to, " ")
				r.ok(client.Rcpt(to, strings.Fields(args)...))
			}
			_, end, err := client.Data(by(from, subject))
			r.ok(end, err)
			r.idle()
		}
		send("alice@partner.example", "team@home.example", "team@home.example", "far@remote.example")
		if m := taken(partner, "team@home.example"); m == nil || !slices.Contains(m.To, "far@remote.example") || len(m.To) != 2 {
			t.Errorf("at her server: %+v", partner.Taken())
		}
		if m := r.delivered("user@home.example", "team@home.example"); m != nil || len(r.direct.Taken()) > 0 {
			t.Errorf("the alias was expanded too: %v, %+v", m, r.direct.Taken())
		}
		// The next message of the same session takes the usual way, alias and all.
		send("alice@lab.test", "team@home.example", "team@home.example")
		if r.delivered("user@home.example", "team@home.example") == nil || !got(r.direct, "elsewhere@remote.example") {
			t.Error("the alias was not expanded for the message after it")
		}
		// Nobody is told of the one whose client asked so.
		before := len(r.direct.Taken())
		send("alice@partner.example", "refused", "nobody1@remote.example NOTIFY=NEVER", "nobody2@remote.example")
		r.arrives("alice@partner.example", r.direct)
		bounces := r.direct.Taken()[before:]
		if len(bounces) != 1 || strings.Contains(bounces[0].Data, "Final-Recipient: RFC822; nobody1@") || !strings.Contains(bounces[0].Data, "Final-Recipient: RFC822; nobody2@") {
			t.Errorf("returned: %+v", bounces)
		}
	})
}

// The doctor sees whether sendmail.cf is what the configuration needs, and each fault is mended by
// what it says.
func TestSendmailDoctor(t *testing.T) {
	isolated(t, func() {
		settings := inClear("r", newSink(t, nil)) + "[outbound]\ngateway = r\n"
		r := newSendmailRelay(t, settings, lab.SendmailConfig{})
		program := must(exec.LookPath("gatemilter"))
		examine := func(state, want string) {
			t.Helper()
			cmd := exec.Command(program, "doctor", "--no-network", "--json", "--config", r.config(), "--sendmail-cf", r.sendmail().CF())
			cmd.Env = []string{"PATH=/nowhere"} // without Postfix, which this host has
			out, _ := cmd.Output()
			var doc checksJSON
			if err := json.Unmarshal(out, &doc); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			for _, c := range doc.Checks {
				if c.Subject == "Sendmail" || strings.HasSuffix(c.What, "for Sendmail") && c.State != doctor.OK {
					if string(c.State) != state || !strings.Contains(c.Found, want) || c.State != doctor.OK && c.Fix == "" {
						t.Errorf("%+v, want %s: %s", c, state, want)
					}
					return
				}
			}
			t.Errorf("nothing about Sendmail: %s", out)
		}
		examine("ok", "is as mta-setup makes it")
		r.reload(settings + inClear("other", newSink(t, nil)) + "[sender @x.example]\nroute = other\n")
		examine("fail", "is of another configuration")
		r.setUp()
		examine("ok", "is as mta-setup makes it")
		cf := must(os.ReadFile(r.sendmail().CF()))
		if err := os.WriteFile(r.sendmail().CF(), append(cf, "O FallbackMXhost=mx.example\n"...), 0o644); err != nil {
			t.Fatal(err)
		}
		examine("fail", "names a host that takes mail")
		if err := r.sendmail().Rebuild(t.Context(), r.sendmailM4()+"define(`confSEPARATE_PROC', `False')dnl\n"); err != nil {
			t.Fatal(err)
		}
		examine("fail", "is off: in a queue run")
		if err := r.sendmail().Rebuild(t.Context(), ""); err != nil {
			t.Fatal(err)
		}
		examine("fail", "does not name gatemilter")
		if err := r.sendmail().Rebuild(t.Context(), strings.Replace(r.sendmailM4(), "F=T, ", "", 1)); err != nil {
			t.Fatal(err)
		}
		examine("fail", "lets mail pass while gatemilter is down")
		r.setUp()
		if err := os.Chmod(r.sockets(), 0o777); err != nil {
			t.Fatal(err)
		}
		examine("fail", "others may write to")
	})
}

// I11, S3: a client that goes on after STARTTLS without another EHLO uses TLS all the same.
func TestSendmailStartTLSWithoutEHLO(t *testing.T) {
	isolated(t, func() {
		s := newSendmailSite(t, domainsConfig)
		client := s.connect(gateway)
		s.ok(client.StartTLS(gateway.withTLS(s).tls))
		replies, id := s.sendOn(client, "user@example.com", letter("no second EHLO", receivedOutside))
		if replies != "250 250 250" {
			t.Fatalf("replies %s", replies)
		}
		if e := s.logged(id); e["tls"] != "1.3" || e["gateway"] != "filter" {
			t.Errorf("logged %v", e)
		}
	})
}

// S13: Sendmail takes the text of a reply for a format.
func TestSendmailPercent(t *testing.T) {
	isolated(t, func() {
		s := &site{t: t, mta: startSendmail(t, lab.SendmailConfig{Mailboxes: homeMailboxes})}
		path := filepath.Join(s.sockets(), "milter.sock")
		server := &milter.Server{NewSession: func() milter.Session { return refusing{} }}
		go server.Serve(must(net.Listen("unix", path)))
		t.Cleanup(func() { server.Shutdown(context.Background()) })
		if err := s.sendmail().Rebuild(t.Context(), "INPUT_MAIL_FILTER(`gatemilter', `S=local:"+path+", F=T')dnl\n"); err != nil {
			t.Fatal(err)
		}
		client := s.connect(caller{ip: "127.0.0.1"})
		if reply := must(client.Mail("alice@lab.test")); reply.String() != "550 5.7.1 <alice@lab.test>... 100% of it, %s and %n too" {
			t.Errorf("reply %s", reply)
		}
	})
}

// refusing refuses all messages with percent signs.
type refusing struct{ milter.Session }

func (refusing) Connect(milter.Peer, *milter.Macros) {}
func (refusing) Helo(string)                         {}
func (refusing) Close()                              {}
func (refusing) Mail(milter.Envelope) policy.Reply {
	return policy.Reply{Code: 550, Enhanced: "5.7.1", Text: "100% of it, %s and %n too"}
}

// O10: mail for a host that is unknown waits, as for one that is down, and leaves by one that is
// known.
func TestSendmailUnknownHost(t *testing.T) {
	isolated(t, func() {
		startIsolatedDNS(t, "known.example A 127.0.0.9\n. SOA ns.example. admin.example. 1 3600 600 86400 60\n")
		known := newServer(t, lab.SinkConfig{IP: "127.0.0.9"})
		port := known.Addr().Port()
		r := newSendmailRelay(t, fmt.Sprintf("[route none]\nhost = relay.nowhere.example:%d\nrequire_tls = no\n[route mx]\nhost = nowhere.example:%[1]d\nmx_lookup = yes\n"+
			"[route one]\nprimary = relay.nowhere.example:%[1]d 100\nsecondary = known.example:%[1]d 100\nrequire_tls = no\n"+
			"[sender @none.test]\nroute = none\n[sender @mx.test]\nroute = mx\n[sender @one.test]\nroute = one\n[outbound]\nallow_user_gateways = yes\n[user alice@lab.test]\n"+
			"[user-gateway alice@lab.test alice@partner.example]\nserver = smtp.nowhere.example:%[1]d\npassword = hunter2\n", port), lab.SendmailConfig{DNS: true})
		none, mx, own, one := r.far(), r.far(), r.far(), r.far()
		r.mail("x@none.test", none)
		r.mail("x@mx.test", mx)
		r.write("alice@lab.test", "alice@lab.test", by("alice@partner.example", own), own)
		r.mail("x@one.test", one)
		for _, to := range []string{none, mx, own} {
			if reason := r.deferred(to); !strings.Contains(reason, "map: lookup") {
				t.Errorf("%s: deferred: %s", to, reason)
			}
		}
		for _, host := range []string{"relay.nowhere.example", "host nowhere.example", "smtp.nowhere.example"} {
			r.daemon.wait(t, host, func(e entry) bool {
				return strings.Contains(fmt.Sprint(e["error"]), "the DNS knows no ") && strings.HasSuffix(fmt.Sprint(e["error"]), host)
			})
		}
		r.arrives(one, known)
		if all := r.direct.Taken(); len(all) > 0 {
			t.Errorf("returned, or left by the smart host: %+v", all)
		}
	})
}

// R9, O10: what an attack on the first version found. Address literals take the route too, an
// alias in the DNS is no other host, whoever owns the DNS chooses no weaker demand, and questions
// with long names are not cut.
func TestSendmailNamesAndLiterals(t *testing.T) {
	isolated(t, func() {
		ca := must(lab.NewCA("Relay CA"))
		trust(t, ca)
		long := "a-host-with-a-very-long-name-that-some-provider-has"
		cert := must(ca.Issue(lab.Subject{Hosts: []string{"relay.lab.test", "smtp.partner.test", "mx1.strict.test", long + "1.lab.test", "127.0.0.1"}}))
		relay := newServer(t, lab.SinkConfig{Cert: cert})
		port := relay.Addr().Port()
		weak := newServer(t, lab.SinkConfig{IP: "127.0.0.66", Port: port})
		partner := newServer(t, lab.SinkConfig{IP: "127.0.0.3", Port: port, Cert: cert, Logins: map[string]string{"alice": alicesPassword}})
		outside := newServer(t, lab.SinkConfig{IP: "198.51.100.66", Port: 25})
		startIsolatedDNS(t, fmt.Sprintf(`relay.lab.test CNAME real.cloud.test
real.cloud.test A 127.0.0.1
smtp.partner.test CNAME other.cloud.test
other.cloud.test A 127.0.0.3
spoofed.test CNAME weak.test
weak.test A 127.0.0.66
strict.test MX 10 mx1.strict.test
mx1.strict.test A 127.0.0.66
%[1]s1.lab.test A 127.0.0.1
%[1]s2.lab.test A 127.0.0.1
partner.example CNAME canon.example
canon.example A 127.0.0.50
remote.example A 127.0.0.50
lab.test A 127.0.0.50
. SOA ns.example. admin.example. 1 3600 600 86400 60
`, long))
		login := "alice.with-a-long-name@department.of-something.lab.test"
		settings := fmt.Sprintf("[route relay]\nhost = relay.lab.test:%[1]d\n[route spoofed]\nhost = spoofed.test:%[1]d\n[route weak]\nhost = weak.test:%[1]d\nrequire_tls = no\n"+
			"[route strict]\nhost = strict.test:%[1]d\nmx_lookup = yes\n[route mx1]\nhost = mx1.strict.test:%[1]d\nrequire_tls = no\n"+
			"[route long]\nprimary = %[2]s1.lab.test:%[1]d 50, %[2]s2.lab.test:%[1]d 50\n"+
			"[sender @spoofed.test]\nroute = spoofed\n[sender @strict.test]\nroute = strict\n[sender @long.test]\nroute = long\n"+
			"[outbound]\ngateway = relay\nallow_user_gateways = yes\n[user %[3]s]\n[user-gateway %[3]s alice.with-another-long-name@partner.example]\nserver = smtp.partner.test:%[1]d\nusername = alice\npassword = %[4]s\n",
			port, long, login, alicesPassword)
		r := newSendmailRelay(t, settings, lab.SendmailConfig{DNS: true, Aliases: "literal: z@[198.51.100.66]"})
		// As it is commonly set: names are replaced by those to which aliases in the DNS lead.
		if err := r.sendmail().Rebuild(t.Context(), r.sendmailM4()+"undefine(`_NO_CANONIFY_')dnl\n"); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(must(os.ReadFile(r.sendmail().CF()))), "$[ $2 $]") {
			t.Fatal("names are not canonified")
		}
		for _, to := range []string{"a@[198.51.100.66]", "b%[198.51.100.66]@mx.lab.test", "m@[remote.example]", "literal@home.example"} {
			r.mail("bob@lab.test", to)
		}
		aliased, own, strict, spoofed, wide := r.far(), r.far(), r.far(), r.far(), r.far()
		r.mail("bob@lab.test", aliased)
		r.mail(strings.Repeat("x", 64)+"@"+strings.Repeat("y", 60)+".long.lab.test", wide)
		r.mail("x@strict.test", strict)
		r.mail("x@spoofed.test", spoofed)
		r.mail("x@long.test", "long@remote.example")
		r.write(login, "alice.with-another-long-name@partner.example", by("alice.with-another-long-name@partner.example", own), own)
		r.idle()
		for _, to := range []string{"a@[198.51.100.66]", "z@[198.51.100.66]", aliased, wide, "long@remote.example"} {
			if m := taken(relay, to); m == nil || !m.TLS {
				t.Errorf("%s: arrived as %+v", to, m)
			}
		}
		if m := taken(partner, own); m == nil || m.Login != "alice" || !m.TLS {
			t.Errorf("at the user's server: %+v", m)
		}
		for _, to := range []string{strict, spoofed} {
			if reason := r.deferred(to); !strings.Contains(reason, "require_tls of route") {
				t.Errorf("%s: deferred: %s", to, reason)
			}
		}
		if n := len(weak.Taken()) + len(outside.Taken()) + len(r.direct.Taken()); n > 0 {
			t.Errorf("left by the weaker way %+v, by themselves %+v, by the smart host %+v", weak.Taken(), outside.Taken(), r.direct.Taken())
		}
		for _, line := range r.complaints() {
			t.Error(line)
		}
	})
}

// Included twice, the file does no harm, and other milters keep their macros and stand behind ours.
func TestSendmailIncludedTwice(t *testing.T) {
	isolated(t, func() {
		r := newSendmailRelay(t, "", lab.SendmailConfig{Features: "INPUT_MAIL_FILTER(`opendkim', `S=inet:9@127.0.0.1, T=C:1s')dnl\n" +
			"define(`confMILTER_MACROS_CONNECT',`t, b, j, _, {daemon_name}, {if_name}, {if_addr}')dnl\n"})
		text := r.sendmailM4()
		if err := r.sendmail().Rebuild(t.Context(), text+text); err != nil {
			t.Fatal(err)
		}
		cf := string(must(os.ReadFile(r.sendmail().CF())))
		for _, want := range []string{"O InputMailFilters=gatemilter, opendkim\n", "O Milter.macros.connect=t, b, j, _, {daemon_name}, {if_name}, {if_addr}, j, {daemon_name}, v, _,"} {
			if !strings.Contains(cf, want) {
				t.Errorf("sendmail.cf lacks %q", want)
			}
		}
		if n := strings.Count(cf, "\nXgatemilter,"); n != 1 {
			t.Errorf("%d filters", n)
		}
	})
}
