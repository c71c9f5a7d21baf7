package portal

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"gatemilter/cmd/internal/lab"
)

// What follows tries to get at what the portal must not give (U7), one way after the other.

// Nothing that ends a line comes into a message, a command or a log.
func TestAttackHeaderInjection(t *testing.T) {
	s := newStage(t)
	partner := s.partner()
	b := s.alice()
	tried := len(partner.Attempts())
	for _, evil := range []string{"\r\n", "\n", "\r", "\x00", "\u2028", "\u0085", "\x0b", "\x1b[2J", "\u202e", "\xff"} {
		for _, name := range []string{"address", "name", "host", "server_username", "password"} {
			value := map[string]string{"address": "alice@partner.example", "name": "Alice", "host": "smtp.partner.example", "server_username": "alice@partner.example", "password": partnersSecret}[name]
			if name == "name" && (evil == "\r\n" || evil == "\n" || evil == "\r" || evil == "\x0b" || evil == "\u2028" || evil == "\u0085") {
				continue // blanks of all kinds become one, see below
			}
			if name == "password" && (evil == "\u2028" || evil == "\u0085" || evil == "\u202e") {
				continue // which a password may have
			}
			s.portal.limits = newLimits(s.time)
			r := b.post("/add/server", server(name, value[:5]+evil+"Bcc: all@example.net"+value[5:])...)
			if r.StatusCode != http.StatusUnprocessableEntity {
				t.Errorf("%s with %q: %s", name, evil, r.Status)
			}
		}
		if r := b.post("/login", "username", "alice"+evil+"x", "password", "x"); r.StatusCode != http.StatusSeeOther && r.StatusCode != http.StatusUnprocessableEntity {
			t.Errorf("login with %q: %s", evil, r.Status)
		}
	}
	if len(partner.Attempts()) != tried || len(partner.Taken()) > 0 {
		t.Errorf("%+v", partner.Taken())
	}
	s.portal.limits = newLimits(s.time)
	b.follow(b.post("/add/server", server("name", "Alice\r\nBcc: all@example.net\r\n\r\nHello")...))
	m := partner.Taken()[0].Data
	if head, _, _ := strings.Cut(m, "\n\n"); strings.Contains(head, "\nBcc:") || !strings.Contains(head, `From: "Alice Bcc: all@example.net Hello" <alice@partner.example>`) {
		t.Error(head)
	}
	for _, evil := range []string{"\r\n", "\n", "\x00"} {
		r := b.post("/confirm", "address", "alice@partner.example", "code", "AAAAA"+evil+"Set-Cookie:x=y")
		if len(r.Header.Values("Set-Cookie")) > 0 {
			t.Errorf("%q: %v", evil, r.Header)
		}
	}
	for _, query := range []string{"next=/help%0d%0aSet-Cookie:x=y", "lang=de%0d%0aX:y", "address=a@b.example%0d%0aX:y"} {
		for _, path := range []string{"/login", "/confirm", "/"} {
			if r := s.browser().get(path + "?" + query); r.Header.Get("X") != "" || len(r.Header.Values("Set-Cookie")) > 0 {
				t.Errorf("%s?%s: %v", path, query, r.Header)
			}
		}
	}
}

// What servers say, and what users are called, is text and no part of a page.
func TestAttackScripts(t *testing.T) {
	const script = `"'><script>alert(1)</script><img src=x onerror=alert(2)>`
	s := newStage(t)
	partner := s.partner()
	b := s.alice()
	partner.Answer(func(line string) string {
		if strings.HasPrefix(line, "AUTH") {
			return "535 5.7.8 " + script + "\x1b[31m" + strings.Repeat("x", 1500)
		}
		return ""
	})
	clean := func(where string, r reply) {
		t.Helper()
		if strings.Contains(r.text, "<script") || strings.Contains(r.text, "<img src=x") || strings.Contains(r.text, "\x1b") {
			t.Errorf("%s: %s", where, r.text)
		}
	}
	r := b.post("/add/server", server()...)
	clean("a server's answer", r)
	if r.has(t, "The server said"); !strings.Contains(r.text, "&lt;script&gt;") || strings.Contains(r.text, strings.Repeat("x", 400)) {
		t.Error("it isn't shown, or not cut")
	}
	partner.Answer(nil)
	b.follow(b.post("/add/server", server("name", script)...))
	for _, page := range []string{"/", "/change?address=alice@partner.example", "/confirm?address=alice@partner.example&code=" + url.QueryEscape(script), "/remove?address=alice@partner.example",
		"/confirm?address=" + url.QueryEscape(script), "/login?next=" + url.QueryEscape(script), "/help?lang=" + url.QueryEscape(script), "/?address=" + url.QueryEscape(script) + "&code=" + url.QueryEscape(script)} {
		clean(page, b.get(page))
	}
	clean("form", b.post("/add", "address", script, "name", script))
	clean("form", b.post("/add/server", server("host", script, "server_username", script, "port", script)...))
	clean("login", s.browser().post("/login", "username", script, "password", "x", "next", script))
	clean("path", b.get("/"+url.PathEscape(script)))
	// The certificate's names are the server's, too.
	evil := s.sink(lab.SinkConfig{Cert: must(s.ca.Issue(lab.Subject{CommonName: script}))})
	s.provider("smtp.evil.example", otherIP, 587, evil)
	clean("certificate", b.post("/add/server", server("address", "x@evil.example", "host", "smtp.evil.example")...))
}

// Nobody sends more than a form.
func TestAttackOversize(t *testing.T) {
	s := newStage(t)
	b := s.alice()
	big := strings.Repeat("x", maxBody)
	for _, path := range posts {
		if r := b.post(path, "address", big, "username", big); r.StatusCode != http.StatusRequestEntityTooLarge {
			t.Errorf("%s: %s", path, r.Status)
		}
	}
	for _, c := range [][]string{{"/add", "address", strings.Repeat("a", 60) + "@" + strings.Repeat("b.", 120) + "example"}, {"/add", "address", "x@y.example", "name", strings.Repeat("ü", 101)},
		{"/confirm", "address", strings.Repeat("x", 5000)}, {"/add/server", "address", "x@y.example", "host", strings.Repeat("x", 5000), "server_username", strings.Repeat("x", 5000), "password", strings.Repeat("x", 5000)}} {
		if r := b.post(c[0], c[1:]...); r.StatusCode/100 != 4 || len(r.text) > 40000 {
			t.Errorf("%s: %s, %d octets", c[0], r.Status, len(r.text))
		}
	}
	conn := must(net.Dial("tcp", must(url.Parse(s.url)).Host))
	defer conn.Close()
	fmt.Fprintf(conn, "GET /?%s HTTP/1.1\r\nHost: x\r\n\r\n", strings.Repeat("x", 2*maxHeader))
	if r := must(http.ReadResponse(bufio.NewReader(conn), nil)); r.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("a long address: %s", r.Status)
	}
	h := s.portal.http
	if h.ReadHeaderTimeout <= 0 || h.ReadTimeout <= 0 || h.WriteTimeout <= probeTimeout || h.IdleTimeout <= 0 || h.MaxHeaderBytes <= 0 {
		t.Errorf("%+v", h)
	}
}

// Only the portal's own name is answered for, and only its paths.
func TestAttackHostAndPath(t *testing.T) {
	s := newStage(t)
	b := s.alice()
	host := must(url.Parse(s.url)).Host
	for _, other := range []string{"evil.example", host + ".evil.example", "localhost", "127.0.0.1", "127.0.0.1:1", "evil.example:80", host + "@evil.example"} {
		b.header.Set("Host", other)
		if r := b.get("/"); r.StatusCode != http.StatusMisdirectedRequest || strings.Contains(r.text, "alice") || strings.Contains(r.text, other+"/") || !strings.Contains(r.text, s.url+"/") || !strings.Contains(r.text, "(Host: "+host+")") || r.Header.Get("Content-Type") != "text/plain; charset=utf-8" {
			t.Errorf("%s: %s", other, r.Status)
		}
	}
	b.header.Del("Host")
	root := strings.TrimSuffix(s.url, "/addresses")
	for _, path := range []string{"/", "/addresses/..", "/addresses/../etc/passwd", "/addresses/%2e%2e/%2e%2e/etc/passwd", "/addresses//", "/addresses/./", "/addressesx", "/addresses/style.css", "/addresses/pages/layout.html", "/addresses/login/", "/addresses/%00", "/addresses/add/../", "//evil.example/", "/addresses/..%2f..%2fetc%2fpasswd", "/debug/pprof/", "/addresses\\..\\"} {
		r := b.get(root + path)
		if r.StatusCode != http.StatusNotFound || strings.Contains(r.text, "root:") {
			t.Errorf("%s: %s %s", path, r.Status, r.Header.Get("Location"))
		}
	}
	for _, method := range []string{"PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"} {
		if r := b.do(method, "/remove?address=alice@partner.example", nil); r.StatusCode != http.StatusMethodNotAllowed {
			t.Errorf("%s: %s", method, r.Status)
		}
	}
	if r := b.post("/help", "a", "b"); r.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST /help: %s", r.Status)
	}
	if r := b.do("HEAD", "/", nil); r.StatusCode != http.StatusOK || r.text != "" {
		t.Errorf("HEAD: %s %q", r.Status, r.text)
	}
	for host, want := range map[string]string{"Mail.Example.COM:443": "mail.example.com", "mail.example.com": "mail.example.com", "mail.example.com:8443": "mail.example.com:8443", "[2001:db8::1]:443": "[2001:db8::1]", "[2001:db8::1]": "[2001:db8::1]"} {
		if got := hostOf("https", host); got != want {
			t.Errorf("hostOf(%q) = %q", host, got)
		}
	}
}

// A login leads to pages of ours only.
func TestAttackRedirect(t *testing.T) {
	for target, want := range map[string]string{
		"/confirm?address=a%40b.example&code=X": "/confirm?address=a%40b.example&code=X",
		"/add":                                  "/add", "/help": "/help", "/add?x=y": "/add", "/confirm?address=a&x=y": "/confirm?address=a",
		"": "", "/": "", "//evil.example": "", "//evil.example/add": "", "/\\evil.example": "", "\\\\evil.example/add": "", "https://evil.example/add": "", "https:/add": "", "https:add": "", "javascript:alert(1)": "",
		"/../evil": "", "/add/../../x": "", "/add/": "", "add": "", "/logout": "", "/test": "", "/login": "", " /add": "", "/add\r\nX: y": "", "/%61dd": "/add", "///add": "", "http:///add": "", "/add#x": "/add", "@evil.example/add": "", "/confirm?address=%ff": "/confirm",
		"/confirm?address=" + strings.Repeat("x", maxTarget): "",
	} {
		if got := localTarget(target); got != want {
			t.Errorf("%q leads to %q, want %q", target, got, want)
		}
	}
	s := newStage(t)
	for _, target := range []string{"//evil.example/add", "https://evil.example/", "/\\evil.example"} {
		r := s.browser().post("/login", "username", "alice@example.com", "password", alicesPassword, "next", target)
		if r.Header.Get("Location") != "/addresses/" {
			t.Errorf("%s leads to %s", target, r.Header.Get("Location"))
		}
	}
	// The link in the message survives the login.
	b := s.browser()
	r := b.get("/confirm?address=alice%40partner.example&code=ABCDE-12345")
	page := b.follow(r)
	next := regexp.MustCompile(`name="next" value="([^"]*)"`).FindStringSubmatch(page.text)
	if next == nil {
		t.Fatal(page.text)
	}
	r = b.post("/login", "username", "alice@example.com", "password", alicesPassword, "next", strings.ReplaceAll(next[1], "&amp;", "&"))
	if r.Header.Get("Location") != "/addresses/confirm?address=alice%40partner.example&code=ABCDE-12345" {
		t.Errorf("%s leads to %q", next[1], r.Header.Get("Location"))
	}
}

// Somebody sits down before an open browser: the stored password goes to no other server.
func TestAttackStoredPassword(t *testing.T) {
	s := newStage(t)
	b := s.alice()
	b.attached(s.partner())
	evil := s.sink(lab.SinkConfig{Cert: s.cert("smtp.evil.example"), Logins: map[string]string{}})
	s.provider("smtp.evil.example", otherIP, 587, evil)
	s.provider("smtp.partner.example", partnerIP, 465, s.sink(lab.SinkConfig{Implicit: true, Cert: s.cert("smtp.partner.example"), Logins: map[string]string{}}))
	v := version(s.record(t, "alice@example.com", "alice@partner.example"))
	for _, change := range [][]string{{"host", "smtp.evil.example"}, {"port", "465 implicit"}, {"server_username", "mallory"}} {
		b.post("/change", server(append(change, "password", "", "version", v)...)...).has(t, "Please enter the password again")
	}
	if len(evil.Attempts()) > 0 {
		t.Errorf("%+v", evil.Attempts())
	}
	if page := b.get("/change?address=alice@partner.example"); strings.Contains(page.text, partnersSecret) || strings.Contains(page.text, `type="password" name="password" id="password" value`) {
		t.Error("the password is in the page")
	}
	// The name can be changed without it.
	b.follow(b.post("/change", server("password", "", "name", "Another", "version", v)...)).has(t, "Another", "are saved and in force")
	if r := s.record(t, "alice@example.com", "alice@partner.example"); r.Gateway.Password.Reveal() != partnersSecret {
		t.Error("the password is lost")
	}
}

// What the administrator has disabled, the user can't get around.
func TestAttackDisabled(t *testing.T) {
	s := newStage(t)
	b := s.alice()
	b.attached(s.partner())
	if err := s.store.Disable(t.Context(), "root", "alice@example.com", "alice@partner.example"); err != nil {
		t.Fatal(err)
	}
	page := b.get("/")
	page.has(t, "Disabled by the administrator")
	if strings.Contains(page.text, "/remove") || strings.Contains(page.text, "/change") {
		t.Error("something can be done")
	}
	for _, r := range []reply{
		b.get("/change?address=alice@partner.example"), b.get("/remove?address=alice@partner.example"), b.get("/confirm?address=alice@partner.example"),
		b.post("/remove", "address", "alice@partner.example"), b.post("/change", server()...), b.post("/test", "address", "alice@partner.example"), b.post("/code", "address", "alice@partner.example"), b.post("/confirm", "address", "alice@partner.example", "code", "x"),
	} {
		if r.StatusCode != http.StatusForbidden {
			t.Errorf("%s %s: %s", r.Request.Method, r.Request.URL.Path, r.Status)
		}
	}
	b.post("/add", "address", "alice@partner.example").has(t, "already in your list")
	if r := s.record(t, "alice@example.com", "alice@partner.example"); !r.Disabled {
		t.Error("it isn't disabled any more")
	}
}

// FuzzLocalTarget: whatever is asked for, a login leads to one of few pages of ours, with an
// address and a code at most.
func FuzzLocalTarget(f *testing.F) {
	for _, seed := range []string{"/confirm?address=a%40b.example&code=X", "//evil.example/add", "/\\evil.example", "https:/add", "/add?code=%0d%0a", "/%2e%2e/add", "/add;x?code"} {
		f.Add(seed)
	}
	base := must(url.Parse("https://mail.example.com/addresses/login"))
	f.Fuzz(func(t *testing.T, target string) {
		got := localTarget(target)
		if got == "" {
			return
		}
		at, err := base.Parse("/addresses" + got)
		if err != nil || at.Scheme != "https" || at.Host != "mail.example.com" || at.Fragment != "" || !targets[strings.TrimPrefix(at.Path, "/addresses")] {
			t.Errorf("%q leads to %q (%v)", target, got, err)
		}
		if strings.ContainsAny(got, "\r\n\\ ") || localTarget(got) != got && len(got) <= maxTarget {
			t.Errorf("%q becomes %q, and that %q", target, got, localTarget(got))
		}
	})
}
