package portal

import (
	"bufio"
	"fmt"
	"html"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"gatemilter/cmd/internal/lab"
	"gatemilter/policy/identity"
)

// What follows tries to get at what the portal must not give (U7), one way after the other.

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

// Passwords are guessed: by one client, by many, and by one that says it were many.
func TestAttackGuessing(t *testing.T) {
	s := newStage(t)
	s.portal.Config.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
	s.note(func() { s.now = time.Now() })
	from := func(client string) *browser {
		b := s.browser()
		b.header.Set("X-Forwarded-For", client)
		return b
	}
	guess := func(client, name, password string) int {
		return from(client).post("/login", "username", name, "password", password).StatusCode
	}
	// Alice has logged in from home.
	if got := guess("198.51.100.1", "alice@example.com", alicesPassword); got != http.StatusSeeOther {
		t.Fatal(got)
	}
	// One client, however he writes the name, and whatever he adds.
	for i, name := range []string{"alice@example.com", "ALICE@example.com", " alice@example.com ", "alice@EXAMPLE.com", "alice@example.com"} {
		if got := guess("192.0.2.1", name, fmt.Sprint(i)); got != http.StatusUnprocessableEntity {
			t.Fatalf("guess %d: %d", i, got)
		}
	}
	r := from("192.0.2.1").post("/login", "username", "alice@example.com", "password", alicesPassword)
	if r.StatusCode != http.StatusTooManyRequests || r.Header.Get("Retry-After") != "121" && r.Header.Get("Retry-After") != "120" {
		t.Errorf("the sixth: %s, %s", r.Status, r.Header.Get("Retry-After"))
	}
	r.has(t, "Too many attempts in a short time", "2 minutes")
	if got := guess("6.6.6.6, 192.0.2.1", "alice@example.com", "x"); got != http.StatusTooManyRequests {
		t.Errorf("with a made-up first hop: %d", got)
	}
	// A whole network of IPv6 is one client.
	for i := range 5 {
		guess(fmt.Sprintf("2001:db8:1:2:%x::%x", i, i), "alice@example.com", "x")
	}
	if got := guess("2001:db8:1:2:ffff::1", "alice@example.com", "x"); got != http.StatusTooManyRequests {
		t.Errorf("the same /64: %d", got)
	}
	// Many clients use up what the account has: others can't even try, but alice at home can.
	refused := 0
	for i := range 30 {
		if guess(fmt.Sprintf("203.0.113.%d", i), "alice@example.com", "x") == http.StatusTooManyRequests {
			refused++
		}
	}
	if refused < 10 {
		t.Errorf("of 30 clients only %d are refused", refused)
	}
	if got := guess("198.51.100.99", "alice@example.com", alicesPassword); got != http.StatusTooManyRequests {
		t.Errorf("alice elsewhere: %d", got)
	}
	if got := guess("198.51.100.1", "alice@example.com", alicesPassword); got != http.StatusSeeOther {
		t.Errorf("alice at home: %d", got)
	}
	// It is not for ever, elsewhere neither.
	s.later(10 * time.Minute)
	if got := guess("198.51.100.99", "alice@example.com", alicesPassword); got != http.StatusSeeOther {
		t.Errorf("alice elsewhere, later: %d", got)
	}
	// One client with many names.
	refused = 0
	for i := range 40 {
		if guess("192.0.2.77", fmt.Sprintf("user%d@example.com", i), "x") == http.StatusTooManyRequests {
			refused++
		}
	}
	if refused < 5 {
		t.Errorf("of 40 names only %d are refused", refused)
	}
	tried := len(s.submission.Attempts())
	if got := guess("192.0.2.77", "user99@example.com", "x"); got != http.StatusTooManyRequests || len(s.submission.Attempts()) != tried {
		t.Error("what is refused is tried nevertheless")
	}
	if !slices.Contains(s.results(Limited), string(LoggedIn)) {
		t.Error("the log doesn't say so")
	}
}

// Who is no proxy of ours can't say who he is.
func TestAttackForwarded(t *testing.T) {
	s := newStage(t)
	proxy := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	for _, c := range []struct {
		peer, forwarded, want string
		proxies               []netip.Prefix
	}{
		{"192.0.2.1:5", "", "192.0.2.1", nil},
		{"192.0.2.1:5", "198.51.100.1", "192.0.2.1", nil},
		{"192.0.2.1:5", "198.51.100.1", "192.0.2.1", proxy},
		{"10.0.0.1:5", "198.51.100.1", "10.0.0.1", nil},
		{"10.0.0.1:5", "198.51.100.1", "198.51.100.1", proxy},
		{"10.0.0.1:5", "6.6.6.6, 198.51.100.1", "198.51.100.1", proxy},
		{"10.0.0.1:5", "6.6.6.6, 198.51.100.1 , 10.2.0.1", "198.51.100.1", proxy},
		{"10.0.0.1:5", "nonsense", "10.0.0.1", proxy},
		{"10.0.0.1:5", "198.51.100.1, nonsense", "10.0.0.1", proxy},
		{"10.0.0.1:5", "10.0.0.2", "10.0.0.2", proxy},
		{"10.0.0.1:5", "", "10.0.0.1", proxy},
		{"[::ffff:10.0.0.1]:5", "2001:db8::1", "2001:db8::1", proxy},
		{"[fd00::1%eth0]:5", "::ffff:198.51.100.1", "198.51.100.1", proxy},
		{"@", "198.51.100.1", localClient, nil},
		{"", "", localClient, nil},
		{"10.0.0.1:5", strings.Repeat("10.0.0.1,", 1000) + "10.0.0.1", "10.0.0.1", proxy},
	} {
		s.portal.Config.TrustedProxies = c.proxies
		r := must(http.NewRequest("GET", "/", nil))
		r.RemoteAddr = c.peer
		r.Header.Set("X-Forwarded-For", c.forwarded)
		if got := s.portal.client(r); got != c.want {
			t.Errorf("%s for %.60q: %s, want %s", c.peer, c.forwarded, got, c.want)
		}
	}
	for client, want := range map[string]string{"192.0.2.1": "192.0.2.1", "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64", "local": "local"} {
		if got := network(client); got != want {
			t.Errorf("network(%q) = %q", client, got)
		}
	}
}

// Of the keys that are counted, there is room for only so many: who makes up more shares what
// is left.
func TestAttackManyKeys(t *testing.T) {
	now := time.Now()
	l := newLimiter(func() time.Time { return now }, 3, time.Minute)
	for i := range maxKeys {
		l.allow(fmt.Sprint(i))
	}
	refused := 0
	for i := range 10 {
		if l.allow(fmt.Sprint("more", i)) > 0 {
			refused++
		}
	}
	if refused != 7 || len(l.keys) != maxKeys {
		t.Errorf("%d refused, %d keys", refused, len(l.keys))
	}
	now = now.Add(time.Hour)
	if l.allow("later") > 0 || len(l.keys) > 1 {
		t.Errorf("%d keys an hour later", len(l.keys))
	}
	m := newMemory(func() time.Time { now = now.Add(time.Microsecond); return now })
	for i := range maxKeys + 3 {
		m.at[fmt.Sprint(i)] = now
		if i > maxKeys-2 {
			m.add(fmt.Sprint(i))
		}
	}
	if len(m.at) > maxKeys+1 {
		t.Errorf("%d remembered", len(m.at))
	}
}

// Codes are guessed: five tries, whatever comes then.
func TestAttackCodes(t *testing.T) {
	s := newStage(t)
	partner := s.partner()
	b := s.alice()
	b.follow(b.post("/add/server", server()...))
	code := lastCode(t, partner)
	enter := func(code string) reply {
		return b.post("/confirm", "address", "alice@partner.example", "code", code)
	}
	for i := range 5 {
		enter(fmt.Sprintf("0000%d-00000", i)).has(t, "This is not the code")
	}
	enter(code).has(t, "has expired, or was tried too often")
	if s.record(t, "alice@example.com", "alice@partner.example").State == identity.Active {
		t.Error("the sixth try counts")
	}
	for range 10 {
		enter("00000-00000")
	}
	if r := enter("00000-00000"); r.StatusCode != http.StatusTooManyRequests {
		t.Errorf("the portal lets one try for ever: %s", r.Status)
	}
	// Bob can do nothing with alice's address, nor with her code.
	bob := s.as("bob@example.com", "bobs-password")
	for _, r := range []reply{
		bob.get("/confirm?address=alice@partner.example&code=" + code), bob.post("/confirm", "address", "alice@partner.example", "code", code),
		bob.get("/change?address=alice@partner.example"), bob.get("/remove?address=alice@partner.example"), bob.post("/remove", "address", "alice@partner.example"),
		bob.post("/code", "address", "alice@partner.example"), bob.post("/test", "address", "alice@partner.example"), bob.post("/change", server()...),
	} {
		if r.StatusCode != http.StatusNotFound {
			t.Errorf("%s %s: %s", r.Request.Method, r.Request.URL, r.Status)
		}
	}
	// Nor can one have codes sent for ever.
	sent := 0
	for range 20 {
		if b.post("/code", "address", "alice@partner.example"); len(partner.Taken()) > sent {
			sent = len(partner.Taken())
		}
	}
	if sent > 6 {
		t.Errorf("%d messages were sent", sent)
	}
}

// A user names servers inside, in every way there is. None is connected to, and he can't tell
// the names that exist.
func TestAttackInside(t *testing.T) {
	s := newStage(t)
	inside := s.sink(lab.SinkConfig{Cert: s.cert("inside.example.com"), Logins: map[string]string{"alice@partner.example": partnersSecret}})
	for name, ips := range map[string][]string{
		"inside.example.com": {"10.0.0.1"}, "rebound.example": {"127.0.0.1"}, "metadata.example": {"169.254.169.254"}, "both.example": {"10.0.0.1", "fd00::1"}, "mapped.example": {"::ffff:127.0.0.1"},
		"nat64.example": {"64:ff9b::7f00:1"}, "sixtofour.example": {"2002:7f00:1::1"}, "zero.example": {"0.0.0.0"}, "six.example": {"::1"},
	} {
		for _, ip := range ips {
			s.dns[name] = append(s.dns[name], netip.MustParseAddr(ip))
		}
	}
	s.note(func() { s.hosts[netip.MustParseAddrPort("10.0.0.1:587")] = inside.Addr() })
	b := s.alice()
	s.note(func() { s.dialed = nil })
	pages := make(map[string]string)
	try := func(host string) reply {
		s.portal.limits = newLimits(s.time)
		return b.post("/add/server", server("host", host)...)
	}
	for host := range s.dns {
		if host != "mail.example.com" {
			pages[host] = strings.ReplaceAll(try(host).text, host, "HOST")
		}
	}
	unknown := strings.ReplaceAll(try("unknown.example").text, "unknown.example", "HOST")
	for host, page := range pages {
		if page != unknown {
			t.Errorf("%s is told from a name that doesn't exist", host)
		}
	}
	for _, host := range []string{"127.0.0.1", "[127.0.0.1]", "10.0.0.1", "::1", "[::1]", "::ffff:127.0.0.1", "64:ff9b::127.0.0.1", "169.254.169.254", "fd00::1", "fe80::1", "0.0.0.0", "::", "255.255.255.255", "224.0.0.1", "100.64.0.1"} {
		if r := try(host); r.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(r.text, "is not an address of the public Internet") && !strings.Contains(r.text, "not the full name of a server") {
			t.Errorf("%s: %s %s", host, r.Status, r.words())
		}
	}
	for _, host := range []string{"localhost", "127.1", "2130706433", "0x7f.1", "0177.0.0.1", "127.0.0.1.", "127.0.0.1:25", "smtp.partner.example:25", "http://127.0.0.1/", "user@10.0.0.1", "10.0.0.1/24", "fe80::1%lo", "[::1", "a b.example", "-x.example", "x..example", strings.Repeat("a.", 200) + "example"} {
		if r := try(host); r.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(r.text, "not the full name of a server") {
			t.Errorf("%s: %s %s", host, r.Status, r.words())
		}
	}
	try("mail.example.com").has(t, "This is our own server")
	if len(s.dialed) > 0 || len(inside.Attempts()) > 0 {
		t.Errorf("connected to %q", s.dialed)
	}
	// The log tells the administrator what it was.
	if !slices.Contains(s.results(Tested), "inside-address") {
		t.Errorf("%v", s.results(Tested))
	}
	// He may allow a network.
	s.portal.Config.AllowedNetworks = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	if r := try("inside.example.com"); r.StatusCode != http.StatusSeeOther {
		t.Errorf("an allowed network: %s %s", r.Status, r.words())
	}
}

// A name that leads somewhere else when it is looked up again is not looked up again.
func TestAttackRebinding(t *testing.T) {
	s := newStage(t)
	s.partner()
	s.dns["rebinding.example"] = []netip.Addr{netip.MustParseAddr("8.8.9.9")}
	b := s.alice()
	s.note(func() { s.dialed = nil })
	b.post("/add/server", server("host", "rebinding.example")...)
	s.dns["rebinding.example"] = []netip.Addr{netip.MustParseAddr("127.0.0.1")}
	b.post("/add/server", server("host", "rebinding.example")...)
	if !slices.Equal(s.dialed, []string{"8.8.9.9:587"}) {
		t.Errorf("connected to %q", s.dialed)
	}
}

// Only the ports that are offered can be chosen.
func TestAttackPorts(t *testing.T) {
	s := newStage(t)
	s.partner()
	b := s.alice()
	s.note(func() { s.dialed = nil })
	for _, port := range []string{"", "22", "22 starttls", "80 starttls", "6379 starttls", "465 starttls", "587 implicit", "587 none", "587", "0 starttls", "-1 starttls", "65536 starttls", "587 starttls ", " 587 starttls", "+587 starttls", "587\nstarttls", "0587 starttls"} {
		if r := b.post("/add/server", server("port", port)...); r.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(r.text, "choose one of the ports") {
			t.Errorf("%q: %s", port, r.Status)
		}
	}
	// Neither by what DNS suggests.
	s.srv["_submissions._tcp.partner.example"] = []*net.SRV{{Target: "smtp.partner.example.", Port: 6379}, {Target: "inside.example.", Port: 465}, {Target: ".", Port: 465}, {Target: "127.0.0.1", Port: 465}}
	s.dns["inside.example"] = []netip.Addr{netip.MustParseAddr("10.0.0.1")}
	delete(s.dns, "smtp.partner.example")
	if page := b.post("/add", "address", "alice@partner.example"); strings.Contains(page.text, " checked>") || strings.Contains(page.text, "inside.example") || strings.Contains(page.text, "6379") {
		t.Error("a suggestion leads inside")
	}
	if len(s.dialed) > 0 {
		t.Errorf("connected to %q", s.dialed)
	}
}

// Nobody learns which users and which addresses there are.
func TestAttackEnumeration(t *testing.T) {
	s := newStage(t)
	page := func(b *browser, path, value string, pairs ...string) string {
		s.portal.limits = newLimits(s.time)
		r := b.post(path, pairs...)
		r.Header.Del("Date")
		r.Header.Del("Content-Length")
		return strings.NewReplacer(value, "VALUE", html.EscapeString(value), "VALUE", strings.ReplaceAll(value, "+", "&#43;"), "VALUE").Replace(fmt.Sprint(r.StatusCode, r.Header, r.text))
	}
	b := s.browser()
	tried := len(s.submission.Attempts())
	known := page(b, "/login", "alice@example.com", "username", "alice@example.com", "password", "wrong")
	unknown := page(b, "/login", "nobody@example.com", "username", "nobody@example.com", "password", "wrong")
	if known != unknown {
		t.Errorf("logins differ: %s\n%s", known, unknown)
	}
	if got := len(s.submission.Attempts()) - tried; got != 2 {
		t.Errorf("%d of 2 were tried", got)
	}
	// Addresses of our own: of bob, who is there, of nobody, and of one that bob has attached.
	b = s.alice()
	var first string
	for _, address := range []string{"bob@example.com", "nobody@example.com", "sales@example.com", "BOB@Example.COM", "alice+x@example.com", "alice@example.com.", "postmaster@example.com"} {
		got := page(b, "/add", strings.ToLower(address), "address", strings.ToLower(address))
		if strings.Contains(address, "com.") { // which is no address
			continue
		}
		if first == "" {
			first = got
		}
		if got != first || !strings.Contains(got, "Addresses of example.com are assigned by the administrator") {
			t.Errorf("%s is told from others", address)
		}
	}
	if !strings.Contains(first, "422") {
		t.Error(first)
	}
	// The second step can't be used to get around the first.
	for _, address := range []string{"bob@example.com", "bob@EXAMPLE.com"} {
		b.post("/add/server", server("address", address)...).has(t, "are assigned by the administrator")
		b.post("/add/server", "address", address, "without", "yes").has(t, "are assigned by the administrator")
	}
	// An address that another user has is no other than one that nobody has.
	s.partner()
	s.alice().attached(s.partner())
	bob := s.as("bob@example.com", "bobs-password")
	one := page(bob, "/add", "alice@partner.example", "address", "alice@partner.example")
	other := page(bob, "/add", "nobody@partner.example", "address", "nobody@partner.example")
	if one != other {
		t.Error("an address that another user has is told from others")
	}
	// A subdomain is not our domain.
	if got := page(b, "/add", "x", "address", "x@sub.example.com"); !strings.HasPrefix(got, "200") {
		t.Error(got)
	}
	// His own he may have.
	if got := page(b, "/add", "x", "address", "alice@example.com"); !strings.HasPrefix(got, "200") {
		t.Error(got)
	}
	// Carol's are in the configuration.
	s.as("carol", "carols-password").post("/add", "address", "sales@example.com").has(t, "has already set up this address for you")
}

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
		if r := b.get("/"); r.StatusCode != http.StatusMisdirectedRequest || strings.Contains(r.text, "alice") {
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
