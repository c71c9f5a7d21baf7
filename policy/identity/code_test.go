package identity

import (
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// U3, U7: a code counts for the account and the address that it was made for, 15 minutes
// and five tries, and only the last one does.
func TestCode(t *testing.T) {
	const other = "other@partner.example"
	onBoth(t, func(t *testing.T, database string) {
		at := &clock{time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)}
		s := newStore(t, Config{Database: database, now: at.now, Slots: func() Slots { return Slots{Count: 16} }})
		ctx := t.Context()
		for _, test := range []struct {
			name    string
			prepare func(code string) (login, address, entered string)
			want    error
		}{
			{"right", func(code string) (string, string, string) { return alice, partner, code }, nil},
			{"as people type it", func(code string) (string, string, string) {
				return "ALICE@example.com", "Alice@PARTNER.example", " " + strings.ToLower(strings.ReplaceAll(code, "-", " ")) + "\n"
			}, nil},
			{"just in time", func(code string) (string, string, string) {
				at.at = at.at.Add(codeLife - time.Microsecond)
				return alice, partner, code
			}, nil},
			{"too late", func(code string) (string, string, string) { at.at = at.at.Add(codeLife); return alice, partner, code }, ErrCodeExpired},
			{"another address", func(code string) (string, string, string) { return alice, other, code }, ErrWrongCode},
			{"another account", func(code string) (string, string, string) { return bob, partner, code }, ErrWrongCode},
			{"nobody's", func(code string) (string, string, string) { return bob, other, code }, ErrNotFound},
			{"empty", func(code string) (string, string, string) { return alice, partner, "" }, ErrWrongCode},
			{"replaced", func(code string) (string, string, string) {
				newer, err := s.NewCode(ctx, alice, alice, partner)
				if must(t, err); newer == code {
					t.Error("the same code twice")
				}
				return alice, partner, code
			}, ErrWrongCode},
			{"the fifth try", func(code string) (string, string, string) {
				for range 4 {
					_, err := s.Confirm(ctx, alice, alice, partner, "00000-00000")
					wantError(t, err, ErrWrongCode)
				}
				return alice, partner, code
			}, nil},
			{"the sixth try", func(code string) (string, string, string) {
				for range 5 {
					_, err := s.Confirm(ctx, alice, alice, partner, "00000-00000")
					wantError(t, err, ErrWrongCode)
				}
				return alice, partner, code
			}, ErrCodeExpired},
			{"disabled meanwhile", func(code string) (string, string, string) {
				must(t, s.Disable(ctx, admin, alice, partner))
				_, err := s.NewCode(ctx, alice, alice, partner)
				wantError(t, err, ErrDisabled)
				return alice, partner, code
			}, ErrDisabled},
			{"removed and added again", func(code string) (string, string, string) {
				must(t, s.Withdraw(ctx, alice, alice, partner))
				must(t, s.Add(ctx, alice, record(alice, partner)))
				return alice, partner, code
			}, ErrCodeExpired},
		} {
			t.Run(test.name, func(t *testing.T) {
				execute(t, s, "DELETE FROM identities")
				var code string
				for _, r := range []Record{record(alice, partner), record(alice, other), record(bob, partner)} {
					must(t, s.Add(ctx, alice, r))
					made, err := s.NewCode(ctx, alice, r.Login, r.Address)
					if must(t, err); r.Login == alice && r.Address == partner {
						code = made
					}
				}
				login, address, entered := test.prepare(code)
				r, err := s.Confirm(ctx, alice, login, address, entered)
				if !errors.Is(err, test.want) || err == nil && r.State != Active {
					t.Fatalf("got %+v, error %v, want %v", r, err, test.want)
				}
				if err != nil {
					return
				}
				if _, err = s.NewCode(ctx, alice, login, address); !errors.Is(err, ErrActive) {
					t.Errorf("a code for what is active: %v", err)
				}
				if again, err := s.Confirm(ctx, alice, login, address, entered); err != nil || again.Changed != r.Changed {
					t.Errorf("the same code again: %+v, error %v", again, err)
				}
			})
		}
	})
}

// U7: who guesses from many connections at once, on several hosts, has five tries as well.
func TestCodeGuessedAtOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, database string) {
		keys := newKeyring(t)
		stores := []*Store{newStore(t, Config{Database: database, Keys: keys}), newStore(t, Config{Database: database, Keys: keys})}
		must(t, stores[0].Add(t.Context(), alice, record(alice, partner)))
		code, err := stores[0].NewCode(t.Context(), alice, alice, partner)
		must(t, err)
		var compared atomic.Int32
		var guessing sync.WaitGroup
		for i := range 24 {
			guessing.Go(func() {
				switch _, err := stores[i%2].Confirm(t.Context(), alice, alice, partner, "ZZZZZ-ZZZZ0"); {
				case errors.Is(err, ErrWrongCode):
					compared.Add(1)
				case !errors.Is(err, ErrCodeExpired):
					t.Error(err)
				}
			})
		}
		guessing.Wait()
		if compared.Load() != codeTries {
			t.Errorf("%d guesses were compared, want %d", compared.Load(), codeTries)
		}
		_, err = stores[1].Confirm(t.Context(), alice, alice, partner, code)
		wantError(t, err, ErrCodeExpired)
	})
}

// U7: nothing in the database shows a code, not even to one who tries them all.
func TestCodeHashed(t *testing.T) {
	keys, others := newKeyring(t), newKeyring(t)
	hash, err := keys.hashCode(alice, partner, "0123456789")
	must(t, err)
	same, err := keys.hashCode(alice, partner, "0123456789")
	must(t, err)
	other, err := others.hashCode(alice, partner, "0123456789")
	must(t, err)
	if string(hash) != string(same) || string(hash[4:]) == string(other[4:]) {
		t.Error("the hash doesn't depend on the key alone")
	}
	wantError(t, others.checkCode(hash, alice, partner, "0123456789"), ErrCodeExpired)
	wantError(t, keys.checkCode(hash[:20], alice, partner, "0123456789"), ErrCodeExpired)
	must(t, keys.checkCode(hash, alice, partner, "0123456789"))
}

func TestNewCode(t *testing.T) {
	seen := make(map[byte]bool)
	for range 200 {
		code := newCode()
		if normalizeCode(code) != code {
			t.Fatalf("%q is no code", code)
		}
		for i := range len(code) {
			seen[code[i]] = true
		}
	}
	if len(seen) != len(codeAlphabet) {
		t.Errorf("codes have %d of %d characters", len(seen), len(codeAlphabet))
	}
}

// FuzzNormalizeCode: what is taken for a code is one, and stays it.
func FuzzNormalizeCode(f *testing.F) {
	for _, s := range []string{"", "01234-56789", "oil0O-IL1lo", " ABCDE FGHJK\r\n", "ABCDE-FGHJU", "ÄBCDE-FGHJK", "abcdefghjkm"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		code := normalizeCode(s)
		if code == "" {
			return
		}
		if len(code) != codeLength || strings.Trim(code, codeAlphabet) != "" {
			t.Errorf("%q became %q", s, code)
		}
		if again := normalizeCode(code[:5] + "-" + code[5:]); again != code {
			t.Errorf("%q became %q, then %q", s, code, again)
		}
	})
}
