package identity

import (
	"context"
	"database/sql"
	"errors"
	"iter"
	"math"
	"time"

	"gatemilter/policy"
)

// List returns a user's records, by address. Rows that nobody can use are left out.
func (s *Store) List(ctx context.Context, login string) ([]Record, error) {
	ctx, cancel := context.WithTimeout(ctx, s.times.call)
	defer cancel()
	db, err := s.use(ctx)
	if err != nil {
		return nil, unavailable(err)
	}
	var records []Record
	err = s.each(ctx, db, func(r Record, err error) bool {
		if usable(err) {
			records = append(records, r)
		}
		return true
	}, "WHERE login = $1", policy.CanonicalLogin(login))
	return records, unavailable(err)
}

// Get returns one record. Where its row can't be used, the error is a *[RowError]; where only
// its password can't be decrypted, there is none, and the password is empty.
func (s *Store) Get(ctx context.Context, login, address string) (Record, error) {
	ctx, cancel := context.WithTimeout(ctx, s.times.call)
	defer cancel()
	db, err := s.use(ctx)
	if err != nil {
		return Record{}, unavailable(err)
	}
	found, bad := Record{}, error(ErrNotFound)
	err = s.each(ctx, db, func(r Record, err error) bool {
		found, bad = r, err
		return false
	}, "WHERE login = $1 AND address = $2", policy.CanonicalLogin(login), policy.CanonicalAddress(address))
	switch {
	case err != nil:
		return Record{}, unavailable(err)
	case usable(bad):
		return found, nil
	}
	return Record{}, bad
}

// All returns all records, by login and address. A row that can't be used comes as a
// *[RowError], and so does, with its record, one whose password can't be decrypted; others
// follow. Any other error is the last.
func (s *Store) All(ctx context.Context) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		ctx, cancel := context.WithTimeout(ctx, s.times.bulk)
		defer cancel()
		db, err := s.use(ctx)
		if err == nil {
			err = s.each(ctx, db, yield, "")
		}
		if err != nil {
			yield(Record{}, unavailable(err))
		}
	}
}

// usable says whether a record is good, but perhaps for its password.
func usable(err error) bool { return err == nil || errors.Is(err, ErrPassword) }

// A queryer is a database or a transaction.
type queryer interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// query asks a database or, where that can't go on after an error, once in a transaction.
func (s *Store) query(ctx context.Context, q queryer, query string, args ...any) (rows *sql.Rows, err error) {
	for range attempts {
		rows, err = q.QueryContext(ctx, s.kind.sql(query), args...)
		if _, again := q.(*sql.DB); err == nil || !again || !s.kind.lost(err) {
			break
		}
	}
	return rows, err
}

// each calls f for each of the rows, in order, until it returns false. The error is the
// database's alone.
func (s *Store) each(ctx context.Context, q queryer, f func(Record, error) bool, where string, args ...any) error {
	return s.eachRow(ctx, q, func(w *row, err error) bool {
		if err != nil {
			return f(Record{}, &RowError{w.Login, w.Address, err})
		}
		return f(w.record(s.config.Keys))
	}, where, args...)
}

// eachRow calls f for each row as it is stored, or with the error that it can't be read. The
// row is f's until it returns.
func (s *Store) eachRow(ctx context.Context, q queryer, f func(*row, error) bool, where string, args ...any) error {
	rows, err := s.query(ctx, q, "SELECT "+columns+" FROM identities "+where+" ORDER BY login, address", args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var w row
		if !f(&w, rows.Scan(w.fields()...)) {
			return nil
		}
	}
	return rows.Err()
}

// History returns the last changes of a record, of a user where address is "", or of all
// where login is, too: the newest first.
func (s *Store) History(ctx context.Context, login, address string, limit int) ([]Change, error) {
	ctx, cancel := context.WithTimeout(ctx, s.times.call)
	defer cancel()
	db, err := s.use(ctx)
	if err != nil {
		return nil, unavailable(err)
	}
	query, args := "SELECT id, at, by, action, login, address, detail FROM changes WHERE id <= $1", []any{int64(math.MaxInt64)}
	if login != "" {
		query, args = query+" AND login = $2", append(args, policy.CanonicalLogin(login))
	}
	if login != "" && address != "" {
		query, args = query+" AND address = $3", append(args, policy.CanonicalAddress(address))
	}
	rows, err := s.query(ctx, db, query+" ORDER BY id DESC LIMIT "+placeholder(len(args)+1), append(args, limit)...)
	if err != nil {
		return nil, unavailable(err)
	}
	defer rows.Close()
	var changes []Change
	for rows.Next() {
		var c Change
		var at int64
		if err := rows.Scan(&c.ID, &at, &c.By, &c.Action, &c.Login, &c.Address, &c.Detail); err != nil {
			continue // no store has written it
		}
		if c.At = time.UnixMicro(at).UTC(); !inCalendar(c.At) {
			continue
		}
		c.By, c.Action = printableLine(c.By), Action(printable(string(c.Action)))
		c.Login, c.Address, c.Detail = printableLine(c.Login), printableLine(c.Address), printableLine(c.Detail)
		changes = append(changes, c)
	}
	return changes, unavailable(rows.Err())
}

func placeholder(n int) string { return "$" + string(rune('0'+n)) }
