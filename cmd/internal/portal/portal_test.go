package portal

import (
	"io"
	"mime"
	"mime/quotedprintable"
	"net/http"
	"net/mail"
	"strings"
	"testing"

	"gatemilter/policy"
	"gatemilter/policy/identity"
)

// plain is the text of a message.
func plain(t *testing.T, data string) string {
	t.Helper()
	m, err := mail.ReadMessage(strings.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	return string(must(io.ReadAll(quotedprintable.NewReader(m.Body))))
}

// U1, U2, U3: the whole way of an address.
func TestWholeWay(t *testing.T) {
	s := newStage(t)
	partner := s.partner()
	b := s.browser()
	if r := b.get("/"); r.Header.Get("Location") != "/addresses/login" {
		t.Errorf("%s %q", r.Status, r.Header.Get("Location"))
	}
	b.get("/login").has(t, "Log in", "User name", "Password")
	b.follow(b.post("/login", "username", "alice@example.com", "password", alicesPassword)).has(t, "My addresses", "You have not added any address yet", "alice@example.com")
	b.get("/add").has(t, "Mail address")
	page := b.post("/add", "address", " Alice@Partner.Example ", "name", "Alice")
	page.has(t, "alice@partner.example", "We found a server that could be the right one")
	if !strings.Contains(page.text, `value="smtp.partner.example"`) || !strings.Contains(page.text, `value="465 implicit" required checked`) {
		t.Error("the server is not suggested")
	}
	page = b.follow(b.post("/add/server", server()...))
	page.has(t, "A message with a code is on its way to alice@partner.example", "Enter the code")
	sent := partner.Taken()
	if len(sent) != 1 || sent[0].From != "alice@partner.example" || sent[0].To[0] != "alice@partner.example" || sent[0].Login != "alice@partner.example" || !sent[0].TLS {
		t.Fatalf("%+v", sent)
	}
	b.get("/").has(t, "Waiting for the code")
	if r := s.record(t, "alice@example.com", "alice@partner.example"); r.State != identity.Pending || r.Account != "alice@example.com" || r.Gateway.Password.Reveal() != partnersSecret || r.Name != "Alice" {
		t.Errorf("%+v", r)
	}
	// The link is followed by who knows whom: nothing happens by it.
	link := "/confirm?address=alice%40partner.example&code=" + lastCode(t, partner)
	if page = b.get(link); !strings.Contains(page.text, `value="`+lastCode(t, partner)+`"`) {
		t.Error("the code isn't in the form")
	}
	if r := s.record(t, "alice@example.com", "alice@partner.example"); r.State != identity.Pending {
		t.Error("GET confirms")
	}
	page = b.follow(b.post("/confirm", "address", "alice@partner.example", "code", lastCode(t, partner)))
	page.has(t, "alice@partner.example is active", "smtp.partner.example:587", "Active")
	if r := s.record(t, "alice@example.com", "alice@partner.example"); r.State != identity.Active || r.Gateway.TLS != policy.STARTTLS {
		t.Errorf("%+v", r)
	}
	b.post("/test", "address", "alice@partner.example").has(t, "Everything works", "It lets you send as this address", "TLS 1.3")
	b.get("/remove?address=alice@partner.example").has(t, "Do you really want to remove alice@partner.example")
	b.follow(b.post("/remove", "address", "alice@partner.example")).has(t, "alice@partner.example is removed", "You have not added any address yet")
	b.post("/logout").has(t, "You are logged out")
	if r := b.get("/"); r.Header.Get("Location") != "/addresses/login" {
		t.Errorf("after the logout: %s", r.Status)
	}
	if len(s.errors) > 0 {
		t.Errorf("reported: %v", s.errors)
	}
}

func (s *stage) record(t *testing.T, login, address string) identity.Record {
	t.Helper()
	return must(s.store.Get(t.Context(), login, address))
}

// U3: the message with the code is a proper one.
func TestMessage(t *testing.T) {
	s := newStage(t)
	partner := s.partner()
	b := s.alice()
	b.header.Set("Accept-Language", "pl, de;q=0.5")
	b.follow(b.post("/add/server", server("name", "Alicja Żółć")...)).has(t, "Wiadomość z kodem została wysłana")
	m := must(mail.ReadMessage(strings.NewReader(partner.Taken()[0].Data)))
	for name, want := range map[string]string{"To": "<alice@partner.example>", "Auto-Submitted": "auto-generated", "Mime-Version": "1.0", "Content-Type": "text/plain; charset=utf-8", "Content-Language": "pl"} {
		if got := m.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if from := must(m.Header.AddressList("From")); from[0].Name != "Alicja Żółć" || from[0].Address != "alice@partner.example" {
		t.Errorf("From: %v", from[0])
	}
	if subject := must(new(mime.WordDecoder).DecodeHeader(m.Header.Get("Subject"))); subject != "Kod dla 127.0.0.1" {
		t.Errorf("Subject: %q", subject)
	}
	if _, err := m.Header.Date(); err != nil {
		t.Error(err)
	}
	if id := m.Header.Get("Message-Id"); !strings.HasSuffix(id, "@partner.example>") {
		t.Errorf("Message-ID: %q", id)
	}
	text := plain(t, partner.Taken()[0].Data)
	for _, want := range []string{"alice@example.com", "alice@partner.example", lastCode(t, partner), s.url + "/confirm?address=alice%40partner.example&code=" + lastCode(t, partner), "15 minut"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in %s", want, text)
		}
	}
	for line := range strings.SplitSeq(partner.Taken()[0].Data, "\n") {
		if len(line) > 100 {
			t.Errorf("a line of %d octets: %s", len(line), line)
		}
	}
}

// O3: without servers of users' own, the code goes by ours, from the account.
func TestWithoutServers(t *testing.T) {
	s := newStage(t)
	s.facts.AllowUserGateways = false
	b := s.alice()
	b.get("/").has(t, "Your administrator does not allow mail servers of your own")
	if page := b.get("/add"); strings.Contains(page.text, `name="host"`) {
		t.Error("a server is asked for")
	}
	b.follow(b.post("/add", "address", "alice@partner.example")).has(t, "A message with a code is on its way")
	sent := s.relay.Taken()
	if len(sent) != 1 || sent[0].From != "alice@example.com" || sent[0].To[0] != "alice@partner.example" {
		t.Fatalf("%+v", sent)
	}
	if m := must(mail.ReadMessage(strings.NewReader(sent[0].Data))); m.Header.Get("From") != "<alice@example.com>" {
		t.Errorf("From: %s", m.Header.Get("From"))
	}
	b.follow(b.post("/confirm", "address", "alice@partner.example", "code", lastCode(t, s.relay))).has(t, "is active", "on behalf of this address by alice@example.com")
	// Who sends server fields nevertheless doesn't get one.
	b.follow(b.post("/add/server", server("address", "second@partner.example")...))
	if r := s.record(t, "alice@example.com", "second@partner.example"); r.Gateway != nil {
		t.Errorf("%+v", r.Gateway)
	}
}

// O3: a server that is stored, but not allowed any more, is shown as not used.
func TestServerNotUsed(t *testing.T) {
	s := newStage(t)
	b := s.alice()
	b.attached(s.partner())
	s.note(func() { s.facts.AllowUserGateways = false })
	page := b.get("/")
	page.has(t, "Active, server not used", "Your server smtp.partner.example:587 is not used")
	if strings.Contains(page.text, `action="/addresses/test"`) {
		t.Error("a test is offered")
	}
	if page := b.get("/change?address=alice@partner.example"); strings.Contains(page.text, `name="host"`) {
		t.Error("a server is asked for")
	}
	if r := b.post("/test", "address", "alice@partner.example"); r.StatusCode != http.StatusSeeOther {
		t.Errorf("test: %s", r.Status)
	}
}

// Where there is no server for an address, ours deliver, after it has been confirmed.
func TestAddWithoutServer(t *testing.T) {
	s := newStage(t)
	b := s.alice()
	b.follow(b.post("/add/server", "address", "alice@partner.example", "name", "", "without", "yes")).has(t, "on its way")
	b.follow(b.post("/confirm", "address", "alice@partner.example", "code", lastCode(t, s.relay))).has(t, "Goes out through our own servers", "Active")
	// Later there is one.
	partner := s.partner()
	r := s.record(t, "alice@example.com", "alice@partner.example")
	b.follow(b.post("/change", server("version", version(r))...)).has(t, "are saved and in force", "smtp.partner.example:587")
	if len(partner.Taken()) != 1 || partner.Taken()[0].Data != "" {
		t.Errorf("an active address was sent %+v", partner.Taken())
	}
	// And again not: for our servers it has to be confirmed again, lest it was so by one of hers.
	r = s.record(t, "alice@example.com", "alice@partner.example")
	b.follow(b.post("/change", "address", r.Address, "version", version(r), "without", "yes")).has(t, "on its way")
	b.follow(b.post("/confirm", "address", "alice@partner.example", "code", lastCode(t, s.relay))).has(t, "Goes out through our own servers", "Active")
	if r := s.record(t, "alice@example.com", "alice@partner.example"); r.Gateway != nil || r.State != identity.Active {
		t.Errorf("%+v", r)
	}
}
