package admin

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatemilter/milter"
	"gatemilter/milter/accept"
	"gatemilter/policy"
	"gatemilter/policy/auth/dns"
	"gatemilter/policy/config"
)

// began is when the daemon of the tests starts. An hour later they look at it.
var began = time.Date(2026, 3, 1, 9, 30, 0, 0, time.UTC)

// A clock stands still until it is set.
type clock struct{ time.Time }

func (c *clock) now() time.Time { return c.Time }

const settings = `[server]
authserv_id = mx.example.com
mta_user = 4711
admin = 127.0.0.1:9625, 10.0.0.1:9625
[inbound]
internal_networks = 10.0.0.0/8
[inbound-gateway filter]
addresses = 192.0.2.2, 192.0.2.55
domains = example.com, example.org, example.net, example.edu
reject_other = yes
spam_header = ^X-Spam-Score: (.*)$
spam_score = 0.5
require_header = ^X-Gateway-Key: header-secret-4711$
[inbound-gateway archive]
addresses = 198.51.100.0/28
domains = plant.example
[route relays]
primary = a.relay.example:25 70, b.relay.example:25 30
secondary = relay-of-last-resort.backup.relay.example:587 100
verify_hostname = no
[route exchange]
host = exchange.example.com:25
[outbound]
gateway = relays
allow_user_gateways = yes
[user alice@example.com]
[user-gateway alice@example.com alice@partner.example]
server = smtp.partner.example
password = user-password-4711
[sender @sales.example.com]
route = exchange
`

// secrets are what no page may show.
var secrets = []string{"header-secret-4711", "user-password-4711"}

func parse(t testing.TB, text string) *config.Config {
	t.Helper()
	path := filepath.Join(t.TempDir(), "gatemilter.conf")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// monitored returns the monitor of a daemon with these settings, and its clock.
func monitored(t testing.TB, text string) (*Monitor, *clock) {
	c := &clock{began}
	m := newMonitor(c.now, "v1.2.3", func() uint64 { return 3 })
	m.Configured(parse(t, text), func() dns.Stats { return dns.Stats{Hits: 40, Misses: 25, Failures: 2, Entries: 17, Octets: 9000} })
	m.Serving([]Service{
		{Name: "milter", Sockets: []config.Listener{{Network: "tcp", Address: "127.0.0.1:9624"}}, Connections: func() accept.Counts { return accept.Counts{Open: 7, Refused: 1} }},
		{Name: "lookup", Sockets: []config.Listener{{Network: "tcp", Address: "127.0.0.1:9626"}}, Connections: func() accept.Counts { return accept.Counts{Open: 2} }},
		{Name: "admin", Sockets: []config.Listener{{Network: "tcp", Address: "127.0.0.1:9625"}}},
	})
	return m, c
}

var gatewayHost = policy.Client{IP: netip.MustParseAddr("192.0.2.2"), Name: "mx1.filter.example", HELO: "mx1.filter.example", TLS: policy.TLS13}

// throughGateway is a message that the gateway brought.
func throughGateway(change ...func(*milter.Record)) *milter.Record {
	r := &milter.Record{
		QueueID: "4F1A2B3C4D", Client: gatewayHost, Sender: "newsletter@friend.example", Stage: milter.StageEnd, Duration: 42 * time.Millisecond,
		Verdict: policy.Verdict{
			Gateway:    "filter",
			Source:     policy.Source{IP: netip.MustParseAddr("198.51.100.77"), Outcome: policy.External},
			Recipients: []policy.Decision{{Address: "user@example.com"}},
			Authentication: policy.Authentication{
				SPF:   policy.SPF{Result: policy.AuthPass, Domain: "friend.example"},
				DKIM:  []policy.DKIM{{Result: policy.AuthPass, Domain: "friend.example"}, {Result: policy.AuthTempError, Domain: "lists.example"}},
				DMARC: policy.DMARC{Result: policy.AuthPass, Domain: "friend.example"},
			},
			Reasons: []policy.Reason{{Code: policy.FromGateway, Text: "client 192.0.2.2 is a host of gateway filter"}, {Code: policy.SourceFound, Text: "198.51.100.77, hop 2 of 5"}},
		},
	}
	for _, c := range change {
		c(r)
	}
	return r
}

func spam(r *milter.Record) {
	r.Verdict.Action, r.Verdict.Spam.IsSpam = policy.Quarantine, true
	r.Verdict.Reasons = append(r.Verdict.Reasons, policy.Reason{Code: policy.SpamScoreReached, Text: `"X-Spam-Score: 0.9": score 0.9 of 0.5`})
	r.Sender = "win@prize.example"
}

// around is mail that came around the gateway, for two recipients.
func around(r *milter.Record) {
	refusal := policy.Decision{Address: "user@example.com", Action: policy.Reject, Reply: policy.Reply{Code: 550, Enhanced: "5.7.1", Text: "Mail for this domain has to come by its MX hosts"},
		Reasons: []policy.Reason{{Code: policy.AroundGateway, Text: "mail to example.com has to come from gateway filter"}}}
	r.QueueID, r.Sender, r.Stage, r.Duration = "", "sales@cheap.example", milter.StageRcpt, 0
	r.Client = policy.Client{IP: netip.MustParseAddr("203.0.113.66"), HELO: "cheap.example"}
	r.Verdict = policy.Verdict{Action: policy.Reject, Reply: refusal.Reply, Recipients: []policy.Decision{refusal, refusal}, Reasons: refusal.Reasons}
}

func failed(r *milter.Record) {
	r.Answer, r.Failure = policy.Reply{Code: 451, Enhanced: "4.3.0", Text: "The mail filter has a problem: try again later"}, errors.New("value \"x\" has a control character")
}

func aborted(r *milter.Record) {
	r.Stage, r.Verdict = milter.StageAborted, policy.Verdict{}
}

// outgoing leaves by a user's own server.
func outgoing(r *milter.Record) {
	r.Sender, r.Login, r.Client = "alice@partner.example", "alice@example.com", policy.Client{IP: netip.MustParseAddr("203.0.113.9"), TLS: policy.TLS12}
	r.Verdict = policy.Verdict{
		Direction: policy.Outgoing, Recipients: make([]policy.Decision, 3),
		UserGateway: &policy.UserGateway{Host: "smtp.partner.example", Port: 587, Username: "alice"},
		Reasons:     []policy.Reason{{Code: policy.ExemptLogin, Text: "alice@example.com"}, {Code: policy.ByUserGateway, Text: "[user-gateway alice@example.com alice@partner.example]"}},
	}
}

// hostile has texts that would change the page if they could.
func hostile(r *milter.Record) {
	const attack = `</td></tr></table><script>document.title='taken'</script><img src=x onerror=alert(1)>"'` + "\u202e\x1b[31m\x00"
	r.QueueID, r.Sender, r.Client.Name = attack, attack+strings.Repeat("W", 5000)+"@evil.example", strings.Repeat("name", 60)+".example"
	r.Verdict.Gateway, r.Verdict.Action = "", policy.TempFail
	r.Verdict.Reply = policy.Reply{Code: 451, Enhanced: "4.3.0", Text: attack}
	r.Verdict.Reasons = []policy.Reason{{Code: policy.UnrecognisedHop, Text: attack + strings.Repeat("x", 5000)}}
	r.Verdict.Authentication = policy.Authentication{SPF: policy.SPF{Result: policy.AuthResult(attack), Domain: attack}}
}

func observed(r *milter.Record) { r.Mode = policy.Observe }

// eventful has seen one hour of everything, the same one each time.
func eventful(t testing.TB) *Monitor {
	m, c := monitored(t, settings)
	m.Message(throughGateway()) // too long ago for the hour
	c.Time = began.Add(60 * time.Minute)
	m.Identities(func() Identities {
		return Identities{Configured: true, Known: true, Active: 1234, Pending: 5, Disabled: 6, LeftOut: 1, Synced: began.Add(80 * time.Minute),
			Down: errors.New("the database can't be used at present: dial tcp 192.0.2.99:5432: connection refused"), Since: began.Add(81 * time.Minute)}
	})
	m.Probed("relays", "[a.relay.example]:25", Probe{Expires: began.Add(60 * 24 * time.Hour)})
	m.Probed("relays", "[b.relay.example]:25", Probe{Failure: errors.New("require_ca of route relays fails: the certificate is signed by itself"), Expires: began.Add(5 * 24 * time.Hour)})
	m.Probed("gone", "[gone.example]:25", Probe{})
	kinds := []func(*milter.Record){spam, around, outgoing, failed, aborted, around}
	for i := range 90 {
		c.Time = began.Add(30*time.Minute + time.Duration(90*i-i*i/2)*time.Second*7/8) // more and more
		r := throughGateway()
		if i%3 == 0 {
			kinds[i/3%len(kinds)](r)
		}
		m.Message(r)
	}
	c.Time = began.Add(89 * time.Minute)
	m.Message(throughGateway(around, observed))
	m.Message(throughGateway(func(r *milter.Record) { r.Sender, r.Verdict.Gateway = "", "archive" }))
	m.Message(throughGateway(hostile))
	for range 3 {
		m.Lookup("route", "ok", 12*time.Microsecond)
		m.Routed(&policy.Route{Name: "relays"}, policy.OutboundGateway)
	}
	m.Lookup("route", "notfound", 7*time.Microsecond)
	m.Routed(nil, policy.DirectDelivery)
	m.Lookup("tls", "temp", 4*time.Second)
	c.Time = began.Add(89*time.Minute + 10*time.Second)
	m.Configured(parse(t, settings), func() dns.Stats { return dns.Stats{Hits: 5, Misses: 3, Entries: 3, Octets: 1500} })
	c.Time = began.Add(89*time.Minute + 20*time.Second)
	m.ReloadRefused(errors.New("gatemilter.conf:3: [route x] host: \"mail\" has no domain: write its full name"))
	c.Time = began.Add(90*time.Minute - time.Second)
	return m
}

// serve returns the address of a server of the monitor's pages.
func serve(t testing.TB, m *Monitor) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := NewServer(m, func(err error) { t.Log(err) })
	done := make(chan error)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		if err := errors.Join(s.Shutdown(t.Context()), <-done); err != nil {
			t.Error(err)
		}
		http.DefaultClient.CloseIdleConnections()
	})
	return "http://" + l.Addr().String()
}

// must is for what fails only if the test is wrong.
func must[T any](v T, err error) T {
	if err != nil {
		panic(fmt.Sprint("test: ", err))
	}
	return v
}
