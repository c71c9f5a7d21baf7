package identity

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// A Follower is told what the records are. Its functions are called one at a time; any may
// be nil, and none may call a method of the store that waits for it.
type Follower struct {
	// Users tells the records: all if whole, and otherwise those of the users who have any
	// that changed; a user without records is one who has none any more. The records of a
	// user are in the order of their addresses.
	Users func(whole bool, users map[string][]Record)
	// Down tells that the database can't be used, and why, when that begins. What Users told
	// last is to be kept; if that has not been called yet, nothing is known.
	Down func(error)
	// Up tells that what Down said is over. Users has told what changed meanwhile.
	Up func()
	// Synced is called whenever what Users told is known to be what the database has.
	Synced func()
	// Bad tells of what is left out: a row that can't be used, or the password of one that
	// can't be decrypted ([ErrPassword]), as a *[RowError], each time that it is loaded; or
	// a snapshot that can't be read or written.
	Bad func(error)
}

// Follow tells the follower all records, and then every change, by whomever and on whichever
// host, until ctx ends. Where the first load fails, it begins with the snapshot in the file;
// and it keeps that up to date: what Users tells is there before. Without a file's name there is
// none.
func (s *Store) Follow(ctx context.Context, snapshotFile string, f Follower) {
	w := &watcher{store: s, follower: f.complete(), woken: make(chan struct{}, 1)}
	s.mu.Lock()
	s.watchers[w.woken] = true
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.watchers, w.woken)
	}()
	listening := make(chan struct{})
	go func() {
		defer close(listening)
		s.kind.listen(ctx, s.times, func() { wake(w.woken) })
	}()
	w.snapshots = &snapshots{store: s, path: snapshotFile, follower: w.follower}
	defer w.snapshots.close()
	w.run(ctx)
	<-listening
}

// complete puts functions that do nothing where there are none, and lets none be called
// while another is.
func (f Follower) complete() Follower {
	var one sync.Mutex
	locked := func(call func()) {
		one.Lock()
		defer one.Unlock()
		call()
	}
	return Follower{
		Users: func(whole bool, users map[string][]Record) {
			if f.Users != nil {
				locked(func() { f.Users(whole, users) })
			}
		},
		Down: func(err error) {
			if f.Down != nil {
				locked(func() { f.Down(err) })
			}
		},
		Up: func() {
			if f.Up != nil {
				locked(f.Up)
			}
		},
		Synced: func() {
			if f.Synced != nil {
				locked(f.Synced)
			}
		},
		Bad: func(err error) {
			if f.Bad != nil {
				locked(func() { f.Bad(err) })
			}
		},
	}
}

// A watcher follows for one follower.
type watcher struct {
	store     *Store
	follower  Follower
	woken     chan struct{} // something may have changed
	snapshots *snapshots

	known  point
	loaded bool // known is what the follower was told
	down   bool
	// read is how often the keys had been read when what is known was loaded, and locked says that
	// a password could not be decrypted: with other keys it may be.
	read   int
	locked bool
}

// A point in the history of changes: the last one, and what tells it from one with the same
// number in another history.
type point struct {
	id    int64
	token string
}

// maxStep is how many changes are followed one by one; with more, all is loaded.
const maxStep = 2000

// followPause is the least time from one look to the next in the long run, and followBurst how many
// there may be before that: whoever may connect to PostgreSQL can notify without end.
const (
	followPause = 20 * time.Millisecond
	followBurst = 20
)

func (w *watcher) run(ctx context.Context) {
	pause, looks := newBackoff(w.store.times), rate.NewLimiter(rate.Every(followPause), followBurst)
	for first := true; ; first = false {
		next := w.store.kind.compare(w.store.times)
		if err := w.sync(ctx, first); err == nil {
			pause.reset()
		} else {
			next = pause.pause()
		}
		select {
		case <-ctx.Done():
			return
		case <-w.woken:
			// While it is down, being woken is no reason to hurry beyond all measure.
			if w.down {
				sleep(ctx, min(next, w.store.times.retryMin))
			}
			looks.Wait(ctx) // which fails only where ctx ends
		case <-time.After(next):
		}
		if ctx.Err() != nil {
			return
		}
	}
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// sync looks for changes, and tells the follower of them and of the database's state.
func (w *watcher) sync(ctx context.Context, first bool) error {
	limit := w.store.times.bulk
	if first {
		limit = w.store.times.firstLoad
	}
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err := w.compare(limited)
	switch {
	case ctx.Err() != nil:
		return ctx.Err() // it is we who leave
	case err != nil:
		if first {
			w.fromSnapshot()
		}
		if !w.down {
			w.down = true
			w.follower.Down(unavailable(err))
		}
		return err
	}
	if w.down {
		w.down = false
		w.follower.Up()
	}
	w.follower.Synced()
	return nil
}

// fromSnapshot tells what the records were when this host last knew them.
func (w *watcher) fromSnapshot() {
	users, err := w.snapshots.read()
	switch {
	case errors.Is(err, errNoSnapshot):
	case err != nil:
		w.follower.Bad(err)
	default:
		w.follower.Users(true, users)
	}
}

// compare asks whether the history is longer than what is known, and loads what is new.
func (w *watcher) compare(ctx context.Context) error {
	db, err := w.store.use(ctx)
	if err != nil {
		return err
	}
	if !w.loaded {
		return w.loadAll(ctx, db)
	}
	asking, cancel := context.WithTimeout(ctx, w.store.times.call)
	defer cancel()
	now, err := w.store.last(asking, db)
	switch {
	case err != nil:
		return err
	case w.snapshots.lacking(), w.locked && w.store.config.Keys.loaded() != w.read:
		return w.loadAll(ctx, db)
	case now == w.known:
		return nil
	}
	logins, now, err := w.changed(asking, db)
	switch {
	case errors.Is(err, errOtherHistory):
		return w.loadAll(ctx, db)
	case err != nil:
		return err
	}
	users, rows := make(map[string][]Record, len(logins)), make(map[string][]row, len(logins))
	for login := range logins {
		if users[login], rows[login], err = w.load(asking, db, login); err != nil {
			return err
		}
	}
	w.snapshots.add(rows)
	w.tell(now, false, users)
	return nil
}

// last returns the end of the history.
func (s *Store) last(ctx context.Context, q queryer) (p point, err error) {
	rows, err := s.query(ctx, q, "SELECT last, COALESCE((SELECT token FROM changes WHERE id = feed.last), '') FROM feed")
	if err != nil {
		return p, err
	}
	defer rows.Close()
	if !rows.Next() {
		return p, errors.Join(rows.Err(), errors.New("its table feed is empty"))
	}
	return p, rows.Scan(&p.id, &p.token)
}

// errOtherHistory says that it does not help to know what is known.
var errOtherHistory = errors.New("the history is another, or too long, or about everything")

// changed returns those whose records have changed since the known point, and the point up
// to which that is so.
func (w *watcher) changed(ctx context.Context, db *sql.DB) (logins map[string]bool, end point, err error) {
	rows, err := w.store.query(ctx, db, "SELECT id, token, login FROM changes WHERE id >= $1 ORDER BY id LIMIT $2", w.known.id, maxStep)
	if err != nil {
		return nil, end, err
	}
	defer rows.Close()
	logins = make(map[string]bool)
	end = point{id: w.known.id - 1}
	if w.known.id == 0 {
		end.id = 0
	}
	n := 0
	for ; rows.Next(); n++ {
		var p point
		var login string
		if err := rows.Scan(&p.id, &p.token, &login); err != nil {
			return nil, end, err
		}
		known := n == 0 && w.known.id > 0
		if p.id != end.id+1 || known && p != w.known || !known && login == "" {
			return nil, end, errOtherHistory
		}
		if end = p; !known {
			logins[login] = true
		}
	}
	if err := rows.Err(); err != nil {
		return nil, end, err
	}
	if n == 0 || n == maxStep {
		return nil, end, errOtherHistory
	}
	return logins, end, nil
}

// load returns a user's records, and the rows as they are stored.
func (w *watcher) load(ctx context.Context, q queryer, login string) (records []Record, rows []row, err error) {
	err = w.store.eachRow(ctx, q, func(stored *row, err error) bool {
		if r, good := w.record(stored, err); good {
			records, rows = append(records, r), append(rows, *stored)
		}
		return true
	}, "WHERE login = $1", login)
	return records, rows, err
}

// record returns the record of a row, if that is good, and reports it if not.
func (w *watcher) record(stored *row, err error) (Record, bool) {
	if err != nil {
		return Record{}, w.good(&RowError{stored.Login, stored.Address, err})
	}
	r, err := stored.record(w.store.config.Keys)
	return r, w.good(err)
}

// good reports bad rows.
func (w *watcher) good(err error) bool {
	var bad *RowError
	if errors.As(err, &bad) {
		w.follower.Bad(bad)
	}
	if errors.Is(err, ErrPassword) {
		w.locked = true
	}
	return usable(err)
}

// loadAll loads all records, and the point of the history to which they belong.
func (w *watcher) loadAll(ctx context.Context, db *sql.DB) error {
	t, err := db.BeginTx(ctx, w.store.kind.readOnly())
	if err != nil {
		return err
	}
	defer t.Rollback()
	end, err := w.store.last(ctx, t)
	if err != nil {
		return err
	}
	users := make(map[string][]Record)
	hosts := make(map[string]string)
	w.read, w.locked = w.store.config.Keys.loaded(), false
	snapshot := w.snapshots.begin()
	err = w.store.eachRow(ctx, t, func(stored *row, err error) bool {
		if r, good := w.record(stored, err); good {
			share(&r, hosts)
			users[r.Login] = append(users[r.Login], r)
			snapshot.put(stored)
		}
		return true
	}, "")
	if err != nil {
		snapshot.abandon()
		return fmt.Errorf("loading all records: %w", err)
	}
	snapshot.commit()
	w.tell(end, true, users)
	return nil
}

// share lets records of the same host have its name in common.
func share(r *Record, hosts map[string]string) {
	if r.Gateway == nil {
		return
	}
	host, known := hosts[r.Gateway.Host]
	if !known {
		host = r.Gateway.Host
		hosts[host] = host
	}
	r.Gateway.Host = host
}

func (w *watcher) tell(now point, whole bool, users map[string][]Record) {
	w.follower.Users(whole, users)
	w.known, w.loaded = now, true
}
