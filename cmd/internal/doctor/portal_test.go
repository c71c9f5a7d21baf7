package doctor

import (
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gatemilter/cmd/internal/lab"
)

// A portalHost is a portal, the servers that it needs, and an authority that is trusted for all of
// them.
type portalHost struct {
	t                 *testing.T
	ca                *lab.CA
	portal            *httptest.Server
	submission, relay *lab.Sink
	certificate       string
	more              string
	answer            int
}

func newPortalHost(t *testing.T) *portalHost {
	t.Helper()
	h := &portalHost{t: t, answer: http.StatusOK}
	var err error
	if h.ca, err = lab.NewCA("Test CA"); err != nil {
		t.Fatal(err)
	}
	cert := h.issue(lab.Subject{Hosts: []string{"127.0.0.1"}, NotAfter: time.Now().Add(90 * 24 * time.Hour)})
	h.certificate = h.write(cert.PEM)
	h.portal = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/addresses" || r.Method != http.MethodGet {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		w.WriteHeader(h.answer)
	}))
	h.portal.Config.ErrorLog = log.New(io.Discard, "", 0)
	h.portal.TLS = &tls.Config{Certificates: []tls.Certificate{cert.TLS}}
	h.portal.StartTLS()
	t.Cleanup(h.portal.Close)
	h.submission = h.sink(lab.SinkConfig{Cert: h.issue(lab.Subject{Hosts: []string{"localhost"}, NotAfter: time.Now().Add(90 * 24 * time.Hour)}), SNI: true, Logins: map[string]string{"alice": "hunter2"}})
	h.relay = h.sink(lab.SinkConfig{})
	h.more = fmt.Sprintf("submission_ca_file = %s\n", h.write(h.ca.PEM()))
	return h
}

func (h *portalHost) issue(s lab.Subject) *lab.Cert {
	h.t.Helper()
	cert, err := h.ca.Issue(s)
	if err != nil {
		h.t.Fatal(err)
	}
	return cert
}

func (h *portalHost) write(pem []byte) string {
	h.t.Helper()
	path := filepath.Join(h.t.TempDir(), "pem")
	if err := os.WriteFile(path, pem, 0o600); err != nil {
		h.t.Fatal(err)
	}
	return path
}

func (h *portalHost) sink(c lab.SinkConfig) *lab.Sink {
	h.t.Helper()
	s, err := c.Start()
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(s.Close)
	return s
}

// examine returns what is not as it should be.
func (h *portalHost) examine() []Check {
	h.t.Helper()
	at := h.portal.Listener.Addr().String()
	x := examinationOf(h.t, fmt.Sprintf("[outbound]\ndomains = example.com\n[portal]\nlisten = inet:%s\nurl = https://%s/addresses\ncertificate = %s\nkey = %s\nsubmission = localhost:%d\nrelay = %s\n%s",
		at, at, h.certificate, h.certificate, h.submission.Addr().Port(), h.relay.Addr(), h.more))
	x.Roots = h.ca.Pool()
	checks := x.portal(h.t.Context())
	if len(checks) != 5 {
		h.t.Errorf("%d checks: %+v", len(checks), checks)
	}
	return slices.DeleteFunc(checks, func(c Check) bool { return c.State == OK })
}

// U2: the portal is looked at as its users come to it, and so are the servers that it needs.
func TestU2FaultsOfThePortal(t *testing.T) {
	for name, c := range map[string]struct {
		commit func(h *portalHost)
		what   string
		state  State
		found  string
	}{
		"none":     {func(*portalHost) {}, "", OK, ""},
		"down":     {func(h *portalHost) { h.portal.Close() }, "listen", Fail, "nobody listens there"},
		"another":  {func(h *portalHost) { h.answer = http.StatusNotFound }, "listen", Fail, "it answers with status 404"},
		"no proxy": {func(h *portalHost) { h.answer = http.StatusBadGateway }, "url", Fail, "it does not reach gatemilter"},
		"host":     {func(h *portalHost) { h.answer = http.StatusMisdirectedRequest }, "url", Fail, "does not pass on which host is asked for"},
		"untrusted": {func(h *portalHost) {
			other, err := lab.NewCA("Another CA")
			if err != nil {
				h.t.Fatal(err)
			}
			cert, err := other.Issue(lab.Subject{Hosts: []string{"127.0.0.1"}})
			if err != nil {
				h.t.Fatal(err)
			}
			h.portal.TLS.Certificates = []tls.Certificate{cert.TLS}
		}, "url", Fail, "its certificate does not hold"},
		"other name": {func(h *portalHost) {
			h.certificate = h.write(h.issue(lab.Subject{Hosts: []string{"mail.example.org"}}).PEM)
		}, "certificate", Fail, "it is for mail.example.org, and users go to 127.0.0.1"},
		"ended": {func(h *portalHost) {
			h.certificate = h.write(h.issue(lab.Subject{Hosts: []string{"127.0.0.1"}, NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(-time.Hour)}).PEM)
		}, "certificate", Fail, "it was good until"},
		"ends": {func(h *portalHost) {
			h.certificate = h.write(h.issue(lab.Subject{Hosts: []string{"127.0.0.1"}, NotAfter: time.Now().Add(time.Hour)}).PEM)
		}, "certificate", Warn, "it is good only until"},
		"no submission": {func(h *portalHost) { h.submission.Close() }, "submission", Fail, "nobody can log in to the portal"},
		"no logins": {func(h *portalHost) {
			h.submission = h.sink(lab.SinkConfig{Cert: h.issue(lab.Subject{Hosts: []string{"localhost"}})})
		}, "submission", Fail, "offers none of the logins"},
		"untrusted there":    {func(h *portalHost) { h.more = "" }, "submission", Fail, "nobody can log in to the portal"},
		"submission without": {func(h *portalHost) { h.submission = h.sink(lab.SinkConfig{}) }, "submission", Fail, "nobody can log in to the portal"},
		"no relay":           {func(h *portalHost) { h.relay.Close() }, "relay", Fail, "no code can be sent"},
	} {
		h := newPortalHost(t)
		c.commit(h)
		bad := h.examine()
		at := slices.IndexFunc(bad, func(got Check) bool {
			return strings.HasPrefix(got.What, c.what) && got.State == c.state && strings.Contains(got.Found, c.found)
		})
		if c.what == "" && len(bad) > 0 || c.what != "" && at < 0 {
			t.Errorf("%s: %+v; want %s, %s, %s", name, bad, c.what, c.state, c.found)
		}
		for _, check := range bad {
			if check.Fix == "" {
				t.Errorf("%s: %+v", name, check)
			}
		}
	}
}

// U7: behind a proxy that is not trusted, all users are one client.
func TestU7ProxyIsNotTrusted(t *testing.T) {
	for text, want := range map[string]bool{
		"listen = inet:127.0.0.1:1\n":                                  true,
		"listen = inet:127.0.0.1:1\ntrusted_proxies = 127.0.0.1\n":     false,
		"listen = unix:" + filepath.Join(t.TempDir(), "p.sock") + "\n": false,
	} {
		x := examinationOf(t, "[outbound]\ndomains = example.com\n[portal]\nurl = https://mail.example.com/addresses\nsubmission = mail.example.com\n"+text)
		x.Offline = true
		at := slices.IndexFunc(x.portal(t.Context()), func(c Check) bool {
			return c.What == "trusted_proxies" && c.State == Warn && strings.Contains(c.Fix, "trusted_proxies = 127.0.0.1, let")
		})
		if (at >= 0) != want {
			t.Errorf("%s: %v, want %v", text, at >= 0, want)
		}
	}
}

// Offline, nothing but the portal itself is asked; on a unix socket too, where a proxy does TLS.
func TestU2PortalOffline(t *testing.T) {
	if got := examinationOf(t, "[server]\n").portal(t.Context()); got != nil {
		t.Errorf("without a portal: %+v", got)
	}
	path := filepath.Join(t.TempDir(), "portal.sock")
	x := examinationOf(t, "[outbound]\ndomains = example.com\n[portal]\nlisten = unix:"+path+"\nurl = https://mail.example.com/addresses\nsubmission = mail.example.com\n")
	x.Offline = true
	if got := x.portal(t.Context()); len(got) != 1 || got[0].State != Fail {
		t.Errorf("without a socket: %+v", got)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	hosts := make(chan string, 1)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { hosts <- r.Host + r.URL.Path })}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
	if got := x.portal(t.Context()); len(got) != 1 || got[0].State != OK {
		t.Errorf("%+v", got)
	}
	if host := <-hosts; host != "mail.example.com/addresses" {
		t.Errorf("it was asked for %s", host)
	}
}
