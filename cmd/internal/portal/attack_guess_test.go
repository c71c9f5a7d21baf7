package portal

import (
	"fmt"
	"html"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"gatemilter/policy/identity"
)

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

// One client with very many names doesn't keep all others out.
func TestAttackManyNames(t *testing.T) {
	now := time.Now()
	l := newLimits(func() time.Time { return now })
	for i := range maxKeys + 100 {
		l.login(fmt.Sprintf("user%d@example.com", i), "192.0.2.1")
	}
	for i := range 20 {
		if wait := l.login(fmt.Sprintf("other%d@example.com", i), fmt.Sprintf("198.51.100.%d", i)); wait > 0 {
			t.Errorf("user %d has to wait %s", i, wait)
		}
	}
	if n := len(l.loginPair.keys); n > 100 {
		t.Errorf("%d keys", n)
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

// A user who has codes sent to somebody's address again and again doesn't keep the owner from having
// his.
func TestAttackCodesUsedUp(t *testing.T) {
	s := newStage(t)
	s.note(func() { s.now = time.Now() })
	partner := s.partner()
	bob := s.as("bob@example.com", "bobs-password")
	bob.post("/add/server", "address", "alice@partner.example", "without", "yes")
	for range 31 {
		s.later(time.Minute)
		for range 10 {
			bob.post("/code", "address", "alice@partner.example")
		}
	}
	if sent := len(s.relay.Taken()); sent < 4 || sent > 8 {
		t.Errorf("%d messages were sent", sent)
	}
	alice := s.alice()
	if r := alice.post("/add/server", server()...); r.StatusCode != http.StatusSeeOther || lastCode(t, partner) == "" {
		t.Errorf("alice: %s %s", r.Status, r.words())
	}
}

// A user who changes a name again and again doesn't drive the changes of all others out of the
// history.
func TestAttackChanges(t *testing.T) {
	s := newStage(t)
	b := s.alice()
	b.attached(s.partner())
	before := len(must(s.store.History(t.Context(), "", "", 1000)))
	var last reply
	for i := range 100 {
		v := version(s.record(t, "alice@example.com", "alice@partner.example"))
		last = b.post("/change", server("version", v, "password", "", "name", fmt.Sprint(i))...)
	}
	if n := len(must(s.store.History(t.Context(), "", "", 1000))) - before; n > 30 || last.StatusCode != http.StatusTooManyRequests {
		t.Errorf("%d changes at once, %s", n, last.Status)
	}
	last.has(t, "Too many attempts in a short time")
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
	// His own he has already.
	b.post("/add", "address", "Alice@example.com").has(t, "This is your account’s address")
	// Carol's are in the configuration.
	s.as("carol", "carols-password").post("/add", "address", "sales@example.com").has(t, "has already set up this address for you")
}
