package portal

import (
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"gatemilter/policy/identity"
)

// posts are all paths that change something.
var posts = func() (list []string) {
	for path, r := range routes {
		if r.post != nil {
			list = append(list, path)
		}
	}
	slices.Sort(list)
	return list
}()

// Another site's page makes the browser send a form, with the user's cookie.
func TestAttackCrossOrigin(t *testing.T) {
	s := newStage(t)
	b := s.alice()
	b.attached(s.partner())
	for _, header := range []http.Header{
		{"Sec-Fetch-Site": {"cross-site"}}, {"Sec-Fetch-Site": {"same-site"}}, {"Origin": {"https://evil.example"}}, {"Origin": {"null"}},
		{"Origin": {"http://127.0.0.1:1"}}, {"Origin": {strings.TrimSuffix(s.url, "/addresses") + ".evil.example"}},
	} {
		b.header = header
		for _, path := range posts {
			r := b.post(path, server()...)
			if r.StatusCode != http.StatusForbidden {
				t.Errorf("%s with %v: %s", path, header, r.Status)
			}
			r.has(t, "did not come from one of our own pages")
		}
	}
	if s.record(t, "alice@example.com", "alice@partner.example").State != identity.Active {
		t.Error("something was changed")
	}
	b.header = http.Header{"Sec-Fetch-Site": {"same-origin"}}
	if r := b.post("/remove", "address", "alice@partner.example"); r.StatusCode != http.StatusSeeOther {
		t.Errorf("our own form: %s", r.Status)
	}
	// A form in another form is not one of ours.
	for _, kind := range []string{"text/plain", "multipart/form-data; boundary=x", "application/json", "*"} {
		b.header = http.Header{"Content-Type": {kind}}
		if r := b.post("/remove", "address", "alice@partner.example"); r.StatusCode != http.StatusUnsupportedMediaType {
			t.Errorf("%q: %s", kind, r.Status)
		}
	}
}

// Nobody comes in without a cookie, or with one that he has made up.
func TestAttackCookies(t *testing.T) {
	s := newStage(t)
	good := s.alice()
	at := must(url.Parse(s.url + "/"))
	token := good.http.Jar.Cookies(at)[0].Value
	if len(token) < 43 {
		t.Errorf("the token has only %d characters", len(token))
	}
	for _, cookie := range []string{"", "gatemilter=", "gatemilter=x", "gatemilter=" + token[1:], "gatemilter=" + strings.ToLower(token), "gatemilter=" + token + "x",
		"gatemilter=x; gatemilter=" + token, "__Host-gatemilter=" + token, "gatemilter-language=" + token, "gatemilter=" + strings.Repeat("x", 10000)} {
		for path, r := range routes {
			if r.open {
				continue
			}
			b := s.browser()
			b.header = http.Header{"Cookie": {cookie}}
			answers := []reply{b.get(path + "?address=a@b.example")}
			if r.post != nil {
				answers = append(answers, b.post(path, "address", "a@b.example"))
			}
			for _, answer := range answers {
				if answer.StatusCode != http.StatusSeeOther || !strings.HasPrefix(answer.Header.Get("Location"), "/addresses/login") {
					t.Errorf("%.60q %s %s: %s", cookie, answer.Request.Method, path, answer.Status)
				}
			}
		}
	}
	if answer := good.get("/"); answer.StatusCode != http.StatusOK {
		t.Errorf("the good one: %s", answer.Status)
	}
}

// A cookie that somebody has planted before the login doesn't become the user's.
func TestAttackFixation(t *testing.T) {
	s := newStage(t)
	b := s.browser()
	at := must(url.Parse(s.url + "/"))
	b.http.Jar.SetCookies(at, []*http.Cookie{{Name: "gatemilter", Value: "planted-by-mallory", Path: "/"}})
	b.post("/login", "username", "alice@example.com", "password", alicesPassword)
	first := b.http.Jar.Cookies(at)[0].Value
	if first == "planted-by-mallory" {
		t.Fatal("the cookie stays")
	}
	mallory := s.browser()
	mallory.header.Set("Cookie", "gatemilter=planted-by-mallory")
	if r := mallory.get("/"); r.StatusCode != http.StatusSeeOther {
		t.Errorf("the planted one: %s", r.Status)
	}
	// A session of mallory's own, planted, isn't alice's either.
	own := s.as("bob@example.com", "bobs-password").http.Jar.Cookies(at)[0].Value
	b.http.Jar.SetCookies(at, []*http.Cookie{{Name: "gatemilter", Value: own, Path: "/"}})
	b.post("/login", "username", "alice@example.com", "password", alicesPassword)
	mallory.header.Set("Cookie", "gatemilter="+own)
	if r := mallory.get("/"); r.StatusCode != http.StatusSeeOther {
		t.Errorf("mallory's own, after alice has used it: %s", r.Status)
	}
	// To log in again ends nothing else, but what the browser had.
	mallory.header.Set("Cookie", "gatemilter="+first)
	if r := mallory.get("/"); r.StatusCode != http.StatusOK {
		t.Errorf("another session of the same user: %s", r.Status)
	}
}

// A session ends an hour after the login, however it is used.
func TestAttackSessionLife(t *testing.T) {
	s := newStage(t)
	b := s.alice()
	for range 5 {
		s.later(11 * time.Minute)
		if r := b.get("/"); r.StatusCode != http.StatusOK {
			t.Fatalf("within the hour: %s", r.Status)
		}
	}
	s.later(6 * time.Minute)
	if r := b.get("/"); r.StatusCode != http.StatusSeeOther {
		t.Errorf("after the hour: %s", r.Status)
	}
	b = s.alice()
	token := b.http.Jar.Cookies(must(url.Parse(s.url + "/")))[0].Value
	b.post("/logout")
	again := s.browser()
	again.header.Set("Cookie", "gatemilter="+token)
	if r := again.get("/"); r.StatusCode != http.StatusSeeOther {
		t.Errorf("after the logout: %s", r.Status)
	}
}

// Of sessions there are only so many, and one user's push out no other's.
func TestAttackManySessions(t *testing.T) {
	now := time.Now()
	s := newSessions(func() time.Time { now = now.Add(time.Millisecond); return now })
	victim := s.begin("victim")
	tokens := []string{}
	for range 3 * maxLoginSessions {
		tokens = append(tokens, s.begin("mallory"))
	}
	if s.find(victim) == nil || s.find(tokens[len(tokens)-1]) == nil || s.find(tokens[0]) != nil || len(s.all) != maxLoginSessions+1 {
		t.Errorf("%d sessions", len(s.all))
	}
	for i := range maxSessions + 10 {
		s.all[sessionID{byte(i), byte(i >> 8), byte(i >> 16), 1}] = &session{login: fmt.Sprint(i), began: now}
	}
	s.begin("x")
	if len(s.all) > maxSessions+40 {
		t.Errorf("%d sessions", len(s.all))
	}
	now = now.Add(sessionLife)
	s.begin("x")
	if len(s.all) != 1 {
		t.Errorf("%d sessions after all have ended", len(s.all))
	}
}

// The cookies are what they should be, over TLS.
func TestAttackCookieAttributes(t *testing.T) {
	s := newStage(t)
	s.portal.secure = true
	r := s.browser().post("/login?lang=de", "username", "alice@example.com", "password", alicesPassword)
	all := r.Header.Values("Set-Cookie")
	if len(all) != 2 || !strings.HasPrefix(all[0], "__Host-gatemilter-language=de; Path=/; Max-Age=31536000; HttpOnly; Secure; SameSite=Lax") ||
		!regexp.MustCompile(`^__Host-gatemilter=[\w-]{43}; Path=/; HttpOnly; Secure; SameSite=Lax$`).MatchString(all[1]) {
		t.Errorf("%q", all)
	}
}

// Every answer keeps the browser from doing anything else with it.
func TestAttackHeaders(t *testing.T) {
	s := newStage(t)
	b := s.alice()
	for _, r := range []reply{b.get("/"), b.get("/login"), b.get("/nothing"), b.get("/icon.svg"), b.post("/remove"), s.browser().get("/")} {
		for name, want := range map[string]string{"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", "Referrer-Policy": "same-origin", "X-Frame-Options": "DENY", "Cross-Origin-Opener-Policy": "same-origin", "Strict-Transport-Security": ""} {
			if got := r.Header.Get(name); got != want {
				t.Errorf("%s: %s: %q", r.Request.URL, name, got)
			}
		}
		csp := r.Header.Get("Content-Security-Policy")
		for _, part := range []string{"default-src 'none'", "style-src 'sha256-", "form-action 'self'", "base-uri 'none'", "frame-ancestors 'none'"} {
			if !strings.Contains(csp, part) || strings.Contains(csp, "unsafe") || strings.Contains(csp, "script-src") {
				t.Errorf("%s: %s", r.Request.URL, csp)
			}
		}
	}
}
