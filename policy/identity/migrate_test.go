package identity

import (
	"database/sql"
	"fmt"
	"strings"
	"testing"

	"github.com/pressly/goose/v3"
)

// older makes a database as an older version has left it, with the migrations up to version,
// and runs statements on it.
func older(t *testing.T, database string, version int64, statements ...string) {
	t.Helper()
	s, err := New(Config{Database: database})
	must(t, err)
	var db *sql.DB
	var p *goose.Provider
	switch kind := s.kind.(type) {
	case *sqlite:
		must(t, kind.create())
		db, err = sql.Open("sqlite", "file:"+kind.path+"?"+kind.options())
		must(t, err)
		p, err = migrator(db, goose.DialectSQLite3, "sqlite")
	case *postgres:
		db, err = sql.Open("pgx", kind.url)
		must(t, err)
		p, err = migrator(db, goose.DialectPostgres, "postgres")
	}
	must(t, err)
	defer db.Close()
	_, err = p.UpTo(t.Context(), version)
	must(t, err)
	for _, statement := range statements {
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}

// TestMigrate: what an older version has stored is there with the newest tables: records,
// passwords, history; and followers tell its changes apart.
func TestMigrate(t *testing.T) {
	onBoth(t, func(t *testing.T, database string) {
		keys := newKeyring(t)
		r := active(alice, partner)
		w := stored(&r)
		sealed, err := keys.seal(&w, r.Gateway.Password)
		must(t, err)
		no, octets := "false", fmt.Sprintf("'\\x%x'", sealed)
		if strings.HasPrefix(database, "sqlite:") {
			no, octets = "0", fmt.Sprintf("x'%x'", sealed)
		}
		older(t, database, 1,
			"INSERT INTO identities ("+columns+") VALUES ('"+alice+"', '"+partner+"', '"+alice+"', 'Alice', 'active', "+no+", 'smtp.partner.example', 587, 'starttls', '"+partner+"', "+octets+", 0, 1, 2)",
			"INSERT INTO changes (id, at, by, action, login, address, detail) VALUES (1, 1, 'somebody', 'added', '"+alice+"', '"+partner+"', 'pending'), (2, 2, 'somebody', 'confirmed', '"+alice+"', '"+partner+"', '')",
			"UPDATE feed SET last = 2")
		s := newStore(t, Config{Database: database, Keys: keys})
		got, err := s.Get(t.Context(), alice, partner)
		if must(t, err); got.Gateway.Password.Reveal() != secret || got.Name != "Alice" || got.State != Active {
			t.Errorf("got %+v", got)
		}
		follower, stop := follow(t, s, "")
		follower.await(t, "the load", func() bool { return follower.synced > 0 })
		must(t, s.Add(t.Context(), bob, record(bob, "bob@partner.example")))
		_, err = s.NewCode(t.Context(), bob, bob, "bob@partner.example")
		must(t, err)
		follower.await(t, "bob", func() bool { return len(follower.users) == 2 })
		stop() // the code is another change, which it may still be told of
		if follower.told[1] != bob {
			t.Errorf("told %q", follower.told)
		}
		history, err := s.History(t.Context(), "", "", 10)
		if must(t, err); len(history) != 4 || history[3].By != "somebody" || history[3].ID != 1 {
			t.Errorf("history %+v", history)
		}
		db, err := s.use(t.Context())
		must(t, err)
		var tokens int
		must(t, db.QueryRowContext(t.Context(), "SELECT count(DISTINCT token) FROM changes WHERE length(token) = 16").Scan(&tokens))
		if tokens != 4 {
			t.Errorf("%d tokens, want 4", tokens)
		}
	})
}

// TestNewerSchema: tables that a newer version has changed are left alone.
func TestNewerSchema(t *testing.T) {
	onBoth(t, func(t *testing.T, database string) {
		yes := "true"
		if strings.HasPrefix(database, "sqlite:") {
			yes = "1"
		}
		older(t, database, 2, "INSERT INTO schema_version (version_id, is_applied) VALUES (99, "+yes+")")
		_, err := Open(t.Context(), Config{Database: database})
		wantError(t, err, ErrUnavailable)
		if !strings.Contains(err.Error(), "a newer gatemilter has changed its tables") {
			t.Errorf("error %q", err)
		}
	})
}

// TestMigrations: both kinds of database have the same versions.
func TestMigrations(t *testing.T) {
	names := func(dir string) (names string) {
		entries, err := migrations.ReadDir("migrations/" + dir)
		must(t, err)
		for _, e := range entries {
			names += e.Name() + "\n"
		}
		return names
	}
	if a, b := names("sqlite"), names("postgres"); a != b || strings.Count(a, "\n") < 2 {
		t.Errorf("sqlite has\n%s, postgres has\n%s", a, b)
	}
}
