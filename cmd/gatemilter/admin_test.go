package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"gatemilter/cmd/internal/lab"
)

// An adminReader asks the admin pages on a unix socket.
type adminReader struct {
	t    *testing.T
	http http.Client
}

func newAdminReader(t *testing.T, path string) *adminReader {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}
	t.Cleanup(transport.CloseIdleConnections)
	return &adminReader{t, http.Client{Transport: transport, Timeout: 10 * time.Second}}
}

func (a *adminReader) get(page string) (int, string) {
	a.t.Helper()
	answer, err := a.http.Get("http://localhost" + page)
	if err != nil {
		a.t.Fatal(err)
	}
	defer answer.Body.Close()
	return answer.StatusCode, string(must(io.ReadAll(answer.Body)))
}

// metric returns the value of a series, 0 where there is none.
func (a *adminReader) metric(series string) float64 {
	a.t.Helper()
	_, text := a.get("/metrics")
	m := regexp.MustCompile("(?m)^" + regexp.QuoteMeta(series) + " (.*)$").FindStringSubmatch(text)
	if m == nil {
		return 0
	}
	return must(strconv.ParseFloat(m[1], 64))
}

// until waits for a series to have at least a value.
func (a *adminReader) until(series string, least float64) {
	a.t.Helper()
	if err := lab.Until(a.t.Context(), series, func() bool { return a.metric(series) >= least }); err != nil {
		a.t.Errorf("%v: it is %v, want at least %v", err, a.metric(series), least)
	}
}

// S6: what a daemon behind a real Postfix tells of itself, from its start to its end.
func TestS6Daemon(t *testing.T) {
	ca := must(lab.NewCA("Relay CA"))
	t.Setenv("SSL_CERT_FILE", writeCA(t, ca))
	expiry := time.Now().Add(10 * 24 * time.Hour).Truncate(time.Second)
	good := newSink(t, must(ca.Issue(lab.Subject{Hosts: []string{"127.0.0.1"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: expiry})))
	bad := newSink(t, must(lab.SelfSigned(lab.Subject{Hosts: []string{"127.0.0.1"}})))
	settings := fmt.Sprintf("[route relays]\nhost = %s\nverify_hostname = no\n[route forged]\nhost = %s\nverify_hostname = no\n[outbound]\ngateway = relays\n[sender @forged.example]\nroute = forged\n", good.Addr(), bad.Addr())
	r := newRelay(t, settings, func(c *lab.Config) { trust(t, ca) })
	admin := r.openAdmin()

	if status, text := admin.get("/readyz"); status != 200 || text != "ready\n" {
		t.Errorf("%d %q", status, text)
	}
	r.mail("user@home.example", "x@remote.example")
	r.arrives("x@remote.example", good)
	r.mail("user@forged.example", "y@remote.example")
	r.deferred("y@remote.example")
	relays, forged := `route="relays"}`, `route="forged"}`
	for series, least := range map[string]float64{
		`gatemilter_messages_total{direction="exempt",mode="enforce",verdict="accept"}`:                              2,
		`gatemilter_decision_duration_seconds_count`:                                                                 2,
		`gatemilter_route_answers_total{route="relays",rule="outbound-gateway"}`:                                     1,
		`gatemilter_route_answers_total{route="forged",rule="sender-domain"}`:                                        1,
		`gatemilter_lookups_total{status="ok",table="route"}`:                                                        2,
		`gatemilter_lookups_total{status="temp",table="tls"}`:                                                        1,
		`gatemilter_host_demands_hold{host="[127.0.0.1]:` + strconv.Itoa(int(good.Addr().Port())) + `",` + relays:    1,
		`gatemilter_host_probe_timestamp_seconds{host="[127.0.0.1]:` + fmt.Sprint(bad.Addr().Port()) + `",` + forged: 1,
	} {
		admin.until(series, least)
	}
	if got := admin.metric(`gatemilter_host_certificate_expiry_timestamp_seconds{host="[127.0.0.1]:` + fmt.Sprint(good.Addr().Port()) + `",` + relays); got != float64(expiry.Unix()) {
		t.Errorf("the certificate ends at %v, want %v", got, expiry.Unix())
	}
	if got := admin.metric(`gatemilter_host_demands_hold{host="[127.0.0.1]:` + fmt.Sprint(bad.Addr().Port()) + `",` + forged); got != 0 {
		t.Errorf("the forged host holds what is demanded: %v", got)
	}
	if _, page := admin.get("/"); !strings.Contains(page, "user@forged.example") || !strings.Contains(page, "ends soon") || !strings.Contains(page, "require_ca of route forged fails") {
		t.Errorf("page:\n%s", page)
	}
	r.reloads(admin)
	r.loses(admin)
	r.stops(admin)
}

// openAdmin starts the daemon again with admin pages, on a socket with the configured mode.
func (r *relay) openAdmin() *adminReader {
	r.t.Helper()
	path, config := filepath.Join(r.sockets(), "admin.sock"), r.config()
	text := strings.Replace(string(must(os.ReadFile(config))), "[server]\n", "[server]\nadmin = unix:"+path+"\n", 1)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
	if err := r.daemon.stop(syscall.SIGTERM); err != nil {
		r.t.Fatal(err)
	}
	r.daemon = startProcess(r.t, config)
	if mode := must(os.Stat(path)).Mode(); mode.Perm() != 0o660 {
		r.t.Errorf("mode of the socket: %v", mode)
	}
	return newAdminReader(r.t, path)
}

// reloads: a bad file is told, and a good one that replaces it.
func (r *relay) reloads(admin *adminReader) {
	r.t.Helper()
	config := r.config()
	good := must(os.ReadFile(config))
	os.WriteFile(config, []byte("[server]\nmode = nonsense\n"), 0o600)
	r.daemon.cmd.Process.Signal(syscall.SIGHUP)
	admin.until(`gatemilter_reloads_total{result="refused"}`, 1)
	if got := admin.metric("gatemilter_config_last_reload_successful"); got != 0 {
		r.t.Errorf("after a bad reload: %v", got)
	}
	if _, page := admin.get("/"); !strings.Contains(page, "The last reload was refused") || !strings.Contains(page, "nonsense") {
		r.t.Errorf("page:\n%s", page)
	}
	os.WriteFile(config, good, 0o600)
	r.daemon.cmd.Process.Signal(syscall.SIGHUP)
	admin.until(`gatemilter_reloads_total{result="ok"}`, 1)
	if got := admin.metric("gatemilter_config_last_reload_successful"); got != 1 {
		r.t.Errorf("after a good reload: %v", got)
	}
}

// loses: who removes the milter's socket is told.
func (r *relay) loses(admin *adminReader) {
	r.t.Helper()
	path := filepath.Join(r.sockets(), "milter.sock")
	if err := os.Rename(path, path+".away"); err != nil {
		r.t.Fatal(err)
	}
	if status, text := admin.get("/readyz"); status != 503 || !strings.Contains(text, "milter: the socket "+path+" is gone") {
		r.t.Errorf("%d %q", status, text)
	}
	if err := os.Rename(path+".away", path); err != nil {
		r.t.Fatal(err)
	}
}

// stops: while a message in progress finishes, the pages say that it is the last.
func (r *relay) stops(admin *adminReader) {
	r.t.Helper()
	client := must(lab.Dial(r.t.Context(), r.Addr()))
	defer client.Close()
	r.ok(client.Ehlo("client.example"))
	r.ok(client.Mail("user@home.example"))
	r.ok(client.Rcpt("user@home.example"))
	stopped := make(chan error, 1)
	go func() { stopped <- r.daemon.stop(syscall.SIGTERM) }()
	err := lab.Until(r.t.Context(), "not to be ready", func() bool {
		status, text := admin.get("/readyz")
		return status == 503 && strings.Contains(text, "the daemon is stopping")
	})
	if err != nil {
		r.t.Error(err)
	}
	if status, _ := admin.get("/healthz"); status != 200 {
		r.t.Errorf("healthz while it stops: %d", status)
	}
	if _, end, err := client.Data(letter("last")); err != nil || !end.OK() {
		r.t.Errorf("%v, %v", end, err)
	}
	if err := <-stopped; err != nil {
		r.t.Error(err)
	}
	if _, err := admin.http.Get("http://localhost/healthz"); err == nil {
		r.t.Error("the pages outlive the daemon")
	}
}
