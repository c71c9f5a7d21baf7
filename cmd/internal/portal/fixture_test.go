package portal

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gatemilter/cmd/internal/lab"
	"gatemilter/milter/tlsprobe"
	"gatemilter/policy"
	"gatemilter/policy/config"
	"gatemilter/policy/identity"
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// Names and passwords of the tests. None of the passwords may ever be seen again.
const (
	alicesPassword = "mail-password-4711"
	partnersSecret = "partner-password-4711"
)

// A stage is a portal with its surroundings: our submission server, a relay, and servers of other
// providers, which DNS shows at public addresses and the network leads to this host.
type stage struct {
	t          *testing.T
	portal     *Server
	store      *identity.Store
	url        string
	ca         *lab.CA
	submission *lab.Sink
	relay      *lab.Sink
	dns        map[string][]netip.Addr
	srv        map[string][]*net.SRV
	database   string
	keys       string // file

	mu     sync.Mutex
	facts  Facts
	hosts  map[netip.AddrPort]netip.AddrPort // where connections to public addresses lead
	dialed []string
	events []Event
	errors []error
	now    time.Time // zero: the real one
}

// Hosts of other providers: their addresses are public, and nobody's.
var (
	partnerIP = netip.MustParseAddr("8.8.0.1")
	otherIP   = netip.MustParseAddr("8.8.0.2")
)

// newStage starts a portal. change adapts its options.
func newStage(t *testing.T, change ...func(*stage, *Options)) *stage {
	t.Helper()
	s := &stage{t: t, ca: must(lab.NewCA("Lab CA")), dns: make(map[string][]netip.Addr), srv: make(map[string][]*net.SRV), hosts: make(map[netip.AddrPort]netip.AddrPort)}
	dir := t.TempDir()
	caFile := filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(caFile, s.ca.PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	s.submission = s.sink(lab.SinkConfig{Cert: s.cert("mail.example.com"), Logins: map[string]string{
		"alice@example.com": alicesPassword, "bob@example.com": "bobs-password", "carol": "carols-password", "dora@elsewhere.example": "doras-password", "erin": "erins-password",
	}})
	s.relay = s.sink(lab.SinkConfig{})
	s.dns["mail.example.com"] = []netip.Addr{netip.MustParseAddr("127.0.0.1")}
	s.facts = Facts{AllowUserGateways: true, Domains: map[string]bool{"example.com": true}, SenderHeader: true, Configured: func(login string) *policy.User {
		return map[string]*policy.User{
			"carol": {Login: "carol", Account: "carol@example.com", Identities: []policy.Identity{{Address: "carol@example.com"}, {Address: "sales@example.com"}}},
		}[login]
	}}
	s.database, s.keys = "sqlite:"+filepath.Join(dir, "identities.db"), filepath.Join(dir, "keys")
	if err := identity.CreateKeyFile(s.keys); err != nil {
		t.Fatal(err)
	}
	s.store = must(identity.New(identity.Config{Database: s.database, Keys: must(identity.LoadKeyring(s.keys))}))
	t.Cleanup(func() { s.store.Close() })
	l := must(net.Listen("tcp", "127.0.0.1:0"))
	o := Options{
		Config: config.Portal{
			URL:        "http://" + l.Addr().String() + "/addresses",
			Submission: config.Submission{Host: "mail.example.com", Port: s.submission.Addr().Port(), CAFile: caFile},
			Ports:      []uint16{25, 465, 587},
			Relay:      s.relay.Addr(),
		},
		Store:     s.store,
		Facts:     s.currentFacts,
		Report:    func(err error) { s.note(func() { s.errors = append(s.errors, err) }) },
		Log:       func(e Event) { s.note(func() { s.events = append(s.events, e) }) },
		Prober:    tlsprobe.Prober{Lookup: s.lookup, Dial: s.dial, Timeout: 10 * time.Second},
		Roots:     s.ca.Pool(),
		LookupSRV: s.lookupSRV,
	}
	for _, c := range change {
		c(s, &o)
	}
	s.portal = must(New(o))
	s.url = o.Config.URL
	s.portal.now = s.time
	served := make(chan error)
	go func() { served <- s.portal.Serve(l) }()
	t.Cleanup(func() {
		s.portal.Shutdown(context.Background())
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(s.noSecrets)
	return s
}

// noSecrets looks whether anything that was logged shows a password or a code.
func (s *stage) noSecrets() {
	if s.t.Failed() {
		s.t.Logf("events %+v\nreported %v", s.logged(), s.errors)
	}
	for _, secret := range []string{alicesPassword, partnersSecret} {
		if all := fmt.Sprintf("%+v %v", s.logged(), s.errors); strings.Contains(all, secret) {
			s.t.Errorf("%q is in the log: %s", secret, all)
		}
	}
}

func (s *stage) note(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

func (s *stage) logged() []Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.events)
}

// results are those of the events of a kind, in order.
func (s *stage) results(k Kind) (list []string) {
	for _, e := range s.logged() {
		if e.Kind == k {
			list = append(list, e.Result)
		}
	}
	return list
}

func (s *stage) currentFacts() Facts {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.facts
}

func (s *stage) time() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now.IsZero() {
		return time.Now()
	}
	return s.now
}

// later turns the portal's clock on.
func (s *stage) later(d time.Duration) {
	now := s.time()
	s.note(func() { s.now = now.Add(d) })
}

func (s *stage) cert(hosts ...string) *lab.Cert { return must(s.ca.Issue(lab.Subject{Hosts: hosts})) }

func (s *stage) sink(c lab.SinkConfig) *lab.Sink {
	sink := must(c.Start())
	s.t.Cleanup(sink.Close)
	return sink
}

// provider puts a server at a public address, with a name.
func (s *stage) provider(name string, ip netip.Addr, port uint16, sink *lab.Sink) {
	s.note(func() {
		s.dns[name] = []netip.Addr{ip}
		s.hosts[netip.AddrPortFrom(ip, port)] = sink.Addr()
	})
}

// partner is a provider with one account, at 587.
func (s *stage) partner() *lab.Sink {
	sink := s.sink(lab.SinkConfig{Cert: s.cert("smtp.partner.example"), Logins: map[string]string{"alice@partner.example": partnersSecret}})
	s.provider("smtp.partner.example", partnerIP, 587, sink)
	return sink
}

func (s *stage) lookup(_ context.Context, host string) ([]netip.Addr, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if found, ok := s.dns[host]; ok {
		return found, nil
	}
	return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
}

func (s *stage) lookupSRV(_ context.Context, service, proto, name string) ([]*net.SRV, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.srv["_"+service+"._"+proto+"."+name], nil
}

func (s *stage) dial(ctx context.Context, network, address string) (net.Conn, error) {
	s.mu.Lock()
	s.dialed = append(s.dialed, address)
	to, known := s.hosts[netip.MustParseAddrPort(address)]
	s.mu.Unlock()
	if !known {
		to = netip.MustParseAddrPort(address)
		if !to.Addr().IsLoopback() {
			return nil, fmt.Errorf("no test goes to %s", address)
		}
	}
	return new(net.Dialer).DialContext(ctx, network, to.String())
}

// A browser is somebody with cookies, who follows no redirect unless told to.
type browser struct {
	*stage
	http   *http.Client
	header http.Header
}

func (s *stage) browser() *browser {
	return &browser{s, &http.Client{Jar: must(cookiejar.New(nil)), CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}, http.Header{}}
}

// A reply is an answer of the portal.
type reply struct {
	*http.Response
	text string
}

func (b *browser) do(method, path string, form url.Values) reply {
	b.t.Helper()
	at := path
	if !strings.Contains(path, "://") {
		at = b.url + path
		if strings.HasPrefix(path, "/addresses") {
			at = strings.TrimSuffix(b.url, "/addresses") + path
		}
	}
	var body io.Reader
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	r := must(http.NewRequestWithContext(b.t.Context(), method, at, body))
	for name, values := range b.header {
		r.Header[name] = values
	}
	if host := b.header.Get("Host"); host != "" {
		r.Host = host
	}
	if form != nil && r.Header.Get("Content-Type") == "" {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	answer, err := b.http.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer answer.Body.Close()
	text := string(must(io.ReadAll(answer.Body)))
	for _, secret := range []string{alicesPassword, partnersSecret} {
		if strings.Contains(text, secret) {
			b.t.Errorf("%s %s shows a password", method, path)
		}
	}
	return reply{answer, text}
}

func (b *browser) get(path string) reply { b.t.Helper(); return b.do("GET", path, nil) }

func (b *browser) post(path string, pairs ...string) reply {
	b.t.Helper()
	form := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		form.Set(pairs[i], pairs[i+1])
	}
	return b.do("POST", path, form)
}

// follow gets what a redirect leads to.
func (b *browser) follow(r reply) reply {
	b.t.Helper()
	if r.StatusCode != http.StatusSeeOther {
		b.t.Fatalf("%s: no redirect, but %s", r.Status, r.words())
	}
	return b.get(r.Header.Get("Location"))
}

// alice is logged in.
func (s *stage) alice() *browser {
	s.t.Helper()
	return s.as("alice@example.com", alicesPassword)
}

func (s *stage) as(name, password string) *browser {
	s.t.Helper()
	b := s.browser()
	if r := b.post("/login", "username", name, "password", password); r.StatusCode != http.StatusSeeOther {
		s.t.Fatalf("login: %s %s", r.Status, r.words())
	}
	return b
}

var (
	elements = regexp.MustCompile(`(?s)<style>.*?</style>|<[^>]*>`)
	blanks   = regexp.MustCompile(`\s+`)
)

// words are the text of a page.
func (r reply) words() string {
	return strings.TrimSpace(blanks.ReplaceAllString(elements.ReplaceAllString(r.text, " "), " "))
}

func (r reply) has(t *testing.T, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if !strings.Contains(r.words(), text) {
			t.Errorf("%s: %q is missing in: %s", r.Request.URL.Path, text, r.words())
		}
	}
}

// server are the fields of a user's server.
func server(pairs ...string) []string {
	all := map[string]string{"address": "alice@partner.example", "name": "Alice", "host": "smtp.partner.example", "port": "587 starttls", "server_username": "alice@partner.example", "password": partnersSecret}
	for i := 0; i+1 < len(pairs); i += 2 {
		all[pairs[i]] = pairs[i+1]
	}
	var list []string
	for name, value := range all {
		list = append(list, name, value)
	}
	return list
}

var codeText = regexp.MustCompile(`\b[0-9A-Z]{5}-[0-9A-Z]{5}\b`)

// lastCode is the code in the message that a server was given last.
func lastCode(t *testing.T, s *lab.Sink) string {
	t.Helper()
	for _, m := range slices.Backward(s.Taken()) {
		if m.Data != "" {
			return codeText.FindString(plain(t, m.Data))
		}
	}
	t.Fatal("no message has come")
	return ""
}

// attached has alice@partner.example active.
func (b *browser) attached(partner *lab.Sink) {
	b.t.Helper()
	b.follow(b.post("/add/server", server()...))
	b.follow(b.post("/confirm", "address", "alice@partner.example", "code", lastCode(b.t, partner)))
}
