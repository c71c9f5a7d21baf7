package identity

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gatemilter/policy"
)

// What is added comes back, in the form in which it is compared.
func TestAdd(t *testing.T) {
	onBoth(t, func(t *testing.T, database string) {
		s := newStore(t, Config{Database: database})
		r := record("Alice@Example.COM", "Straße@Bücher.example")
		r.Address = "Strasse@Bücher.example"
		r.Account = ""
		r.Gateway.Host = "SMTP.Bücher.example"
		r.Gateway.Slot = 7
		must(t, s.Add(t.Context(), alice, r))
		got, err := s.Get(t.Context(), alice, r.Address)
		must(t, err)
		if got.Created.IsZero() || !got.Created.Equal(got.Changed) {
			t.Errorf("created %v, changed %v", got.Created, got.Changed)
		}
		want := Record{Login: alice, Account: alice, Name: r.Name, Created: got.Created, Changed: got.Changed,
			Identity: policy.Identity{Address: "strasse@xn--bcher-kva.example", Gateway: &policy.UserGateway{
				Host: "smtp.xn--bcher-kva.example", Port: 587, Username: r.Gateway.Username, Password: got.Gateway.Password,
			}}}
		if !reflect.DeepEqual(got, want) || got.Gateway.Password.Reveal() != secret {
			t.Errorf("got %+v %+v, want %+v %+v", got, got.Gateway, want, want.Gateway)
		}
		if r.Gateway.Host != "SMTP.Bücher.example" {
			t.Error("the caller's record was changed")
		}
		if list, err := s.List(t.Context(), "ALICE@example.com"); err != nil || !reflect.DeepEqual(list[0].Gateway.Host, want.Gateway.Host) {
			t.Errorf("list %+v, error %v", list, err)
		}
		if _, err := s.Get(t.Context(), bob, r.Address); !errors.Is(err, ErrNotFound) {
			t.Errorf("another's: %v", err)
		}
	})
}

// U7: a value that could be taken for something else by Postfix or Sendmail is refused, and
// nothing is stored.
func TestInvalid(t *testing.T) {
	s := newStore(t, Config{Database: sqliteDatabase(t)})
	for _, test := range []struct {
		field  string
		change func(r *Record)
	}{
		{"login", func(r *Record) { r.Login = "" }},
		{"login", func(r *Record) { r.Login = "alice\n" }},
		{"login", func(r *Record) { r.Login = strings.Repeat("a", 255) }},
		{"account", func(r *Record) { r.Login, r.Account = "alice", "" }},
		{"account", func(r *Record) { r.Account = "<alice@example.com>" }},
		{"address", func(r *Record) { r.Address = "partner.example" }},
		{"address", func(r *Record) { r.Address = "@partner.example" }},
		{"address", func(r *Record) { r.Address = "*@partner.example" }},
		{"address", func(r *Record) { r.Address = "a..b@partner.example" }},
		{"address", func(r *Record) { r.Address = "a@[192.0.2.1]" }},
		{"address", func(r *Record) { r.Address = "a b@partner.example" }},
		{"address", func(r *Record) { r.Address = "a,b@partner.example" }},
		{"address", func(r *Record) { r.Address = "a@partner.example." }},
		{"address", func(r *Record) { r.Address = strings.Repeat("a", 65) + "@partner.example" }},
		{"address", func(r *Record) { r.Address = "a@" + strings.Repeat("a.", 127) + "example" }},
		{"name", func(r *Record) { r.Name = "Alice\r\nBcc: eve" }},
		{"name", func(r *Record) { r.Name = strings.Repeat("a", 201) }},
		{"state", func(r *Record) { r.State = 2 }},
		{"host", func(r *Record) { r.Gateway.Host = "" }},
		{"host", func(r *Record) { r.Gateway.Host = "a]:25,[b" }},
		{"host", func(r *Record) { r.Gateway.Host = "smtp:[a.example]" }},
		{"host", func(r *Record) { r.Gateway.Host = "inet:a.example" }},
		{"host", func(r *Record) { r.Gateway.Host = "/etc/passwd" }},
		{"host", func(r *Record) { r.Gateway.Host = "1.2.3" }},
		{"host", func(r *Record) { r.Gateway.Host = "[192.0.2.1]" }},
		{"host", func(r *Record) { r.Gateway.Host = "0.0.0.0" }},
		{"host", func(r *Record) { r.Gateway.Host = "fe80::1%eth0" }},
		{"host", func(r *Record) { r.Gateway.Host = "ff02::1" }},
		{"host", func(r *Record) { r.Gateway.Host = "-a.example" }},
		{"port", func(r *Record) { r.Gateway.Port = 0 }},
		{"port", func(r *Record) { r.Gateway.Port = 465 }},
		{"port", func(r *Record) { r.Gateway.TLS = policy.ImplicitTLS }},
		{"tls", func(r *Record) { r.Gateway.TLS = policy.NoTLS }},
		{"tls", func(r *Record) { r.Gateway.TLS = 9 }},
		{"username", func(r *Record) { r.Gateway.Username = "" }},
		{"username", func(r *Record) { r.Gateway.Username = "a:b" }},
		{"username", func(r *Record) { r.Gateway.Username = "a\x00" }},
		{"username", func(r *Record) { r.Gateway.Username = strings.Repeat("a", 255) }},
		{"slot", func(r *Record) { r.Gateway.Slot = 16 }},
		{"slot", func(r *Record) { r.Gateway.Slot = -1 }},
		{"password", func(r *Record) { r.Gateway.Password = policy.Secret{} }},
		{"password", func(r *Record) { r.Gateway.Password = policy.NewSecret("a\nb") }},
		{"password", func(r *Record) { r.Gateway.Password = policy.NewSecret("a\x00") }},
		{"password", func(r *Record) { r.Gateway.Password = policy.NewSecret("\xff") }},
		{"password", func(r *Record) { r.Gateway.Password = policy.NewSecret(strings.Repeat("a", 1001)) }},
	} {
		r := record(alice, partner)
		test.change(&r)
		var invalid *InvalidError
		if err := s.Add(t.Context(), alice, r); !errors.As(err, &invalid) || invalid.Field != test.field || len(err.Error()) > 300 {
			t.Errorf("%+v %+v: error %v, want one about %s", r, r.Gateway, err, test.field)
		}
	}
	for r, err := range s.All(t.Context()) {
		t.Errorf("stored %+v, error %v", r, err)
	}
}

// U1: a user has so many addresses and no more.
func TestTooMany(t *testing.T) {
	onBoth(t, func(t *testing.T, database string) {
		s := newStore(t, Config{Database: database})
		for i := range MaxAddresses {
			must(t, s.Add(t.Context(), alice, record(alice, fmt.Sprintf("a%d@partner.example", i))))
		}
		wantError(t, s.Add(t.Context(), alice, record(alice, partner)), ErrTooMany)
		must(t, s.Add(t.Context(), bob, record(bob, partner)))
		must(t, s.Withdraw(t.Context(), alice, alice, "a0@partner.example"))
		must(t, s.Add(t.Context(), alice, record(alice, partner)))
	})
}

// O4: users who have the same address get slots of their own when their records become
// active, and keep them.
func TestSlots(t *testing.T) {
	onBoth(t, func(t *testing.T, database string) {
		slots := Slots{Count: 4, Taken: func(address string) []int {
			if address == partner {
				return []int{1}
			}
			return nil
		}}
		s := newStore(t, Config{Database: database, Slots: func() Slots { return slots }})
		ctx := t.Context()
		login := func(i int) string { return fmt.Sprintf("user%d@example.com", i) }
		slot := func(i int) int {
			t.Helper()
			r, err := s.Get(ctx, login(i), partner)
			must(t, err)
			return r.Gateway.Slot
		}
		for i, want := range []int{0, 2, 3} {
			must(t, s.Add(ctx, admin, active(login(i), partner)))
			if got := slot(i); got != want {
				t.Errorf("user %d has slot %d, want %d", i, got, want)
			}
		}
		wantError(t, s.Add(ctx, admin, active(login(3), partner)), ErrNoSlot)
		without := active(login(3), partner)
		without.Gateway = nil // who has no server needs no slot
		must(t, s.Add(ctx, admin, without))
		must(t, s.Add(ctx, admin, record(login(4), partner)))
		code, err := s.NewCode(ctx, admin, login(4), partner)
		must(t, err)
		_, err = s.Confirm(ctx, admin, login(4), partner, code)
		wantError(t, err, ErrNoSlot)

		// Who is disabled keeps his, who gives up his server doesn't.
		must(t, s.Disable(ctx, admin, login(0), partner))
		_, err = s.Confirm(ctx, admin, login(4), partner, code)
		wantError(t, err, ErrNoSlot)
		old, err := s.Get(ctx, login(1), partner)
		must(t, err)
		bare := old
		bare.Gateway = nil
		must(t, s.Change(ctx, admin, old, bare))
		got, err := s.Confirm(ctx, admin, login(4), partner, code)
		if must(t, err); got.Gateway.Slot != 2 {
			t.Errorf("slot %d, want 2", got.Gateway.Slot)
		}
		old, err = s.Get(ctx, login(3), partner)
		must(t, err)
		wantError(t, s.Change(ctx, admin, old, active(login(3), partner)), ErrNoSlot)
		slots.Count = 16
		must(t, s.Change(ctx, admin, old, active(login(3), partner)))
		if got := slot(3); got != 4 {
			t.Errorf("slot %d, want 4", got)
		}
		if got := slot(2); got != 3 {
			t.Errorf("slot %d, want 3 as before", got)
		}
	})
}

// A change of what somebody else has changed meanwhile is refused; one of nothing is none.
func TestChange(t *testing.T) {
	onBoth(t, func(t *testing.T, database string) {
		at := &clock{} // which stands still: the order of changes shows nevertheless
		at.at = at.at.AddDate(2025, 0, 0)
		s := newStore(t, Config{Database: database, now: at.now})
		ctx := t.Context()
		must(t, s.Add(ctx, alice, record(alice, partner)))
		old, err := s.Get(ctx, alice, partner)
		must(t, err)
		same := old
		must(t, s.Change(ctx, alice, old, same))
		first, second := old, old
		first.Name, second.Name = "First", "Second"
		first.State, first.Disabled, first.Login = Active, true, bob // which are not for Change
		must(t, s.Change(ctx, alice, old, first))
		wantError(t, s.Change(ctx, alice, old, second), ErrChanged)
		got, err := s.Get(ctx, alice, partner)
		if must(t, err); got.Name != "First" || got.State != Pending || got.Disabled || got.Gateway.Password.Reveal() != old.Gateway.Password.Reveal() {
			t.Errorf("got %+v", got)
		}
		must(t, s.Disable(ctx, admin, alice, partner))
		must(t, s.Disable(ctx, admin, alice, partner))
		wantError(t, s.Change(ctx, alice, got, second), ErrChanged)
		wantError(t, s.Change(ctx, alice, record(bob, partner), second), ErrNotFound)
		wantError(t, s.Enable(ctx, admin, bob, partner), ErrNotFound)
		history, err := s.History(ctx, "", "", 100)
		must(t, err)
		var details []string
		for _, c := range history {
			details = append(details, string(c.Action)+": "+c.Detail)
		}
		want := []string{"disabled: ", `changed: name "Alice Ällis" → "First"`, "added: pending, server [smtp.partner.example]:587 starttls as " + partner}
		if !reflect.DeepEqual(details, want) {
			t.Errorf("history %q, want %q", details, want)
		}
	})
}

// U3: what was shown by one server is not by another. A code that came by the one counts for no
// other, and an address that is given to the domain's servers has to be confirmed by them.
func TestChangeNeedsCode(t *testing.T) {
	onBoth(t, func(t *testing.T, database string) {
		s := newStore(t, Config{Database: database})
		ctx := t.Context()
		change := func(f func(*Record)) Record {
			t.Helper()
			old, err := s.Get(ctx, alice, partner)
			must(t, err)
			r := old
			f(&r)
			must(t, s.Change(ctx, alice, old, r))
			r, err = s.Get(ctx, alice, partner)
			must(t, err)
			return r
		}
		code := func() string {
			t.Helper()
			code, err := s.NewCode(ctx, alice, alice, partner)
			must(t, err)
			return code
		}
		without := func(r *Record) { r.Gateway = nil }
		another := func(r *Record) {
			r.Gateway = &policy.UserGateway{Host: "smtp.other.example", Port: 587, Username: alice, Password: policy.NewSecret("x")}
		}
		must(t, s.Add(ctx, alice, record(alice, partner)))
		for i, f := range []func(*Record){another, without} {
			kept := code()
			change(f)
			if _, err := s.Confirm(ctx, alice, alice, partner, kept); !errors.Is(err, ErrCodeExpired) {
				t.Errorf("change %d: %v", i, err)
			}
		}
		change(another)
		kept := code()
		change(func(r *Record) { r.Name = "Another" })
		r, err := s.Confirm(ctx, alice, alice, partner, kept)
		if must(t, err); r.State != Active {
			t.Errorf("a code from before the change of a name: %s", r.State)
		}
		if r := change(func(r *Record) { another(r); r.Gateway.Host = "smtp.third.example" }); r.State != Active {
			t.Errorf("another server of hers: %s", r.State)
		}
		if r := change(without); r.State != Pending || r.Gateway != nil {
			t.Errorf("no server any more: %+v", r)
		}
		if _, err = s.Confirm(ctx, alice, alice, partner, code()); err != nil {
			t.Error(err)
		}
		if r := change(another); r.State != Active {
			t.Errorf("one of hers again: %s", r.State)
		}
		history, err := s.History(ctx, alice, partner, 10)
		if must(t, err); !slices.ContainsFunc(history, func(c Change) bool { return strings.HasSuffix(c.Detail, "→ none, active → pending") }) {
			t.Errorf("history %+v", history)
		}
	})
}

// U6: an import is all or nothing.
func TestImport(t *testing.T) {
	onBoth(t, func(t *testing.T, database string) {
		s := newStore(t, Config{Database: database, Slots: func() Slots { return Slots{Count: 3} }})
		ctx := t.Context()
		a, b := active(alice, partner), record(bob, partner)
		b.Disabled = true
		check := func(rs []Record, replace bool, wantAdded, wantChanged int, want error) {
			t.Helper()
			added, changed, err := s.Import(ctx, admin, rs, replace)
			if added != wantAdded || changed != wantChanged || !errors.Is(err, want) {
				t.Errorf("added %d, changed %d, error %v; want %d, %d, %v", added, changed, err, wantAdded, wantChanged, want)
			}
		}
		check([]Record{a, b}, false, 2, 0, nil)
		check([]Record{a, b}, false, 0, 0, nil)
		old, err := s.Get(ctx, alice, partner)
		must(t, err)
		c := active("carol@example.com", partner)
		moved := a
		moved.Gateway = &policy.UserGateway{Host: "smtp.other.example", Port: 587, Username: "alice", Password: policy.NewSecret("new")}
		check([]Record{c, moved}, false, 0, 0, ErrExists)
		if _, err := s.Get(ctx, c.Login, partner); !errors.Is(err, ErrNotFound) {
			t.Errorf("half an import: %v", err)
		}
		b.State, b.Disabled = Active, false
		check([]Record{c, moved, b}, true, 1, 2, nil)
		got, err := s.Get(ctx, alice, partner)
		if must(t, err); got.Gateway.Host != "smtp.other.example" || got.Gateway.Password.Reveal() != "new" || got.Gateway.Slot != 0 || !got.Created.Equal(old.Created) {
			t.Errorf("got %+v %+v", got, got.Gateway)
		}
		got, err = s.Get(ctx, bob, partner)
		if must(t, err); got.State != Active || got.Disabled || got.Gateway.Slot != 2 {
			t.Errorf("got %+v %+v", got, got.Gateway)
		}
		check([]Record{active("dave@example.com", partner)}, false, 0, 0, ErrNoSlot)
		without := moved
		without.Gateway = &policy.UserGateway{Host: "smtp.third.example", Port: 587, Username: "alice"}
		var invalid *InvalidError
		if _, _, err := s.Import(ctx, admin, []Record{without}, true); !errors.As(err, &invalid) || !strings.Contains(err.Error(), alice) {
			t.Errorf("an import without the password: %v", err)
		}
		if _, _, err := s.Import(ctx, admin, []Record{a, a}, true); !errors.As(err, &invalid) {
			t.Errorf("twice the same: %v", err)
		}
		many := make([]Record, maxImported+1)
		for i := range many {
			many[i] = active("erin@example.com", fmt.Sprintf("a%d@partner.example", i))
			many[i].Gateway = nil
		}
		check(many, false, 0, 0, ErrTooMany)
		check(many[1:], false, maxImported, 0, nil)
	})
}

// Many at once, on two hosts: each change is there, in the history once, and without gaps.
func TestAtOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, database string) {
		const many = 20 // SQLite lets them in by chance, not in turn, and each has its five seconds
		keys := newKeyring(t)
		stores := make([]*Store, 4)
		var opening sync.WaitGroup
		for i := range stores { // nobody has made the tables yet
			opening.Go(func() {
				s, err := Open(t.Context(), Config{Database: database, Keys: keys})
				if err != nil {
					t.Error(err)
					return
				}
				stores[i] = s
			})
		}
		opening.Wait()
		if t.Failed() {
			return
		}
		r, _ := follow(t, stores[0], "")
		var adding sync.WaitGroup
		for i := range many {
			adding.Go(func() {
				if err := stores[i%len(stores)].Add(t.Context(), admin, active(fmt.Sprintf("user%d@example.com", i), fmt.Sprintf("a%d@partner.example", i))); err != nil {
					t.Error(err)
				}
			})
		}
		adding.Wait()
		r.await(t, "all to be seen", func() bool { return len(r.users) == many })
		history, err := stores[1].History(t.Context(), "", "", 100)
		must(t, err)
		for i, c := range history {
			if c.ID != int64(many-i) {
				t.Errorf("change %d of %d has the number %d", i, len(history), c.ID)
			}
		}
		for _, s := range stores {
			must(t, s.Close())
		}
	})
}

// The history doesn't grow for ever, and its last change stays.
func TestHistoryTrimmed(t *testing.T) {
	onBoth(t, func(t *testing.T, database string) {
		at := &clock{}
		at.at = at.at.AddDate(2025, 0, 0)
		s := newStore(t, Config{Database: database, now: at.now})
		r := active(alice, partner)
		r.Gateway = nil
		toggle := func(n int) {
			for i := range n {
				if must(t, s.setDisabled(t.Context(), admin, alice, partner, i%2 == 0, DisabledBy)); t.Failed() {
					return
				}
			}
		}
		must(t, s.Add(t.Context(), alice, r))
		toggle(60)
		at.at = at.at.Add(maxAge + time.Second)
		toggle(50)
		history, err := s.History(t.Context(), alice, "", 1000)
		if must(t, err); len(history) != 50 || history[0].ID != 111 {
			t.Errorf("%d changes, the last has the number %d", len(history), history[0].ID)
		}
	})
}

// A store that is closed, or was never opened, says so.
func TestClosed(t *testing.T) {
	s, err := New(Config{Database: sqliteDatabase(t)})
	must(t, err)
	must(t, s.Close())
	_, err = s.List(t.Context(), alice)
	wantError(t, err, ErrUnavailable)
	for _, database := range []string{"", "mysql://x", "sqlite:relative.db", "postgres://u:hunter2@h/d", "postgres://u@h/d?password=hunter2", "postgres://u:hunter2@[::1", "postgres://u@h:port/d", "postgres://u@h/d?sslmode=hunter2"} {
		if _, err := New(Config{Database: database}); err == nil || strings.Contains(err.Error(), "u:hunter2") || strings.Contains(err.Error(), "password=") {
			t.Errorf("%q: error %v", database, err)
		}
	}
}
