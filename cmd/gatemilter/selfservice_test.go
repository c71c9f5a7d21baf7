package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gatemilter/cmd/internal/lab"
	"gatemilter/cmd/internal/lab/browser"
)

// The tests of this file go the way of a user who attaches an address: in a real browser, to a
// portal whose logins a real Postfix knows, until a message of his leaves by his own server.

// sesame is Alice's password at our mail server.
const sesame = "hunter6, open up"

// proxy is a web server in front of a portal at a unix socket, and does TLS.
func proxy(t *testing.T, socket string) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(nil)
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // the browser's doubts about the certificate
	s.Config.Handler = &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host = "http", "portal"
			r.Out.Host = r.In.Host
			r.SetXForwarded()
		},
		Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		}},
	}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

// newPortal starts a Postfix, to which Alice can log in, and a daemon with a portal behind a
// web server, whose URL is returned.
func newPortal(t *testing.T, s state, ca *lab.CA, outbound string, servers ...*lab.Sink) (r *relay, url string) {
	t.Helper()
	front := proxy(t, filepath.Join(s.dir, "portal.sock"))
	r = &relay{site: &site{t: t}, direct: newSink(t, nil)}
	r.mta = startPostfix(t, lab.Config{
		Mailboxes: append(homeMailboxes, "alice@lab.test"), Relay: at(r.direct), Cert: certified(ca),
		Logins: map[string]string{"alice@lab.test": sesame},
	})
	r.before = r.files()
	url = front.URL + "/addresses"
	r.start("admin = unix:" + s.admin() + "\n[outbound]\ndomains = lab.test\n" + outbound + s.settings("", servers...) +
		fmt.Sprintf("listen = unix:%s\nurl = %s\nsubmission = %s\nsubmission_ca_file = %s\nrelay = %s\n",
			filepath.Join(s.dir, "portal.sock"), url, r.Addr(), writeCA(t, ca), r.Addr()))
	r.setUp("--apply")
	return r, url
}

// submit hands over a message as a mail program does, with the user's real login.
func (r *relay) submit(ca *lab.CA, login, password, from, subject, to string) lab.Reply {
	r.t.Helper()
	client := must(lab.Dial(r.t.Context(), r.Addr()))
	defer client.Close()
	for _, step := range []func() (lab.Reply, error){
		func() (lab.Reply, error) { return client.Ehlo("laptop.example") },
		func() (lab.Reply, error) {
			return client.StartTLS(&tls.Config{RootCAs: ca.Pool(), ServerName: "127.0.0.1"})
		},
		func() (lab.Reply, error) { return client.Ehlo("laptop.example") },
		func() (lab.Reply, error) { return client.Auth(login, password) },
	} {
		r.ok(step())
	}
	done := must(client.Send(lab.Envelope{From: login, To: []string{to}}, by(from, subject)))
	return done.End
}

// codeIn waits for the message with a code for an address, and returns the code and the link.
func codeIn(t *testing.T, s *lab.Sink, address string) (code, link string) {
	t.Helper()
	err := lab.Until(t.Context(), "the code for "+address, func() bool { return taken(s, address) != nil })
	if err != nil {
		t.Fatal(err)
	}
	all := s.Taken()
	for _, m := range slices.Backward(all) {
		if slices.Contains(m.To, address) && m.Data != "" {
			text := strings.NewReplacer("=\n", "", "=3D", "=").Replace(m.Data) // quoted-printable
			code = regexp.MustCompile(`\b[0-9A-Z]{5}-[0-9A-Z]{5}\b`).FindString(text)
			link = regexp.MustCompile(`https://\S+`).FindString(text)
			return code, link
		}
	}
	return "", ""
}

// sees waits for a text on the page.
func sees(t *testing.T, b *browser.Browser, texts ...string) {
	t.Helper()
	page := strings.Join(b.Texts("body"), " ")
	for _, text := range texts {
		if !strings.Contains(page, text) {
			t.Fatalf("the page does not say %q:\n%s", text, page)
		}
	}
}

// U1, U2, U3, U4: a user attaches an address, from the login to the code in his mailbox; and
// his next mail as that address leaves by its server, with the login there.
func TestSelfService(t *testing.T) {
	ca := must(lab.NewCA("Partner CA"))
	const address = "127.0.0.2" // that of our own server is refused
	partner := newServer(t, lab.SinkConfig{IP: address, Cert: must(ca.Issue(lab.Subject{Hosts: []string{address}})), Logins: map[string]string{"alice": alicesPassword}})
	other := newServer(t, lab.SinkConfig{IP: address, Cert: must(ca.Issue(lab.Subject{Hosts: []string{"smtp.other.example"}})), Logins: map[string]string{"alice": alicesPassword}})
	trust(t, ca)
	s := newState(t)
	r, url := newPortal(t, s, ca, "allow_user_gateways = yes\n", partner, other)
	b := browser.Start(t)
	b.TrustAll()
	b.Languages("en")

	b.Open(url)
	b.Fill("username", "alice@lab.test")
	b.Fill("password", "guessed")
	b.Press("Log in", "Password")
	sees(t, b, "User name and password do not match")
	b.Fill("password", sesame)
	b.Press("Log in", "Password")
	sees(t, b, "My addresses", "You have not added any address yet")

	b.Press("Add an address", "")
	b.Fill("address", "alice@partner.example")
	b.Press("Continue", "Mail address")
	server := func(sink *lab.Sink, password string) {
		t.Helper()
		b.Fill("host", address)
		b.Choose("port", fmt.Sprintf("%d starttls", sink.Addr().Port()))
		b.Fill("server_username", "alice")
		b.Fill("password", password)
		b.Press("Check and send the code", "Password there")
	}
	server(other, alicesPassword)
	sees(t, b, "The certificate is for another server", "smtp.other.example")
	server(partner, "guessed")
	sees(t, b, "does not accept user name and password")
	if n := len(other.Attempts()); n > 0 {
		t.Errorf("%d passwords went to a server with a certificate of another name", n)
	}
	server(partner, alicesPassword)
	sees(t, b, "Enter the code", "alice@partner.example")
	s.shows(`gatemilter_identities{state="pending"} 1`)

	// Before the code is entered, mail as that address is like any other.
	to := r.far()
	if reply := r.submit(ca, "alice@lab.test", sesame, "alice@partner.example", "early", to); !reply.OK() {
		t.Errorf("before it is confirmed: %v", reply)
	}
	r.arrives(to, r.direct)

	code, link := codeIn(t, partner, "alice@partner.example")
	if !strings.HasPrefix(link, url) {
		t.Errorf("the link is %q", link)
	}
	b.Fill("code", "AAAAA-AAAAA")
	b.Press("Confirm", "Code from the message")
	sees(t, b, "This is not the code")
	b.Open(link)
	b.Fill("code", code)
	b.Press("Confirm", "Code from the message")
	sees(t, b, "alice@partner.example is active")
	s.inForce(1, 0)

	to = r.far()
	if reply := r.submit(ca, "alice@lab.test", sesame, "Alice <alice@partner.example>", "by her own server", to); !reply.OK() {
		t.Fatal(reply)
	}
	r.arrives(to, partner)
	if m := taken(partner, to); m.Login != "alice" || !m.TLS || m.From != "alice@partner.example" || len(field(t, m, "Sender")) > 0 {
		t.Errorf("it arrived as %+v", m)
	}
	if complaints := b.Complaints(); len(complaints) > 0 {
		t.Errorf("the browser complains: %q", complaints)
	}
	r.checkSecrets()
}

// U1: while allow_user_gateways = no, the page says so; an address can be confirmed all the same,
// by a code that our servers send, and these deliver what is written as it, with Sender.
func TestSelfServiceNotAllowed(t *testing.T) {
	ca := must(lab.NewCA("Lab CA"))
	trust(t, ca)
	s := newState(t)
	r, at := newPortal(t, s, ca, "allow_user_gateways = no\n", newSink(t, nil))
	b := browser.Start(t)
	b.TrustAll()
	b.Languages("de-AT, de;q=0.9, en;q=0.5")
	b.Open(at)
	b.Fill("username", "alice@lab.test")
	b.Fill("password", sesame)
	b.Press("Anmelden", "Passwort")
	page, _ := url.Parse(at)
	b.Open(page.JoinPath("add").String())
	if fields := b.Texts("[name=host], [name=port], [type=password]"); len(fields) > 0 {
		t.Errorf("%d fields for a server are offered", len(fields))
	}
	b.Fill("address", "alice@elsewhere.example")
	b.Press("Code senden", "")
	code, _ := codeIn(t, r.direct, "alice@elsewhere.example")
	b.Fill("code", code)
	b.Press("Bestätigen", "")
	s.inForce(1, 0)
	to := r.far()
	if reply := r.submit(ca, "alice@lab.test", sesame, "alice@elsewhere.example", "on behalf", to); !reply.OK() {
		t.Fatal(reply)
	}
	r.arrives(to, r.direct)
	if m := taken(r.direct, to); m.From != "alice@lab.test" || !slices.Equal(field(t, m, "Sender"), []string{"alice@lab.test"}) {
		t.Errorf("it arrived as %+v", m)
	}
}
