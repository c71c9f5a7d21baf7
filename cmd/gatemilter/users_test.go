package main

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gatemilter/cmd/internal/lab"
)

// The tests of this file send mail of users who log in to a real Postfix, and look at what
// arrives at servers of the users' own, which ask for a login too.

// A server is one of a user's own, at which these accounts exist.
func newServer(t *testing.T, c lab.SinkConfig) *lab.Sink {
	t.Helper()
	s, err := c.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// certified is a certificate for the address of all servers.
func certified(ca *lab.CA) *lab.Cert {
	return must(ca.Issue(lab.Subject{Hosts: []string{"127.0.0.1"}}))
}

// own is a section [user-gateway].
func own(login, address string, s *lab.Sink, username, password string, more ...string) string {
	return fmt.Sprintf("[user-gateway %s %s]\nserver = %s\nusername = %s\npassword = %s\n", login, address, s.Addr(), username, password) +
		strings.Join(append(more, ""), "\n")
}

// write hands over a message of a user who has logged in (or, with "", has not), and returns
// the reply to it.
func (r *relay) write(login, sender, message string, to ...string) lab.Reply {
	r.t.Helper()
	client := r.connect(caller{ip: "127.0.0.9", login: login})
	defer client.Close()
	done, err := client.Send(lab.Envelope{From: sender, To: to}, message)
	if err != nil {
		r.t.Fatal(err)
	}
	return done.End
}

// by is a message with this From field.
func by(from, subject string, fields ...string) string {
	return strings.Join(append(fields, "From: "+from, "Subject: "+subject, "", "Hello."), "\n") + "\n"
}

// taken returns what a server was sent for a recipient, or nil.
func taken(s *lab.Sink, to string) *lab.Taken {
	all := s.Taken()
	if i := slices.IndexFunc(all, func(m lab.Taken) bool { return m.Data != "" && slices.Contains(m.To, to) }); i >= 0 {
		return &all[i]
	}
	return nil
}

// field returns the values of a field in what was sent, in order.
func field(t *testing.T, m *lab.Taken, name string) (values []string) {
	t.Helper()
	header, _, _ := strings.Cut(m.Data, "\n\n")
	for line := range strings.Lines(header) {
		if n, value, ok := strings.Cut(line, ":"); ok && strings.EqualFold(n, name) {
			values = append(values, strings.TrimSpace(value))
		}
	}
	return values
}

// The passwords of these tests: whatever else is written, these are not.
const (
	alicesPassword = "hunter2:with a blank"
	bobsPassword   = "hunter3"
	clubsPassword  = "hunter4"
	secondPassword = "hunter5"
)

// O4, O5, O6, O7, O8: who writes as which address decides by whose server and with whose
// login a message leaves, to whomever it goes.
func TestUserGateways(t *testing.T) { onAll(t, testUserGateways) }

func testUserGateways(t *testing.T, on string, chroot bool) {
	ca := must(lab.NewCA("Partner CA"))
	partner := newServer(t, lab.SinkConfig{Cert: certified(ca), Logins: map[string]string{"alice": alicesPassword, "bob": bobsPassword, "second": secondPassword}})
	club := newServer(t, lab.SinkConfig{Cert: certified(ca), Implicit: true, Logins: map[string]string{"a.club": clubsPassword}})
	gateway, clubsTLS := newSink(t, nil), "tls = implicit"
	trust(t, ca)
	if on == onSendmail { // which can't do TLS from the start
		club = newServer(t, lab.SinkConfig{Cert: certified(ca), Logins: map[string]string{"a.club": clubsPassword}})
		clubsTLS = "tls = starttls"
	}
	r := newRelayOn(t, on, inClear("gateway", gateway)+"[outbound]\ngateway = gateway\nallow_user_gateways = yes\nuser_gateway_slots = 2\n"+
		"[user alice@lab.test]\naddresses = alice@lab.test, alice@elsewhere.example\n[user bob]\naddresses = bob@lab.test\n"+
		own("alice@lab.test", "alice@partner.example", partner, "alice", alicesPassword)+
		own("alice@lab.test", "second@partner.example", partner, "second", secondPassword)+
		own("alice@lab.test", "alice@club.example", club, "a.club", clubsPassword, clubsTLS)+
		own("bob", "alice@partner.example", partner, "bob", bobsPassword, "slot = 1"),
		func(c *lab.Config) { c.Chroot = chroot })
	hosts := map[string]*lab.Sink{"partner": partner, "club": club, "gateway": gateway, "direct": r.direct}

	type way struct{ login, sender, from, host, account, envelope, senderField string }
	ways := []way{
		{"alice@lab.test", "alice@lab.test", "Alice <alice@partner.example>", "partner", "alice", "alice@partner.example", ""},
		{"ALICE@lab.test", "Alice@Partner.example", "Alice@Partner.Example", "partner", "alice", "Alice@Partner.example", ""},
		{"alice@lab.test", "alice+x@partner.example", "alice+x@partner.example", "partner", "alice", "alice@partner.example", ""},
		{"alice@lab.test", "", "alice@partner.example", "partner", "alice", "alice@partner.example", ""},
		{"alice@lab.test", "alice@lab.test", "second@partner.example", "partner", "second", "second@partner.example", ""},
		{"alice@lab.test", "alice@lab.test", "alice@club.example", "club", "a.club", "alice@club.example", ""},
		{"bob", "bob@lab.test", "alice@partner.example", "partner", "bob", "alice@partner.example", ""},
		{"alice@lab.test", "alice@lab.test", "alice@lab.test", "gateway", "", "alice@lab.test", ""},
		{"alice@lab.test", "alice@elsewhere.example", "alice@elsewhere.example", "gateway", "", "alice@lab.test", "alice@lab.test"},
		{"", "alice@partner.example", "alice@partner.example", "gateway", "", "alice@partner.example", ""},
		{"carol@lab.test", "carol@lab.test", "carol@lab.test", "gateway", "", "carol@lab.test", ""},
	}
	to := make([]string, len(ways))
	for i, w := range ways {
		to[i] = r.far()
		message := by(w.from, to[i], "X-Gatemilter-Route: gatemilter:["+"127.0.0.1"+"]:1", "Sender: "+w.from)
		if w.login == "" {
			message = by(w.from, to[i])
		}
		if reply := r.write(w.login, w.sender, message, to[i], "user@home.example"); !reply.OK() {
			t.Errorf("%+v: %v", w, reply)
		}
	}
	r.idle()
	for i, w := range ways {
		if names := arrived(hosts, to[i]); !slices.Equal(names, []string{w.host}) {
			t.Errorf("%+v: arrived at %q", w, names)
			continue
		}
		m := taken(hosts[w.host], to[i])
		if m.From != w.envelope || m.Login != w.account || m.TLS != (w.account != "") {
			t.Errorf("%+v: arrived as %+v", w, m)
		}
		// By a user's own server goes the mail for everybody; else what is for here stays here.
		if all := slices.Contains(m.To, "user@home.example"); all != (w.account != "") {
			t.Errorf("%+v: recipients %q", w, m.To)
		}
		if here := r.delivered("user@home.example", to[i]) != nil; here != (w.account == "") {
			t.Errorf("%+v: in the mailbox here: %v", w, here)
		}
		if named := field(t, m, "Sender"); w.account == "" && w.senderField != "" && !slices.Equal(named, []string{w.senderField}) ||
			slices.ContainsFunc(named, func(s string) bool { return w.account != "" && strings.Contains(s, "@lab.test") }) {
			t.Errorf("%+v: Sender %q", w, named)
		}
		if w.login != "" && w.login != "carol@lab.test" && field(t, m, "X-Gatemilter-Route") != nil {
			t.Errorf("%+v: the way is to be seen:\n%s", w, m.Data)
		}
	}

	for _, c := range []struct{ login, sender, from string }{
		{"alice@lab.test", "alice@lab.test", "ceo@lab.test"},
		{"alice@lab.test", "bob@lab.test", "alice@lab.test"},
		{"bob", "bob@lab.test", "second@partner.example"},
		{"carol@lab.test", "carol@lab.test", "alice@partner.example"},
	} {
		reply := r.write(c.login, c.sender, by(c.from, "not his"), r.far())
		if reply.String() != "553 5.7.1 this account may not send as that address, choose one of its own as From and envelope sender" {
			t.Errorf("%+v: %v", c, reply)
		}
	}
	r.checkSecrets()
}

// O5: a server that shows its certificate only to who asks for it by name, as some of the largest
// providers', is asked. (Sendmail can't.)
func TestUserGatewayAskedByName(t *testing.T) {
	ca := must(lab.NewCA("Partner CA"))
	partner := newServer(t, lab.SinkConfig{Cert: must(ca.Issue(lab.Subject{Hosts: []string{"localhost"}})), SNI: true, Logins: map[string]string{"alice": alicesPassword}})
	trust(t, ca)
	r := newRelay(t, fmt.Sprintf("[outbound]\nallow_user_gateways = yes\n[user alice@lab.test]\n"+
		"[user-gateway alice@lab.test alice@partner.example]\nserver = localhost:%d\nusername = alice\npassword = %s\n", partner.Addr().Port(), alicesPassword),
		func(c *lab.Config) { c.Main = "smtp_host_lookup = native\n" })
	to := r.far()
	if reply := r.write("alice@lab.test", "alice@lab.test", by("alice@partner.example", to), to); !reply.OK() {
		t.Fatal(reply)
	}
	r.arrives(to, partner)
	if m := taken(partner, to); m.Login != "alice" || !m.TLS {
		t.Errorf("arrived as %+v", m)
	}
}

// checkSecrets looks for passwords in all that is logged (O9).
func (r *relay) checkSecrets() {
	r.t.Helper()
	for _, text := range []string{r.Log(), fmt.Sprint(r.daemon.entries())} {
		if at := strings.Index(text, "hunter"); at >= 0 {
			r.t.Errorf("a password is logged: …%s…", text[max(0, at-200):at+20])
		}
	}
}

// O3: without allow_user_gateways, our servers send it on behalf, and the log says so.
func TestUserGatewaysNotAllowed(t *testing.T) { onBoth(t, testUserGatewaysNotAllowed) }

func testUserGatewaysNotAllowed(t *testing.T, on string) {
	trustNew := func() *lab.CA { ca := must(lab.NewCA("Partner CA")); trust(t, ca); return ca }
	partner, gateway := newServer(t, lab.SinkConfig{Cert: certified(trustNew()), Logins: map[string]string{"alice": alicesPassword}}), newSink(t, nil)
	settings := inClear("gateway", gateway) + "[outbound]\ngateway = gateway\nallow_user_gateways = %s\n[user alice@lab.test]\n" + own("alice@lab.test", "alice@partner.example", partner, "alice", alicesPassword)
	r := newRelayOn(t, on, fmt.Sprintf(settings, "no"), nil)
	to := r.far()
	r.write("alice@lab.test", "alice@partner.example", by("alice@partner.example", to), to)
	r.arrives(to, gateway)
	m := taken(gateway, to)
	if m.From != "alice@lab.test" || !slices.Equal(field(t, m, "Sender"), []string{"alice@lab.test"}) || len(partner.Attempts()) > 0 {
		t.Errorf("arrived as %+v; at her own server %v", m, partner.Attempts())
	}
	r.daemon.wait(t, "that her server is ignored", func(e entry) bool {
		return strings.Contains(fmt.Sprint(e["reasons"]), "user-gateway-ignored")
	})
	// In the mode observe nothing changes, even where it is allowed.
	r.reload("mode = observe\n" + fmt.Sprintf(settings, "yes"))
	r.setUp("--apply")
	to = r.far()
	r.write("alice@lab.test", "alice@partner.example", by("alice@partner.example", to), to)
	r.arrives(to, r.direct)
	if m := taken(r.direct, to); m.From != "alice@partner.example" || field(t, m, "Sender") != nil {
		t.Errorf("observed only, but arrived as %+v", m)
	}
}

// O9: a message that was queued before a user changed his server shows no password to the
// old one: neither where that is nobody's any more, nor where others still use it.
func TestUserGatewayChanged(t *testing.T) { onBoth(t, testUserGatewayChanged) }

func testUserGatewayChanged(t *testing.T, on string) {
	for _, others := range []bool{false, true} {
		t.Run(fmt.Sprintf("others use the old server %v", others), func(t *testing.T) {
			ca := must(lab.NewCA("Partner CA"))
			logins := map[string]string{"alice": alicesPassword, "bob": bobsPassword}
			old := newServer(t, lab.SinkConfig{Cert: certified(ca), Logins: logins})
			now := newServer(t, lab.SinkConfig{Cert: certified(ca), Logins: map[string]string{"alice": bobsPassword}})
			users := "[outbound]\nallow_user_gateways = yes\n[user alice@lab.test]\n[user bob@lab.test]\n"
			bob := own("bob@lab.test", "bob@partner.example", old, "bob", bobsPassword)
			trust(t, ca)
			r := newRelayOn(t, on, users+own("alice@lab.test", "alice@partner.example", old, "alice", alicesPassword), impatient)
			r.refuse(old)
			to := r.far()
			r.write("alice@lab.test", "alice@lab.test", by("alice@partner.example", to), to)
			r.deferred(to)
			users += own("alice@lab.test", "alice@partner.example", now, "alice", bobsPassword)
			if others {
				users += bob
			}
			r.reload(users)
			r.open(old)
			if on == onSendmail { // which asks for the way again at each attempt
				r.setUp()
				r.arrives(to, now)
				if a := old.Attempts(); len(a)+len(old.Taken()) > 0 {
					t.Errorf("the old server was shown %+v", a)
				}
				if m := taken(now, to); m.Login != "alice" || now.Attempts()[0].Password != bobsPassword {
					t.Errorf("arrived as %+v, with %+v", m, now.Attempts())
				}
				r.checkSecrets()
				return
			}
			want := noPermission
			if others {
				want = noLogin
				r.daemon.wait(t, "that the login is withheld", func(e entry) bool {
					return e["message"] == "mail is held back: the host is shown no login" && strings.Contains(fmt.Sprint(e["error"]), "another one now")
				})
				toBob := r.far()
				r.write("bob@lab.test", "bob@lab.test", by("bob@partner.example", toBob), toBob)
				r.arrives(toBob, old)
			}
			err := lab.Until(t.Context(), "the reason why it waits", func() bool { return strings.Contains(r.deferred(to), want) })
			if err != nil {
				t.Errorf("%v: %s", err, r.deferred(to))
			}
			for _, a := range old.Attempts() {
				if a.Username != "bob" || a.Password != bobsPassword {
					t.Errorf("the old server was shown %+v", a)
				}
			}
			if len(now.Attempts())+len(r.direct.Taken()) > 0 {
				t.Errorf("at the new server: %+v; directly: %+v", now.Attempts(), r.direct.Taken())
			}
			r.checkSecrets()
		})
	}
}

// userFaults are what is wrong with a user's own server, and how the mail server says it.
var userFaults = map[string]map[string]*regexp.Regexp{
	onPostfix: {
		"wrong name":  regexp.MustCompile("not verified"),
		"self-signed": regexp.MustCompile("not verified"),
		"expired":     regexp.MustCompile("not verified"),
		"other CA":    regexp.MustCompile("not verified"),
		"no TLS":      regexp.MustCompile(noPermission),
	},
	onSendmail: {
		"wrong name":  regexp.MustCompile("is not for"),
		"self-signed": regexp.MustCompile("signed with its own key"),
		"expired":     regexp.MustCompile("expired on"),
		"other CA":    regexp.MustCompile("no trusted CA"),
		"no TLS":      regexp.MustCompile("needs TLS"),
	},
}

// O4, R9: a server that is not as it should be is shown no password and no mail, with
// STARTTLS or TLS from the start. What is wrong with the login itself lets the mail wait
// too. All of it leaves by itself when it is put right.
func TestUserGatewayFaults(t *testing.T) { onBoth(t, testUserGatewayFaults) }

func testUserGatewayFaults(t *testing.T, on string) {
	ca, other := must(lab.NewCA("Partner CA")), must(lab.NewCA("Other CA"))
	certificates := tlsCertificates(ca, other)
	certs := map[string]*lab.Cert{
		"wrong name": certificates["wrong-name"], "self-signed": must(lab.SelfSigned(lab.Subject{Hosts: []string{"127.0.0.1"}})),
		"expired":  must(ca.Issue(lab.Subject{Hosts: []string{"127.0.0.1"}, NotBefore: certificates["expired"].TLS.Leaf.NotBefore, NotAfter: certificates["expired"].TLS.Leaf.NotAfter})),
		"other CA": certificates["other-CA-address"], "no TLS": nil,
	}
	type fault struct {
		name     string
		implicit bool
		server   *lab.Sink
		to       string
	}
	settings := "[outbound]\nallow_user_gateways = yes\n[user alice@lab.test]\n"
	logins := map[string]string{"alice": alicesPassword}
	var faults []fault
	for name, cert := range certs {
		for _, implicit := range []bool{false, true} {
			if implicit && (cert == nil || on == onSendmail) { // which can't do that
				continue
			}
			f := fault{name: name, implicit: implicit, server: newServer(t, lab.SinkConfig{Cert: cert, Implicit: implicit, Logins: logins}), to: fmt.Sprintf("fault%d", len(faults))}
			tls := "tls = starttls"
			if implicit {
				tls = "tls = implicit"
			}
			settings += own("alice@lab.test", f.to+"@partner.example", f.server, "alice", alicesPassword, tls)
			faults = append(faults, f)
		}
	}
	good := newServer(t, lab.SinkConfig{Cert: certified(ca), Logins: logins})
	clear := newServer(t, lab.SinkConfig{Logins: logins})
	settings += own("alice@lab.test", "clear@partner.example", clear, "alice", alicesPassword, "tls = none")
	password := "wrong"
	withPassword := func() string {
		return settings + own("alice@lab.test", "good@partner.example", good, "alice", password)
	}
	trust(t, ca)
	r := newRelayOn(t, on, withPassword(), impatient)
	send := func(name string) {
		r.write("alice@lab.test", "alice@lab.test", by(name+"@partner.example", name), name+"@remote.example")
	}
	for _, f := range faults {
		send(f.to)
	}
	send("good")
	send("clear")
	r.arrives("clear@remote.example", clear)
	if m := taken(clear, "clear@remote.example"); m.TLS || m.Login != "alice" {
		t.Errorf("without TLS, it arrived as %+v", m)
	}
	for _, f := range faults {
		if reason := r.deferred(f.to + "@remote.example"); !userFaults[on][f.name].MatchString(reason) {
			t.Errorf("%s, from the start %v: deferred: %s", f.name, f.implicit, reason)
		}
		if seen := f.server.Attempts(); len(seen)+len(f.server.Taken()) > 0 {
			t.Errorf("%s, from the start %v: the server was shown %+v", f.name, f.implicit, seen)
		}
	}
	refused := map[string]string{onPostfix: "SASL authentication failed", onSendmail: "Temporary AUTH failure"}[on]
	if reason := r.deferred("good@remote.example"); !strings.Contains(reason, refused) {
		t.Errorf("wrong password: deferred: %s", reason)
	}
	if on == onSendmail {
		r.daemon.wait(t, "why", func(e entry) bool {
			return e["message"] == "mail is held back: the user's server does not take the login" && e["error"] == "the server refuses the login: 535 5.7.8" && e["login"] == "alice@lab.test"
		})
	}
	password = alicesPassword
	r.reload(withPassword())
	r.arrives("good@remote.example", good)
	if len(r.direct.Taken()) > 0 {
		t.Errorf("left directly: %+v", r.direct.Taken())
	}
}

// O4, O9: a server that offers no login gets no mail, though it would take it, and is shown
// no password. The mail leaves with login as soon as there is one.
func TestUserGatewayWithoutLogin(t *testing.T) { onBoth(t, testUserGatewayWithoutLogin) }

func testUserGatewayWithoutLogin(t *testing.T, on string) {
	ca := must(lab.NewCA("Partner CA"))
	logins := map[string]string{"alice": alicesPassword}
	open := map[string]lab.SinkConfig{
		"starttls": {Cert: certified(ca)},
		"implicit": {Cert: certified(ca), Implicit: true},
		"none":     {},
	}
	if on == onSendmail {
		delete(open, "implicit")
	}
	settings := "[outbound]\nallow_user_gateways = yes\n[user alice@lab.test]\n"
	servers := map[string]*lab.Sink{}
	for tls, c := range open {
		servers[tls] = newServer(t, c)
		settings += own("alice@lab.test", tls+"@partner.example", servers[tls], "alice", alicesPassword, "tls = "+tls)
	}
	later := newServer(t, lab.SinkConfig{Cert: must(lab.SelfSigned(lab.Subject{Hosts: []string{"127.0.0.1"}})), Logins: logins})
	settings += own("alice@lab.test", "later@partner.example", later, "alice", alicesPassword, "tls = none")
	trust(t, ca)
	r := newRelayOn(t, on, settings, impatient)
	send := func(name string) {
		r.write("alice@lab.test", "alice@lab.test", by(name+"@partner.example", name), name+"@remote.example")
	}
	for tls, s := range servers {
		send(tls)
		want := map[string]string{onPostfix: noPermission, onSendmail: "Deferred: 454 4.7.0 gatemilter: the server offers none of the logins PLAIN LOGIN CRAM-MD5"}[on]
		if reason := r.deferred(tls + "@remote.example"); reason != want {
			t.Errorf("%s: deferred: %s", tls, reason)
		}
		if on == onSendmail {
			if all := s.Taken(); slices.ContainsFunc(all, func(m lab.Taken) bool { return len(m.To) > 0 || m.Data != "" }) || len(s.Attempts()) > 0 {
				t.Errorf("%s: taken %+v, attempts %+v", tls, all, s.Attempts())
			}
			continue
		}
		r.daemon.wait(t, "why mail for "+tls+" waits", func(e entry) bool {
			return e["message"] == "mail is held back: the user's server is not seen to offer a login" && e["error"] == "the server offers no login" &&
				strings.HasSuffix(fmt.Sprint(e["nexthop"]), fmt.Sprint("]:", s.Addr().Port()))
		})
		if len(s.Taken())+len(s.Attempts()) > 0 {
			t.Errorf("%s: taken %+v, attempts %+v", tls, s.Taken(), s.Attempts())
		}
	}
	// It offers a login only after STARTTLS, and TLS is not demanded: it is taken there.
	send("later")
	r.arrives("later@remote.example", later)
	if m := taken(later, "later@remote.example"); m.Login != "alice" || !m.TLS {
		t.Errorf("login after STARTTLS only: arrived as %+v", m)
	}
	for tls, s := range servers {
		s.Close()
		if all := s.Taken(); slices.ContainsFunc(all, func(m lab.Taken) bool { return len(m.To) > 0 }) {
			t.Errorf("%s: taken %+v", tls, all)
		}
		c := open[tls]
		c.Port, c.Logins = s.Addr().Port(), logins
		now := newServer(t, c)
		r.arrives(tls+"@remote.example", now)
		if m := taken(now, tls+"@remote.example"); m.Login != "alice" || m.TLS != (tls != "none") {
			t.Errorf("%s: arrived as %+v", tls, m)
		}
	}
	if len(r.direct.Taken()) > 0 {
		t.Errorf("left directly: %+v", r.direct.Taken())
	}
	r.checkSecrets()
}

// O10: without gatemilter, users' mail waits, never takes another way and never leaves
// without login; it leaves by itself when gatemilter is back.
func TestUserGatewayDown(t *testing.T) { onBoth(t, testUserGatewayDown) }

func testUserGatewayDown(t *testing.T, on string) {
	ca := must(lab.NewCA("Partner CA"))
	partner := newServer(t, lab.SinkConfig{Cert: certified(ca), Logins: map[string]string{"alice": alicesPassword}})
	settings := "[outbound]\nallow_user_gateways = yes\n[user alice@lab.test]\n" + own("alice@lab.test", "alice@partner.example", partner, "alice", alicesPassword)
	trust(t, ca)
	r := newRelayOn(t, on, settings, impatient)
	// Killed after the server has been chosen, before the login is asked for: the first
	// connection is the probe of the server, the second one the mail server's. (Sendmail
	// connects before it asks.)
	begun, killed := make(chan bool, 2), make(chan bool)
	var connections atomic.Int32
	partner.Answer(func(line string) string {
		if line == "" && (connections.Add(1) > 1 || on == onSendmail) {
			begun <- true
			<-killed
		}
		return ""
	})
	to := r.far()
	r.write("alice@lab.test", "alice@lab.test", by("alice@partner.example", to), to)
	<-begun
	r.daemon.stop(syscall.SIGKILL)
	close(killed)
	// Postfix may have tried again already, and then asks for the permission first.
	if reason := r.deferred(to); !strings.Contains(reason, noLogin) && !strings.Contains(reason, noPermission) && !strings.Contains(reason, noAnswer) {
		t.Errorf("deferred: %s", reason)
	}
	usually(partner)
	// Nobody's mail is taken meanwhile: nobody can tell which way it would go.
	client := must(lab.Dial(t.Context(), r.Addr()))
	defer client.Close()
	must(client.Ehlo("client.example"))
	if reply := must(client.Mail("alice@lab.test")); reply.Code != 451 {
		t.Errorf("MAIL without gatemilter: %v", reply)
	}
	client.Close()
	r.start(settings)
	r.arrives(to, partner)
	if m := taken(partner, to); m.Login != "alice" || m.From != "alice@partner.example" || len(r.direct.Taken()) > 0 {
		t.Errorf("arrived as %+v; directly: %+v", m, r.direct.Taken())
	}
}

// O6, R3: what the user's server refuses for good goes back to his other address, as a
// bounce, by the usual way; also what the server can't take because it lacks SMTPUTF8.
func TestUserGatewayBounces(t *testing.T) { onBoth(t, testUserGatewayBounces) }

func testUserGatewayBounces(t *testing.T, on string) {
	ca := must(lab.NewCA("Partner CA"))
	logins := map[string]string{"alice": alicesPassword}
	partner := newServer(t, lab.SinkConfig{Cert: certified(ca), Logins: logins})
	international := newServer(t, lab.SinkConfig{Cert: certified(ca), Logins: logins, SMTPUTF8: true})
	home := newServer(t, lab.SinkConfig{SMTPUTF8: true}) // where our own server sends directly
	trust(t, ca)
	r := newRelayOn(t, on, "[outbound]\nallow_user_gateways = yes\n[user alice@lab.test]\n"+own("alice@lab.test", "alice@partner.example", partner, "alice", alicesPassword)+
		own("alice@lab.test", "alice@bücher.example", international, "alice", alicesPassword), func(c *lab.Config) { c.Relay = at(home) })
	if on == onSendmail {
		home = r.direct
	}
	partner.Answer(func(line string) string {
		if strings.HasPrefix(strings.ToUpper(line), "RCPT TO:<NOBODY@") {
			return "550 5.1.1 unknown"
		}
		return ""
	})
	r.write("alice@lab.test", "alice@lab.test", by("alice@partner.example", "refused"), "nobody@remote.example")
	r.arrives("alice@partner.example", home)
	if m := taken(home, "alice@partner.example"); m.From != "" || !strings.Contains(m.Data, "550 5.1.1 unknown") {
		t.Errorf("returned as %+v", m)
	}

	if on == onSendmail { // which takes no SMTPUTF8 as it is commonly set
		return
	}
	bounces := len(home.Taken())
	r.writeUTF8("jürgen@remote.example", by("alice@partner.example", "Grüße"))
	r.idle()
	if all := home.Taken(); len(all) != bounces+1 || !strings.Contains(all[bounces].Data, "SMTPUTF8") {
		t.Errorf("from the server without SMTPUTF8 came back %+v", all[bounces:])
	}
	r.writeUTF8("jürgen@remote.example", by("Jürgen <alice@bücher.example>", "Grüße"))
	r.arrives("jürgen@remote.example", international)
	if m := taken(international, "jürgen@remote.example"); m.From != "alice@xn--bcher-kva.example" || m.Login != "alice" {
		t.Errorf("arrived as %+v", m)
	}
}

// writeUTF8 is write of Alice for an international recipient (RFC 6531).
func (r *relay) writeUTF8(to, message string) {
	r.t.Helper()
	client := must(lab.Dial(r.t.Context(), r.Addr()))
	defer client.Close()
	r.ok(client.Ehlo("client.example"))
	r.ok(client.XClient(lab.Identity{Addr: netip.MustParseAddr("127.0.0.9"), Login: "alice@lab.test"}))
	r.ok(client.Ehlo("client.example"))
	r.ok(client.Mail("alice@lab.test", "SMTPUTF8"))
	r.ok(client.Rcpt(to))
	_, end, err := client.Data(message)
	r.ok(end, err)
}

// O8: rewrite and accept, as the mail leaves.
func TestUnknownSender(t *testing.T) { onBoth(t, testUnknownSender) }

func testUnknownSender(t *testing.T, on string) {
	gateway := newSink(t, nil)
	settings := inClear("gateway", gateway) + "[outbound]\ngateway = gateway\nunknown_sender = %s\n[user alice@lab.test]\n"
	r := newRelayOn(t, on, fmt.Sprintf(settings, "rewrite"), nil)
	type sent struct {
		Envelope     string
		From, Sender []string
	}
	leaves := func() sent {
		t.Helper()
		to := r.far()
		if reply := r.write("alice@lab.test", "x@other.example", by("The Boss <x@other.example>", to), to); !reply.OK() {
			t.Fatal(reply)
		}
		r.arrives(to, gateway)
		m := taken(gateway, to)
		return sent{m.From, field(t, m, "From"), field(t, m, "Sender")}
	}
	if diff := cmp.Diff(sent{"alice@lab.test", []string{"The Boss <alice@lab.test>"}, nil}, leaves()); diff != "" {
		t.Errorf("rewrite: -want +got\n%s", diff)
	}
	r.reload(fmt.Sprintf(settings, "accept"))
	if diff := cmp.Diff(sent{"alice@lab.test", []string{"The Boss <x@other.example>"}, []string{"alice@lab.test"}}, leaves()); diff != "" {
		t.Errorf("accept: -want +got\n%s", diff)
	}
}

// O2: mail for some recipients takes a route whoever sends it, also where it would stay
// here. Without gatemilter, only such mail waits.
func TestRoutesByRecipient(t *testing.T) { onAll(t, testRoutesByRecipient) }

func testRoutesByRecipient(t *testing.T, on string, chroot bool) {
	plant, boss, gateway := newSink(t, nil), newSink(t, nil), newSink(t, nil)
	settings := inClear("plant", plant) + inClear("boss", boss) + inClear("gateway", gateway) +
		"[outbound]\ngateway = gateway\n[recipient @plant.example]\nroute = plant\n[recipient boss@home.example]\nroute = boss\n[recipient @bücher.example]\nroute = plant\n"
	r := newRelayOn(t, on, settings, func(c *lab.Config) {
		impatient(c)
		c.Chroot = chroot
		c.Main += "recipient_delimiter = +\n"
		c.Services = map[string]string{"plain": "-o smtpd_milters="}
	})
	hosts := map[string]*lab.Sink{"plant": plant, "boss": boss, "gateway": gateway, "direct": r.direct}
	for to, want := range map[string]string{
		"x@plant.example": "plant", "X+y@Plant.Example": "plant", "boss@home.example": "boss", "boss+ext@home.example": "boss", "x@xn--bcher-kva.example": "plant",
		"x@sub.plant.example": "gateway", "x@remote.example": "gateway",
	} {
		r.mail("alice@lab.test", to, "user@home.example")
		r.arrives(to, hosts[want])
		if names := arrived(hosts, to); !slices.Equal(names, []string{want}) {
			t.Errorf("%s: arrived at %q, want %q", to, names, want)
		}
		if r.delivered("user@home.example", to) == nil {
			t.Errorf("%s: the mail for here did not stay here", to)
		}
	}

	r.daemon.stop(syscall.SIGKILL)
	if on == onPostfix { // Sendmail's milter can't be left out for some clients
		client := must(lab.Dial(t.Context(), r.postfix().ServiceAddr("plain")))
		defer client.Close()
		r.ok(client.Ehlo("client.example"))
		r.ok(client.Mail(""))
		r.ok(client.Rcpt("user@home.example"))
		if reply := must(client.Rcpt("later@plant.example")); reply.Code != 451 {
			t.Errorf("a recipient with a rule, without gatemilter: %v", reply)
		}
		client.Close()
	}
	// Changed rules are a change for the mail server, too.
	r.start(strings.Replace(settings, "[recipient @plant.example]", "[recipient @mill.example]", 1))
	r.setUp("--apply")
	r.mail("alice@lab.test", "y@plant.example")
	r.arrives("y@plant.example", gateway)
	r.mail("alice@lab.test", "y@mill.example")
	r.arrives("y@mill.example", plant)
}
