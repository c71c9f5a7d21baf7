package identity

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// maxImported is how many addresses one user may have after an import, which is an
// administrator's.
const maxImported = 1000

// Import stores records, all or none. One that is there already, and differs, is an error
// that wraps [ErrExists]; or is replaced, if replace says so. What is left of an empty
// password is what [Store.Change] says. Records that are there and not among rs stay.
func (s *Store) Import(ctx context.Context, by string, rs []Record, replace bool) (added, changed int, err error) {
	records := make([]Record, len(rs))
	named := make(map[[2]string]bool, len(rs))
	for i, r := range rs {
		if err := canonical(&r); err != nil {
			return 0, 0, about(&r, err)
		}
		if key := [2]string{r.Login, r.Address}; named[key] {
			return 0, 0, about(&r, invalid("address", "it is there twice"))
		} else {
			named[key] = true
		}
		records[i] = r
	}
	err = s.change(ctx, s.times.bulk, by, func(ctx context.Context, t *tx) error {
		for i := range records {
			isNew, isChanged, err := s.importOne(ctx, t, &records[i], replace)
			if err != nil {
				return about(&records[i], err)
			}
			added, changed = added+count(isNew), changed+count(isChanged)
		}
		return t.checkCounts(ctx)
	})
	if err != nil {
		return 0, 0, err
	}
	return added, changed, nil
}

func count(b bool) int {
	if b {
		return 1
	}
	return 0
}

// about says which record an error is about.
func about(r *Record, err error) error {
	return fmt.Errorf("%q, %q: %w", printable(r.Login), printable(r.Address), err)
}

func (s *Store) importOne(ctx context.Context, t *tx, r *Record, replace bool) (added, changed bool, err error) {
	was, err := t.get(ctx, r.Login, r.Address)
	isNew := errors.Is(err, ErrNotFound)
	if err != nil && !isNew {
		return false, false, err
	}
	r.Changed = t.at
	old := &was
	if isNew {
		old = nil
	}
	if r.Created.IsZero() {
		r.Created = t.at
	}
	w, another, err := s.seal(r, old)
	if err != nil {
		return false, false, err
	}
	if isNew {
		if err := s.giveSlot(ctx, t, &w); err != nil {
			return false, false, err
		}
		err := t.put(ctx, &w)
		if err == nil {
			err = t.note(ctx, Imported, w.Login, w.Address, describe(&w))
		}
		return true, false, err
	}
	detail := importDifference(&was, &w, another)
	switch {
	case detail == "":
		return false, false, nil
	case !replace:
		return false, false, fmt.Errorf("%w, and it is another: %s", ErrExists, detail)
	}
	w.Created = was.Created
	if was.Host != "" && was.State == Active.String() && w.State == was.State && w.Host != "" {
		w.Slot = was.Slot // mail that waits is known by it
	} else if err := s.giveSlot(ctx, t, &w); err != nil {
		return false, false, err
	}
	if err := t.touch(ctx, &was, &w); err != nil {
		return false, false, err
	}
	return false, true, t.note(ctx, Imported, w.Login, w.Address, detail)
}

// importDifference says what an import changes of a row, or returns "".
func importDifference(was, w *row, password bool) string {
	parts := []string{difference(was, w, password)}
	if was.Account != w.Account {
		parts = append(parts, "account "+was.Account+" → "+w.Account)
	}
	if was.Disabled != w.Disabled {
		parts = append(parts, map[bool]string{true: "disabled", false: "enabled"}[w.Disabled])
	}
	return strings.TrimPrefix(strings.Join(parts, ", "), ", ")
}

// checkCounts looks whether anybody has too many addresses now.
func (t *tx) checkCounts(ctx context.Context) error {
	rows, err := t.QueryContext(ctx, t.kind.sql("SELECT login, count(*) FROM identities GROUP BY login HAVING count(*) > $1"), maxImported)
	if err != nil {
		return err
	}
	defer rows.Close()
	if rows.Next() {
		var login string
		var n int
		if err := rows.Scan(&login, &n); err != nil {
			return err
		}
		return fmt.Errorf("%q would have %d: %w", printable(login), n, ErrTooMany)
	}
	return rows.Err()
}

// Rekey encrypts all passwords with the first key, in one transaction, and returns how many
// were not. One that can't be decrypted stays as it is; then the error wraps [ErrPassword],
// and the others are done nevertheless.
func (s *Store) Rekey(ctx context.Context, by string) (n int, err error) {
	var bad []string
	err = s.change(ctx, s.times.bulk, by, func(ctx context.Context, t *tx) error {
		var old []row
		err := s.eachRow(ctx, t, func(w *row, err error) bool {
			if err == nil && w.Host != "" && !s.config.Keys.current(w) {
				old = append(old, *w)
			}
			return true
		}, "")
		if err != nil {
			return err
		}
		for i := range old {
			w := &old[i]
			password, err := s.config.Keys.open(w)
			if err != nil {
				bad = append(bad, fmt.Sprintf("%q, %q: %s", printable(w.Login), printable(w.Address), err))
				continue
			}
			if w.Password, err = s.config.Keys.seal(w, password); err != nil {
				return fmt.Errorf("%w: %w", ErrUnavailable, err)
			}
			if _, err := t.exec(ctx, "UPDATE identities SET password = $1 WHERE login = $2 AND address = $3", w.Password, w.Login, w.Address); err != nil {
				return err
			}
			n++
		}
		if n == 0 {
			return nil
		}
		return t.note(ctx, Rekeyed, "", "", fmt.Sprintf("%d passwords", n))
	})
	if err != nil {
		return 0, err
	}
	if db, err := s.use(ctx); err == nil && n > 0 {
		if err := s.kind.tidy(ctx, db); err != nil {
			return n, unavailable(fmt.Errorf("the passwords are encrypted anew, but old ones remain in the log: %w", err))
		}
	}
	if len(bad) > 0 {
		return n, fmt.Errorf("%w, and stay as they are, %d: %s", ErrPassword, len(bad), strings.Join(bad[:min(len(bad), 10)], "; "))
	}
	return n, nil
}
