package identity

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// U5: the file and those that SQLite puts beside it are their owner's alone; and where root
// makes or uses them, they belong to the directory's owner nevertheless: the daemon, which is
// not root, has to write them.
func TestSQLiteFiles(t *testing.T) {
	const daemon = 65534
	dir := filepath.Join(t.TempDir(), "gatemilter")
	must(t, os.Mkdir(dir, 0o750))
	owner := os.Geteuid()
	if owner == 0 {
		owner = daemon
		must(t, os.Chown(dir, daemon, daemon))
	}
	path := filepath.Join(dir, "identities.db")
	s := newStore(t, Config{Database: "sqlite:" + path})
	must(t, s.Add(t.Context(), alice, record(alice, partner)))
	for _, end := range []string{"", "-wal", "-shm"} {
		info, err := os.Stat(path + end)
		must(t, err)
		if got := int(info.Sys().(*syscall.Stat_t).Uid); info.Mode() != 0o600 || got != owner {
			t.Errorf("%q has mode %v, owner %d", end, info.Mode(), got)
		}
	}
	entries, err := os.ReadDir(dir)
	if must(t, err); len(entries) != 3 {
		t.Errorf("%d files", len(entries))
	}
}

// A directory that is missing is made for the owner alone; a file that everybody can read is
// refused, and so is what is no file.
func TestSQLiteRefused(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	path := filepath.Join(dir, "a database? 100%#&.db")
	s := newStore(t, Config{Database: "sqlite:" + path})
	must(t, s.Add(t.Context(), alice, record(alice, partner)))
	if info := must2(os.Stat(dir)); info.Mode() != os.ModeDir|0o700 {
		t.Errorf("mode %v", info.Mode())
	}
	must(t, s.Close())
	must(t, os.Chmod(path, 0o644))
	for path, want := range map[string]string{path: "run chmod o= on it", dir: "is no file", "/dev/null/x": "not a directory"} {
		_, err := Open(t.Context(), Config{Database: "sqlite:" + path})
		wantError(t, err, ErrUnavailable)
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %q, want %q", path, err, want)
		}
	}
}

// A file that is taken away, or replaced, while it is in use is not written any more: what is
// known stays.
func TestSQLiteReplaced(t *testing.T) {
	database := sqliteDatabase(t)
	path := strings.TrimPrefix(database, "sqlite:")
	s := newStore(t, Config{Database: database})
	must(t, s.Add(t.Context(), alice, active(alice, partner)))
	r, _ := follow(t, s, "")
	r.await(t, "the load", func() bool { return r.synced > 0 })
	must(t, os.Rename(path, path+".moved"))
	r.await(t, "it to be down", func() bool { return len(r.downs) == 1 })
	wantError(t, s.Remove(t.Context(), alice, alice, partner), ErrUnavailable)
	must(t, os.WriteFile(path, nil, 0o600))
	err := s.Remove(t.Context(), alice, alice, partner)
	wantError(t, err, ErrUnavailable)
	if !strings.Contains(err.Error(), "is not the file that it was: to put a backup there, stop gatemilter") || len(r.users) != 1 {
		t.Errorf("error %q, users %v", err, r.users)
	}
	must(t, os.Rename(path+".moved", path))
	r.await(t, "it to be up", func() bool { return r.ups == 1 })
}

// Each connection has the settings that keep what is committed, and overwrite what is
// deleted.
func TestSQLiteSettings(t *testing.T) {
	s := newStore(t, Config{Database: sqliteDatabase(t)})
	db, err := s.use(t.Context())
	must(t, err)
	for range maxConnections {
		conn, err := db.Conn(t.Context())
		must(t, err)
		defer conn.Close()
		for pragma, want := range map[string]string{"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1", "secure_delete": "1", "busy_timeout": "5000", "trusted_schema": "0"} {
			var got string
			must(t, conn.QueryRowContext(context.Background(), "PRAGMA "+pragma).Scan(&got))
			if got != want {
				t.Errorf("%s is %s, want %s", pragma, got, want)
			}
		}
	}
}

// U8: while another process holds the file for itself, calls end in time, with an error that
// says why.
func TestSQLiteLocked(t *testing.T) {
	database := sqliteDatabase(t)
	s := newStore(t, Config{Database: database})
	other := newStore(t, Config{Database: database})
	db, err := other.use(t.Context())
	must(t, err)
	tx, err := db.BeginTx(t.Context(), nil)
	must(t, err)
	s.times.call /= 50
	wantError(t, s.Add(t.Context(), alice, record(alice, partner)), ErrUnavailable)
	s.times.call = defaultTimes.call
	if _, err := s.List(t.Context(), alice); err != nil {
		t.Errorf("who reads is held up: %v", err)
	}
	must(t, tx.Rollback())
	must(t, s.Add(t.Context(), alice, record(alice, partner)))
}

// Commands come and go, each with a connection of its own, which makes and removes SQLite's
// other files: none of them disturbs another.
func TestSQLiteComeAndGo(t *testing.T) {
	database, keys := sqliteDatabase(t), newKeyring(t)
	var commands sync.WaitGroup
	for i := range 4 {
		commands.Go(func() {
			for j := range 10 {
				s, err := Open(t.Context(), Config{Database: database, Keys: keys})
				if err == nil {
					err = errors.Join(s.Add(t.Context(), admin, record(fmt.Sprintf("user%d@example.com", i), fmt.Sprintf("a%d@partner.example", j))), s.Close())
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	commands.Wait()
	history, err := newStore(t, Config{Database: database, Keys: keys}).History(t.Context(), "", "", 100)
	if must(t, err); len(history) != 40 {
		t.Errorf("%d changes, want 40", len(history))
	}
}

// A store that is closed while it opens its database leaves nobody behind who still does.
func TestCloseWhileOpening(t *testing.T) {
	for range 20 {
		dir := t.TempDir()
		s, err := New(Config{Database: "sqlite:" + filepath.Join(dir, "identities.db")})
		must(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		cancel() // so that nobody waits for what List begins
		if _, err := s.List(ctx, alice); err == nil {
			t.Fatal("the list was not given up")
		}
		must(t, s.Close())
		must(t, os.RemoveAll(dir)) // which fails where files still come
		if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("it is there again: %v", err)
		}
	}
}
