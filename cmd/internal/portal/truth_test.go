package portal

import (
	"fmt"
	"html"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"gatemilter/cmd/internal/lab"
	"gatemilter/policy"
	"gatemilter/policy/identity"
)

// U1: in trial mode all pages say so, and none promises what is not so yet.
func TestTrialMode(t *testing.T) {
	s := newStage(t)
	s.facts.Observe = true
	partner := s.partner()
	b := s.alice()
	const notice = "The mail system is in trial mode at present"
	done := func(r reply, says string) {
		t.Helper()
		r.has(t, notice, says)
		for _, promise := range []string{"Your next mail", "in force", "from now on"} {
			if strings.Contains(r.words(), promise) {
				t.Errorf("%q is promised: %s", promise, r.words())
			}
		}
	}
	done(b.get("/"), "My addresses")
	b.follow(b.post("/add/server", server()...)).has(t, notice)
	done(b.follow(b.post("/confirm", "address", "alice@partner.example", "code", lastCode(t, partner))), "alice@partner.example is confirmed. As long as")
	v := version(s.record(t, "alice@example.com", "alice@partner.example"))
	done(b.follow(b.post("/change", server("password", "", "name", "Another", "version", v)...)), "take effect once the mail system is no longer in trial mode")
	b.get("/help").has(t, notice)
	s.note(func() { s.facts.Observe = false })
	if page := b.get("/"); strings.Contains(page.words(), "trial mode") {
		t.Error("trial mode is for ever")
	}
}

// Once an address is confirmed, the user reads what is left to be done in his mail program.
func TestReminder(t *testing.T) {
	s := newStage(t)
	partner := s.partner()
	b := s.alice()
	b.follow(b.post("/add/server", server()...))
	b.follow(b.post("/confirm", "address", "alice@partner.example", "code", lastCode(t, partner))).has(t, "Your next mail from this address goes out through smtp.partner.example:587", "Now add it in your mail program as a sender")
}

// U1: his own address a user need not add, and it is said to have no other provider.
func TestOwnAddress(t *testing.T) {
	s := newStage(t)
	b := s.alice()
	for path, form := range map[string][]string{"/add": {"address", "alice@example.com"}, "/add/server": server("address", "Alice@Example.com")} {
		r := b.post(path, form...)
		if r.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(r.text, `aria-invalid="true"`) {
			t.Errorf("%s: %s", path, r.Status)
		}
		r.has(t, "This is your account’s address; you can use it already.")
	}
}

// O3: mail as an address of our own domains names no account, whoever has given the address: so the
// list doesn't say that it does.
func TestOwnDomains(t *testing.T) {
	s := newStage(t)
	s.note(func() { s.facts.AllowUserGateways = false })
	with := &policy.UserGateway{Host: "smtp.partner.example", Port: 587, TLS: policy.STARTTLS, Username: "x", Password: policy.NewSecret("x")}
	for address, g := range map[string]*policy.UserGateway{"info@example.com": nil, "other@example.com": with} {
		r := identity.Record{Login: "alice@example.com", Account: "alice@example.com", Identity: policy.Identity{Address: address, Gateway: g}, State: identity.Active}
		if err := s.store.Add(t.Context(), "root (command)", r); err != nil {
			t.Fatal(err)
		}
	}
	page := s.alice().get("/")
	page.has(t, "info@example.com Active An address of our own: mail goes out in the usual way.", "other@example.com Active, server not used")
	if strings.Contains(page.words(), "on behalf of") {
		t.Errorf("%s", page.words())
	}
	s.as("carol", "carols-password").get("/").has(t, "sales@example.com Set up for you An address of our own")
}

// O3: without servers of users' own, the help doesn't ask for one.
func TestHelpWithoutServers(t *testing.T) {
	s := newStage(t)
	b := s.alice()
	b.get("/help").has(t, "Enter the mail server that belongs to it", "Where do I find the mail server?", "What happens with my password?")
	s.note(func() { s.facts.AllowUserGateways = false })
	page := b.get("/help")
	page.has(t, "Your administrator does not allow mail servers of your own", "Enter the code that arrives at the address")
	for _, text := range []string{"Enter the mail server", "Where do I find the mail server?", "with my password", "And without a server"} {
		if strings.Contains(page.words(), text) {
			t.Errorf("%q is there", text)
		}
	}
}

// U2: which letters an address may have, and where.
func TestForeignLetters(t *testing.T) {
	s := newStage(t)
	s.dns["smtp.xn--mller-kva.example"] = []netip.Addr{partnerIP}
	b := s.alice()
	for address, says := range map[string]string{
		"jörg@müller.example": "letters that our mail system cannot handle", "ąę@partner.example": "letters that our mail system cannot handle", "jörg": "not a complete mail address",
		"a b@partner.example": "not a complete mail address", "jo\u200brg@partner.example": "not a complete mail address",
	} {
		r := b.post("/add", "address", address)
		if r.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(r.text, html.EscapeString(address)) {
			t.Errorf("%s: %s", address, r.Status)
		}
		r.has(t, says)
	}
	for _, address := range []string{"joerg@müller.example", "Joerg@MÜLLER.example", "joerg@xn--mller-kva.example"} {
		page := b.post("/add", "address", address)
		if page.has(t, "joerg@müller.example"); !strings.Contains(page.text, `value="smtp.xn--mller-kva.example"`) {
			t.Errorf("%s: %s", address, page.words())
		}
	}
	sink := s.sink(lab.SinkConfig{Cert: s.cert("smtp.xn--mller-kva.example"), Logins: map[string]string{"joerg": partnersSecret}})
	s.provider("smtp.xn--mller-kva.example", otherIP, 587, sink)
	b.follow(b.post("/add/server", server("address", "joerg@müller.example", "host", "smtp.müller.example", "server_username", "joerg")...)).has(t, "on its way to joerg@müller.example")
	if sent := sink.Taken(); len(sent) != 1 || sent[0].From != "joerg@xn--mller-kva.example" {
		t.Errorf("%+v", sent)
	} else if !strings.Contains(sent[0].Data, "joerg@m=C3=BCller.example") || !strings.Contains(sent[0].Data, "address=3Djoerg%40xn--mller") {
		t.Errorf("the message is %s", sent[0].Data)
	}
	b.get("/").has(t, "joerg@müller.example", "smtp.müller.example:587")
}

// An address is shown as people write it, whatever it is.
func TestInLetters(t *testing.T) {
	for address, want := range map[string]string{
		"joerg@xn--mller-kva.example": "joerg@müller.example", "smtp.xn--mller-kva.example:587": "smtp.müller.example:587", "xn--a@xn--w-uga1v8h.example": "xn--a@żółw.example",
		"alice@partner.example": "alice@partner.example", "[2001:db8::25]:587": "[2001:db8::25]:587", "a@xn--.example": "a@xn--.example", "a@xn--\u202e.example": "a@xn--\u202e.example", "": "",
	} {
		if got := inLetters(address); got != want {
			t.Errorf("%q: %q, want %q", address, got, want)
		}
	}
}

// U1: a server is found however it is entered, as long as it is clear what is meant.
func TestServerAsEntered(t *testing.T) {
	s := newStage(t)
	s.partner()
	b := s.alice()
	for i, host := range []string{" smtp.partner.example\t", "smtp.partner.example.", "smtp.partner.example:587", "https://smtp.partner.example/", "smtp://smtp.partner.example:587", "SMTP.partner.example.:587"} {
		s.portal.limits = newLimits(s.time)
		address := fmt.Sprintf("x%d@partner.example", i)
		if r := b.post("/add/server", server("host", host, "address", address)...); r.StatusCode != http.StatusSeeOther {
			t.Errorf("%q: %s", host, r.words())
			continue
		}
		if g := s.record(t, "alice@example.com", address).Gateway; g.Host != "smtp.partner.example" || g.Port != 587 {
			t.Errorf("%q: %+v", host, g)
		}
	}
	// Another port than the one that is chosen: he is asked, and the name stands there alone.
	r := b.post("/add/server", server("host", "smtp.partner.example:465")...)
	if r.has(t, "takes only the name of the server, without the port 465"); !strings.Contains(r.text, `value="smtp.partner.example"`) {
		t.Error("the name isn't there")
	}
	// A suggestion is spoken of where there is one.
	b.post("/add", "address", "x@gmail.com").has(t, "leave the suggestion")
	for name, r := range map[string]reply{"unknown": b.post("/add", "address", "x@unknown.example"), "change": b.get("/change?address=x0@partner.example")} {
		if r.has(t, "try 465 first"); strings.Contains(r.words(), "suggestion") {
			t.Errorf("%s: which suggestion?", name)
		}
	}
}

// U3: the message names the login where it is not the account's address.
func TestMessageNamesLogin(t *testing.T) {
	s := newStage(t)
	for _, c := range []struct{ login, password, has string }{
		{"alice@example.com", alicesPassword, "the account alice@example.com at 127.0.0.1"}, {"carol", "carols-password", "the account carol@example.com (login carol) at 127.0.0.1"},
	} {
		b := s.as(c.login, c.password)
		b.follow(b.post("/add/server", "address", "team@partner.example", "without", "yes")).has(t, "on its way")
		sent := s.relay.Taken()
		if text := plain(t, sent[len(sent)-1].Data); !strings.Contains(text, c.has) {
			t.Errorf("%s", text)
		}
	}
}
