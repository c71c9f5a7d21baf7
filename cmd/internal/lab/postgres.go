package lab

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5"
)

// A PostgresConfig says what a private PostgreSQL demands of its clients. The zero PostgresConfig trusts whoever comes.
type PostgresConfig struct {
	// Password, if not "", is that of the user, asked for by SCRAM-SHA-256.
	Password string
	// Cert, if not nil, is the server's: TLS is demanded on loopback.
	Cert *Cert
}

// A Postgres is a private PostgreSQL server, run by the user nobody, as PostgreSQL refuses root.
type Postgres struct {
	config   PostgresConfig
	programs string
	dir      string
	addr     string
	held     heldPort // from its end until the next start
	cmd      *exec.Cmd
	output   lockedBuffer
	ended    chan struct{}
}

// postgresUser is the name of the superuser, and of the first database.
const postgresUser = "gatemilter"

// StartPostgres makes a new cluster in a directory of its own and runs it. When it returns without an error, the server
// takes connections.
func StartPostgres(ctx context.Context, c PostgresConfig) (*Postgres, error) {
	programs, err := anyPostgres()
	if err := errors.Join(needRoot(), err); err != nil {
		return nil, err
	}
	return startPostgresOf(ctx, c, programs)
}

func startPostgresOf(ctx context.Context, c PostgresConfig, programs string) (_ *Postgres, err error) {
	p := &Postgres{config: c, programs: programs, ended: make(chan struct{})}
	if p.dir, err = os.MkdirTemp("", "lab-postgres-"); err != nil {
		return nil, err
	}
	close(p.ended)
	defer func() {
		if err != nil {
			err = errors.Join(err, p.Close())
		}
	}()
	if err := p.fill(ctx); err != nil {
		return nil, err
	}
	for range startTries { // another program may take the port first
		var addrs []string
		if addrs, err = freeAddrs(1); err != nil {
			return nil, err
		}
		p.addr = addrs[0]
		if err = p.Start(ctx); err == nil || !strings.Contains(p.Log(), "Address already in use") {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	return p, p.createDatabase(ctx, postgresUser)
}

func (p *Postgres) data() string { return filepath.Join(p.dir, "data") }

// Passfile is a file as of libpq, with the password.
func (p *Postgres) Passfile() string { return filepath.Join(p.dir, "pgpass") }

// Socket is the directory of the server's Unix socket.
func (p *Postgres) Socket() string { return p.dir }

// Addr is the HOST:PORT of the server, which stays the same when it is started again.
func (p *Postgres) Addr() string { return p.addr }

// URL is that of the first database, without the password, which is in the passfile that it names.
func (p *Postgres) URL() string { return p.url(postgresUser) }

func (p *Postgres) url(database string) string {
	u := url.URL{Scheme: "postgres", User: url.User(postgresUser), Host: p.addr, Path: "/" + database}
	q := url.Values{"sslmode": {"disable"}}
	if p.config.Cert != nil {
		q.Set("sslmode", "require")
	}
	if p.config.Password != "" {
		q.Set("passfile", p.Passfile())
	}
	u.RawQuery = q.Encode()
	return u.String()
}

// NewDatabase makes another database, empty, and returns its URL.
func (p *Postgres) NewDatabase(ctx context.Context, name string) (string, error) {
	return p.url(name), p.createDatabase(ctx, name)
}

func (p *Postgres) createDatabase(ctx context.Context, name string) error {
	conn, err := p.connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	_, err = conn.Exec(ctx, "CREATE DATABASE "+pgx.Identifier{name}.Sanitize())
	return err
}

// connect connects to a database that every cluster has.
func (p *Postgres) connect(ctx context.Context) (*pgx.Conn, error) {
	c, err := pgx.ParseConfig(p.url("postgres"))
	if err != nil {
		return nil, err
	}
	c.ConnectTimeout = waitLimit
	return pgx.ConnectConfig(ctx, c)
}

// fill makes the cluster.
func (p *Postgres) fill(ctx context.Context) error {
	access := "local all all trust\nhost all all 127.0.0.1/32 trust\n"
	if p.config.Password != "" {
		access = strings.ReplaceAll(access, "trust", "scram-sha-256")
	}
	if p.config.Cert != nil {
		access = strings.ReplaceAll(access, "host ", "hostssl ")
	}
	files := map[string]string{
		"password": cmp.Or(p.config.Password, "none"),
		"access":   access,
		"pgpass":   fmt.Sprintf("*:*:*:%s:%s\n", postgresUser, strings.NewReplacer(`\`, `\\`, `:`, `\:`).Replace(p.config.Password)),
	}
	if p.config.Cert != nil {
		files["server.pem"] = string(p.config.Cert.PEM)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(p.dir, name), []byte(text), 0o600); err != nil {
			return err
		}
		if name != "pgpass" { // which is the client's
			if err := os.Chown(filepath.Join(p.dir, name), nobody, nobody); err != nil {
				return err
			}
		}
	}
	if err := errors.Join(os.Chown(p.dir, nobody, nobody), os.Chmod(p.dir, 0o755), checkSearchable(filepath.Dir(p.dir))); err != nil {
		return err
	}
	return run(p.command(ctx, "initdb", "--pgdata="+p.data(), "--username="+postgresUser, "--pwfile="+filepath.Join(p.dir, "password"),
		"--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"), nil)
}

// command is one of PostgreSQL's programs, run by nobody.
func (p *Postgres) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := command(ctx, filepath.Join(p.programs, name), args...)
	cmd.Dir = p.dir
	cmd.SysProcAttr.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
	return cmd
}
