package portal

import (
	"net/http"
	"testing"

	"gatemilter/policy/identity"
)

// Mallory runs a server himself, which takes any sender and delivers nothing: he reads there what
// was sent to an address that is not his. So such a code shows nothing about mail that leaves by
// our servers.
func TestAttackOwnProof(t *testing.T) {
	const victim = "ceo@bank.example"
	for what, attack := range map[string]func(b *browser, without func(), code func() string){
		"confirmed first": func(b *browser, without func(), code func() string) {
			b.post("/confirm", "address", victim, "code", code())
			without()
		},
		"the code kept": func(b *browser, without func(), code func() string) {
			kept := code()
			without()
			b.post("/confirm", "address", victim, "code", kept)
		},
	} {
		t.Run(what, func(t *testing.T) {
			s := newStage(t)
			mallorys := s.partner()
			b := s.alice()
			if r := b.post("/add/server", server("address", victim)...); r.StatusCode != http.StatusSeeOther {
				t.Fatal(r.words())
			}
			attack(b, func() {
				b.post("/change", "address", victim, "version", version(s.record(t, "alice@example.com", victim)), "without", "yes")
			}, func() string { return lastCode(t, mallorys) })
			if r := s.record(t, "alice@example.com", victim); r.State == identity.Active && r.Gateway == nil {
				t.Error("our servers send mail as an address of which nothing is known")
			}
		})
	}
}
