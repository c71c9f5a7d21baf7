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

// snapshotOf returns the text of a store's snapshot.
func snapshotOf(t testing.TB, s *Store) string {
	t.Helper()
	var b bytes.Buffer
	must(t, s.writeSnapshot(t.Context(), &b))
	return b.String()
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

// The snapshot is written when records have changed, at the latest at the end, for the
// daemon alone.
func TestSnapshotWritten(t *testing.T) {
	onBoth(t, func(t *testing.T, database string) {
		s := newStore(t, Config{Database: database})
		dir := t.TempDir()
		path := filepath.Join(dir, "snapshot")
		r, stop := follow(t, s, path)
		r.await(t, "the first one", func() bool { _, err := os.Stat(path); return err == nil })
		must(t, s.Add(t.Context(), alice, active(alice, partner)))
		r.await(t, "alice", func() bool { return len(r.users) == 1 })
		stop()
		text := string(must2(os.ReadFile(path)))
		if want := snapshotOf(t, s); text[strings.Index(text, "\n"):] != want[strings.Index(want, "\n"):] {
			t.Errorf("it is %s, want %s", text, want)
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
