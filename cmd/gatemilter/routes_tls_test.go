package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"gatemilter/cmd/internal/lab"
)

// tlsOutcomes are what becomes of mail to a host, by its certificate and the route's demands:
// "tls" or "clear" is how it is sent; all else is what is wrong with the host, so that mail waits.
// "-" is left out: the names that only the chrooted Postfix knows are none for gatemilter.
const tlsOutcomes = `
host           certificate       nothing  TLS       all       CA        name      all,file  CA,file
localhost      good              tls      tls       tls       tls       tls       CA        CA
localhost      wrong-name        tls      tls       name      tls       name      CA        CA
localhost      wildcard          tls      tls       name      tls       name      CA        CA
localhost      common-name       tls      tls       tls       tls       tls       CA        CA
localhost      address           tls      tls       name      tls       name      CA        CA
localhost      self-signed       tls      tls       CA        CA        tls       CA        CA
localhost      expired           tls      tls       expired   expired   tls       CA        CA
localhost      other-CA          tls      tls       CA        CA        tls       tls       tls
localhost      other-CA-and-name tls      tls       CA        CA        name      name      tls
localhost      other-CA-expired  tls      tls       CA        CA        tls       expired   expired
localhost      none              clear    starttls  starttls  starttls  starttls  starttls  starttls
relay.lab.test good              tls      tls       tls       -         -         -         -
relay.lab.test wrong-name        tls      tls       name      -         -         -         -
relay.lab.test wildcard          tls      tls       tls       -         -         -         -
127.0.0.1      address           tls      tls       tls       tls       tls       CA        CA
127.0.0.1      other-CA-address  tls      tls       CA        CA        tls       tls       tls
127.0.0.1      good              tls      tls       name      tls       name      CA        CA
127.0.0.1      common-name       tls      tls       name      tls       name      CA        CA
127.0.0.1      none              clear    starttls  starttls  starttls  starttls  starttls  starttls
`

// tlsFaults are how the log says what is wrong: Postfix's where it judges the host by itself, or
// gatemilter's.
var tlsFaults = map[string]struct{ postfix, gatemilter *regexp.Regexp }{
	"starttls": {regexp.MustCompile("TLS is required, but was not offered"), regexp.MustCompile("^require_tls of route .* (does not offer STARTTLS|has no TLS)")},
	"CA":       {regexp.MustCompile("self-signed certificate|untrusted issuer"), regexp.MustCompile("^require_ca of route .*(signed with its own key|is no trusted CA)")},
	"expired":  {regexp.MustCompile("certificate has expired"), regexp.MustCompile("^require_ca of route .* expired on")},
	"name":     {regexp.MustCompile("(hostname|IP address) mismatch"), regexp.MustCompile("^verify_hostname of route .* is not for")},
}

// tlsCertificates are those of tlsOutcomes, by two authorities.
func tlsCertificates(ca, other *lab.CA) map[string]*lab.Cert {
	return certificatesFor(ca, other, "127.0.0.1", "localhost", "relay.lab.test")
}

// certificatesFor are those for a host with another address and other names, of which
// "localhost" and the like is the first.
func certificatesFor(ca, other *lab.CA, address string, hosts ...string) map[string]*lab.Cert {
	names := func(hosts ...string) lab.Subject { return lab.Subject{Hosts: hosts} }
	good, wrong := names(hosts...), names("other.lab.test")
	past := good
	past.NotBefore, past.NotAfter = time.Now().Add(-48*time.Hour), time.Now().Add(-24*time.Hour)
	return map[string]*lab.Cert{
		"good":              must(ca.Issue(good)),
		"wrong-name":        must(ca.Issue(wrong)),
		"wildcard":          must(ca.Issue(names("*.lab.test"))),
		"common-name":       must(ca.Issue(lab.Subject{CommonName: hosts[0]})),
		"address":           must(ca.Issue(names(address))),
		"self-signed":       must(lab.SelfSigned(good)),
		"expired":           must(ca.Issue(past)),
		"other-CA":          must(other.Issue(good)),
		"other-CA-and-name": must(other.Issue(wrong)),
		"other-CA-expired":  must(other.Issue(past)),
		"other-CA-address":  must(other.Issue(names(address))),
		"none":              nil,
	}
}

// tlsDemands are the settings of those of tlsOutcomes; caFile holds the other authority.
func tlsDemands(caFile string) map[string]string {
	return map[string]string{
		"nothing":  "require_tls = no\n",
		"TLS":      "require_ca = no\nverify_hostname = no\n",
		"all":      "",
		"CA":       "verify_hostname = no\n",
		"name":     "require_ca = no\n",
		"all,file": "ca_file = " + caFile + "\n",
		"CA,file":  "verify_hostname = no\nca_file = " + caFile + "\n",
	}
}

// A tlsWay is a cell of tlsOutcomes: a route to a mail host of its own.
type tlsWay struct {
	route, host, certificate, demand, want string
	sink                                   *lab.Sink
}

func tlsWays(t *testing.T, start func(n int, host, certificate string) (as string, s *lab.Sink)) (ways []tlsWay) {
	lines := strings.Split(strings.TrimSpace(tlsOutcomes), "\n")
	columns := strings.Fields(lines[0])
	for _, line := range lines[1:] {
		cells := strings.Fields(line)
		for i, want := range cells {
			if i < 2 || want == "-" {
				continue
			}
			route := fmt.Sprintf("r%d", len(ways))
			host, sink := start(len(ways), cells[0], cells[1])
			ways = append(ways, tlsWay{route, host, cells[1], columns[i], want, sink})
		}
	}
	return ways
}

func (w tlsWay) String() string {
	return fmt.Sprintf("%s, certificate %s, demand %s", w.host, w.certificate, w.demand)
}
func (w tlsWay) sender() string    { return w.route + "@lab.test" }
func (w tlsWay) recipient() string { return w.route + "@remote.example" }
func (w tlsWay) port() uint16      { return w.sink.Addr().Port() }

// R6, R7: a host that shows its certificate only to who asks for it by name is asked so, by Postfix
// and by us; and verify-tls tells it from one that is not.
func TestRouteAskedByName(t *testing.T) {
	ca := must(lab.NewCA("Relay CA"))
	t.Setenv("SSL_CERT_FILE", writeCA(t, ca))
	settings, hosts := "", map[string]*lab.Sink{}
	for name, demand := range map[string]string{"all": "", "ca": "verify_hostname = no\n", "name": "require_ca = no\n"} {
		hosts[name] = newServer(t, lab.SinkConfig{Cert: must(ca.Issue(lab.Subject{Hosts: []string{"localhost"}})), SNI: true})
		settings += fmt.Sprintf("[route %s]\nhost = localhost:%d\n%s[sender %[1]s@lab.test]\nroute = %[1]s\n", name, hosts[name].Addr().Port(), demand)
	}
	r := newRelay(t, settings, func(c *lab.Config) { c.Main = "smtp_host_lookup = native\n" })
	for name, s := range hosts {
		to := r.far()
		r.mail(name+"@lab.test", to)
		r.arrives(to, s)
		if m := taken(s, to); !m.TLS {
			t.Errorf("%s: arrived as %+v", name, m)
		}
		verify := func(args ...string) error {
			return exec.Command("gatemilter", append([]string{"verify-tls", "--config", r.config()}, args...)...).Run()
		}
		host := fmt.Sprintf("localhost:%d", s.Addr().Port())
		if err := errors.Join(verify(name), verify(host)); err != nil {
			t.Errorf("%s: verify-tls: %v", name, err)
		}
		if verify("--sni", "none", host) == nil || verify("--sni", "other.example", host) == nil {
			t.Errorf("%s: verify-tls with another name passes", name)
		}
	}
}

// R5, R6, R7, R9: each demand against each certificate. What isn't as demanded is neither sent in
// clear nor to a host whose identity is not proved: it waits, and the log says why.
func TestRouteTLS(t *testing.T) { onBoth(t, testRouteTLS) }

func testRouteTLS(t *testing.T, on string) {
	ca, other := must(lab.NewCA("Relay CA")), must(lab.NewCA("Other CA"))
	system := writeCA(t, ca)
	t.Setenv("SSL_CERT_FILE", system) // for gatemilter
	demands := tlsDemands(writeCA(t, other))
	certificates := tlsCertificates(ca, other)
	start := func(_ int, host, certificate string) (string, *lab.Sink) {
		return host, newSink(t, certificates[certificate])
	}
	if on == onSendmail {
		start = hostsOfOnePort(t, ca, other)
	}
	ways := tlsWays(t, start)
	settings := ""
	for _, w := range ways {
		settings += fmt.Sprintf("[route %s]\nhost = %s:%d\n%s[sender %s]\nroute = %s\n", w.route, w.host, w.port(), demands[w.demand], w.sender(), w.route)
	}
	r := newRelayOn(t, on, settings, func(c *lab.Config) {
		c.Chroot = true
		c.Main += "smtp_host_lookup = native\n"
		c.Files = map[string]string{"etc/hosts": "127.0.0.1 localhost relay.lab.test\n", "etc/nsswitch.conf": "hosts: files\n"}
	})
	for _, w := range ways {
		r.mail(w.sender(), w.recipient())
	}
	r.idle()
	for _, w := range ways {
		taken := w.sink.Taken()
		_, waits := tlsFaults[w.want]
		switch {
		case !waits && (!got(w.sink, w.recipient()) || taken[0].TLS != (w.want == "tls")):
			t.Errorf("%s: arrived as %+v, want it to: %s", w, taken, w.want)
		case waits && len(taken) > 0:
			t.Errorf("%s: arrived as %+v, want it to wait: %s", w, taken, w.want)
		case waits:
			r.deferred(w.recipient())
			r.blames(w)
		}
	}
}

// hostsOfOnePort starts mail hosts that have one port, so that Sendmail can have a mailer for it, and
// different addresses and names.
func hostsOfOnePort(t *testing.T, ca, other *lab.CA) func(n int, host, certificate string) (string, *lab.Sink) {
	var port uint16
	var zone strings.Builder
	zone.WriteString(". SOA ns.example. admin.example. 1 3600 600 86400 60\n")
	const hosts = 200
	address := func(n int) string { return fmt.Sprintf("127.0.1.%d", n+1) }
	names := map[string]string{"localhost": "r%d.home.test", "relay.lab.test": "r%d.lab.test"}
	for n := range hosts {
		for _, name := range names {
			fmt.Fprintf(&zone, name+" A %s\n", n, address(n))
		}
	}
	startIsolatedDNS(t, zone.String())
	return func(n int, host, certificate string) (string, *lab.Sink) {
		known := certificatesFor(ca, other, address(n), fmt.Sprintf(names["localhost"], n), fmt.Sprintf(names["relay.lab.test"], n))
		s := newServer(t, lab.SinkConfig{IP: address(n), Port: port, Cert: known[certificate]})
		port = s.Addr().Port()
		if name, ok := names[host]; ok {
			return fmt.Sprintf(name, n), s
		}
		return address(n), s
	}
}

// blames waits until the log of who judges the host says what is wrong with it.
func (r *relay) blames(w tlsWay) {
	r.t.Helper()
	fault := tlsFaults[w.want]
	var said func() bool
	nexthop := fmt.Sprintf("[%s]:%d", w.host, w.port())
	if r.onSendmail() {
		nexthop = w.host
	}
	if !r.onSendmail() && (w.demand == "TLS" || w.demand == "all") { // which Postfix has words for
		port := fmt.Sprintf("]:%d", w.port())
		said = func() bool {
			return slices.ContainsFunc(strings.Split(r.Log(), "\n"), func(line string) bool {
				return strings.Contains(line, port) && fault.postfix.MatchString(line)
			})
		}
	} else {
		said = func() bool {
			return slices.ContainsFunc(r.daemon.entries(), func(e entry) bool {
				return e["nexthop"] == nexthop && fault.gatemilter.MatchString(fmt.Sprint(e["error"]))
			})
		}
	}
	if err := lab.Until(r.t.Context(), "the log to say what is wrong", said); err != nil {
		r.t.Errorf("%s, fault %s: %v", w, w.want, err)
	}
}

// R3, R9: a host that is not as demanded is left for the next one, whoever judges it. What
// main.cf has for other mail does not count: neither its fallback relay, nor that its relay
// speaks TLS from the start.
func TestRouteTLSFailover(t *testing.T) { onBoth(t, testRouteTLSFailover) }

func testRouteTLSFailover(t *testing.T, on string) {
	ca := must(lab.NewCA("Relay CA"))
	trusted := writeCA(t, ca)
	t.Setenv("SSL_CERT_FILE", trusted)
	ip := lab.Subject{Hosts: []string{"127.0.0.1"}}
	if on == onSendmail {
		ip.Hosts = []string{"127.0.0.2"}
	}
	settings, seconds := "", map[string]*lab.Sink{}
	for name, demand := range map[string]string{"postfix": "", "gatemilter": "verify_hostname = no\n", "nobody": ""} {
		bad := newSink(t, must(lab.SelfSigned(ip)))
		c := lab.SinkConfig{Cert: must(ca.Issue(ip)), IP: ip.Hosts[0]}
		if on == onSendmail {
			c.Port = bad.Addr().Port()
		}
		second := newServer(t, c)
		if name == "nobody" {
			if err := second.Refuse(); err != nil {
				t.Fatal(err)
			}
		}
		seconds[name] = second
		settings += fmt.Sprintf("[route %s]\nprimary = %s 100\nsecondary = %s 100\n%s[sender %s@lab.test]\nroute = %s\n", name, bad.Addr(), second.Addr(), demand, name, name)
	}
	fallback := newSink(t, must(ca.Issue(ip)))
	r := newRelayOn(t, on, settings, func(c *lab.Config) {
		c.Main += "smtp_tls_CAfile = /nowhere\nsmtp_fallback_relay = " + at(fallback) + "\nsmtp_tls_wrappermode = yes\nsmtp_tls_security_level = encrypt\n"
	})
	for name, second := range seconds {
		to := name + "@remote.example"
		r.mail(name+"@lab.test", to)
		if name != "nobody" {
			r.arrives(to, second)
		} else if reason := r.deferred(to); !strings.Contains(reason, "Connection refused") {
			t.Errorf("deferred: %s", reason)
		}
	}
	r.idle()
	if taken := fallback.Taken(); len(taken) > 0 {
		t.Errorf("left by the fallback relay: %+v", taken)
	}
}

// R4, R7: the hosts of a route with mx_lookup are the MX hosts of a domain, in their order, and it is
// their names that count.
func TestRouteMX(t *testing.T) { onBoth(t, testRouteMX) }

func testRouteMX(t *testing.T, on string) {
	ca := must(lab.NewCA("Relay CA"))
	named := func(names ...string) *lab.Cert { return must(ca.Issue(lab.Subject{Hosts: names})) }
	host, domain := newSink(t, named("mx2.good.test")), newSink(t, named("domain.test"))
	zone := fmt.Sprintf(`
good.test MX 10 mx1.good.test.
good.test MX 20 mx2.good.test.
mx1.good.test A 127.0.0.99
mx2.good.test A %s
domain.test MX 10 mx.domain.test.
mx.domain.test A %s
good.test A 127.0.0.99
domain.test A 127.0.0.99
`, host.Addr().Addr(), domain.Addr().Addr())
	trust(t, ca)
	settings := fmt.Sprintf("[route host]\nhost = good.test:%d\nmx_lookup = yes\n[route domain]\nhost = domain.test:%d\nmx_lookup = yes\n"+
		"[sender @host.test]\nroute = host\n[sender @domain.test]\nroute = domain\n", host.Addr().Port(), domain.Addr().Port())
	var r *relay
	if on == onSendmail {
		startIsolatedDNS(t, zone)
		r = newSendmailRelay(t, settings, lab.SendmailConfig{DNS: true})
	} else {
		resolver := netip.MustParseAddrPort(startDNS(t, zone).Addr()).Addr()
		r = newRelay(t, settings, func(c *lab.Config) {
			c.Chroot = true
			c.Files = map[string]string{"etc/resolv.conf": "nameserver " + resolver.String() + "\n"}
		})
	}
	sent, waits := r.far(), r.far()
	r.mail("alice@host.test", sent)
	r.mail("alice@domain.test", waits)
	r.idle()
	if !got(host, sent) || len(domain.Taken()) > 0 {
		t.Errorf("arrived at the second MX host: %v; at one without its name: %v", host.Taken(), domain.Taken())
	}
	why := map[string]string{onPostfix: "not verified", onSendmail: "verify_hostname of route domain fails"}[on]
	if reason := r.deferred(waits); !strings.Contains(reason, why) {
		t.Errorf("deferred: %s", reason)
	}
}
