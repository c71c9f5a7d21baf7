package identity

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"time"
)

// History is kept for maxAge, and of at most maxChanges; there is a look at it every
// trimEvery changes.
const (
	maxAge     = 400 * 24 * time.Hour
	maxChanges = 1_000_000
	trimEvery  = 100
)

// A tx is a transaction that changes something: no other does at the same time, in any
// process. What it changes is either all in the database at its end, with the rows that say
// so, or not at all.
type tx struct {
	*sql.Tx
	kind    kind
	by      string
	at      time.Time
	last    int64 // id of the last change
	changes []Change
}

// change runs f in a transaction.
func (s *Store) change(ctx context.Context, limit time.Duration, by string, f func(context.Context, *tx) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	select {
	case s.writing <- struct{}{}:
	case <-ctx.Done():
		return unavailable(fmt.Errorf("another change takes too long: %w", ctx.Err()))
	}
	changes, err := s.commit(ctx, by, f)
	<-s.writing
	if err != nil {
		return unavailable(err)
	}
	if len(changes) > 0 {
		s.kick()
	}
	for _, c := range changes {
		if s.config.Report != nil {
			s.config.Report(c)
		}
	}
	return nil
}

func (s *Store) commit(ctx context.Context, by string, f func(context.Context, *tx) error) ([]Change, error) {
	t, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer t.Rollback() // does nothing after Commit
	t.by, t.at = printableLine(by), s.now().UTC().Truncate(time.Microsecond)
	if err := t.QueryRowContext(ctx, "SELECT last FROM feed").Scan(&t.last); err != nil {
		return nil, err
	}
	if err := f(ctx, t); err != nil {
		return nil, err
	}
	if err := t.finish(ctx); err != nil {
		return nil, err
	}
	return t.changes, t.Commit()
}

// attempts are enough to get rid of all connections that have died unnoticed.
const attempts = maxConnections + 1

// begin begins a transaction.
func (s *Store) begin(ctx context.Context) (t *tx, err error) {
	for range attempts {
		var db *sql.DB
		if db, err = s.use(ctx); err != nil {
			return nil, err
		}
		var raw *sql.Tx
		if raw, err = db.BeginTx(ctx, nil); err == nil {
			if err = s.kind.begin(ctx, raw); err == nil {
				return &tx{Tx: raw, kind: s.kind}, nil
			}
			raw.Rollback()
		}
		if !s.kind.lost(err) {
			break
		}
	}
	return nil, err
}

func (t *tx) exec(ctx context.Context, statement string, args ...any) (int64, error) {
	result, err := t.ExecContext(ctx, t.kind.sql(statement), args...)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

// note writes down a change.
func (t *tx) note(ctx context.Context, action Action, login, address, detail string) error {
	t.last++
	c := Change{ID: t.last, At: t.at, By: t.by, Action: action, Login: login, Address: address, Detail: detail}
	t.changes = append(t.changes, c)
	token := make([]byte, 8)
	rand.Read(token) // never fails
	_, err := t.exec(ctx, "INSERT INTO changes (id, at, by, action, login, address, detail, token) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
		c.ID, c.At.UnixMicro(), c.By, string(c.Action), c.Login, c.Address, c.Detail, hex.EncodeToString(token))
	return err
}

// finish tells the followers, and trims the history.
func (t *tx) finish(ctx context.Context) error {
	n := int64(len(t.changes))
	if n == 0 {
		return nil
	}
	if _, err := t.exec(ctx, "UPDATE feed SET last = $1", t.last); err != nil {
		return err
	}
	if t.last/trimEvery != (t.last-n)/trimEvery {
		// The last row stays: followers know it.
		_, err := t.exec(ctx, "DELETE FROM changes WHERE id < $1 AND (at < $2 OR id <= $3)", t.last, t.at.Add(-maxAge).UnixMicro(), t.last-maxChanges)
		if err != nil {
			return err
		}
	}
	return t.kind.notify(ctx, t.Tx)
}

// get returns a row, or ErrNotFound.
func (t *tx) get(ctx context.Context, login, address string) (row, error) {
	var w row
	err := t.QueryRowContext(ctx, t.kind.sql("SELECT "+columns+" FROM identities WHERE login = $1 AND address = $2"), login, address).Scan(w.fields()...)
	if errors.Is(err, sql.ErrNoRows) {
		err = ErrNotFound
	}
	return w, err
}

// allowed returns a row that the administrator has not disabled.
func (t *tx) allowed(ctx context.Context, login, address string) (row, error) {
	w, err := t.get(ctx, login, address)
	if err == nil && w.Disabled {
		err = ErrDisabled
	}
	return w, err
}

// pending returns a row that waits for its code.
func (t *tx) pending(ctx context.Context, login, address string) (row, error) {
	w, err := t.allowed(ctx, login, address)
	if err == nil && w.State != Pending.String() {
		err = ErrActive
	}
	return w, err
}

// put writes a row, new or in the place of an old one.
func (t *tx) put(ctx context.Context, w *row) error {
	_, err := t.exec(ctx, `INSERT INTO identities (`+columns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
		ON CONFLICT (login, address) DO UPDATE SET account = excluded.account, name = excluded.name, state = excluded.state,
		disabled = excluded.disabled, host = excluded.host, port = excluded.port, tls = excluded.tls, username = excluded.username,
		password = excluded.password, slot = excluded.slot, created = excluded.created, changed = excluded.changed`, w.values()...)
	return err
}

// kick lets this process's followers look at once.
func (s *Store) kick() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for w := range s.watchers {
		wake(w)
	}
}

// wake sends to a channel with room for one, unless there is one already.
func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
