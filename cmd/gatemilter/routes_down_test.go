package main

import (
	"fmt"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"gatemilter/cmd/internal/lab"
)

// R3: primary hosts share the mail in the proportion of their loads. Each of 1,000 messages
// draws a host by itself, so the standard deviation is at most 16, and five of them are
// a bound that holds 1,700,000 times of 1,700,001.
func TestRouteLoads(t *testing.T) { onBoth(t, testRouteLoads) }

func testRouteLoads(t *testing.T, on string) {
	const messages, sessions = 1000, 4
	hosts := sinksOn(t, on, 3)
	a, b, spare := hosts[0], hosts[1], hosts[2]
	r := newRelayOn(t, on, fmt.Sprintf("[route r]\nprimary = %s 70, %s 30\nsecondary = %s 100\nrequire_tls = no\n[outbound]\ngateway = r\n", a.Addr(), b.Addr(), spare.Addr()),
		func(c *lab.Config) { c.Main += "in_flow_delay = 0\n" })
	var sending sync.WaitGroup
	for n := range sessions {
		sending.Go(func() {
			for i := range messages / sessions {
				r.mail(fmt.Sprintf("sender%d.%d@lab.test", n, i), fmt.Sprintf("to%d.%d@remote.example", n, i))
			}
		})
	}
	sending.Wait()
	r.idle()
	counts := []int{len(a.Taken()), len(b.Taken()), len(spare.Taken()), len(r.direct.Taken())}
	t.Logf("messages at 70%%, 30%%, secondary, direct: %v", counts)
	deviation := math.Sqrt(messages * 0.7 * 0.3)
	if counts[0]+counts[1] != messages || math.Abs(float64(counts[0])-messages*0.7) > 5*deviation {
		t.Errorf("messages at 70%%, 30%%, secondary, direct: %v, want 700±%.0f and the rest", counts, 5*deviation)
	}
}

// R3, O10: a primary host that does not take a message is left for the next one, then for the
// secondary, all at once; if no host takes it, it waits, and leaves by itself later.
func TestRouteFailover(t *testing.T) { onBoth(t, testRouteFailover) }

func testRouteFailover(t *testing.T, on string) {
	hosts := sinksOn(t, on, 3)
	a, b, c := hosts[0], hosts[1], hosts[2]
	// The host that is down is nearly always the first to be tried.
	r := newRelayOn(t, on, fmt.Sprintf("[route r]\nprimary = %s 99, %s 1\nsecondary = %s 100\nrequire_tls = no\n[outbound]\ngateway = r\n", a.Addr(), b.Addr(), c.Addr()),
		impatient)
	named := map[string]*lab.Sink{"a": a, "b": b, "c": c, "direct": r.direct}
	tried := func(want ...string) {
		t.Helper()
		to := r.far()
		r.mail("alice@lab.test", to)
		r.idle()
		if names := arrived(named, to); !slices.Equal(names, want) {
			t.Errorf("arrived at %q, want %q", names, want)
		}
	}
	for _, trouble := range []struct {
		name       string
		begin, end func(*lab.Sink)
	}{
		{"refused", r.refuse, r.open},
		{"421 greeting", answering("", "421 4.3.2 busy"), usually},
		{"554 greeting", answering("", "554 5.3.2 no mail here"), usually},
		{"451 at MAIL", answering("MAIL", "451 4.3.0 later"), usually},
		{"451 at RCPT", answering("RCPT", "451 4.3.0 later"), usually},
		{"451 at DATA", answering("DATA", "451 4.3.0 later"), usually},
	} {
		t.Log(trouble.name)
		trouble.begin(a)
		tried("b")
		trouble.begin(b)
		tried("c")
		if on == onSendmail && trouble.name == "554 greeting" {
			// Where every host greets so, Sendmail returns the mail.
			trouble.end(a)
			trouble.end(b)
			continue
		}
		trouble.begin(c)
		to := r.far()
		r.mail("alice@lab.test", to)
		r.deferred(to)
		for _, s := range []*lab.Sink{a, b, c} {
			trouble.end(s)
		}
		r.arrives(to, a, b, c)
	}
	if n := len(r.direct.Taken()); n > 0 {
		t.Errorf("%d messages left the default way", n)
	}
}

// sinksOn starts mail hosts for one route: for Sendmail, all have one port.
func sinksOn(t *testing.T, on string, n int) (hosts []*lab.Sink) {
	t.Helper()
	for i := range n {
		c := lab.SinkConfig{}
		if on == onSendmail {
			c.IP = fmt.Sprintf("127.0.0.%d", 10+i)
			if i > 0 {
				c.Port = hosts[0].Addr().Port()
			}
		}
		hosts = append(hosts, newServer(t, c))
	}
	return hosts
}

// impatient has Postfix try deferred mail again every second.
func impatient(c *lab.Config) {
	c.Main += "queue_run_delay = 1s\nminimal_backoff_time = 1s\nmaximal_backoff_time = 1s\n"
}

func (r *relay) refuse(s *lab.Sink) {
	r.t.Helper()
	if err := s.Refuse(); err != nil {
		r.t.Fatal(err)
	}
}

func (r *relay) open(s *lab.Sink) {
	r.t.Helper()
	if err := s.Open(); err != nil {
		r.t.Fatal(err)
	}
}

// answering returns what lets a host answer commands with this verb.
func answering(verb, reply string) func(*lab.Sink) {
	return func(s *lab.Sink) {
		s.Answer(func(line string) string {
			if found, _, _ := strings.Cut(line, " "); found == verb {
				return reply
			}
			return ""
		})
	}
}

func usually(s *lab.Sink) { s.Answer(nil) }

// O10: without gatemilter's answer, mail waits. It never takes the default way, and leaves by itself
// when there is an answer again.
func TestRouteLookupDown(t *testing.T) {
	a := newSink(t, nil)
	settings := inClear("r", a) + "[outbound]\ngateway = r\n"
	r := newRelay(t, settings, func(c *lab.Config) {
		impatient(c)
		// Where the milter is not asked first, which would refuse too.
		c.Services = map[string]string{"plain": "-o smtpd_milters="}
	})
	for _, trouble := range []struct {
		name  string
		begin func()
		end   func() // of questions that wait for an answer
	}{
		{"stopped", func() { r.daemon.stop(syscall.SIGTERM) }, func() {}},
		{"killed", func() { r.daemon.stop(syscall.SIGKILL) }, func() {}},
		{"socket gone", r.removeSocket, func() { r.daemon.stop(syscall.SIGTERM) }},
		{"hanging, then killed", func() { r.daemon.cmd.Process.Signal(syscall.SIGSTOP) }, func() { r.daemon.stop(syscall.SIGKILL) }},
	} {
		t.Log(trouble.name)
		trouble.begin()
		queued, asked := r.far(), r.far()
		if err := r.postfix().Sendmail(t.Context(), letter("down"), "-f", "alice@lab.test", queued); err != nil {
			t.Fatal(err)
		}
		client := must(lab.Dial(t.Context(), r.postfix().ServiceAddr("plain")))
		defer client.Close()
		r.ok(client.Ehlo("client.example"))
		r.ok(client.Mail("alice@lab.test"))
		reply := make(chan lab.Reply, 1)
		go func() { reply <- must(client.Rcpt(asked)) }()
		trouble.end()
		if got := <-reply; got.String() != "451 4.3.0 <"+asked+">: Temporary lookup failure" {
			t.Errorf("reply %s", got)
		}
		r.ok(client.Rcpt("user@home.example"))
		client.Close() // Postfix can't reload before that
		if reason := r.deferred(queued); reason != noRoute {
			t.Errorf("deferred: %s", reason)
		}
		r.start(settings)
		// Postfix keeps even a failure for half a minute, or until it asks about another message.
		r.mail("bob@lab.test", r.far())
		r.arrives(queued, a)
	}
	if taken := r.direct.Taken(); len(taken) > 0 {
		t.Errorf("left the default way: %v", taken)
	}
}

// removeSocket has Postfix find no lookup socket, although gatemilter runs.
func (r *relay) removeSocket() {
	r.t.Helper()
	if err := os.Remove(filepath.Join(r.sockets(), "lookup.sock")); err != nil {
		r.t.Fatal(err)
	}
	if err := r.postfix().Reload(r.t.Context()); err != nil { // it has connections
		r.t.Fatal(err)
	}
}

// O10: gatemilter is killed while a host takes a message. This host may go on; for the next one
// there is no permission, so the message waits.
func TestRouteKilledInDelivery(t *testing.T) { onBoth(t, testRouteKilledInDelivery) }

func testRouteKilledInDelivery(t *testing.T, on string) {
	hosts := sinksOn(t, on, 2)
	a, b := hosts[0], hosts[1]
	settings := fmt.Sprintf("[route r]\nprimary = %s 50, %s 50\nrequire_tls = no\n[outbound]\ngateway = r\n", a.Addr(), b.Addr())
	r := newRelayOn(t, on, settings, impatient)
	for _, c := range []struct {
		at, reply string
		waits     bool
	}{
		{".", "250 2.0.0 taken", false},
		{".", "451 4.3.0 later", true},
		{"MAIL", "421 4.3.2 busy", true},
	} {
		t.Logf("killed at %s, then %s", c.at, c.reply)
		begun, killed := make(chan bool, 1), make(chan bool)
		for _, s := range []*lab.Sink{a, b} {
			s.Answer(func(line string) string {
				if verb, _, _ := strings.Cut(line, " "); verb != c.at {
					return ""
				}
				begun <- true
				<-killed
				return c.reply
			})
		}
		to := r.far()
		r.mail("alice@lab.test", to)
		<-begun
		r.daemon.stop(syscall.SIGKILL)
		close(killed)
		if c.waits {
			// Postfix may have tried again already, and then asks for the route first.
			if reason := r.deferred(to); reason != noPermission && reason != noRoute && !strings.Contains(reason, noAnswer) && !strings.Contains(reason, "socket_map_lookup(gmtls)") {
				t.Errorf("deferred: %s", reason)
			}
		} else {
			r.arrives(to, a, b)
		}
		usually(a)
		usually(b)
		r.start(settings)
		r.arrives(to, a, b)
	}
	if taken := r.direct.Taken(); len(taken) > 0 {
		t.Errorf("left the default way: %v", taken)
	}
}

// How Postfix says that the tables have no answer: that of TLS, that of routes, that of logins.
const (
	noPermission = "client TLS configuration problem"
	noRoute      = "address resolver failure"
	noLogin      = "local data error"
	// noAnswer is how Sendmail says it.
	noAnswer = "454 4.3.0 gatemilter: no answer, so nothing is sent"
)

// O10: a message that waits for a host is not sent there when that is no route's any more.
func TestRouteRemoved(t *testing.T) {
	old, now := newSink(t, nil), newSink(t, nil)
	gateway := "[outbound]\ngateway = r\n"
	r := newRelay(t, inClear("r", old)+gateway, func(c *lab.Config) {
		c.Main += "transport_maps = inline:{ { kept.example = gatemilter:" + at(old) + " } }\n"
	})
	r.refuse(old)
	to := r.far()
	r.mail("alice@lab.test", to)
	r.deferred(to)
	r.reload(inClear("r", now) + gateway)
	r.open(old)
	// However Postfix has come to know that host, from a cache or a table of its own.
	r.mail("alice@lab.test", "far@kept.example")
	if reason := r.deferred("far@kept.example"); reason != noPermission {
		t.Errorf("deferred: %s", reason)
	}
	if err := r.postfix().Command(t.Context(), "postsuper", "-r", "ALL", "deferred").Run(); err != nil {
		t.Fatal(err)
	}
	if err := r.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.arrives(to, now)
	if len(old.Taken())+len(r.direct.Taken()) > 0 {
		t.Errorf("sent to the old host: %v; directly: %v", old.Taken(), r.direct.Taken())
	}
}

// O10: mail for a host that is unknown waits, as for one that is down: by Postfix's own
// lookups and by DNS. What is unknown to other mail still comes back.
func TestRouteUnknownHost(t *testing.T) {
	dns := startDNS(t, ". SOA ns.example. admin.example. 1 3600 600 86400 60\n")
	for name, change := range map[string]func(*lab.Config){
		"native": func(c *lab.Config) {
			c.Main += "smtp_host_lookup = native\n"
		},
		"DNS": func(*lab.Config) {},
	} {
		t.Run(name, func(t *testing.T) {
			settings := "[route r]\nhost = relay.nowhere.example\n[sender @lab.test]\nroute = r\n[outbound]\nallow_user_gateways = yes\n[user alice@lab.test]\n" +
				"[user-gateway alice@lab.test alice@partner.example]\nserver = smtp.nowhere.example\npassword = hunter2\n"
			r := newRelay(t, settings, func(c *lab.Config) {
				c.Chroot = true
				c.Main += "relayhost =\ndefault_transport = smtp:[unknown.nowhere.example]\n"
				c.Files = map[string]string{"etc/resolv.conf": "nameserver " + netip.MustParseAddrPort(dns.Addr()).Addr().String() + "\n", "etc/nsswitch.conf": "hosts: dns\n"}
				change(c)
			})
			routed, own, other := r.far(), r.far(), r.far()
			r.mail("bob@lab.test", routed)
			r.write("alice@lab.test", "alice@lab.test", by("alice@partner.example", own), own)
			r.mail("x@other.example", other)
			for _, to := range []string{routed, own} {
				if reason := r.deferred(to); !strings.Contains(reason, "nowhere.example") {
					t.Errorf("%s: deferred: %s", to, reason)
				}
			}
			if _, err := r.WaitLog(t.Context(), regexp.MustCompile("to=<"+other+">.*status=bounced .*nowhere.example")); err != nil {
				t.Error(err)
			}
		})
	}
}
