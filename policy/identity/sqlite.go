package identity

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/pressly/goose/v3"
	_ "modernc.org/sqlite" // the driver "sqlite"
)

// An sqlite is a database in a file.
type sqlite struct {
	path string

	mu   sync.Mutex
	file os.FileInfo // the file that is open
}

func newSQLite(path string) (*sqlite, error) {
	if !filepath.IsAbs(path) {
		return nil, fmt.Errorf("sqlite:%s has no absolute path: write it in full, as in sqlite:/var/lib/gatemilter/identities.db", path)
	}
	return &sqlite{path: filepath.Clean(path)}, nil
}

func (*sqlite) sql(statement string) string { return strings.ReplaceAll(statement, "$", "?") }

// maxConnections is how many there are to a file or a server.
const maxConnections = 4

// options are those of each connection. A change is on the disk when it is committed
// (synchronous, with the write-ahead log); what is deleted is overwritten; and nothing in
// the file can make the program do more than the statements that it has.
func (*sqlite) options() string {
	o := url.Values{"mode": {"rw"}, "_txlock": {"immediate"}, "_dqs": {"0"}, "_defensive": {"1"}}
	for _, p := range []string{"busy_timeout(5000)", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)", "secure_delete(1)", "trusted_schema(0)", "cell_size_check(1)"} {
		o.Add("_pragma", p)
	}
	return o.Encode()
}

func (f *sqlite) open(ctx context.Context, t times) (*sql.DB, error) {
	info, err := f.file600()
	if err != nil {
		return nil, err
	}
	// Of several that begin at once, one makes the first connection, and the tables: to turn
	// the write-ahead log on, SQLite does not wait for others.
	unlock, err := lockDirectory(ctx, filepath.Dir(f.path))
	if err != nil {
		return nil, err
	}
	defer unlock()
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", OmitHost: true, Path: f.path, RawQuery: f.options()}).String())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(maxConnections)
	db.SetMaxIdleConns(maxConnections)
	if err := migrate(ctx, db, goose.DialectSQLite3, "sqlite"); err != nil {
		return nil, errors.Join(fmt.Errorf("%q: %w", f.path, err), db.Close())
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.file = info
	return db, nil
}

// file600 makes the file if there is none, for its owner alone: SQLite gives its other
// files the same mode and owner. It never opens one that is there, as closing it would
// drop the locks that SQLite may have on it in this process (https://sqlite.org/howtocorrupt.html,
// section 2.2).
func (f *sqlite) file600() (os.FileInfo, error) {
	info, err := os.Stat(f.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := f.create(); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
		return os.Stat(f.path)
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%q is no file", f.path)
	case info.Mode()&0o007 != 0:
		return nil, fmt.Errorf("%q can be read or written by every user of this host: run chmod o= on it", f.path)
	}
	return info, nil
}

// create makes the file and, if need be, its directory. Where root does, because he runs a
// command before the daemon has begun, it belongs to the directory's owner.
func (f *sqlite) create() error {
	dir := filepath.Dir(f.path)
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	file, err := os.OpenFile(f.path, os.O_RDWR|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := os.Stat(dir)
	if owner, ok := info.Sys().(*syscall.Stat_t); err == nil && ok && os.Geteuid() == 0 {
		err = file.Chown(int(owner.Uid), int(owner.Gid))
	}
	return err
}

// intact notices that somebody has put another file there while this one was in use. What
// would be written into one that has no name any more would be lost, and to open the other
// with the log that belongs to the first would destroy it (section 1.4 there).
func (f *sqlite) intact() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.file == nil {
		return nil // it has not been opened yet
	}
	info, err := os.Stat(f.path)
	switch {
	case err != nil:
		return fmt.Errorf("its file was taken away while it was in use: %w", err)
	case !os.SameFile(info, f.file):
		return fmt.Errorf("%q is not the file that it was: to put a backup there, stop gatemilter, remove %[1]s-wal and %[1]s-shm, and start it again", f.path)
	}
	return nil
}

func (*sqlite) readOnly() *sql.TxOptions { return &sql.TxOptions{ReadOnly: true} }

// begin has nothing to do: BEGIN IMMEDIATE has waited for all others.
func (*sqlite) begin(context.Context, *sql.Tx) error { return nil }

// notify has nobody to tell: who follows in other processes compares very often.
func (*sqlite) notify(context.Context, *sql.Tx) error { return nil }

func (*sqlite) listen(ctx context.Context, _ times, _ func()) { <-ctx.Done() }

func (*sqlite) compare(t times) time.Duration { return t.compareFile }

func (*sqlite) lost(error) bool { return false }

// tidy empties the write-ahead log, which has old pages as they were.
func (*sqlite) tidy(ctx context.Context, db *sql.DB) error {
	_, err := db.ExecContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)")
	return err
}
