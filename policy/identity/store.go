package identity

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
)

// A Config says which database a store uses, and how.
type Config struct {
	// Database is "sqlite:/PATH", or "postgres://USER@HOST[:PORT]/NAME?…" without a
	// password: that is in the passfile which the URL names (passfile=PATH).
	Database string
	// Keys encrypts and decrypts passwords. Without it, all are unknown and none can be
	// stored.
	Keys *Keyring
	// Slots says, at each use, which slots users of the same address may have. Nil stands
	// for one.
	Slots func() Slots
	// Report is told of each change that this store has made, once it is in the database.
	Report func(Change)

	now   func() time.Time // nil: time.Now
	times *times           // nil: defaultTimes
}

// Slots are what tells apart the users who have the same address with servers of their own.
type Slots struct {
	// Count is [policy.Outbound].Slots.
	Count int
	// Taken returns those that the configuration's users have for an address; it may be
	// nil.
	Taken func(address string) []int
}

// times bound what a store does, so that a database which doesn't answer holds nobody up.
type times struct {
	// call bounds one method, and bulk those that may be about all records.
	call, bulk time.Duration
	// connect bounds one attempt to connect, and migrate what is done before the first use.
	connect, migrate time.Duration
	// compare is how often followers look for changes. The first load ends after firstLoad,
	// for the snapshot's sake.
	compareFile, compareServer, firstLoad time.Duration
	// retryMin and retryMax bound the pauses between attempts while the database is away.
	retryMin, retryMax time.Duration
	// ping is how often the connection that listens is tried.
	ping time.Duration
	// snapshot is the least time between two snapshots.
	snapshot time.Duration
}

var defaultTimes = times{
	call: 5 * time.Second, bulk: 5 * time.Minute,
	connect: 3 * time.Second, migrate: 5 * time.Minute,
	compareFile: 250 * time.Millisecond, compareServer: 10 * time.Second, firstLoad: 10 * time.Second,
	retryMin: 200 * time.Millisecond, retryMax: 5 * time.Second,
	ping:     30 * time.Second,
	snapshot: 10 * time.Second,
}

// A Store is the database of identities. Its methods may be called by several goroutines at
// once. Each returns within seconds, with an error that wraps [ErrUnavailable] where the
// database doesn't answer.
//
// Logins and addresses that methods are given need not be in canonical form.
type Store struct {
	config Config
	times  times
	kind   kind
	now    func() time.Time

	// writing is held by the one who writes: who waits for it waits in the order of coming,
	// and SQLite has no such order.
	writing chan struct{}

	mu       sync.Mutex
	db       *sql.DB  // nil until it is connected and has its tables
	opening  *opening // nil: nobody opens it
	closed   bool
	watchers map[chan struct{}]bool // of changes by this store
}

// A kind of database: SQLite or PostgreSQL.
type kind interface {
	// sql returns a statement, written with $1, as the database takes it.
	sql(statement string) string
	// open connects, and brings the tables up to date.
	open(ctx context.Context, t times) (*sql.DB, error)
	// intact says why what was opened must not be used any more.
	intact() error
	// readOnly are the options of a transaction that sees one state of the database.
	readOnly() *sql.TxOptions
	// begin makes a new transaction the only one that writes, until it ends.
	begin(ctx context.Context, tx *sql.Tx) error
	// notify tells the followers on other hosts that the transaction has changed something.
	notify(ctx context.Context, tx *sql.Tx) error
	// listen calls changed whenever another process may have changed something, until ctx
	// ends.
	listen(ctx context.Context, t times, changed func())
	// compare is how often followers have to look by themselves.
	compare(t times) time.Duration
	// lost says that a connection has ended, so that another one may do.
	lost(err error) bool
	// tidy removes what is left of deleted values.
	tidy(ctx context.Context, db *sql.DB) error
}

// New returns a store. It looks only at the configuration: the database is connected, and
// gets its tables, when it is used first.
func New(c Config) (*Store, error) {
	s := &Store{config: c, times: defaultTimes, now: c.now, writing: make(chan struct{}, 1), watchers: make(map[chan struct{}]bool)}
	if c.times != nil {
		s.times = *c.times
	}
	if s.now == nil {
		s.now = time.Now
	}
	var err error
	switch path, isFile := strings.CutPrefix(c.Database, "sqlite:"); {
	case isFile:
		s.kind, err = newSQLite(path)
	case strings.HasPrefix(c.Database, "postgres://"), strings.HasPrefix(c.Database, "postgresql://"):
		s.kind, err = newPostgres(c.Database)
	default:
		err = errors.New("a database is sqlite:/PATH, or postgres://USER@HOST/NAME")
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Open returns a store whose database can be used.
func Open(ctx context.Context, c Config) (*Store, error) {
	s, err := New(c)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.times.migrate)
	defer cancel()
	if _, err := s.use(ctx); err != nil {
		s.Close()
		return nil, unavailable(err)
	}
	return s, nil
}

// Close ends the connections, also one that is being made: afterwards nothing touches the
// database's files. Calls that are under way may fail.
func (s *Store) Close() error {
	s.mu.Lock()
	s.closed = true
	db, o := s.db, s.opening
	s.mu.Unlock()
	if o != nil {
		o.cancel()
		<-o.done // which closes what it has opened
	}
	if db == nil {
		return nil
	}
	return db.Close()
}

// An opening is an attempt to open the database, for which several may wait.
type opening struct {
	cancel context.CancelFunc
	done   chan struct{}
	err    error
}

var errClosed = errors.New("the store has been closed")

// use returns the database, opened if it is not yet.
func (s *Store) use(ctx context.Context) (*sql.DB, error) {
	if err := s.kind.intact(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	switch {
	case s.closed:
		s.mu.Unlock()
		return nil, errClosed
	case s.db != nil:
		defer s.mu.Unlock()
		return s.db, nil
	case s.opening == nil:
		ctx, cancel := context.WithTimeout(context.Background(), s.times.migrate)
		s.opening = &opening{cancel: cancel, done: make(chan struct{})}
		go s.open(ctx, s.opening)
	}
	o := s.opening
	s.mu.Unlock()
	select {
	case <-o.done:
	case <-ctx.Done():
		return nil, fmt.Errorf("it is not ready yet: %w", ctx.Err())
	}
	if o.err != nil {
		return nil, o.err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.db == nil {
		return nil, errClosed
	}
	return s.db, nil
}

// open makes the attempt. It has a time of its own: who began it may not wait so long.
func (s *Store) open(ctx context.Context, o *opening) {
	db, err := s.kind.open(ctx, s.times)
	o.cancel()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed && err == nil {
		db.Close()
		err = errClosed
	}
	o.err, s.opening = err, nil
	if err == nil {
		s.db = db
	}
	close(o.done)
}

// unavailable makes an error say that it is the database's, unless it is about what was
// asked for.
func unavailable(err error) error {
	if err == nil {
		return nil
	}
	for _, known := range []error{ErrNotFound, ErrExists, ErrTooMany, ErrChanged, ErrDisabled, ErrActive, ErrWrongCode, ErrCodeExpired, ErrNoSlot, ErrUnavailable, ErrPassword} {
		if errors.Is(err, known) {
			return err
		}
	}
	var invalid *InvalidError
	var row *RowError
	if errors.As(err, &invalid) || errors.As(err, &row) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}
