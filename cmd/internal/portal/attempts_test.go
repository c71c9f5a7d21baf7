package portal

import (
	"fmt"
	"html"
	"net/http"
	"slices"
	"strings"
	"testing"

	"gatemilter/cmd/internal/lab"
	"gatemilter/policy/identity"
)

// U2: to find out name, port and password of a server takes several attempts, and no code is sent
// by those that fail. So they count as tests, and leave lines only about what was tried.
func TestSeveralAttempts(t *testing.T) {
	s := newStage(t)
	partner := s.partner()
	b := s.alice()
	for i, wrong := range [][]string{{"password", "wrong"}, {"host", "smtp.partner.exmaple"}, {"port", "465 implicit"}, {"host", "10.1.2.3"}, {"password", "wrong, too"}, {"server_username", "alice"}} {
		if r := b.post("/add/server", server(wrong...)...); r.StatusCode != http.StatusUnprocessableEntity {
			t.Errorf("attempt %d: %s %s", i, r.Status, r.words())
		}
	}
	if codes, saved, tests := s.results(CodeSent), s.results(Saved), s.results(Tested); len(codes)+len(saved) > 0 || len(tests) != 6 || slices.Contains(tests, OK) {
		t.Errorf("of what failed, the log has tests %q, codes %q, saved %q", tests, codes, saved)
	}
	b.follow(b.post("/add/server", server()...)).has(t, "on its way")
	if codes, saved := s.results(CodeSent), s.results(Saved); !slices.Equal(codes, []string{OK}) || !slices.Equal(saved, []string{OK}) {
		t.Errorf("codes %q, saved %q", codes, saved)
	}
	// Codes are as few as ever: those that are sent count.
	for range 5 {
		b.post("/code", "address", "alice@partner.example")
	}
	if n := messages(partner); n != 4 || s.results(Limited)[0] != string(CodeSent) {
		t.Errorf("%d codes were sent, limited: %q", n, s.results(Limited))
	}
	// And once there are none left, the server isn't asked either.
	tried := len(partner.Attempts())
	if r := b.post("/code", "address", "alice@partner.example"); r.StatusCode != http.StatusSeeOther || len(partner.Attempts()) != tried {
		t.Errorf("%s, %d logins", r.Status, len(partner.Attempts())-tried)
	}
	// Servers can't be tried for ever either.
	for range 12 {
		b.post("/add/server", server("address", "x@partner.example", "password", "wrong")...)
	}
	if !slices.Contains(s.results(Limited), string(Tested)) {
		t.Errorf("limited: %q", s.results(Limited))
	}
}

// messages is how many a server was given in full.
func messages(sink *lab.Sink) (n int) {
	for _, m := range sink.Taken() {
		if m.Data != "" {
			n++
		}
	}
	return n
}

// Two windows can't have more codes sent together than one: what counts is counted when the server
// has agreed.
func TestCodesAtOnce(t *testing.T) {
	s := newStage(t)
	partner := s.partner()
	b := s.alice()
	b.follow(b.post("/add/server", server()...))
	for range 2 {
		done := make(chan int)
		for range maxTurns {
			go func() { done <- b.post("/code", "address", "alice@partner.example").StatusCode }()
		}
		for range maxTurns {
			<-done
		}
	}
	if n := messages(partner); n > 4 || len(s.errors) > 0 {
		t.Errorf("%d codes were sent", n)
	}
}

// Our own server writes to whatever address somebody enters: each attempt counts before it is asked,
// for the account, and for the address.
func TestAttackRelayCounts(t *testing.T) {
	s := newStage(t)
	s.relay.Answer(func(line string) string {
		if strings.HasPrefix(line, "RCPT") {
			return "550 5.1.1 no such user"
		}
		return ""
	})
	b := s.alice()
	asked := 0
	for i := range 10 {
		if r := b.post("/add/server", "address", fmt.Sprintf("x%d@partner.example", i), "without", "yes"); r.StatusCode != http.StatusTooManyRequests {
			asked++
		}
	}
	if asked != 6 {
		t.Errorf("our server was asked %d times for one account", asked)
	}
	s.portal.limits = newLimits(s.time)
	s.relay.Answer(nil)
	for range 3 {
		s.portal.limits.codeAccount, s.portal.limits.codePair = newLimiter(s.time, 9, 1), newLimiter(s.time, 9, 1)
		for range 5 {
			b.post("/add/server", "address", "victim@partner.example", "without", "yes")
			if err := s.store.Withdraw(t.Context(), "", "alice@example.com", "victim@partner.example"); err != nil && err != identity.ErrNotFound {
				t.Fatal(err)
			}
		}
	}
	if n := messages(s.relay); n != 12 {
		t.Errorf("%d messages went to one address", n)
	}
}

// U1: a session that is over while a form is open: the login says so, and leads back to the form of
// the same address. So it is after a restart, which ends all sessions.
func TestSessionEnds(t *testing.T) {
	for what, end := range map[string]func(*stage){
		"an hour":   func(s *stage) { s.later(sessionLife) },
		"a restart": func(s *stage) { s.portal.sessions = newSessions(s.time) },
	} {
		t.Run(what, func(t *testing.T) {
			s := newStage(t)
			b := s.alice()
			b.attached(s.partner())
			v := version(s.record(t, "alice@example.com", "alice@partner.example"))
			end(s)
			for path, c := range map[string]struct {
				form []string
				next string
			}{
				"/change":     {server("version", v), "/change?address=alice%40partner.example"},
				"/remove":     {[]string{"address", "alice@partner.example"}, "/remove?address=alice%40partner.example"},
				"/confirm":    {[]string{"address", "alice@partner.example", "code", "X"}, "/confirm?address=alice%40partner.example"},
				"/code":       {[]string{"address", "alice@partner.example"}, "/confirm?address=alice%40partner.example"},
				"/add":        {[]string{"address", "new+one@partner.example", "name", "x"}, "/add?address=new%2Bone%40partner.example"},
				"/add/server": {server("address", "new+one@partner.example"), "/add?address=new%2Bone%40partner.example"},
				"/test":       {[]string{"address", "alice@partner.example"}, ""},
			} {
				r := b.post(path, c.form...)
				if got := must(r.Location()).Query().Get("next"); got != c.next || strings.Contains(r.Header.Get("Location"), "password") {
					t.Errorf("%s leads back to %q", path, got)
				}
				page := b.follow(r)
				page.has(t, "Your session has ended; please log in again")
				if c.next != "" && !strings.Contains(page.text, `name="next" value="`+html.EscapeString(c.next)+`"`) {
					t.Errorf("%s: the login leads to somewhere else", path)
				}
			}
			b.follow(b.get("/")).has(t, "Your session has ended")
			r := b.post("/login", "username", "alice@example.com", "password", alicesPassword, "next", "/add?address=new%2Bone%40partner.example")
			if page := b.follow(r); !strings.Contains(page.text, `value="new&#43;one@partner.example"`) || strings.Contains(page.words(), "session has ended") {
				t.Errorf("the address isn't filled in: %s", page.text)
			}
			b.post("/logout")
			if page := b.get("/login"); strings.Contains(page.words(), "session has ended") {
				t.Error("who has logged out is told that his session has ended")
			}
		})
	}
	s := newStage(t)
	if page := s.browser().get("/login"); strings.Contains(page.words(), "session has ended") {
		t.Error("who has not been here is told that his session has ended")
	}
	b := s.alice()
	for _, path := range []string{"/change", "/remove", "/confirm"} {
		if r := b.get(path); r.Header.Get("Location") != "/addresses/" {
			t.Errorf("%s for no address: %s", path, r.Status)
		}
	}
}
