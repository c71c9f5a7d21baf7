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
