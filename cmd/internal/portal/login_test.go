package portal

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"gatemilter/cmd/internal/lab"
)

// U2: who logs in, with which account, or why he can't.
func TestLogins(t *testing.T) {
	s := newStage(t)
	for _, c := range []struct {
		name, password, domain string
		status                 int
		says                   string
	}{
		{"alice@example.com", alicesPassword, "", 303, "The address of your account is alice@example.com"},
		{"carol", "carols-password", "", 303, "carol@example.com"}, // as the administrator says
		{"erin", "erins-password", "", 403, "Your account is not set up for this yet"},
		{"erin", "erins-password", "example.com", 303, "The address of your account is erin@example.com"},
		{"dora@elsewhere.example", "doras-password", "example.com", 403, "has to enter it"},
		{"alice@example.com", "wrong", "", 422, "User name and password do not match"},
		{"", "", "", 422, "Please enter your user name."},
		{"alice@example.com", "", "", 422, "Please enter your password."},
		{strings.Repeat("x", 255), "x", "", 422, "This cannot be a user name"},
		{"alice\x00", "x", "", 422, "This cannot be a user name"},
		{`"alice"@example.com`, "x", "", 422, "This cannot be a user name"},
		{"alice@example.com", strings.Repeat("x", 1001), "", 422, "This cannot be a password"},
		{"alice@example.com", "a\nb", "", 422, "This cannot be a password"},
	} {
		s.portal.Config.AccountDomain = c.domain
		b := s.browser()
		r := b.post("/login", "username", c.name, "password", c.password)
		if r.StatusCode != c.status {
			t.Errorf("%.30q: %s", c.name, r.Status)
		}
		if r.StatusCode == http.StatusSeeOther {
			r = b.follow(r)
		} else if len(r.Header.Values("Set-Cookie")) > 0 {
			t.Errorf("%.30q gets a cookie", c.name)
		}
		r.has(t, c.says)
	}
	// The administrator's settings change under an open session.
	b := s.alice()
	s.note(func() { s.facts.Domains = nil })
	if r := b.get("/"); r.StatusCode != http.StatusForbidden {
		t.Error(r.Status)
	}
	if r := b.post("/add", "address", "x@y.example"); r.StatusCode != http.StatusForbidden {
		t.Error(r.Status)
	}
}

// What is sent to the submission server is the name under which everything is kept here, or one
// that differs by the case of letters only.
func TestLoginName(t *testing.T) {
	s := newStage(t)
	for entered, sent := range map[string]string{
		"alice@example.com": "alice@example.com", "Alice@Example.com": "Alice@Example.com", " alice@example.com\t": "alice@example.com", "alice@example.com.": "alice@example.com",
		"alice@ＥＸＡＭＰＬＥ.com": "alice@example.com", "ALICE": "ALICE", "jürgen@bücher.example": "jürgen@xn--bcher-kva.example", "\u212Aarl": "\u212Aarl",
	} {
		s.browser().post("/login", "username", entered, "password", "x")
		all := s.submission.Attempts()
		if got := all[len(all)-1]; got.Username != sent || !got.TLS {
			t.Errorf("%q was sent as %q", entered, got.Username)
		}
	}
}

// Where the submission server can't be trusted or reached, nobody is told that his password is
// wrong, and none is sent.
func TestLoginUnavailable(t *testing.T) {
	s := newStage(t)
	try := func(what string) {
		t.Helper()
		s.portal.limits = newLimits(s.time)
		r := s.browser().post("/login", "username", "alice@example.com", "password", alicesPassword)
		if r.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("%s: %s", what, r.Status)
		}
		r.has(t, "Logging in is not possible at present")
		if n := len(s.errors); n == 0 || !strings.Contains(s.errors[n-1].Error(), "nobody can log in to the portal") {
			t.Errorf("%s: reported %v", what, s.errors)
		}
		s.note(func() { s.errors = nil })
	}
	s.submission.Answer(func(line string) string {
		if strings.HasPrefix(line, "AUTH") {
			return "454 4.7.0 the password database is away"
		}
		return ""
	})
	try("not now")
	s.submission.Answer(nil)
	other := s.sink(lab.SinkConfig{Cert: s.cert("other.example.com"), Logins: map[string]string{}})
	good := s.portal.Config.Submission
	s.portal.Config.Submission.Port = other.Addr().Port()
	try("another name")
	clear := s.sink(lab.SinkConfig{Logins: map[string]string{}})
	s.portal.Config.Submission.Port = clear.Addr().Port()
	try("no TLS")
	if len(other.Attempts())+len(clear.Attempts()) > 0 {
		t.Error("the password was sent")
	}
	s.portal.Config.Submission = good
	s.portal.Config.Submission.CAFile = "/nonexistent"
	try("no CA")
	s.portal.Config.Submission.CAFile = s.keys
	try("no certificate in the CA file")
	s.portal.Config.Submission = good
	s.dns["mail.example.com"] = nil
	try("no address")
	s.dns["mail.example.com"] = []netip.Addr{netip.MustParseAddr("127.0.0.1")}
	s.submission.Close()
	try("closed")
}
