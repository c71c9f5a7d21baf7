package identity

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

// A postgres is a database that several mail servers share.
type postgres struct {
	// url has no password, but is kept out of errors all the same.
	url      string
	passfile string
}

// channel is what followers listen to (NOTIFY).
const channel = "gatemilter_identities"

// newPostgres looks at a URL. No error repeats it.
func newPostgres(text string) (*postgres, error) {
	u, err := url.Parse(text)
	if err != nil {
		return nil, errors.New("the database's URL can't be read: write postgres://USER@HOST/NAME?passfile=/etc/gatemilter/pgpass")
	}
	q := u.Query()
	if _, inURL := u.User.Password(); inURL || q.Has("password") {
		return nil, errors.New("the database's URL has a password in it: write it into a file as of libpq's passfile, and passfile=PATH into the URL")
	}
	// pgx, as libpq, would take a server for the right one whoever it is.
	if !q.Has("sslmode") && !isLocal(u.Hostname(), q.Get("host")) {
		q.Set("sslmode", "verify-full")
		u.RawQuery = q.Encode()
	}
	p := &postgres{u.String(), q.Get("passfile")}
	if _, err := pgx.ParseConfig(p.url); err != nil {
		return nil, badURL(err)
	}
	return p, nil
}

// badURL says why, without the URL, which pgx's own error repeats.
func badURL(err error) error {
	if why := errors.Unwrap(err); why != nil {
		return fmt.Errorf("the database's URL can't be used: %w", why)
	}
	return errors.New("the database's URL can't be used: write postgres://USER@HOST/NAME?passfile=/etc/gatemilter/pgpass")
}

// isLocal says whether a database is reached without a network: by a socket's directory, or
// on this host.
func isLocal(hosts ...string) bool {
	for _, h := range hosts {
		if ip := net.ParseIP(h); h != "" && h != "localhost" && !strings.HasPrefix(h, "/") && (ip == nil || !ip.IsLoopback()) {
			return false
		}
	}
	return true
}

// config is that of a new connection. The passfile is read each time: a password may be
// changed while the daemon runs.
func (p *postgres) config(t times) (*pgx.ConnConfig, error) {
	if p.passfile != "" {
		info, err := os.Stat(p.passfile)
		switch {
		case err != nil:
			return nil, fmt.Errorf("passfile %w", err)
		case info.Mode()&0o004 != 0:
			return nil, fmt.Errorf("passfile %q can be read by every user of this host: run chmod o= on it", p.passfile)
		}
		if f, err := os.Open(p.passfile); err != nil {
			return nil, fmt.Errorf("passfile %w", err)
		} else {
			f.Close()
		}
	}
	c, err := pgx.ParseConfig(p.url)
	if err != nil {
		return nil, badURL(err)
	}
	if c.ConnectTimeout == 0 || c.ConnectTimeout > t.connect {
		c.ConnectTimeout = t.connect
	}
	if c.RuntimeParams["application_name"] == "" {
		c.RuntimeParams["application_name"] = "gatemilter"
	}
	return c, nil
}

func (*postgres) sql(statement string) string { return statement }

func (p *postgres) open(ctx context.Context, t times) (*sql.DB, error) {
	c, err := p.config(t)
	if err != nil {
		return nil, err
	}
	c.Password = "" // what lives as long as the store need not know it
	db := stdlib.OpenDB(*c, stdlib.OptionBeforeConnect(func(_ context.Context, c *pgx.ConnConfig) error {
		fresh, err := p.config(t)
		if err == nil {
			c.Password = fresh.Password
		}
		return err
	}), stdlib.OptionAfterConnect(prepareSession))
	db.SetMaxOpenConns(maxConnections)
	db.SetMaxIdleConns(maxConnections)
	db.SetConnMaxIdleTime(time.Minute)
	locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, uint64(t.migrate/time.Second)))
	if err == nil {
		// Whether there is a server at all, of those that the URL names, is to be known soon;
		// preparing the tables takes its time.
		err = ping(ctx, db, t.connect*time.Duration(1+len(c.Fallbacks)))
	}
	if err == nil {
		err = migrate(ctx, db, goose.DialectPostgres, "postgres", locker)
	}
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

func ping(ctx context.Context, db *sql.DB, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return db.PingContext(ctx)
}

// prepareSession sees that a host which vanishes in the middle of a change holds the
// others up for a short time only.
func prepareSession(ctx context.Context, c *pgx.Conn) error {
	_, err := c.Exec(ctx, "SET idle_in_transaction_session_timeout = '10s'")
	return err
}

func (*postgres) intact() error { return nil }

func (*postgres) readOnly() *sql.TxOptions {
	return &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true}
}

// begin waits for all others that write: they lock this row, too. So changes become visible
// in the order of their numbers.
func (*postgres) begin(ctx context.Context, tx *sql.Tx) error {
	_, err := tx.ExecContext(ctx, "SELECT last FROM feed FOR UPDATE")
	return err
}

func (*postgres) notify(ctx context.Context, tx *sql.Tx) error {
	_, err := tx.ExecContext(ctx, "SELECT pg_notify($1, '')", channel)
	return err
}

func (*postgres) compare(t times) time.Duration { return t.compareServer }

// lost knows a server that has ended meanwhile, but none that can't be reached.
func (*postgres) lost(err error) bool {
	var connecting *pgconn.ConnectError
	var told *pgconn.PgError
	switch {
	case errors.As(err, &connecting), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return false
	case errors.As(err, &told):
		return strings.HasPrefix(told.Code, "57P") || strings.HasPrefix(told.Code, "08") // it ends; the connection failed
	}
	return true
}

// tidy leaves to autovacuum what is its own.
func (*postgres) tidy(context.Context, *sql.DB) error { return nil }

// listen has a connection of its own. Whenever that is new, or ends, something may have been
// missed.
func (p *postgres) listen(ctx context.Context, t times, changed func()) {
	pause := newBackoff(t)
	for ctx.Err() == nil {
		if p.listenOnce(ctx, t, changed) {
			pause.reset()
		}
		changed()
		pause.wait(ctx)
	}
}

// listenOnce listens until the connection fails, and says whether there was one.
func (p *postgres) listenOnce(ctx context.Context, t times, changed func()) bool {
	c, err := p.config(t)
	if err != nil {
		return false
	}
	conn, err := pgx.ConnectConfig(ctx, c)
	if err != nil {
		return false
	}
	defer hangUp(ctx, conn, t.connect)
	if _, err := conn.Exec(ctx, "LISTEN "+channel); err != nil {
		return false
	}
	changed()
	for {
		waiting, cancel := context.WithTimeout(ctx, t.ping)
		_, err := conn.WaitForNotification(waiting)
		quiet := waiting.Err() != nil
		cancel()
		switch {
		case err == nil:
			changed()
		case ctx.Err() != nil:
			return true
		case !quiet || !alive(ctx, conn, t.connect):
			return true
		}
	}
}

// hangUp closes a connection, also one at whose other end nobody is.
func hangUp(ctx context.Context, conn *pgx.Conn, limit time.Duration) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	defer cancel()
	conn.Close(ctx)
}

// alive tries a connection of which nothing is heard: a firewall may have forgotten it.
func alive(ctx context.Context, conn *pgx.Conn, limit time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return conn.Ping(ctx) == nil
}
