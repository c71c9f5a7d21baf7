package identity

import (
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gatemilter/policy"
)

// U5: a password is decrypted for the row that it was encrypted for, and for no other.
func TestSealed(t *testing.T) {
	keys := newKeyring(t)
	r := active(alice, partner)
	w := stored(&r)
	sealed, err := keys.seal(&w, policy.NewSecret(secret))
	must(t, err)
	w.Password = sealed
	for name, change := range map[string]func(w *row){
		"nothing":      func(*row) {},
		"login":        func(w *row) { w.Login = bob },
		"address":      func(w *row) { w.Address = "x@partner.example" },
		"host":         func(w *row) { w.Host = "smtp.evil.example" },
		"port":         func(w *row) { w.Port = 25 },
		"tls":          func(w *row) { w.TLS = "implicit" },
		"user name":    func(w *row) { w.Username = "eve" },
		"moved border": func(w *row) { w.Login, w.Address = w.Login+w.Address[:1], w.Address[1:] },
		"version":      func(w *row) { w.Password[0]++ },
		"key":          func(w *row) { w.Password[2]++ },
		"nonce":        func(w *row) { w.Password[sealHeader]++ },
		"text":         func(w *row) { w.Password[len(w.Password)-20]++ },
		"cut":          func(w *row) { w.Password = w.Password[:len(w.Password)-1] },
		"cut off":      func(w *row) { w.Password = w.Password[:10] },
		"empty":        func(w *row) { w.Password = nil },
	} {
		t.Run(name, func(t *testing.T) {
			changed := w
			changed.Password = slices.Clone(w.Password)
			change(&changed)
			password, err := keys.open(&changed)
			if ok := err == nil && password.Reveal() == secret; ok != (name == "nothing") || err != nil && password.Reveal() != "" {
				t.Errorf("got %q, error %v", password.Reveal(), err)
			}
		})
	}
	again, err := keys.seal(&w, policy.NewSecret(secret))
	must(t, err)
	if string(again) == string(sealed) {
		t.Error("the same text twice")
	}
	long, err := keys.seal(&w, policy.NewSecret(secret+secret[:5]))
	must(t, err)
	if len(long) != len(sealed) {
		t.Errorf("the length shows: %d and %d octets", len(sealed), len(long))
	}
}

// TestKeyChange: a key that is put above the others serves without a restart, and the old
// one can go after Rekey.
func TestKeyChange(t *testing.T) {
	onBoth(t, func(t *testing.T, database string) {
		keys := newKeyring(t)
		there, err := LoadKeyring(keys.path)
		must(t, err)
		s := newStore(t, Config{Database: database, Keys: keys})
		far := newStore(t, Config{Database: database, Keys: there})
		must(t, s.Add(t.Context(), alice, active(alice, partner)))
		must(t, s.Add(t.Context(), bob, active(bob, "bob@partner.example")))
		without := record(bob, "none@partner.example")
		without.Gateway = nil
		must(t, s.Add(t.Context(), bob, without))
		r, _ := follow(t, far, "")
		r.await(t, "the load", func() bool { return r.synced > 0 })

		old, err := os.ReadFile(keys.path)
		must(t, err)
		replaceFile(t, keys.path, NewKey()+"\n"+string(old))
		n, err := s.Rekey(t.Context(), admin)
		if must(t, err); n != 2 {
			t.Errorf("%d passwords, want 2", n)
		}
		r.await(t, "the second load", func() bool { return len(r.told) == 2 })
		newest, _, _ := strings.Cut(string(must2(os.ReadFile(keys.path))), "\n")
		replaceFile(t, keys.path, newest+"\n")
		fresh, err := LoadKeyring(keys.path)
		must(t, err)
		s.config.Keys = fresh
		for _, login := range []string{alice, bob} {
			records, err := s.List(t.Context(), login)
			must(t, err)
			for _, record := range records {
				if record.Gateway != nil && record.Gateway.Password.Reveal() != secret {
					t.Errorf("%s: %+v", login, record)
				}
			}
			if i := len(r.users[login]) - 1; r.users[login][0].Gateway == nil && r.users[login][i].Gateway == nil || len(r.bad) > 0 {
				t.Errorf("followed %+v, bad %v", r.users, r.bad)
			}
		}
		if n, err := s.Rekey(t.Context(), admin); n != 0 || err != nil {
			t.Errorf("again: %d passwords, error %v", n, err)
		}
		history, err := s.History(t.Context(), "", "", 1)
		if must(t, err); len(history) != 1 || history[0].Action != Rekeyed || history[0].Detail != "2 passwords" {
			t.Errorf("history %+v", history)
		}
	})
}

func must2[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// replaceFile writes a file as an editor does.
func replaceFile(t testing.TB, path, text string) {
	t.Helper()
	must(t, os.WriteFile(path+".new", []byte(text), 0o600))
	must(t, os.Rename(path+".new", path))
}

// U5: with another key, or none, a password is unknown, which is reported; all else serves.
func TestWrongKey(t *testing.T) {
	onBoth(t, func(t *testing.T, database string) {
		s := newStore(t, Config{Database: database})
		must(t, s.Add(t.Context(), alice, active(alice, partner)))
		for name, keys := range map[string]*Keyring{"another": newKeyring(t), "none": nil} {
			t.Run(name, func(t *testing.T) {
				other, err := New(Config{Database: database, Keys: keys})
				must(t, err)
				defer other.Close()
				r, stop := follow(t, other, "")
				r.await(t, "the load", func() bool { return r.synced > 0 })
				stop()
				if len(r.users[alice]) != 1 || r.users[alice][0].Gateway.Password.Reveal() != "" || len(r.bad) != 1 || !errors.Is(r.bad[0], ErrPassword) {
					t.Errorf("users %v, bad %v", r.users, r.bad)
				}
				got, err := other.Get(t.Context(), alice, partner)
				if must(t, err); got.Gateway.Host != "smtp.partner.example" || got.Gateway.Password.Reveal() != "" {
					t.Errorf("got %+v", got)
				}
				// The name can be changed, and the password stays what it is; for another server,
				// a new one is needed.
				renamed := got
				renamed.Name = "By " + name
				must(t, other.Change(t.Context(), alice, got, renamed))
				got, err = other.Get(t.Context(), alice, partner)
				must(t, err)
				moved := got
				moved.Gateway = &policy.UserGateway{Host: "smtp.evil.example", Port: 587, Username: "alice"}
				var invalid *InvalidError
				if err := other.Change(t.Context(), alice, got, moved); !errors.As(err, &invalid) || invalid.Field != "password" {
					t.Errorf("another server with the old password: %v", err)
				}
				n, err := other.Rekey(t.Context(), admin)
				if !errors.Is(err, ErrPassword) || n != 0 {
					t.Errorf("rekey: %d, error %v", n, err)
				}
			})
		}
		got, err := s.Get(t.Context(), alice, partner)
		if must(t, err); got.Gateway.Password.Reveal() != secret || !strings.HasPrefix(got.Name, "By ") {
			t.Errorf("got %+v", got)
		}
		none, err := New(Config{Database: database})
		must(t, err)
		defer none.Close()
		wantError(t, none.Add(t.Context(), bob, active(bob, "bob@partner.example")), ErrUnavailable)
	})
}

// U5: who can write the database, but has no key, can't have a password sent elsewhere.
func TestMovedPassword(t *testing.T) {
	onBoth(t, func(t *testing.T, database string) {
		s := newStore(t, Config{Database: database, Slots: func() Slots { return Slots{Count: 16} }})
		for _, set := range []string{"host = 'smtp.evil.example'", "port = 2525", "tls = 'implicit', port = 465", "username = 'eve'", "address = 'x@partner.example'", "login = 'eve@example.com'"} {
			must(t, s.Add(t.Context(), alice, active(alice, partner)))
			execute(t, s, "UPDATE identities SET "+set)
			for r, err := range s.All(t.Context()) {
				if !errors.Is(err, ErrPassword) || r.Gateway.Password.Reveal() != "" {
					t.Errorf("%s: %+v, error %v", set, r, err)
				}
			}
			execute(t, s, "DELETE FROM identities")
		}
	})
}

// O9, U5: nothing that can be printed has a password, a key or a code in it, nor has the
// database's file.
func TestNoSecrets(t *testing.T) {
	onBoth(t, func(t *testing.T, database string) {
		var printed strings.Builder
		see := func(values ...any) {
			for _, v := range values {
				fmt.Fprintf(&printed, "%v %+v %#v %s\n", v, v, v, v)
			}
		}
		keys := newKeyring(t)
		c := Config{Database: database, Keys: keys, Report: func(c Change) { see(c) }}
		s := newStore(t, c)
		r := record(alice, partner)
		must(t, s.Add(t.Context(), alice, r))
		code, err := s.NewCode(t.Context(), alice, alice, partner)
		must(t, err)
		stores := []any{c, s, keys.keys, keys, r, *r.Gateway}
		see(stores...)
		_, err = s.Confirm(t.Context(), alice, alice, partner, "11111-11111")
		see(err, s.Add(t.Context(), alice, r), s.config.Keys)
		long := r
		long.Gateway = &policy.UserGateway{Host: "a b", Port: 587, Username: "x", Password: policy.NewSecret(secret)}
		see(s.Add(t.Context(), alice, long))
		long.Address, long.Gateway = "y@partner.example", &policy.UserGateway{Host: "smtp.a.example", Port: 587, Username: "x", Password: policy.NewSecret(secret + "\n")}
		see(s.Add(t.Context(), alice, long))
		got, err := s.Confirm(t.Context(), alice, alice, partner, code)
		must(t, err)
		changed := got
		changed.Gateway = &policy.UserGateway{Host: "smtp.b.example", Port: 587, Username: "x", Password: policy.NewSecret(secret + "!")}
		must(t, s.Change(t.Context(), alice, got, changed))
		see(s.History(t.Context(), "", "", 100))
		snapshot := filepath.Join(t.TempDir(), "snapshot")
		recorded, stop := follow(t, s, snapshot)
		recorded.await(t, "the load", func() bool { return recorded.synced > 0 })
		stop()
		printed.Write(must2(os.ReadFile(snapshot)))
		if path, isFile := strings.CutPrefix(database, "sqlite:"); isFile {
			for _, end := range []string{"", "-wal"} {
				printed.Write(must2(os.ReadFile(path + end)))
			}
		}
		key, _, _ := strings.Cut(strings.TrimPrefix(string(must2(os.ReadFile(keys.path))), keyFileHead), "\n")
		raw := must2(base64.StdEncoding.DecodeString(key))
		for _, hidden := range []string{"hunter2", code, strings.ReplaceAll(code, "-", ""), key, string(raw), fmt.Sprint(raw[:8])[1:20], password} {
			if strings.Contains(printed.String(), hidden) {
				at := strings.Index(printed.String(), hidden)
				t.Errorf("%q shows: %.300q", hidden, printed.String()[max(0, at-100):])
			}
		}
	})
}

func TestKeyFile(t *testing.T) {
	a, b := NewKey(), NewKey()
	for _, test := range []struct{ name, text, want string }{
		{"one", a, ""},
		{"two, with comments", "# the newest\n" + a + "\n\n  " + b + "\r\n", ""},
		{"none", "# nothing\n", "it has no key"},
		{"empty", "", "it has no key"},
		{"short", a + "\n" + a[:40], "line 2 is no key"},
		{"not base64", "?" + a[1:], "line 1 is no key"},
		{"twice", a + "\n" + a, "line 2 has a key that stands above already"},
		{"too many", strings.Repeat("x", maxKeyFile+1), "which no key file needs"},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "key")
			must(t, os.WriteFile(path, []byte(test.text), 0o600))
			_, err := LoadKeyring(path)
			switch {
			case test.want == "":
				must(t, err)
			case err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), a[1:20]):
				t.Errorf("error %v, want %q", err, test.want)
			}
		})
	}
	path := filepath.Join(t.TempDir(), "key")
	must(t, CreateKeyFile(path))
	if err := CreateKeyFile(path); !errors.Is(err, os.ErrExist) {
		t.Errorf("a file is replaced: %v", err)
	}
	if info := must2(os.Stat(path)); info.Mode() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
	must(t, os.Chmod(path, 0o604))
	if _, err := LoadKeyring(path); err == nil || !strings.Contains(err.Error(), "run chmod o=") {
		t.Errorf("one that everybody can read: %v", err)
	}
}

// FuzzKeyFile: what is read as keys is written as the same.
func FuzzKeyFile(f *testing.F) {
	zero := base64.StdEncoding.EncodeToString(make([]byte, keySize))
	for _, s := range []string{"", "#", zero, zero + "\n" + zero, "# a\n\n " + zero + "\r\n" + strings.Replace(zero, "A", "B", 1), zero[:43] + "B"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		keys, err := parseKeys(text)
		if (err == nil) != (len(keys) > 0) {
			t.Fatalf("%d keys, error %v", len(keys), err)
		}
		var lines []string
		for _, k := range keys {
			lines = append(lines, base64.StdEncoding.EncodeToString(k[:]))
		}
		if again, err := parseKeys(strings.Join(lines, "\n")); len(keys) > 0 && (err != nil || !slices.Equal(again, keys)) {
			t.Errorf("%d keys, then %d, error %v", len(keys), len(again), err)
		}
	})
}
