package identity

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// snapshotOf returns the text of a snapshot of all that a store has.
func snapshotOf(t testing.TB, s *Store) string {
	t.Helper()
	n := &snapshots{store: s, path: filepath.Join(t.TempDir(), "snapshot")}
	w := &watcher{store: s, snapshots: n, follower: Follower{}.complete()}
	must(t, w.loadAll(t.Context(), must2(s.use(t.Context()))))
	n.close()
	return string(must2(os.ReadFile(n.path)))
}

// U8: a daemon that begins while the database is away has the records of the snapshot, all
// that can be used; and a snapshot that is not whole is none.
func TestSnapshot(t *testing.T) {
	s := newStore(t, Config{Database: sqliteDatabase(t)})
	must(t, s.Add(t.Context(), alice, active(alice, partner)))
	must(t, s.Add(t.Context(), alice, record(alice, "b@partner.example")))
	must(t, s.Add(t.Context(), bob, active(bob, "bob@partner.example")))
	text := snapshotOf(t, s)
	lines := strings.SplitAfter(text, "\n")
	for _, test := range []struct {
		name, text  string
		users, bads int
	}{
		{"whole", text, 2, 0},
		{"none", "", 0, 1},
		{"only its head", lines[0], 0, 1},
		{"no end", strings.Join(lines[:4], ""), 0, 1},
		{"a line too few", lines[0] + lines[1] + lines[4], 0, 1},
		{"cut", text[:len(text)-3], 0, 1},
		{"something behind", text + lines[1], 0, 1},
		{"a change", text + `{"login":"bob@example.com","rows":0}` + "\n", 1, 0},
		{"changes", text + `{"login":"alice@example.com","rows":0}` + "\n" + `{"login":"alice@example.com","rows":2}` + "\n" + lines[1] + lines[2], 2, 0},
		{"another user's row", text + `{"login":"alice@example.com","rows":1}` + "\n" + lines[3], 0, 1},
		{"a change that was being written", text + `{"login":"alice@example.com","ro`, 2, 0},
		{"a row that was being written", text + `{"login":"alice@example.com","rows":2}` + "\n" + lines[1] + lines[2][:20], 2, 0},
		{"half a change in the middle", text + `{"login":"alice@example.com","ro` + "\n" + `{"login":"bob@example.com","rows":0}` + "\n", 0, 1},
		{"half a line", strings.Replace(text, `"host"`, `"ho`, 1), 0, 1},
		{"an unknown key", strings.Replace(text, `"host"`, `"hosts"`, 1), 0, 1},
		{"another version", strings.Replace(text, "1", "2", 1), 0, 1},
		{"a long line", lines[0] + strings.Repeat(" ", maxSnapshotLine) + strings.Join(lines[1:], ""), 0, 1},
		{"a bad host", strings.Replace(text, "smtp.partner.example", "a]:25,[b", 1), 2, 1},
		{"a password for another host", strings.ReplaceAll(text, "smtp.partner.example", "smtp.evil.example"), 2, 3},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "snapshot")
			must(t, os.WriteFile(path, []byte(test.text), 0o600))
			away, err := New(Config{Database: "sqlite:" + filepath.Join(dir, "no", "such", "dir.db"), Keys: s.config.Keys})
			must(t, err)
			defer away.Close()
			r, stop := follow(t, away, path)
			r.await(t, "it to be down", func() bool { return len(r.downs) == 1 })
			stop()
			if len(r.users) != test.users || len(r.bad) != test.bads {
				t.Errorf("users %v, bad %v", r.users, r.bad)
			}
			if kept := must2(os.ReadFile(path)); string(kept) != test.text {
				t.Error("the snapshot was overwritten")
			}
			if test.name == "whole" && (r.users[alice][0].Gateway.Password.Reveal() != secret || len(r.users[alice]) != 2) {
				t.Errorf("alice has %+v", r.users[alice])
			}
		})
	}
}

// U8: the snapshot has what a follower is told, before he is told it: who is killed at any moment
// begins with what he knew. It is for the daemon alone.
func TestSnapshotWritten(t *testing.T) {
	onBoth(t, func(t *testing.T, database string) {
		s := newStore(t, Config{Database: database})
		dir := t.TempDir()
		path := filepath.Join(dir, "snapshot")
		r, stop := follow(t, s, path)
		r.await(t, "the first one", func() bool { _, err := os.Stat(path); return err == nil })
		must(t, s.Add(t.Context(), alice, active(alice, partner)))
		must(t, s.Add(t.Context(), bob, active(bob, "bob@partner.example")))
		must(t, s.Remove(t.Context(), alice, alice, partner))
		r.await(t, "bob alone", func() bool { return len(r.users[bob]) == 1 && len(r.users[alice]) == 0 })
		text := must2(os.ReadFile(path))
		stop()
		got, want := must2(readSnapshot(bytes.NewReader(text))), must2(readSnapshot(strings.NewReader(snapshotOf(t, s))))
		if !reflect.DeepEqual(got, want) || len(want) != 1 {
			t.Errorf("it is %v, want %v", got, want)
		}
		if info := must2(os.Stat(path)); info.Mode() != 0o600 {
			t.Errorf("mode %v", info.Mode())
		}
		if entries := must2(os.ReadDir(dir)); len(entries) != 1 {
			t.Errorf("%d files", len(entries))
		}
		// One that can't be written is reported, and disturbs nothing.
		r, stop = follow(t, s, filepath.Join(dir, "no", "snapshot"))
		r.await(t, "the report", func() bool { return len(r.bad) > 0 && r.synced > 0 })
		stop()
		if !errors.Is(r.bad[0], os.ErrNotExist) || r.downs != nil {
			t.Errorf("bad %v, down %v", r.bad, r.downs)
		}
	})
}

// A snapshot with very many changes is written anew; one to which a change can't be added is
// removed, as it is no longer what the database has, and written anew later.
func TestSnapshotRewritten(t *testing.T) {
	at := &clock{time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)}
	s := newStore(t, Config{Database: sqliteDatabase(t), now: at.now})
	must(t, s.Add(t.Context(), alice, active(alice, partner)))
	var bad []error
	n := &snapshots{store: s, path: filepath.Join(t.TempDir(), "snapshot"), follower: Follower{Bad: func(err error) { bad = append(bad, err) }}.complete()}
	defer n.close()
	w := &watcher{store: s, snapshots: n, follower: n.follower}
	must(t, w.compare(t.Context()))
	first := must2(os.ReadFile(n.path))
	n.added = 2 << 20
	at.at = at.at.Add(time.Hour)
	must(t, w.compare(t.Context()))
	anew := strings.Replace(string(first), "03:02:01", "04:02:01", 1) // when it was written, and nothing else
	if again := must2(os.ReadFile(n.path)); n.added != 0 || string(again) != anew {
		t.Errorf("after very many changes it is %s, want %s", again, anew)
	}
	n.file.Close()
	must(t, s.Remove(t.Context(), alice, alice, partner))
	must(t, w.compare(t.Context()))
	if _, err := os.Stat(n.path); !errors.Is(err, os.ErrNotExist) || len(bad) != 1 {
		t.Errorf("the old one: %v, reported %v", err, bad)
	}
	n.again = time.Time{}
	must(t, w.compare(t.Context()))
	if users := must2(readSnapshot(bytes.NewReader(must2(os.ReadFile(n.path))))); len(users) != 0 {
		t.Errorf("written anew, it has %v", users)
	}
}

// FuzzSnapshot: a line that is taken for a row is written as one that means the same, and
// what it has is a record that is good, or reported.
func FuzzSnapshot(f *testing.F) {
	at := time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)
	r := active(alice, partner)
	r.Created, r.Changed = at, at
	w := stored(&r)
	w.Password = bytes.Repeat([]byte{sealVersion}, 100)
	good, err := json.Marshal(w)
	must(f, err)
	for _, s := range []string{string(good), "{}", "", "null", `{"login":"a"} x`, `{"rows":1}`, `{"port":1e3}`, strings.Replace(string(good), "587", "-1", 1), strings.Replace(string(good), "alice", "\\u0000", 1)} {
		f.Add([]byte(s))
	}
	keys := newKeyring(f)
	f.Fuzz(func(t *testing.T, line []byte) {
		w, err := parseRow(line)
		if err != nil {
			return
		}
		text, err := json.Marshal(&w)
		must(t, err)
		again, err := parseRow(text)
		if err != nil || len(w.Password)+len(again.Password) > 0 && !reflect.DeepEqual(again, w) {
			t.Errorf("%s became %s, error %v", line, text, err)
		}
		r, err := w.record(keys)
		var row *RowError
		switch {
		case err != nil && !errors.As(err, &row):
			t.Errorf("%s: error %v is none about a row", line, err)
		case usable(err) && r.Check() != nil:
			t.Errorf("%s is a record that is not good: %v", line, r.Check())
		case usable(err) && stored(&r).Host != w.Host:
			t.Errorf("%s has the host %q", line, stored(&r).Host)
		}
	})
}
