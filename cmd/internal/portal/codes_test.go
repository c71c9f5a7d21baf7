package portal

import (
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gatemilter/policy"
	"gatemilter/policy/identity"
)

// O4: all slots of an address are taken. The code is right, the log says what the administrator can
// do, and the user can go on without a server, with a code that comes by ours.
func TestNoSlot(t *testing.T) {
	taken := []int{0}
	s := newStage(t, func(s *stage, o *Options) {
		store := must(identity.New(identity.Config{Database: s.database, Keys: must(identity.LoadKeyring(s.keys)), Slots: func() identity.Slots {
			return identity.Slots{Count: 1, Taken: func(string) []int { return taken }}
		}}))
		s.t.Cleanup(func() { store.Close() })
		s.store, o.Store = store, store
	})
	partner := s.partner()
	b := s.alice()
	b.follow(b.post("/add/server", server("name", "Alice A.")...))
	r := b.post("/confirm", "address", "alice@partner.example", "code", lastCode(t, partner))
	if r.StatusCode != http.StatusUnprocessableEntity || strings.Contains(r.text, `name="code"`) {
		t.Errorf("%s", r.Status)
	}
	r.has(t, "The code is right. But this address cannot be used with a server of its own", "Your administrator can change that", "Continue without a server")
	for _, e := range s.logged() {
		if e.Kind == CodeEntered && (e.Result != "no-slot" || !strings.Contains(e.Reason, "raise user_gateway_slots")) {
			t.Errorf("%+v", e)
		}
	}
	form := []string{"without", "yes"}
	for _, name := range []string{"address", "version", "name"} {
		_, rest, found := strings.Cut(r.text, `name="`+name+`" value="`)
		value, _, _ := strings.Cut(rest, `"`)
		if !found {
			t.Fatalf("no %s in %s", name, r.text)
		}
		form = append(form, name, value)
	}
	b.follow(b.post("/change", form...)).has(t, "on its way")
	// What came by her own server counts no more.
	b.post("/confirm", "address", "alice@partner.example", "code", lastCode(t, partner)).has(t, "This is not the code")
	b.follow(b.post("/confirm", "address", "alice@partner.example", "code", lastCode(t, s.relay))).has(t, "is active", "Goes out through our own servers")
	if r := s.record(t, "alice@example.com", "alice@partner.example"); r.Gateway != nil || r.State != identity.Active || r.Name != "Alice A." {
		t.Errorf("%+v", r)
	}
	if got := s.results(CodeEntered); !slices.Equal(got, []string{"no-slot", "wrong-code", OK}) {
		t.Errorf("%q", got)
	}
	// With a server of its own again: that is saved only where there is a slot.
	v := version(s.record(t, "alice@example.com", "alice@partner.example"))
	b.post("/change", server("version", v)...).has(t, "cannot be used with a server of its own at present")
	if e := s.logged()[len(s.logged())-1]; e.Kind != Saved || e.Result != "no-slot" || !strings.Contains(e.Reason, "user_gateway_slots") {
		t.Errorf("%+v", e)
	}
	taken = nil
	b.follow(b.post("/change", server("version", v)...)).has(t, "are saved and in force")
}

// U7: the log tells why a code, or what was to be stored, was not taken.
func TestResults(t *testing.T) {
	s := newStage(t)
	partner := s.partner()
	b := s.alice()
	b.follow(b.post("/add/server", server()...))
	for range 6 {
		b.post("/confirm", "address", "alice@partner.example", "code", "00000-00000")
	}
	if got := s.results(CodeEntered); !slices.Equal(got, []string{"wrong-code", "wrong-code", "wrong-code", "wrong-code", "wrong-code", "code-expired"}) {
		t.Errorf("%q", got)
	}
	b.follow(b.post("/code", "address", "alice@partner.example"))
	b.follow(b.post("/confirm", "address", "alice@partner.example", "code", lastCode(t, partner)))
	for err, want := range map[error]string{
		nil: OK, identity.ErrExists: "exists", identity.ErrTooMany: "too-many", identity.ErrChanged: "changed", identity.ErrDisabled: "disabled", identity.ErrActive: "active",
		identity.ErrNotFound: "not-found", identity.ErrUnavailable: "database", errAddress: "failed",
	} {
		if got := resultOf(err); got != want {
			t.Errorf("%v: %s", err, got)
		}
	}
	// The history and the portal's lines agree: nothing is logged as stored that is not.
	store := must(identity.New(identity.Config{Database: "sqlite:" + filepath.Join(t.TempDir(), "x.db"), Keys: must(identity.LoadKeyring(s.keys))}))
	defer store.Close()
	s.portal.Store = &failing{Store: store, add: identity.ErrTooMany}
	b.post("/add/server", server("address", "x@partner.example")...).has(t, "as many addresses")
	if got := s.results(Saved); !slices.Equal(got, []string{OK, "too-many"}) {
		t.Errorf("%q", got)
	}
	if got := s.results(CodeSent); !slices.Equal(got, []string{OK, OK}) {
		t.Errorf("%q", got)
	}
}

// The pages for who finds no slot, and for who has to log in again, in each language and window.
func TestBrowserNoSlot(t *testing.T) {
	for _, language := range []string{"en", "de", "it", "pl"} {
		t.Run(language, func(t *testing.T) {
			s := newStage(t, withTLS, noSlots)
			partner := s.partner()
			p := s.person(language)
			p.prefix = language + "-"
			p.Open(s.url + "/login")
			logIn := func() {
				p.enter("username", "alice@example.com")
				p.enter("password", alicesPassword)
				p.press("form.card button")
				p.until("document.querySelector('footer .who')")
			}
			logIn()
			r := identity.Record{Login: "alice@example.com", Account: "alice@example.com", Identity: policy.Identity{Address: "alice@partner.example", Gateway: &policy.UserGateway{
				Host: "smtp.partner.example", Port: 587, TLS: policy.STARTTLS, Username: "alice@partner.example", Password: policy.NewSecret(partnersSecret),
			}}}
			if err := s.store.Add(t.Context(), "test", r); err != nil {
				t.Fatal(err)
			}
			code := must(s.store.NewCode(t.Context(), "test", r.Login, r.Address))
			p.Open(s.url + "/confirm?address=alice%40partner.example&code=" + code)
			p.press("form.card button")
			p.until("document.querySelector('form.card button[name=without]')")
			p.look("22-no-slot")
			p.press("form.card button")
			p.until("document.querySelector('.notice.good') && document.querySelector('#code')")
			p.enter("code", lastCode(t, s.relay))
			p.press("form.card button")
			p.until("document.querySelector('.badge.good')")
			p.look("23-done")
			s.portal.sessions = newSessions(s.time)
			p.press("main a[href*='/change']")
			p.until("document.querySelector('#username') && document.querySelector('.notice.warn')")
			p.look("24-session-over")
			logIn()
			p.until("location.pathname.endsWith('/change') && document.querySelector('#host')")
			if len(partner.Taken()) > 0 {
				t.Errorf("%+v", partner.Taken())
			}
		})
	}
}

// noSlots has a store in which no address can be used with a server.
func noSlots(s *stage, o *Options) {
	store := must(identity.New(identity.Config{Database: s.database, Keys: must(identity.LoadKeyring(s.keys)), Slots: func() identity.Slots {
		return identity.Slots{Count: 1, Taken: func(string) []int { return []int{0} }}
	}}))
	s.t.Cleanup(func() { store.Close() })
	s.store, o.Store = store, store
}
