package portal

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"gatemilter/cmd/internal/lab"
	"gatemilter/policy/config"
	"gatemilter/policy/identity"
)

// A configuration that can't work is said so at the start.
func TestNew(t *testing.T) {
	facts := func() Facts { return Facts{} }
	store := must(identity.New(identity.Config{Database: "sqlite:" + filepath.Join(t.TempDir(), "x.db")}))
	defer store.Close()
	for name, o := range map[string]Options{
		"no url":         {Store: store, Facts: facts},
		"url of another": {Store: store, Facts: facts, Config: config.Portal{URL: "ftp://mail.example.com/"}},
		"broken url":     {Store: store, Facts: facts, Config: config.Portal{URL: "https://%zz/"}},
		"no store":       {Facts: facts, Config: config.Portal{URL: "https://mail.example.com"}},
		"no facts":       {Store: store, Config: config.Portal{URL: "https://mail.example.com"}},
		"no files":       {Store: store, Facts: facts, Config: config.Portal{URL: "https://mail.example.com", Certificate: "/nonexistent/cert", Key: "/nonexistent/key"}},
	} {
		if _, err := New(o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	s := must(New(Options{Store: store, Facts: facts, Config: config.Portal{URL: "https://mail.example.com/"}}))
	if s.link("/add") != "/add" || s.host != "mail.example.com" || !s.secure {
		t.Errorf("%+v", s)
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestStops: Serve returns, and nothing is left of it.
func TestStops(t *testing.T) {
	others := goleak.IgnoreCurrent()
	defer func() {
		if err := lab.Until(t.Context(), "it to end", func() bool { return goleak.Find(others) == nil }); err != nil {
			t.Error(err, goleak.Find(others))
		}
	}()
	dir := t.TempDir()
	store := must(identity.New(identity.Config{Database: "sqlite:" + filepath.Join(dir, "x.db")}))
	defer store.Close()
	s := must(New(Options{Store: store, Facts: func() Facts { return Facts{} }, Config: config.Portal{URL: "http://localhost/x"}}))
	l := must(net.Listen("unix", filepath.Join(dir, "portal.sock")))
	served := make(chan error)
	go func() { served <- s.Serve(l) }()
	// By a unix socket the peer says who asks: it is a proxy.
	var events []Event
	s.Log = func(e Event) { events = append(events, e) }
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", l.Addr().String())
	}}}
	r := must(http.NewRequest("GET", "http://evil.example/x", nil))
	r.Header.Set("X-Forwarded-For", "192.0.2.7")
	answer := must(client.Do(r))
	answer.Body.Close()
	if answer.StatusCode != http.StatusMisdirectedRequest || len(events) != 1 || events[0].Client != "192.0.2.7" {
		t.Errorf("%s, %+v", answer.Status, events)
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}

// A renewed certificate is used without a restart, and a broken one is not.
func TestCertificate(t *testing.T) {
	s := newStage(t, withTLS)
	at := must(url.Parse(s.url))
	serial := func() string {
		t.Helper()
		s.portal.keys.mu.Lock()
		s.portal.keys.looked = time.Time{} // as if a second had passed
		s.portal.keys.mu.Unlock()
		c, err := tls.Dial("tcp", "127.0.0.1:"+at.Port(), &tls.Config{ServerName: "mail.example.com", RootCAs: s.ca.Pool(), NextProtos: []string{"h2"}})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if c.ConnectionState().NegotiatedProtocol != "h2" {
			t.Error("no HTTP/2")
		}
		return c.ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	first := serial()
	file := s.portal.Config.Certificate
	if err := os.WriteFile(file, []byte("half a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := serial(); got != first {
		t.Errorf("the broken one: %s", got)
	}
	if len(s.errors) == 0 || !strings.Contains(s.errors[0].Error(), "the one from before stays") {
		t.Errorf("%v", s.errors)
	}
	if err := s.cert("mail.example.com").WriteFile(file); err != nil {
		t.Fatal(err)
	}
	if got := serial(); got == first {
		t.Error("the new one isn't used")
	}
	if _, err := tls.Dial("tcp", "127.0.0.1:"+at.Port(), &tls.Config{ServerName: "mail.example.com", RootCAs: s.ca.Pool(), MaxVersion: tls.VersionTLS11}); err == nil {
		t.Error("TLS 1.1 is spoken")
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: s.ca.Pool()}, DisableKeepAlives: true, DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, "127.0.0.1:"+at.Port())
	}}}
	answer := must(client.Get(s.url + "/login"))
	answer.Body.Close()
	if got := answer.Header.Get("Strict-Transport-Security"); got != "max-age=31536000" {
		t.Errorf("HSTS %q", got)
	}
}

// U8: while the database is away, each page says so in plain words, and nothing breaks.
func TestDatabaseAway(t *testing.T) {
	s := newStage(t)
	partner := s.partner()
	b := s.alice()
	b.attached(partner)
	v := version(s.record(t, "alice@example.com", "alice@partner.example"))
	sent := len(partner.Taken())
	s.store.Close()
	for name, r := range map[string]reply{
		"list": b.get("/"), "add": b.post("/add", "address", "x@partner.example"), "server": b.post("/add/server", server("address", "x@partner.example")...),
		"change": b.get("/change?address=alice@partner.example"), "changed": b.post("/change", server("version", v)...), "test": b.post("/test", "address", "alice@partner.example"),
		"confirm": b.get("/confirm?address=alice@partner.example"), "confirmed": b.post("/confirm", "address", "alice@partner.example", "code", "x"),
		"code": b.post("/code", "address", "alice@partner.example"), "remove": b.get("/remove?address=alice@partner.example"), "removed": b.post("/remove", "address", "alice@partner.example"),
	} {
		if r.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("%s: %s", name, r.Status)
		}
		r.has(t, "cannot be read or changed at present", "Your mail is not affected")
		if strings.Contains(r.text, "closed") || strings.Contains(r.text, "sqlite") {
			t.Errorf("%s tells too much", name)
		}
	}
	for _, page := range []string{"/help", "/add"} {
		if r := b.get(page); r.StatusCode != http.StatusOK {
			t.Errorf("%s: %s", page, r.Status)
		}
	}
	if got := s.as("bob@example.com", "bobs-password").get("/"); got.StatusCode != http.StatusServiceUnavailable {
		t.Error(got.Status)
	}
	if len(partner.Taken()) != sent {
		t.Error("something was sent")
	}
}

// A database that goes away in the middle: what the server agreed to is not sent, and not stored.
type failing struct {
	Store
	add, newCode error
}

func (f *failing) Add(ctx context.Context, by string, r identity.Record) error {
	if f.add != nil {
		return f.add
	}
	return f.Store.Add(ctx, by, r)
}

func (f *failing) NewCode(ctx context.Context, by, login, address string) (string, error) {
	if f.newCode != nil {
		return "", f.newCode
	}
	return f.Store.NewCode(ctx, by, login, address)
}

func TestDatabaseGoesAway(t *testing.T) {
	var store *failing
	s := newStage(t, func(_ *stage, o *Options) {
		store = &failing{Store: o.Store}
		o.Store = store
	})
	partner := s.partner()
	b := s.alice()
	for _, c := range []struct {
		err    error
		status int
		says   string
	}{
		{errors.New("gone"), 503, "cannot be read or changed at present"},
		{identity.ErrTooMany, 422, "as many addresses as one account may have"},
		{identity.ErrExists, 422, "already in your list"},
		{identity.ErrNoSlot, 422, "other accounts use it that way already"},
	} {
		store.add = c.err
		for _, r := range []reply{b.post("/add/server", server()...), b.post("/add/server", server("without", "yes")...)} {
			if r.StatusCode != c.status {
				t.Errorf("%v: %s", c.err, r.Status)
			}
			r.has(t, c.says)
		}
		s.portal.limits = newLimits(s.time)
	}
	store.add, store.newCode = nil, errors.New("gone")
	b.follow(b.post("/add/server", server()...)).has(t, "is saved, but the code could not be sent", "cannot be read or changed at present")
	for _, m := range append(partner.Taken(), s.relay.Taken()...) {
		if m.Data != "" {
			t.Errorf("sent: %+v", m)
		}
	}
	store.newCode = nil
	b.follow(b.post("/code", "address", "alice@partner.example")).has(t, "on its way")
}

// Two windows: the second to save is told that there was a first.
func TestChangedMeanwhile(t *testing.T) {
	s := newStage(t)
	b := s.alice()
	b.attached(s.partner())
	v := version(s.record(t, "alice@example.com", "alice@partner.example"))
	b.follow(b.post("/change", server("password", "", "name", "First", "version", v)...))
	r := b.post("/change", server("password", "", "name", "Second", "version", v)...)
	if r.StatusCode != http.StatusConflict || !strings.Contains(r.text, `value="First"`) {
		t.Errorf("%s", r.Status)
	}
	r.has(t, "has been changed in the meantime")
}

// Servers that answer slowly take only some of the connections, and their user only his own.
func TestTurns(t *testing.T) {
	s := newStage(t)
	release := make(chan bool)
	slow := s.sink(lab.SinkConfig{Cert: s.cert("smtp.slow.example")})
	slow.Answer(func(line string) string {
		if line == "" {
			<-release
			return "554 go away"
		}
		return ""
	})
	s.provider("smtp.slow.example", otherIP, 587, slow)
	alice, bob := s.alice(), s.as("bob@example.com", "bobs-password")
	done := make(chan int)
	s.note(func() { s.dialed = nil })
	for range maxTurns {
		go func() {
			done <- alice.post("/add/server", server("host", "smtp.slow.example", "address", "x@slow.example")...).StatusCode
		}()
	}
	err := lab.Until(t.Context(), "the connections", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.dialed) == maxTurns
	})
	if err != nil {
		t.Fatal(err)
	}
	alice.post("/add/server", server("host", "smtp.slow.example", "address", "x@slow.example")...).has(t, "Too many connections are being tried")
	s.partner()
	bob.follow(bob.post("/add/server", server()...)).has(t, "on its way")
	close(release)
	for range maxTurns {
		if got := <-done; got != http.StatusUnprocessableEntity {
			t.Error(got)
		}
	}
	// All connections are in use.
	for range maxProbes {
		s.portal.limits.probes <- struct{}{}
		s.portal.limits.logins <- struct{}{}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if s.portal.limits.probes.enter(ctx) {
		t.Error("there is no end of them")
	}
}
