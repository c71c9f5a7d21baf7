package lab

import (
	"context"
	"errors"
	"os"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

func startPostgres(t *testing.T, c PostgresConfig) *Postgres {
	t.Helper()
	if err := NeedPostgres(t.Context(), t.Logf); err != nil {
		t.Fatal(err)
	}
	p, err := StartPostgres(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// ask runs one statement on a new connection.
func ask(t *testing.T, url, statement string) (answer string, err error) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		return "", err
	}
	defer conn.Close(context.Background())
	err = conn.QueryRow(t.Context(), statement).Scan(&answer)
	return answer, err
}

// TestPostgres: who has the password, in the passfile, gets in through TLS, and nobody else does. What is committed is
// there after a stop, and after a kill.
func TestPostgres(t *testing.T) {
	cert, err := SelfSigned(Subject{Hosts: []string{"127.0.0.1"}})
	if err != nil {
		t.Fatal(err)
	}
	p := startPostgres(t, PostgresConfig{Password: `colon: and \\`, Cert: cert})
	if _, err := ask(t, p.URL(), "CREATE TABLE kept AS SELECT 'yes' AS was"); err != nil && !errors.Is(err, pgx.ErrNoRows) {
		t.Fatal(err)
	}
	for _, end := range []func() error{p.Stop, p.Kill} {
		if err := end(); err != nil {
			t.Fatal(err)
		}
		if _, err := ask(t, p.URL(), "SELECT was FROM kept"); err == nil {
			t.Error("it answers after its end")
		}
		if err := p.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got, err := ask(t, p.URL(), "SELECT was FROM kept"); got != "yes" || err != nil {
			t.Errorf("got %q, error %v", got, err)
		}
	}
	if err := os.WriteFile(p.Passfile(), []byte("*:*:*:*:wrong\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var refused *pgconn.PgError
	if _, err := ask(t, p.URL(), "SELECT was FROM kept"); !errors.As(err, &refused) || refused.Code != "28P01" {
		t.Errorf("a wrong password: %v", err)
	}
}

// TestPostgresUnpacked: where the system has no PostgreSQL, Debian's package is unpacked, and runs from there.
func TestPostgresUnpacked(t *testing.T) {
	if err := errors.Join(needRoot(), NeedPackages(t.Context(), t.Logf, postgresLibraries...), needUnpackedPostgres(t.Context(), t.Logf)); err != nil {
		t.Fatal(err)
	}
	programs, err := postgresPrograms(postgresRoot + systemPostgres)
	if err != nil {
		t.Fatal(err)
	}
	p, err := startPostgresOf(t.Context(), PostgresConfig{}, programs)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	url, err := p.NewDatabase(t.Context(), "another one")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := ask(t, url, "SELECT current_database()::text"); got != "another one" || err != nil {
		t.Errorf("got %q, error %v", got, err)
	}
}
