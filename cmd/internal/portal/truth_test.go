package portal

import (
	"strings"
	"testing"
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
