package portal

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatemilter/cmd/internal/lab"
	"gatemilter/policy"
	"gatemilter/policy/identity"
)

// U2: whatever is wrong with a server, the user reads it in plain words, with what to do, and
// nothing is stored.
func TestProblems(t *testing.T) {
	s := newStage(t)
	logins := map[string]string{"alice@partner.example": partnersSecret}
	stranger := must(lab.NewCA("Other CA"))
	cert := func(subject lab.Subject) *lab.Cert {
		subject.Hosts = []string{"smtp.partner.example"}
		return must(s.ca.Issue(subject))
	}
	good := cert(lab.Subject{})
	answers := func(verb, answer string) func(*lab.Sink) {
		return func(sink *lab.Sink) {
			sink.Answer(func(line string) string {
				if line == verb || verb != "" && strings.HasPrefix(line, verb) {
					return answer
				}
				return ""
			})
		}
	}
	closed := netip.MustParseAddrPort("127.0.0.1:1") // no port that anybody is given
	for name, c := range map[string]struct {
		config lab.SinkConfig
		change func(*lab.Sink)
		fields []string
		says   []string
	}{
		"wrong password":  {config: lab.SinkConfig{Cert: good, Logins: map[string]string{}}, says: []string{"smtp.partner.example does not accept user name and password", "The server said: 535 5.7.8 Error: authentication failed"}},
		"not now":         {config: lab.SinkConfig{Cert: good, Logins: logins}, change: answers("AUTH", "454 4.7.0 Temporary authentication failure"), says: []string{"cannot check the login at present"}},
		"app password":    {config: lab.SinkConfig{Cert: good, Logins: logins}, change: answers("AUTH", "534 5.7.9 Application-specific password required"), says: []string{"wants a password made for programs", "create an app password"}},
		"other name":      {config: lab.SinkConfig{Cert: s.cert("mx1.other.example", "192.0.2.1"), Logins: logins}, says: []string{"The certificate is for another server than smtp.partner.example", "mx1.other.example, 192.0.2.1"}},
		"expired":         {config: lab.SinkConfig{Cert: cert(lab.Subject{NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(-time.Hour)}), Logins: logins}, says: []string{"has expired"}},
		"not yet":         {config: lab.SinkConfig{Cert: cert(lab.Subject{NotBefore: time.Now().Add(time.Hour), NotAfter: time.Now().Add(48 * time.Hour)}), Logins: logins}, says: []string{"is not valid yet"}},
		"unknown":         {config: lab.SinkConfig{Cert: must(stranger.Issue(lab.Subject{Hosts: []string{"smtp.partner.example"}})), Logins: logins}, says: []string{"not from a trusted authority"}},
		"self-signed":     {config: lab.SinkConfig{Cert: must(lab.SelfSigned(lab.Subject{Hosts: []string{"smtp.partner.example"}})), Logins: logins}, says: []string{"made by the server itself"}},
		"no TLS":          {config: lab.SinkConfig{Logins: logins}, says: []string{"offers no encryption on port 587", "it was not sent"}},
		"no STARTTLS":     {config: lab.SinkConfig{Cert: good, Logins: logins}, change: answers("STARTTLS", "454 4.7.0 not now"), says: []string{"refused the encryption"}},
		"TLS first":       {config: lab.SinkConfig{Cert: good, Implicit: true, Logins: logins}, says: []string{"expects encryption from the start"}},
		"clear first":     {config: lab.SinkConfig{Cert: good, Logins: logins}, fields: []string{"port", "465 implicit"}, says: []string{"does not begin with encryption"}},
		"no login":        {config: lab.SinkConfig{Cert: good}, says: []string{"offers no login with a password"}},
		"goes away":       {config: lab.SinkConfig{Cert: good}, change: answers("", "554 5.7.1 no service for you"), says: []string{"does not want to talk to our server", "The server said: 554 5.7.1 no service for you"}},
		"unknown name":    {fields: []string{"host", "smtp.nowhere.example"}, says: []string{"There is no public server named smtp.nowhere.example", "Servers inside our own network cannot be used"}},
		"an address":      {fields: []string{"host", "10.1.2.3"}, says: []string{"10.1.2.3 is not an address of the public Internet", "ask your administrator"}},
		"refused":         {fields: []string{"host", "smtp.closed.example"}, says: []string{"does not accept connections on port 587"}},
		"silent":          {fields: []string{"host", "smtp.silent.example"}, says: []string{"does not answer on port 587"}},
		"other protocol":  {fields: []string{"host", "smtp.web.example"}, says: []string{"There is no mail server on port 587"}},
		"not the sender":  {config: lab.SinkConfig{Cert: good, Logins: logins}, change: answers("MAIL", "553 5.7.1 Sender address rejected: not owned by user"), says: []string{"does not let you send as alice@partner.example", "not owned by user"}},
		"not now, sender": {config: lab.SinkConfig{Cert: good, Logins: logins}, change: answers("RCPT", "450 4.2.1 greylisted"), says: []string{"does not take mail at present", "greylisted"}},
	} {
		t.Run(name, func(t *testing.T) {
			s.portal.limits = newLimits(s.time)
			s.portal.Prober.Timeout = 10 * time.Second
			if name == "silent" || name == "TLS first" {
				s.portal.Prober.Timeout = 500 * time.Millisecond
			}
			s.note(func() { clear(s.hosts) })
			var sink *lab.Sink
			if c.fields == nil || c.fields[0] == "port" {
				sink = s.sink(c.config)
				s.provider("smtp.partner.example", partnerIP, 587, sink)
				s.provider("smtp.partner.example", partnerIP, 465, sink)
				if c.change != nil {
					c.change(sink)
				}
			}
			s.note(func() {
				s.dns["smtp.closed.example"], s.hosts[netip.MustParseAddrPort("8.8.1.1:587")] = []netip.Addr{netip.MustParseAddr("8.8.1.1")}, closed
				s.dns["smtp.silent.example"], s.hosts[netip.MustParseAddrPort("8.8.1.2:587")] = []netip.Addr{netip.MustParseAddr("8.8.1.2")}, listen(t, "")
				s.dns["smtp.web.example"], s.hosts[netip.MustParseAddrPort("8.8.1.3:587")] = []netip.Addr{netip.MustParseAddr("8.8.1.3")}, listen(t, "HTTP/1.1 400 Bad Request\r\n\r\n")
			})
			b := s.alice()
			r := b.post("/add/server", server(c.fields...)...)
			if r.StatusCode != http.StatusUnprocessableEntity {
				t.Errorf("%s", r.Status)
			}
			r.has(t, c.says...)
			if !strings.Contains(r.text, `aria-invalid="true"`) && !strings.Contains(r.text, `class="field wrong"`) {
				t.Error("no field is marked")
			}
			if _, err := s.store.Get(t.Context(), "alice@example.com", "alice@partner.example"); err != identity.ErrNotFound {
				t.Errorf("it is stored: %v", err)
			}
			if sink != nil {
				for _, a := range sink.Attempts() {
					if !a.TLS {
						t.Error("the password went in clear")
					}
				}
			}
		})
	}
}

// listen is a server that sends a text, and then only listens.
func listen(t *testing.T, text string) netip.AddrPort {
	l := must(net.Listen("tcp", "127.0.0.1:0"))
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { c.Close() })
			go func() {
				io.WriteString(c, text)
				io.Copy(io.Discard, c)
			}()
		}
	}()
	return netip.MustParseAddrPort(l.Addr().String())
}

// The message that a server takes, and refuses in the end: the address is stored, and the user
// can try again.
func TestMessageRefused(t *testing.T) {
	s := newStage(t)
	partner := s.partner()
	partner.Answer(func(line string) string {
		if line == "." {
			return "550 5.7.1 looks like spam"
		}
		return ""
	})
	b := s.alice()
	b.follow(b.post("/add/server", server()...)).has(t, "is saved, but the code could not be sent", "does not let you send as alice@partner.example", "looks like spam")
	partner.Answer(nil)
	b.follow(b.post("/code", "address", "alice@partner.example")).has(t, "on its way")
	// Another server for an address that waits: the code goes by it.
	second := s.sink(lab.SinkConfig{Cert: s.cert("mail.partner.example"), Logins: map[string]string{"alice": partnersSecret}})
	s.provider("mail.partner.example", otherIP, 587, second)
	v := version(s.record(t, "alice@example.com", "alice@partner.example"))
	b.follow(b.post("/change", server("host", "mail.partner.example", "server_username", "alice", "version", v)...)).has(t, "on its way")
	b.follow(b.post("/confirm", "address", "alice@partner.example", "code", lastCode(t, second))).has(t, "is active")
}

// The relay may be away, or not want the message.
func TestRelay(t *testing.T) {
	s := newStage(t)
	s.facts.AllowUserGateways = false
	b := s.alice()
	s.relay.Answer(func(line string) string {
		if strings.HasPrefix(line, "RCPT") {
			return "550 5.1.2 <no> domain"
		}
		return ""
	})
	r := b.post("/add", "address", "alice@partner.example")
	if r.StatusCode != http.StatusServiceUnavailable || !strings.Contains(r.text, "550 5.1.2 &lt;no&gt; domain") {
		t.Errorf("%s %s", r.Status, r.words())
	}
	s.relay.Close()
	b.post("/add", "address", "alice@partner.example").has(t, "Our mail server could not send the message to alice@partner.example")
	if len(s.errors) != 2 || !strings.Contains(s.errors[1].Error(), "connection refused") {
		t.Errorf("reported: %v", s.errors)
	}
	if records, err := s.store.List(t.Context(), "alice@example.com"); err != nil || len(records) > 0 {
		t.Errorf("%+v, %v", records, err)
	}
	// One that isn't on this host is spoken to with TLS if it can, and without if not.
	for _, cert := range []*lab.Cert{nil, s.cert("another name")} {
		relay := s.sink(lab.SinkConfig{Cert: cert})
		s.portal.Config.Relay = netip.MustParseAddrPort("10.0.0.25:25")
		s.note(func() { s.hosts[s.portal.Config.Relay] = relay.Addr() })
		b.follow(b.post("/add", "address", fmt.Sprintf("a%v@partner.example", cert != nil)))
		if sent := relay.Taken(); len(sent) != 1 || sent[0].TLS != (cert != nil) || sent[0].Data == "" {
			t.Errorf("%+v", sent)
		}
	}
}

// The server that is suggested: what the domain says, what is known, or what answers to a common
// name.
func TestSuggestions(t *testing.T) {
	s := newStage(t)
	s.srv["_submissions._tcp.srv.example"] = srv("Mail.SRV.example.", 465)
	s.srv["_submission._tcp.srv.example"] = srv("other.srv.example.", 587)
	s.srv["_submissions._tcp.none.example"] = srv(".", 0)
	s.srv["_submission._tcp.none.example"] = srv("smtp.none.example.", 587)
	for _, name := range []string{"mail.srv.example", "other.srv.example", "smtp.none.example", "mail.common.example"} {
		s.dns[name] = []netip.Addr{partnerIP}
	}
	b := s.alice()
	for domain, want := range map[string][]string{
		"srv.example":     {`value="mail.srv.example"`, `value="465 implicit" required checked`, "The provider itself names this server"},
		"none.example":    {`value="smtp.none.example"`, `value="587 starttls" required checked`},
		"gmail.com":       {`value="smtp.gmail.com"`, `value="465 implicit" required checked`, "app password"},
		"web.de":          {`value="smtp.web.de"`, `value="587 starttls" required checked`, "allow access by other programs"},
		"outlook.com":     {`value="smtp-mail.outlook.com"`, "no longer accepts passwords"},
		"common.example":  {`value="mail.common.example"`, "could be the right one"},
		"unknown.example": {`id="host" value=""`},
	} {
		r := b.post("/add", "address", "x@"+domain)
		for _, text := range want {
			if !strings.Contains(r.text, text) {
				t.Errorf("%s: %q is missing", domain, text)
			}
		}
	}
	if domain := "unknown.example"; strings.Contains(b.post("/add", "address", "x@"+domain).text, " checked>") {
		t.Errorf("%s: a port is chosen", domain)
	}
	// Further ports that the administrator allows can have TLS either way.
	s.portal.Config.Ports = []uint16{587, 2525}
	page := b.post("/add", "address", "x@gmail.com")
	for value, want := range map[string]bool{"465 implicit": false, "587 starttls": true, "2525 starttls": true, "2525 implicit": true, "smtp.gmail.com": false} {
		if strings.Contains(page.text, `value="`+value+`"`) != want {
			t.Errorf("%s is offered: %v", value, !want)
		}
	}
}

func srv(target string, port uint16) []*net.SRV { return []*net.SRV{{Target: target, Port: port}} }

// The well-known providers have names and ports that can be used.
func TestProviders(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range providers {
		if host, err := parseHost(p.host); err != nil || host != p.host || !usualTLS(p.port).TakesPort(p.port) {
			t.Errorf("%+v", p)
		}
		if p.hint != "" && english[p.hint] == "" {
			t.Errorf("%s: no text %s", p.host, p.hint)
		}
		for _, d := range p.domains {
			if seen[d] || policy.CanonicalDomain(d) != d {
				t.Errorf("%s twice, or not canonical", d)
			}
			seen[d] = true
		}
	}
}

// A password that can't be read any more is asked for again.
func TestPasswordLost(t *testing.T) {
	s := newStage(t)
	b := s.alice()
	b.attached(s.partner())
	other := filepath.Join(t.TempDir(), "keys")
	if err := identity.CreateKeyFile(other); err != nil {
		t.Fatal(err)
	}
	store := must(identity.New(identity.Config{Database: s.database, Keys: must(identity.LoadKeyring(other))}))
	t.Cleanup(func() { store.Close() })
	s.portal.Store = store
	b.get("/").has(t, "Password missing", "The stored password cannot be read any more")
	b.follow(b.post("/test", "address", "alice@partner.example")).has(t, "Please enter the password again")
	v := version(must(store.Get(t.Context(), "alice@example.com", "alice@partner.example")))
	b.post("/change", server("password", "", "version", v)...).has(t, "Please enter the password again")
	b.follow(b.post("/change", server("version", v)...)).has(t, "are saved and in force", "Active")
}
