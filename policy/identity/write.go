package identity

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"gatemilter/policy"
)

// Add stores a new record: a pending one, or an active one that an administrator vouches
// for, which gets a slot if it has a server.
func (s *Store) Add(ctx context.Context, by string, r Record) error {
	if err := canonical(&r); err != nil {
		return err
	}
	return s.change(ctx, s.times.call, by, func(ctx context.Context, t *tx) error {
		if _, err := t.get(ctx, r.Login, r.Address); !errors.Is(err, ErrNotFound) {
			if err == nil {
				err = ErrExists
			}
			return err
		}
		var n int
		if err := t.QueryRowContext(ctx, s.kind.sql("SELECT count(*) FROM identities WHERE login = $1"), r.Login).Scan(&n); err != nil {
			return err
		}
		if n >= MaxAddresses {
			return ErrTooMany
		}
		r.Created, r.Changed = t.at, t.at
		w, _, err := s.seal(&r, nil)
		if err != nil {
			return err
		}
		if err := s.giveSlot(ctx, t, &w); err != nil {
			return err
		}
		if err := t.put(ctx, &w); err != nil {
			return err
		}
		return t.note(ctx, Added, r.Login, r.Address, describe(&w))
	})
}

// Change puts the name and the server of r into the record, if that is still as old is:
// otherwise the error is [ErrChanged]. An empty password stands for the one that is stored,
// where the server and the user name there remain. All else stays, and so does the state,
// unless there is no server any more: what a user has shown by a server of his own choice
// counts for mail that leaves by it, so that a new code has to show it by ours. A code that
// was sent by a server which is no longer the record's counts no more, either.
func (s *Store) Change(ctx context.Context, by string, old, r Record) error {
	r.Login, r.Address, r.Account, r.State = old.Login, old.Address, old.Account, old.State
	if err := canonical(&r); err != nil {
		return err
	}
	return s.change(ctx, s.times.call, by, func(ctx context.Context, t *tx) error {
		was, err := t.get(ctx, r.Login, r.Address)
		switch {
		case err != nil:
			return err
		case was.Changed != old.Changed.UnixMicro():
			return ErrChanged
		}
		w, another, err := s.seal(&r, &was)
		if err != nil {
			return err
		}
		w.Account, w.State, w.Disabled, w.Created = was.Account, was.State, was.Disabled, was.Created
		switch w.Slot = was.Slot; {
		case w.Host == "" && was.Host != "":
			w.State, w.Slot = Pending.String(), 0
		case was.Host == "":
			w.Slot = 0
			if err := s.giveSlot(ctx, t, &w); err != nil {
				return err
			}
		}
		detail := difference(&was, &w, another)
		if detail == "" {
			return nil
		}
		if !was.sameServer(&w) {
			if _, err := t.exec(ctx, "DELETE FROM codes WHERE login = $1 AND address = $2", w.Login, w.Address); err != nil {
				return err
			}
		}
		if err := t.touch(ctx, &was, &w); err != nil {
			return err
		}
		return t.note(ctx, Edited, w.Login, w.Address, detail)
	})
}

// touch writes a row in the place of another, with a time that differs from the other's.
func (t *tx) touch(ctx context.Context, was, w *row) error {
	w.Changed = max(t.at.UnixMicro(), was.Changed+1)
	return t.put(ctx, w)
}

// Remove removes a record, whatever it is: also one that the administrator has disabled, so
// that for users there is [Store.Withdraw].
func (s *Store) Remove(ctx context.Context, by, login, address string) error {
	return s.remove(ctx, by, login, address, false)
}

// Withdraw removes a record, unless the administrator has disabled it: to add it again would
// undo that.
func (s *Store) Withdraw(ctx context.Context, by, login, address string) error {
	return s.remove(ctx, by, login, address, true)
}

func (s *Store) remove(ctx context.Context, by, login, address string, unlessDisabled bool) error {
	login, address = policy.CanonicalLogin(login), policy.CanonicalAddress(address)
	return s.change(ctx, s.times.call, by, func(ctx context.Context, t *tx) error {
		if unlessDisabled {
			if _, err := t.allowed(ctx, login, address); err != nil {
				return err
			}
		}
		n, err := t.exec(ctx, "DELETE FROM identities WHERE login = $1 AND address = $2", login, address)
		switch {
		case err != nil:
			return err
		case n == 0:
			return ErrNotFound
		}
		return t.note(ctx, Removed, login, address, "")
	})
}

// Disable forbids a user to write as an address of his, and Enable allows it again. Where it
// is so already, nothing happens.
func (s *Store) Disable(ctx context.Context, by, login, address string) error {
	return s.setDisabled(ctx, by, login, address, true, DisabledBy)
}

// Enable allows what [Store.Disable] has forbidden.
func (s *Store) Enable(ctx context.Context, by, login, address string) error {
	return s.setDisabled(ctx, by, login, address, false, EnabledBy)
}

func (s *Store) setDisabled(ctx context.Context, by, login, address string, disabled bool, action Action) error {
	login, address = policy.CanonicalLogin(login), policy.CanonicalAddress(address)
	return s.change(ctx, s.times.call, by, func(ctx context.Context, t *tx) error {
		was, err := t.get(ctx, login, address)
		if err != nil || was.Disabled == disabled {
			return err
		}
		w := was
		w.Disabled = disabled
		if err := t.touch(ctx, &was, &w); err != nil {
			return err
		}
		return t.note(ctx, action, login, address, "")
	})
}

// canonical brings what a record names into the form in which it is compared, and checks it.
func canonical(r *Record) error {
	r.Login = policy.CanonicalLogin(r.Login)
	address, err := ParseAddress(r.Address)
	if err != nil {
		return err
	}
	r.Address = address
	if r.Account == "" {
		r.Account = r.Login
	}
	if account, err := ParseAddress(r.Account); err == nil {
		r.Account = account
	}
	if r.Gateway != nil {
		g := *r.Gateway
		if host, err := ParseHost(g.Host); err == nil {
			g.Host = host
		}
		r.Gateway = &g
	}
	return r.Check()
}

// seal returns the row of a record with its password encrypted, and whether that is another
// than the one of was, if there is such a row. An empty password stands for that one, where
// the server is the same.
func (s *Store) seal(r *Record, was *row) (w row, another bool, err error) {
	w = stored(r)
	if r.Gateway == nil {
		return w, false, nil
	}
	password := r.Gateway.Password
	if was != nil && was.sameServer(&w) {
		known, err := s.config.Keys.open(was)
		if password.Reveal() == "" || err == nil && known.Reveal() == password.Reveal() {
			w.Password = was.Password
			return w, false, nil
		}
	}
	if err := CheckPassword(password); err != nil {
		return w, false, err
	}
	if w.Password, err = s.config.Keys.seal(&w, password); err != nil {
		err = fmt.Errorf("%w: the password can't be encrypted: %w", ErrUnavailable, err)
	}
	return w, true, err
}

// giveSlot gives an active record with a server a slot that no other user of the address
// has: the one that it names, or the least.
func (s *Store) giveSlot(ctx context.Context, t *tx, w *row) error {
	if w.Host == "" || w.State != Active.String() {
		w.Slot = 0
		return nil
	}
	slots := Slots{Count: 1}
	if s.config.Slots != nil {
		slots = s.config.Slots()
	}
	taken, err := t.slotsOfOthers(ctx, w)
	if err != nil {
		return err
	}
	if slots.Taken != nil {
		for _, slot := range slots.Taken(w.Address) {
			taken = append(taken, int64(slot))
		}
	}
	count := int64(min(slots.Count, policy.MaxSlots))
	if w.Slot < count && !slices.Contains(taken, w.Slot) {
		return nil
	}
	for slot := range count {
		if !slices.Contains(taken, slot) {
			w.Slot = slot
			return nil
		}
	}
	return ErrNoSlot
}

func (t *tx) slotsOfOthers(ctx context.Context, w *row) ([]int64, error) {
	rows, err := t.QueryContext(ctx, t.kind.sql("SELECT slot FROM identities WHERE address = $1 AND login <> $2 AND state = 'active' AND host <> ''"), w.Address, w.Login)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var slots []int64
	for rows.Next() {
		var slot int64
		if err := rows.Scan(&slot); err != nil {
			return nil, err
		}
		slots = append(slots, slot)
	}
	return slots, rows.Err()
}

// describe says in a change what a new record has.
func describe(w *row) string {
	parts := []string{w.State}
	if w.Disabled {
		parts = append(parts, "disabled")
	}
	return strings.Join(append(parts, "server "+server(w)), ", ")
}

// server names the server of a row.
func server(w *row) string {
	if w.Host == "" {
		return "none"
	}
	return fmt.Sprintf("[%s]:%d %s as %s", w.Host, w.Port, w.TLS, w.Username)
}

// difference says in a change what differs, or returns "".
func difference(was, w *row, password bool) string {
	var parts []string
	if was.Name != w.Name {
		parts = append(parts, fmt.Sprintf("name %q → %q", was.Name, w.Name))
	}
	if server(was) != server(w) {
		parts = append(parts, "server "+server(was)+" → "+server(w))
	}
	if was.State != w.State {
		parts = append(parts, was.State+" → "+w.State)
	}
	if password {
		parts = append(parts, "password")
	}
	return strings.Join(parts, ", ")
}

// later is the time of t plus d, in microseconds.
func (t *tx) later(d time.Duration) int64 { return t.at.Add(d).UnixMicro() }
