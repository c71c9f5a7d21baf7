package identity

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"gatemilter/policy"
)

const (
	alice, bob = "alice@example.com", "bob@example.com"
	partner    = "alice@partner.example"
	secret     = "k0 hunter2 with blanks"
	admin      = "root (command)"
)

// record is one that a user has made: for an address with a server of his own.
func record(login, address string) Record {
	return Record{
		Login: login, Account: login, Name: "Alice Ällis",
		Identity: policy.Identity{Address: address, Gateway: &policy.UserGateway{
			Host: "smtp.partner.example", Port: 587, Username: address, Password: policy.NewSecret(secret),
		}},
	}
}

// active is record, for which an administrator vouches.
func active(login, address string) Record {
	r := record(login, address)
	r.State = Active
	return r
}

func newKeyring(t testing.TB) *Keyring {
	t.Helper()
	path := filepath.Join(t.TempDir(), "identities.key")
	if err := CreateKeyFile(path); err != nil {
		t.Fatal(err)
	}
	k, err := LoadKeyring(path)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// A clock is one that stands still until it is moved.
type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

func newStore(t testing.TB, c Config) *Store {
	t.Helper()
	if c.Keys == nil {
		c.Keys = newKeyring(t)
	}
	s, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// onBoth runs a test with a new database of each kind.
func onBoth(t *testing.T, f func(t *testing.T, database string)) {
	t.Run("sqlite", func(t *testing.T) { f(t, sqliteDatabase(t)) })
	t.Run("postgres", func(t *testing.T) { f(t, postgresDatabase(t)) })
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantError(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error %v, want %v", err, want)
	}
}

// U1, U3: an address is added, confirmed with its code, changed, disabled, enabled, removed;
// and every step is in the history.
func TestLife(t *testing.T) {
	onBoth(t, func(t *testing.T, database string) {
		var reported []Change
		s := newStore(t, Config{Database: database, Report: func(c Change) { reported = append(reported, c) }})
		ctx := context.Background()
		must(t, s.Add(ctx, alice, record("Alice@Example.com", "Alice@Partner.example")))
		wantError(t, s.Add(ctx, alice, record(alice, partner)), ErrExists)
		code, err := s.NewCode(ctx, alice, alice, partner)
		must(t, err)
		got, err := s.Confirm(ctx, alice, alice, partner, code)
		must(t, err)
		if got.State != Active || got.Gateway.Password.Reveal() != secret {
			t.Errorf("confirmed %+v", got)
		}
		changed := got
		changed.Gateway = &policy.UserGateway{Host: "smtp2.partner.example", Port: 465, TLS: policy.ImplicitTLS, Username: "alice", Password: policy.NewSecret("other")}
		must(t, s.Change(ctx, alice, got, changed))
		wantError(t, s.Change(ctx, alice, got, changed), ErrChanged)
		must(t, s.Disable(ctx, admin, alice, partner))
		wantError(t, s.Withdraw(ctx, alice, alice, partner), ErrDisabled)
		must(t, s.Enable(ctx, admin, alice, partner))
		must(t, s.Withdraw(ctx, alice, alice, partner))
		wantError(t, s.Remove(ctx, alice, alice, partner), ErrNotFound)
		want := []Action{Added, CodeSent, Confirmed, Edited, DisabledBy, EnabledBy, Removed}
		if len(reported) != len(want) {
			t.Fatalf("reported %+v", reported)
		}
		history, err := s.History(ctx, alice, partner, 100)
		must(t, err)
		for i, c := range reported {
			if c.Action != want[i] || history[len(want)-1-i] != c {
				t.Errorf("change %d: reported %+v, history has %+v, want %s", i, c, history[len(want)-1-i], want[i])
			}
		}
	})
}
