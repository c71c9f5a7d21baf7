package identity

import (
	"bufio"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if os.Getenv(saverEnv) != "" {
		saveForEver()
	}
	code := m.Run()
	if shared.server != nil {
		if err := shared.server.close(); err != nil {
			fmt.Fprintln(os.Stderr, "PostgreSQL:", err)
			code = 1
		}
	}
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// A postgresServer is a private one: see cmd/internal/labpostgres.
type postgresServer struct {
	cmd *exec.Cmd
	dir string

	mu  sync.Mutex
	in  io.WriteCloser
	out *bufio.Scanner
}

// shared is the server of all tests that only need some database.
var shared struct {
	once      sync.Once
	server    *postgresServer
	err       error
	databases int
	mu        sync.Mutex
}

// password is that of every server.
const password = `colon: and \ $9`

func startPostgres() (_ *postgresServer, err error) {
	p := &postgresServer{}
	if p.dir, err = os.MkdirTemp("", "identity-"); err != nil {
		return nil, err
	}
	program := filepath.Join(p.dir, "labpostgres")
	if out, err := exec.Command("go", "build", "-o", program, "gatemilter/cmd/internal/labpostgres").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w: %s", err, out)
	}
	p.cmd = exec.Command(program, "-password", password)
	p.cmd.Stderr = os.Stderr
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.out = bufio.NewScanner(out)
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	_, err = p.answer()
	return p, err
}

func (p *postgresServer) answer() (string, error) {
	if !p.out.Scan() {
		return "", fmt.Errorf("labpostgres ended: %w", p.cmd.Wait())
	}
	text, ok := strings.CutPrefix(p.out.Text(), "ok ")
	if !ok {
		return "", fmt.Errorf("labpostgres: %s", p.out.Text())
	}
	return text, nil
}

func (p *postgresServer) order(command string) (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, err := fmt.Fprintln(p.in, command); err != nil {
		return "", err
	}
	return p.answer()
}

// do is order in a test.
func (p *postgresServer) do(t testing.TB, command string) string {
	t.Helper()
	answer, err := p.order(command)
	must(t, err)
	return answer
}

func (p *postgresServer) close() error {
	p.in.Close()
	if err := p.cmd.Wait(); err != nil {
		return err
	}
	return os.RemoveAll(p.dir)
}

// ownPostgres is a server that a test may stop.
func ownPostgres(t testing.TB) *postgresServer {
	t.Helper()
	p, err := startPostgres()
	must(t, err)
	t.Cleanup(func() { must(t, p.close()) })
	return p
}

// postgresDatabase is the URL of a new database on the shared server.
func postgresDatabase(t testing.TB) string {
	t.Helper()
	shared.once.Do(func() { shared.server, shared.err = startPostgres() })
	must(t, shared.err)
	shared.mu.Lock()
	defer shared.mu.Unlock()
	shared.databases++
	return shared.server.do(t, fmt.Sprint("database test", shared.databases))
}

// withQuery adds a parameter to a URL.
func withQuery(t testing.TB, raw, key, value string) string {
	t.Helper()
	u, err := url.Parse(raw)
	must(t, err)
	q := u.Query()
	q.Set(key, value)
	u.RawQuery = q.Encode()
	return u.String()
}

// A database on another host is one whose certificate is verified, unless the URL says
// otherwise.
func TestPostgresURL(t *testing.T) {
	for raw, want := range map[string]string{
		"postgres://u@db.example/d":                                "verify-full",
		"postgres://u@192.0.2.1:5433/d?passfile=/x":                "verify-full",
		"postgres://u@a.example:5432,b.example:5432/d":             "verify-full",
		"postgres://u@localhost/d?host=db.example":                 "verify-full",
		"postgres://u@db.example/d?sslmode=require":                "require",
		"postgres://u@localhost/d":                                 "",
		"postgresql://u@[::1]:5432/d":                              "",
		"postgres://u@/d?host=/var/run/postgresql":                 "",
		"postgres://u@127.0.0.1/d?passfile=/etc/gatemilter/pgpass": "",
	} {
		p, err := newPostgres(raw)
		if err != nil {
			t.Errorf("%s: %v", raw, err)
			continue
		}
		u, err := url.Parse(p.url)
		must(t, err)
		if got := u.Query().Get("sslmode"); got != want {
			t.Errorf("%s: sslmode %q, want %q", raw, got, want)
		}
	}
}

// The password is in a file, which is read for each connection. One that everybody can read
// is refused; and no error has a password in it.
func TestPassfile(t *testing.T) {
	database := postgresDatabase(t)
	good := must2(os.ReadFile(must2(url.Parse(database)).Query().Get("passfile")))
	passfile := filepath.Join(t.TempDir(), "pgpass")
	s, err := New(Config{Database: withQuery(t, database, "passfile", passfile), Keys: newKeyring(t)})
	must(t, err)
	defer s.Close()
	for _, test := range []struct {
		text string
		mode os.FileMode
		want string
	}{
		{"", 0, "no such file"},
		{string(good), 0o604, "run chmod o= on it"},
		{"*:*:*:*:wr0ng hunter2\n", 0o600, "password authentication failed"},
		{string(good), 0o600, ""},
	} {
		if test.mode != 0 {
			must(t, os.WriteFile(passfile, []byte(test.text), test.mode))
			must(t, os.Chmod(passfile, test.mode))
		}
		_, err := s.List(t.Context(), alice)
		if test.want == "" {
			must(t, err)
			continue
		}
		wantError(t, err, ErrUnavailable)
		if !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), password) {
			t.Errorf("error %q, want %q", err, test.want)
		}
	}
}
