package admin

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gatemilter/policy/config"
)

// request sends a request as it is written, and returns the answer.
func request(t *testing.T, url, text string) *http.Response {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if _, err := fmt.Fprint(conn, text); err != nil {
		t.Fatal(err)
	}
	method, _, _ := strings.Cut(text, " ")
	answer, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return answer
}

// TestS6OnlyReads: four pages, two methods, and for browsers on this host no name but its own.
func TestS6OnlyReads(t *testing.T) {
	url := serve(t, eventful(t))
	for _, c := range []struct {
		line, host string
		want       int
	}{
		{"GET /", "localhost", 200},
		{"GET /metrics", "127.0.0.1:9625", 200},
		{"GET /healthz", "[::1]:80", 200},
		{"GET /readyz", "LOCALHOST:9625", 200},
		{"HEAD /", "localhost", 200},
		{"HEAD /metrics", "localhost", 200},
		{"GET /?x=1", "localhost", 200},
		{"POST /", "localhost", 405},
		{"PUT /metrics", "localhost", 405},
		{"DELETE /readyz", "localhost", 405},
		{"OPTIONS *", "localhost", 405},
		{"TRACE /", "localhost", 405},
		{"CONNECT evil.example:443", "localhost", 405},
		{"GET /favicon.ico", "localhost", 404},
		{"GET //", "localhost", 404},
		{"GET /metrics/", "localhost", 404},
		{"GET /debug/pprof/", "localhost", 404},
		{"GET /../etc/passwd", "localhost", 404},
		{"GET /%2e%2e/metrics", "localhost", 404},
		{"GET /", "rebound.evil.example", 421},
		{"GET /", "localhost.evil.example:9625", 421},
		{"GET /", "", 421},
		{"GET http://evil.example/", "localhost", 421},
	} {
		a := request(t, url, c.line+" HTTP/1.1\r\nHost: "+c.host+"\r\nContent-Length: 0\r\n\r\n")
		if a.StatusCode != c.want && !(strings.HasPrefix(c.line, "CONNECT") && a.StatusCode == 421) {
			t.Errorf("%s for %q: %s, want %d", c.line, c.host, a.Status, c.want)
		}
		if policy := a.Header.Get("Content-Security-Policy"); !strings.HasPrefix(policy, "default-src 'none'; style-src 'sha256-") || strings.Contains(policy, "unsafe") {
			t.Errorf("%s: policy %q", c.line, policy)
		}
		if a.Header.Get("X-Content-Type-Options") != "nosniff" || a.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: header %v", c.line, a.Header)
		}
	}
}

// A header that is too long is not read to its end.
func TestS6HeaderLimit(t *testing.T) {
	a := request(t, serve(t, eventful(t)), "GET / HTTP/1.1\r\nHost: localhost\r\nX: "+strings.Repeat("x", 4*maxHeader)+"\r\n\r\n")
	if a.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Error(a.Status)
	}
}

// All that a peer can hold up has a limit.
func TestS6TimeLimits(t *testing.T) {
	m, _ := monitored(t, settings)
	s := NewServer(m, nil).http
	if s.ReadHeaderTimeout <= 0 || s.ReadTimeout <= 0 || s.WriteTimeout <= 0 || s.IdleTimeout <= 0 || s.MaxHeaderBytes <= 0 {
		t.Errorf("%+v", s)
	}
}

// TestS6Readiness follows a daemon from its start to its end.
func TestS6Readiness(t *testing.T) {
	path := filepath.Join(t.TempDir(), "milter.sock")
	socket, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	m := newMonitor((&clock{began}).now, "v1", func() uint64 { return 0 })
	url := serve(t, m)
	for _, step := range []struct {
		do   func()
		want string
	}{
		{func() {}, "not ready\nno configuration is in force yet\nno socket is open yet\n"},
		{func() { m.Configured(parse(t, "[server]\nauthserv_id = x.example\n"), nil) }, "not ready\nno socket is open yet\n"},
		{func() {
			m.Serving([]Service{{Name: "milter", Sockets: []config.Listener{{Network: "unix", Address: path}}}})
		}, "ready\n"},
		{func() { m.ReloadRefused(os.ErrNotExist) }, "ready\n"},
		{func() { os.Rename(path, path+".away") }, "not ready\nmilter: the socket " + path + " is gone from the file system, so nobody reaches it: restart gatemilter\n"},
		{func() { os.Rename(path+".away", path) }, "ready\n"},
		{m.Stopping, "not ready\nthe daemon is stopping: messages in progress finish, new ones are not taken\n"},
	} {
		step.do()
		status, text := get(t, url+"/readyz")
		if text != step.want || (status == 200) != (text == "ready\n") || status != 200 && status != 503 {
			t.Errorf("%d %q, want %q", status, text, step.want)
		}
		if status, text := get(t, url+"/healthz"); status != 200 || text != "healthy\n" {
			t.Errorf("healthz: %d %q", status, text)
		}
	}
}
