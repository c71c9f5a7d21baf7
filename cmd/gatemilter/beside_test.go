package main

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"

	"gatemilter/cmd/internal/lab"
)

// The tests of this file have settings of an administrator's in Postfix beside ours, and look
// at what these do to mail that takes routes or leaves by users' own servers.

// A besideSite has servers of a user's own with each kind of TLS, and a route for all else.
type besideSite struct {
	*relay
	servers map[string]*lab.Sink // by the domain of the user's address
	gateway *lab.Sink
}

func newBesideSite(t *testing.T, change func(*lab.Config)) *besideSite {
	t.Helper()
	ca := must(lab.NewCA("Partner CA"))
	logins := map[string]string{"alice": alicesPassword}
	s := &besideSite{gateway: newSink(t, certified(ca)), servers: map[string]*lab.Sink{
		"starttls.example": newServer(t, lab.SinkConfig{Cert: certified(ca), Logins: logins}),
		"implicit.example": newServer(t, lab.SinkConfig{Cert: certified(ca), Implicit: true, Logins: logins}),
		"none.example":     newServer(t, lab.SinkConfig{Logins: logins}),
	}}
	settings := fmt.Sprintf("[route gateway]\nhost = %s\n[outbound]\ngateway = gateway\nallow_user_gateways = yes\n[user alice@lab.test]\n", s.gateway.Addr())
	for domain, server := range s.servers {
		answering("", "220 hello")(server) // which does not say that it knows EHLO
		settings += own("alice@lab.test", "alice@"+domain, server, "alice", alicesPassword, "tls = "+strings.TrimSuffix(domain, ".example"))
	}
	trust(t, ca)
	s.relay = newRelay(t, settings, change)
	return s
}

// postconf changes Postfix's settings, which are in force after a reload.
func (r *relay) postconf(args ...string) {
	r.t.Helper()
	if out, err := r.postfix().Command(r.t.Context(), "postconf", args...).CombinedOutput(); err != nil {
		r.t.Fatalf("postconf %q: %v: %s", args, err, out)
	}
}

// command runs one of Postfix's.
func (r *relay) command(name string, args ...string) {
	r.t.Helper()
	if out, err := r.postfix().Command(r.t.Context(), name, args...).CombinedOutput(); err != nil {
		r.t.Fatalf("%s %q: %v: %s", name, args, err, out)
	}
}

// O4, O5, O6, R5-R7, O10: what main.cf has for other mail neither keeps the mail of users from
// leaving by their own servers with their login, as their address, nor that of routes from leaving
// by these, with TLS. A filter after the queue takes only the latter.
func TestSettingsBeside(t *testing.T) {
	const direct, anchor = "DIRECT", "anchor.pem"
	other := must(lab.NewCA("Other CA"))
	for _, c := range []struct {
		what, settings string
		filtered       bool // whether other mail takes the filter's way
	}{
		{"TLS", "smtp_tls_connection_reuse = yes\nsmtp_tls_trust_anchor_file = $queue_directory/" + anchor + "\nsmtp_tls_per_site = static:NONE\nsmtp_tls_policy_maps = static:none\n", false},
		{"no EHLO", "smtp_never_send_ehlo = yes\nsmtp_always_send_ehlo = no\n", false},
		{"answers and logins", "smtp_reply_filter = regexp:{ {/^250([- ])(AUTH|STARTTLS).*/ 250$${1}NONE} }\nsmtp_sasl_tls_verified_security_options = noplaintext, noanonymous\n", false},
		{"ways", "smtp_fallback_relay = DIRECT\nsender_dependent_relayhost_maps = static:DIRECT\nsmtp_generic_maps = inline:{ { alice@starttls.example = else@lab.test } }\n" +
			"smtp_destination_recipient_limit = 1\ndefer_transports = smtp\nreceive_override_options = no_header_body_checks, no_address_mappings\n", false},
		{"filter by header", "header_checks = regexp:{ {/^Subject:/ FILTER smtp:DIRECT} }\n", true},
		{"filter by body", "body_checks = regexp:{ {/Hello/ FILTER smtp:DIRECT} }\n", true},
		{"filter by access", "smtpd_data_restrictions = check_client_access static:{FILTER smtp:DIRECT}, permit\n", true},
		{"filter of all", "content_filter = smtp:DIRECT\n", true},
	} {
		t.Run(c.what, func(t *testing.T) {
			s := newBesideSite(t, func(l *lab.Config) {
				l.Main += strings.ReplaceAll(c.settings, direct, l.Relay)
				l.Files = map[string]string{anchor: string(other.PEM())}
			})
			s.leaves(c.filtered)
			s.checkSecrets()
		})
	}
}

// leaves sends a message as each of Alice's addresses, and looks at how it arrives.
func (s *besideSite) leaves(filtered bool) {
	s.t.Helper()
	hosts := map[string]*lab.Sink{"gateway": s.gateway, "direct": s.direct}
	ways := map[string]string{"lab.test": "gateway"}
	if filtered {
		ways["lab.test"] = "direct"
	}
	to := map[string]string{"lab.test": s.far()}
	for domain, server := range s.servers {
		hosts[domain], ways[domain], to[domain] = server, domain, s.far()
	}
	for domain, recipient := range to {
		if reply := s.write("alice@lab.test", "alice@lab.test", by("alice@"+domain, recipient), recipient); !reply.OK() {
			s.t.Errorf("as %s: %v", domain, reply)
		}
	}
	s.idle()
	for domain, host := range ways {
		if names := arrived(hosts, to[domain]); !slices.Equal(names, []string{host}) {
			s.t.Errorf("as %s, arrived at %q, want %s", domain, names, host)
			continue
		}
		m, login := taken(hosts[host], to[domain]), "alice"
		if domain == "lab.test" {
			login = ""
		}
		if m.Login != login || m.From != "alice@"+domain || m.TLS != (domain != "none.example" && !(filtered && login == "")) ||
			!slices.Equal(field(s.t, m, "From"), []string{"alice@" + domain}) {
			s.t.Errorf("as %s, arrived as %+v", domain, m)
		}
	}
}

// O4, O9, R3: a host of a route is shown the login that main.cf has for it, and never one that
// main.cf has for a sender, who has it elsewhere. One that greets with 5xx is out of order: mail
// goes to the next host, or waits, whatever main.cf says of other hosts.
func TestRouteLogin(t *testing.T) {
	ca := must(lab.NewCA("Partner CA"))
	busy := newSink(t, certified(ca))
	partner := newServer(t, lab.SinkConfig{Cert: certified(ca), Logins: map[string]string{"alice": alicesPassword}})
	gateway := newServer(t, lab.SinkConfig{Cert: certified(ca), Logins: map[string]string{"relay": secondPassword}})
	answering("", "554 5.3.2 no mail here")(busy)
	trust(t, ca)
	r := newRelay(t, fmt.Sprintf("[route gateway]\nprimary = %s 100\nsecondary = %s 100\n[outbound]\ngateway = gateway\n", busy.Addr(), gateway.Addr()), func(c *lab.Config) {
		c.Main += "smtp_skip_5xx_greeting = no\nsmtp_sasl_auth_enable = yes\nsmtp_sasl_security_options = noanonymous\nsmtp_sender_dependent_authentication = yes\n" +
			"sender_dependent_relayhost_maps = inline:{ { alice@partner.example = " + at(partner) + " } }\n" +
			"smtp_sasl_password_maps = inline:{ { alice@partner.example = alice:" + bobsPassword + " }, { " + at(gateway) + " = relay:" + secondPassword + " } }\n"
	})
	to := r.far()
	r.mail("alice@partner.example", to)
	r.idle()
	if !got(gateway, to) || taken(gateway, to).Login != "relay" {
		t.Errorf("the gateway was sent %+v", gateway.Taken())
	}
	for _, a := range gateway.Attempts() {
		if a.Username != "relay" {
			t.Errorf("the gateway was shown %+v", a)
		}
	}
	r.refuse(gateway)
	to = r.far()
	r.mail("alice@lab.test", to)
	r.deferred(to)
}

// R7: the name that a certificate must bear is the one in the configuration, not one that the DNS
// makes of it, though main.cf has that for other mail.
func TestRouteAlias(t *testing.T) {
	dns := startDNS(t, "relay.partner.example CNAME evil.example\nevil.example A 127.0.0.1\n. SOA ns.example. admin.example. 1 3600 600 86400 60\n")
	ca := must(lab.NewCA("Partner CA"))
	evil, good := newSink(t, must(ca.Issue(lab.Subject{Hosts: []string{"evil.example"}}))), newSink(t, must(ca.Issue(lab.Subject{Hosts: []string{"relay.partner.example"}})))
	trust(t, ca)
	r := newRelay(t, fmt.Sprintf("[route evil]\nhost = relay.partner.example:%d\n[route good]\nhost = relay.partner.example:%d\n", evil.Addr().Port(), good.Addr().Port())+
		"[sender evil@lab.test]\nroute = evil\n[sender good@lab.test]\nroute = good\n", func(c *lab.Config) {
		c.Chroot = true
		c.Main += "smtp_cname_overrides_servername = yes\n"
		c.Files = map[string]string{"etc/resolv.conf": "nameserver " + netip.MustParseAddrPort(dns.Addr()).Addr().String() + "\n", "etc/nsswitch.conf": "hosts: dns\n"}
	})
	toEvil, toGood := r.far(), r.far()
	r.mail("evil@lab.test", toEvil)
	r.mail("good@lab.test", toGood)
	if reason := r.deferred(toEvil); !strings.Contains(reason, "not verified") {
		t.Errorf("deferred: %s", reason)
	}
	r.arrives(toGood, good)
	if len(evil.Taken()) > 0 {
		t.Errorf("sent to a host of another name: %+v", evil.Taken())
	}
}

// O5, O6: what changes the senders of forwarded mail (PostSRSd) leaves users' addresses alone, and is
// as it was without users. Where something else changes them, the mail waits, and the log says why.
func TestUserGatewaySenderRewritten(t *testing.T) {
	const theirs = "regexp:{ {/^(.*)@starttls\\.example$$/ srs0=$$1@lab.test} }"
	s := newBesideSite(t, func(c *lab.Config) {
		impatient(c)
		c.Main += "sender_canonical_classes = envelope_sender\nsender_canonical_maps = " + theirs + "\n"
		c.Services = map[string]string{"plain": "-o smtpd_milters="}
	})
	s.leaves(false)
	forwarded := s.far()
	s.mail("bob@starttls.example", forwarded)
	s.arrives(forwarded, s.gateway)
	if m := taken(s.gateway, forwarded); m.From != "srs0=bob@lab.test" {
		t.Errorf("forwarded as %+v", m)
	}

	s.postconf("-e", "canonical_classes = envelope_sender", "canonical_maps = inline:{ { alice@starttls.example = else@lab.test } }")
	if err := s.postfix().Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	to := s.far()
	s.write("alice@lab.test", "alice@lab.test", by("alice@starttls.example", to), to)
	if reason := s.deferred(to); !strings.Contains(reason, noLogin) {
		t.Errorf("deferred: %s", reason)
	}
	s.daemon.wait(t, "why it waits", func(e entry) bool {
		return e["message"] == "mail is held back: the host is shown no login" && e["sender"] == "else@lab.test" && strings.Contains(fmt.Sprint(e["error"]), "canonical_maps")
	})
	bounce := s.far()
	s.mail("", bounce)
	s.arrives(bounce, s.gateway)

	// Without gatemilter, nobody knows what has to be left alone: the client comes again.
	s.daemon.stop(syscall.SIGKILL)
	client := must(lab.Dial(t.Context(), s.postfix().ServiceAddr("plain")))
	defer client.Close()
	s.ok(client.Ehlo("client.example"))
	done := must(client.Send(lab.Envelope{From: "bob@starttls.example", To: []string{"user@home.example"}}, letter("down")))
	if done.End.Code != 451 {
		t.Errorf("without gatemilter: %+v", done)
	}
	client.Close()
	s.setUp("--remove")
	if text := s.files()["main.cf"]; !strings.Contains(text, "\nsender_canonical_maps = "+theirs+"\n") {
		t.Errorf("removed:\n%s", text)
	}
}

// O5, O10: mail that waits keeps the user's way when it is tried again, for whatever reason, and when
// it has been held.
func TestUserGatewayQueue(t *testing.T) {
	s := newBesideSite(t, func(c *lab.Config) {
		c.Main += "minimal_backoff_time = 1h\nmaximal_backoff_time = 1h\nqueue_run_delay = 1h\nfast_flush_domains = remote.example\n"
	})
	server := s.servers["starttls.example"]
	for what, again := range map[string]func(id string){
		"postqueue -f": func(string) { s.command("postqueue", "-f") },
		"postqueue -i": func(id string) { s.command("postqueue", "-i", id) },
		"postqueue -s": func(string) { s.command("postqueue", "-s", "remote.example") },
		"ETRN": func(string) {
			client := must(lab.Dial(t.Context(), s.Addr()))
			defer client.Close()
			s.ok(client.Ehlo("client.example"))
			s.ok(client.Cmd("ETRN remote.example"))
		},
		"held": func(id string) {
			s.command("postsuper", "-h", id)
			s.command("postsuper", "-H", id)
			s.command("postqueue", "-f")
		},
	} {
		s.refuse(server)
		to := s.far()
		s.write("alice@lab.test", "alice@lab.test", by("alice@starttls.example", to), to)
		s.deferred(to)
		s.idle()
		s.open(server)
		again(must(s.Queue(t.Context()))[0].ID)
		s.arrives(to, server)
		if m := taken(server, to); m.Login != "alice" || m.From != "alice@starttls.example" || len(s.gateway.Taken())+len(s.direct.Taken()) > 0 {
			t.Errorf("%s: arrived as %+v; at the gateway %v; directly %v", what, m, s.gateway.Taken(), s.direct.Taken())
		}
		s.idle()
	}
}

// O2, O5: what an alias's owner or the sendmail command sends has another sender, or no login: it
// takes the way of that sender, and nobody's own server; so does what is masqueraded. A user's mail
// leaves by his server before any alias here is looked at.
func TestSendersBeside(t *testing.T) {
	ca := must(lab.NewCA("Partner CA"))
	partner := newServer(t, lab.SinkConfig{Cert: certified(ca), Logins: map[string]string{"alice": alicesPassword}})
	gateway, lists := newSink(t, nil), newSink(t, nil)
	trust(t, ca)
	r := newRelay(t, inClear("gateway", gateway)+inClear("lists", lists)+"[outbound]\ngateway = gateway\nallow_user_gateways = yes\n[sender @mx.lab.test]\nroute = lists\n[sender @hidden.example]\nroute = lists\n"+
		"[user alice@lab.test]\n"+own("alice@lab.test", "alice@partner.example", partner, "alice", alicesPassword), func(c *lab.Config) {
		c.Main += "masquerade_domains = hidden.example\nmydestination = list.example\nlocal_transport = local\nalias_maps = inline:{ { team = member@remote.example, user@home.example } { owner-team = boss@home.example } }\n"
		c.Master += "local unix - n n - - local\n"
	})
	r.mail("bob@outside.example", "team@list.example")
	r.arrives("member@remote.example", lists)
	r.idle()
	if m := taken(lists, "member@remote.example"); m.From != "owner-team@mx.lab.test" || r.delivered("user@home.example", "team@list.example") == nil {
		t.Errorf("from the list came %+v", m)
	}
	masqueraded := r.far()
	r.mail("bob@sub.hidden.example", masqueraded)
	r.arrives(masqueraded, lists)
	r.write("alice@lab.test", "alice@lab.test", by("alice@partner.example", "to the list"), "team@list.example")
	r.arrives("team@list.example", partner)
	to := r.far()
	if err := r.postfix().Sendmail(t.Context(), by("alice@partner.example", "by command"), "-f", "alice@partner.example", to); err != nil {
		t.Fatal(err)
	}
	r.arrives(to, gateway)
	if n := len(partner.Taken()); n != 1 {
		t.Errorf("at her own server: %+v", partner.Taken())
	}
}

// O10: mail waits also where the DNS says that a host takes no mail, or is this server.
func TestRouteWrongHost(t *testing.T) {
	dns := startDNS(t, "null.example MX 0 .\nself.example A 127.0.0.1\nmx.example MX 10 self.example\n. SOA ns.example. admin.example. 1 3600 600 86400 60\n")
	settings := "[route self]\nhost = self.example\n[sender self@lab.test]\nroute = self\n"
	for _, name := range []string{"null", "mx"} {
		settings += fmt.Sprintf("[route %[1]s]\nhost = %[1]s.example\nmx_lookup = yes\n[sender %[1]s@lab.test]\nroute = %[1]s\n", name)
	}
	r := newRelay(t, settings, func(c *lab.Config) {
		c.Chroot = true
		c.Files = map[string]string{"etc/resolv.conf": "nameserver " + netip.MustParseAddrPort(dns.Addr()).Addr().String() + "\n", "etc/nsswitch.conf": "hosts: dns\n"}
	})
	for name, want := range map[string]string{"self": "mail for self.example loops back to myself", "mx": "mail for mx.example loops back to myself", "null": "Domain null.example does not accept mail (nullMX)"} {
		r.mail(name+"@lab.test", name+"@remote.example")
		if reason := r.deferred(name + "@remote.example"); reason != want {
			t.Errorf("%s: deferred: %s, want %s", name, reason, want)
		}
	}
}
