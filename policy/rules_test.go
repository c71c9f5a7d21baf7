package policy

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

// The tests of this file are the inbound rows of the specification. Each row is a
// set-up, a message, and all that policy says of it, in one line.

// ours is a mail server behind gateway "filter", whose hosts are 192.0.2.2 and
// 192.0.2.55. Options change the gateway.
func ours(options ...func(*Settings)) Settings {
	s := Settings{
		InternalNetworks: prefixes("10.0.0.0/8"),
		Gateways: []Gateway{{
			Name:             "filter",
			Addresses:        prefixes("192.0.2.2", "192.0.2.55"),
			DetectExternalIP: true,
		}},
	}
	for _, option := range options {
		option(&s)
	}
	return s
}

func with(change func(*Gateway)) func(*Settings) {
	return func(s *Settings) { change(&s.Gateways[0]) }
}

func domains(names ...string) func(*Settings) {
	return with(func(g *Gateway) { g.Domains = names })
}

func rejectOther(s *Settings)      { s.Gateways[0].RejectOther = true }
func noDetection(s *Settings)      { s.Gateways[0].DetectExternalIP = false }
func stopUnrecognised(s *Settings) { s.Gateways[0].StopAtUnrecognised = true }
func requireTLS(s *Settings)       { s.Gateways[0].MinTLS = TLSOther }
func requireTLS12(s *Settings)     { s.Gateways[0].MinTLS = TLS12 }
func allow(ips ...string) func(*Settings) {
	return func(s *Settings) { s.Allowlist = prefixes(ips...) }
}
func certificate(name string) func(*Settings) {
	return with(func(g *Gateway) { g.TLSCertificate = name })
}
func secret(re string) func(*Settings) {
	return with(func(g *Gateway) { g.RequireHeader = expression(re) })
}
func spamHeader(re string) func(*Settings) {
	return with(func(g *Gateway) { g.SpamHeader = expression(re) })
}
func spamScore(threshold float64) func(*Settings) {
	return with(func(g *Gateway) { g.SpamScore = &threshold })
}
func spamAction(a SpamAction) func(*Settings) {
	return with(func(g *Gateway) { g.SpamAction = a })
}
func second(g Gateway) func(*Settings) {
	return func(s *Settings) { s.Gateways = append(s.Gateways, g) }
}

func expression(re string) *Expression {
	e, err := CompileExpression(re)
	if err != nil {
		panic(err)
	}
	return e
}

func prefixes(texts ...string) []netip.Prefix {
	var list []netip.Prefix
	for _, text := range texts {
		if !strings.Contains(text, "/") {
			ip := netip.MustParseAddr(text)
			list = append(list, netip.PrefixFrom(ip, ip.BitLen()))
			continue
		}
		list = append(list, netip.MustParsePrefix(text))
	}
	return list
}

// mail is a message from a client at ip with these header lines.
func mail(ip string, lines ...string) Message {
	m := Message{
		Client:     Client{Name: "client.example", HELO: "helo.example"},
		Sender:     "sender@outside.example",
		Recipients: []string{"user@example.com"},
	}
	if ip != "" {
		m.Client.IP = netip.MustParseAddr(ip)
	}
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ":")
		m.Header = append(m.Header, Field{Name: name, Value: strings.TrimPrefix(value, " ")})
	}
	return m
}

func (m Message) to(recipients ...string) Message { m.Recipients = recipients; return m }
func (m Message) tls(v TLSVersion) Message        { m.Client.TLS = v; return m }
func (m Message) cert(name string) Message {
	m.Client.TLS = TLS13
	m.Client.Certificate = name
	return m
}
func (m Message) login(name string) Message  { m.Login = name; return m }
func (m Message) local() Message             { m.Client.Local = true; return m }
func (m Message) resembles(g string) Message { m.Client.Resembles = g; return m }

// told writes a verdict as one line: what happens, the source, the spam tag, the
// recipients that fare otherwise, the edits, the rules that spoke.
func told(v Verdict) string {
	var b strings.Builder
	b.WriteString(v.Action.String())
	if v.Reply.Code != 0 {
		fmt.Fprintf(&b, " %d %s", v.Reply.Code, v.Reply.Enhanced)
	}
	if v.Direction != Inbound {
		b.WriteString(" " + v.Direction.String())
	}
	if v.Gateway != "" {
		b.WriteString(" via " + v.Gateway)
	}
	if v.Source.Outcome != NoSource {
		b.WriteString(" from " + v.Source.Outcome.String())
		if v.Source.IP.IsValid() {
			b.WriteString(" " + v.Source.IP.String())
		}
	}
	switch {
	case v.Spam.Scored:
		fmt.Fprintf(&b, " score %v>=%v %v", v.Spam.Score, v.Spam.Threshold, v.Spam.IsSpam)
	case v.Spam.IsSpam:
		b.WriteString(" spam")
	}
	for _, r := range v.Recipients {
		if r.Action != Accept {
			fmt.Fprintf(&b, "; %s %s %d", r.Address, r.Action, r.Reply.Code)
		}
	}
	for _, e := range v.Edits {
		fmt.Fprintf(&b, "; %s %s", e.Op, e.Name)
		if e.Op == DeleteField {
			fmt.Fprintf(&b, " %d", e.Index)
		} else {
			fmt.Fprintf(&b, ": %s", e.Value)
		}
	}
	b.WriteString(" |")
	for _, r := range v.Reasons {
		b.WriteString(" " + string(r.Code))
	}
	return b.String()
}

type rule struct {
	name     string
	settings Settings
	message  Message
	want     string
}

func run(t *testing.T, rules []rule) {
	t.Helper()
	for _, r := range rules {
		t.Run(r.name, func(t *testing.T) {
			p := New(r.settings)
			if got := told(p.Evaluate(context.Background(), &r.message, nil)); got != r.want {
				t.Errorf("\n got %s\nwant %s", got, r.want)
			}
		})
	}
}

// The header of the documentation's example, topmost field first.
var documented = []string{
	"Received: by 192.0.2.205 with SMTP id e3cs239nzb; Tue, 24 Mar 2020 15:14:33 -0700",
	"Received: from [192.0.2.55] by mail.emailprovider.com via HTTP; Tue, 24 Mar 2020 15:14:31 -0700",
	"Received: from [192.0.2.110] by smtp.emailprovider.com with SMTP; Tue, 24 Mar 2020 15:14:30 -0700",
	"Received: from [192.0.2.136] by relay1.sender.example with SMTP; Tue, 24 Mar 2020 15:14:29 -0700",
	"Received: from [192.0.2.152] by relay0.sender.example with SMTP; Tue, 24 Mar 2020 15:14:28 -0700",
}

func TestDocumentedExample(t *testing.T) {
	run(t, []rule{
		{"no gateway", Settings{}, mail("192.0.2.2", documented...),
			"accept from external 192.0.2.2 | source-external"},
		{"detection", ours(), mail("192.0.2.2", documented...),
			"accept via filter from external 192.0.2.110 | from-gateway source-external"},
		{"no detection", ours(noDetection), mail("192.0.2.2", documented...),
			"accept via filter from external 192.0.2.55 | from-gateway source-external"},
	})
}

const (
	hopOutside  = "Received: from mail.outside.example (mail.outside.example [198.51.100.7]) by gw.example with ESMTPS; Mon, 1 Jan 2024 00:00:00 +0000"
	hopDeeper   = "Received: from pc.outside.example (pc.outside.example [203.0.113.9]) by mail.outside.example with ESMTPSA; Mon, 1 Jan 2024 00:00:00 +0000"
	hopGateway  = "Received: from gw.example (gw.example [192.0.2.55]) by gw2.example with ESMTP; Mon, 1 Jan 2024 00:00:00 +0000"
	hopPrivate  = "Received: from inner.example (inner.example [10.1.2.3]) by gw.example with ESMTP; Mon, 1 Jan 2024 00:00:00 +0000"
	hopNone     = "Received: by gw.example with HTTP; Mon, 1 Jan 2024 00:00:00 +0000"
	hopOdd      = "Received: from somewhere by gw.example with MAGIC; Mon, 1 Jan 2024 00:00:00 +0000"
	fromGateway = "192.0.2.2"
	outside     = "198.51.100.99"
)

func TestSource(t *testing.T) {
	run(t, []rule{
		{"I3 first public hop that is no gateway", ours(), mail(fromGateway, hopGateway, hopPrivate, hopOutside, hopDeeper),
			"accept via filter from external 198.51.100.7 | from-gateway source-external"},
		{"I4 all recognised, none outside", ours(), mail(fromGateway, hopGateway, hopPrivate),
			"accept via filter from internal | from-gateway source-internal"},
		{"I4 no hop at all", ours(), mail(fromGateway, hopNone),
			"accept via filter from internal | from-gateway source-internal"},
		{"I4 no Received field", ours(), mail(fromGateway),
			"accept via filter from internal | from-gateway source-internal"},
		{"I5 an unrecognised hop and none outside", ours(), mail(fromGateway, hopOdd, hopPrivate),
			"accept via filter from fallback 192.0.2.2 | from-gateway unrecognised-hop source-fallback"},
		{"I6 the hop before the gateway", ours(noDetection), mail(fromGateway, hopNone, hopOutside, hopDeeper),
			"accept via filter from external 198.51.100.7 | from-gateway source-external"},
		{"I6 even when that is a gateway", ours(noDetection), mail(fromGateway, hopGateway, hopOutside),
			"accept via filter from external 192.0.2.55 | from-gateway source-external"},
		{"I6 not recognised", ours(noDetection), mail(fromGateway, hopOdd, hopOutside),
			"accept via filter from fallback 192.0.2.2 | from-gateway source-fallback"},
		{"I6 none", ours(noDetection), mail(fromGateway, hopNone),
			"accept via filter from fallback 192.0.2.2 | from-gateway source-fallback"},
		{"I6 not public", ours(noDetection), mail(fromGateway, hopPrivate, hopOutside),
			"accept via filter from internal | from-gateway source-internal"},
		{"I7 the client is no gateway", ours(), mail(outside, hopOutside),
			"accept from external 198.51.100.99 | not-from-gateway source-external"},
		{"I9 continue past an unrecognised hop", ours(), mail(fromGateway, hopOdd, hopOutside),
			"accept via filter from external 198.51.100.7 | from-gateway unrecognised-hop source-external"},
		{"I9 stop at an unrecognised hop", ours(stopUnrecognised), mail(fromGateway, hopOdd, hopOutside),
			"accept via filter from fallback 192.0.2.2 | from-gateway source-fallback"},
		{"I9 stop has nothing to say once the source is found", ours(stopUnrecognised), mail(fromGateway, hopOutside, hopOdd),
			"accept via filter from external 198.51.100.7 | from-gateway source-external"},
		{"IPv6", ours(with(func(g *Gateway) { g.Addresses = prefixes("2001:db8:5::/48") })),
			mail("2001:db8:5::1", "Received: from a.example (a.example [IPv6:2001:db8:9::7]) by gw.example with ESMTP; Mon, 1 Jan 2024 00:00:00 +0000"),
			"accept via filter from external 2001:db8:9::7 | from-gateway source-external"},
	})
}

// Two sections that serve the same domains are one chain; a gateway of other domains
// is the outside.
func TestSourceThroughSeveralGateways(t *testing.T) {
	archive := Gateway{Name: "archive", Addresses: prefixes("203.0.113.50"), DetectExternalIP: true}
	hopArchive := "Received: from archive.example (archive.example [203.0.113.50]) by gw.example with ESMTP; Mon, 1 Jan 2024 00:00:00 +0000"
	other := archive
	other.Domains = []string{"other.example"}
	run(t, []rule{
		{"same domains", ours(second(archive)), mail(fromGateway, hopArchive, hopOutside),
			"accept via filter from external 198.51.100.7 | from-gateway source-external"},
		{"other domains", ours(second(other)), mail(fromGateway, hopArchive, hopOutside),
			"accept via filter from external 203.0.113.50 | from-gateway source-external"},
	})
}

func TestI10RejectOther(t *testing.T) {
	elsewhere := Gateway{Name: "elsewhere", Addresses: prefixes("203.0.113.50"), Domains: []string{"elsewhere.example"}, RejectOther: true, DetectExternalIP: true}
	shared := elsewhere
	shared.Addresses = prefixes(fromGateway)
	both := Gateway{Name: "both", Addresses: prefixes(fromGateway), Domains: []string{"example.com", "both.example"}, DetectExternalIP: true}
	run(t, []rule{
		{"around the gateway", ours(rejectOther), mail(outside),
			"reject 550 5.7.1 from external 198.51.100.99; user@example.com reject 550 | not-from-gateway around-gateway source-external"},
		{"from the gateway", ours(rejectOther), mail(fromGateway, hopOutside),
			"accept via filter from external 198.51.100.7 | from-gateway source-external"},
		{"only the domains behind the gateway", ours(rejectOther, domains("example.com")), mail(outside).to("user@example.com", "user@free.example"),
			"accept from external 198.51.100.99; user@example.com reject 550 | not-from-gateway source-external"},
		{"domains in any case, with a dot", ours(rejectOther, domains("example.com")), mail(outside).to("user@EXAMPLE.com."),
			"reject 550 5.7.1 from external 198.51.100.99; user@EXAMPLE.com. reject 550 | not-from-gateway around-gateway source-external"},
		{"IDN", ours(rejectOther, domains("xn--bcher-kva.example")), mail(outside).to("user@Bücher.example"),
			"reject 550 5.7.1 from external 198.51.100.99; user@Bücher.example reject 550 | not-from-gateway around-gateway source-external"},
		{"a quoted @", ours(rejectOther, domains("example.com")), mail(outside).to(`"user@free.example"@example.com`),
			"reject 550 5.7.1 from external 198.51.100.99; \"user@free.example\"@example.com reject 550 | not-from-gateway around-gateway source-external"},
		{"another gateway's host is no better than a stranger", ours(rejectOther, second(elsewhere)), mail(fromGateway).to("user@elsewhere.example"),
			"reject 550 5.7.1 via filter from internal; user@elsewhere.example reject 550 | around-gateway from-gateway source-internal"},
		{"I12 * is all that no other gateway names", ours(rejectOther, second(elsewhere)), mail("203.0.113.50").to("user@example.com", "user@elsewhere.example"),
			"accept via elsewhere from internal; user@example.com reject 550 | from-gateway source-internal"},
		{"one message follows the rules of one gateway", ours(rejectOther, second(shared)), mail(fromGateway, hopOutside).to("user@example.com", "user@elsewhere.example"),
			"accept via filter from external 198.51.100.7; user@elsewhere.example tempfail 452 | from-gateway source-external"},
		{"one gateway that serves all recipients, not the first of one", ours(rejectOther, domains("example.com"), second(both)), mail(fromGateway, hopOutside).to("user@example.com", "user@both.example"),
			"accept via both from external 198.51.100.7 | from-gateway source-external"},
		{"an address literal may be this host's, and any mailbox", ours(rejectOther, domains("example.com")), mail(outside).to("user@[203.0.113.1]"),
			"reject 550 5.7.1 from external 198.51.100.99; user@[203.0.113.1] reject 550 | not-from-gateway around-gateway source-external"},
		{"a client whose address is not known", ours(rejectOther), mail(""),
			"tempfail 451 4.3.0; user@example.com reject 550 | unknown-client"},
	})
}

// What a client writes as recipient may mean a guarded domain although it looks like
// another, or like none. Where the mail server doesn't tell what it makes of it,
// the recipient is behind every gateway.
func TestI10OddRecipients(t *testing.T) {
	p := New(ours(rejectOther, domains("example.com")))
	for _, address := range []string{
		"user%example.com", "example.com!user", "user%example.com@[127.0.0.1]", `"user@example.com"`, `user@"example.com"`,
		`user@exam\ple.com`, "user@example.com(x@free.example)", "user@example.com (x@free.example)", "user@(c)example.com",
		"user@example(c).com", "<user@example.com>", "user@ example.com", "user@example .com", "user@example.com ", "user@example.com\t",
		"user", "", "@free.example:user@example.com", "user%example.com@free.example", `"user@example.com"@free.example`, "example.com!user@free.example",
		"user@free.example@example.com", "user@example.com,x@free.example", "user@free.example;user@example.com",
	} {
		stranger := mail(outside)
		if d := p.Begin(stranger.Client, "", "").Rcpt(address, ""); d.Reply.Code != 550 {
			t.Errorf("%q from a stranger: %v, want a refusal", address, d)
		}
		if d := p.Begin(stranger.Client, "", "").Rcpt(address, "user@example.com"); d.Reply.Code != 550 {
			t.Errorf("%q from a stranger, resolved: %v, want a refusal", address, d)
		}
		gateway := mail(fromGateway)
		if d := p.Begin(gateway.Client, "", "").Rcpt(address, ""); d.Action != Accept {
			t.Errorf("%q from the gateway: %v, want no refusal", address, d)
		}
	}
	for _, address := range []string{"user@free.example", "first.last+tag@free.example", "o'hara=x@sub.free.example.", "user@bücher.example"} {
		stranger := mail(outside)
		if d := p.Begin(stranger.Client, "", "").Rcpt(address, ""); d.Action != Accept {
			t.Errorf("%q: %v, want no refusal", address, d)
		}
	}
}

func TestI11RequireTLS(t *testing.T) {
	lax := Gateway{Name: "lax", Addresses: prefixes(fromGateway), Domains: []string{"lax.example"}, DetectExternalIP: true}
	run(t, []rule{
		{"in clear", ours(requireTLS), mail(fromGateway, hopOutside),
			"reject 530 5.7.0 via filter from external 198.51.100.7; user@example.com reject 530 | tls-missing from-gateway source-external"},
		{"with TLS", ours(requireTLS), mail(fromGateway, hopOutside).tls(TLS13),
			"accept via filter from external 198.51.100.7 | from-gateway source-external"},
		{"of a version that we don't know", ours(requireTLS), mail(fromGateway, hopOutside).tls(TLSOther),
			"accept via filter from external 198.51.100.7 | from-gateway source-external"},
		{"others need none", ours(requireTLS), mail(outside),
			"accept from external 198.51.100.99 | not-from-gateway source-external"},
		{"min_tls: too old", ours(requireTLS12), mail(fromGateway, hopOutside).tls(TLS11),
			"reject 530 5.7.0 via filter from external 198.51.100.7; user@example.com reject 530 | tls-too-old from-gateway source-external"},
		{"min_tls: enough", ours(requireTLS12), mail(fromGateway, hopOutside).tls(TLS12),
			"accept via filter from external 198.51.100.7 | from-gateway source-external"},
		{"min_tls: of a version that we don't know", ours(requireTLS12), mail(fromGateway, hopOutside).tls(TLSOther),
			"reject 530 5.7.0 via filter from external 198.51.100.7; user@example.com reject 530 | tls-too-old from-gateway source-external"},
		{"no recipient is behind either: the one that may come in clear", ours(requireTLS, domains("example.com"), second(lax)), mail(fromGateway, hopOutside).to("user@free.example"),
			"accept via lax from external 198.51.100.7 | from-gateway source-external"},
		{"two gateways on one address differ: by recipient", ours(requireTLS, second(lax)), mail(fromGateway, hopOutside).to("user@example.com", "user@lax.example"),
			"accept via lax from external 198.51.100.7; user@example.com reject 530 | from-gateway source-external"},
	})
}

func TestI13Exempt(t *testing.T) {
	strict := ours(rejectOther, requireTLS, spamHeader("^X-Spam:"))
	run(t, []rule{
		{"authenticated", strict, mail(outside, "X-Spam: yes").login("alice"), "accept outbound | exempt-login"},
		{"sendmail command", strict, mail("").local(), "accept exempt | exempt-local"},
		{"loopback", strict, mail("127.0.0.1"), "accept exempt | exempt-local"},
		{"loopback, IPv6", strict, mail("::1"), "accept exempt | exempt-local"},
		{"internal network", strict, mail("10.9.8.7"), "accept exempt | exempt-internal-network"},
		{"authenticated from a gateway without TLS", strict, mail(fromGateway).login("alice"), "accept outbound | exempt-login"},
		{"another private network is not exempt", strict, mail("192.168.1.1"),
			"reject 550 5.7.1 from external 192.168.1.1; user@example.com reject 550 | not-from-gateway around-gateway source-external"},
	})
}

func TestI14SpamByMatch(t *testing.T) {
	const spam = "accept via filter from internal spam; add X-Spam-Flag: YES; add X-Spam-Status: Yes, gateway=filter | from-gateway source-internal spam-tagged"
	const ham = "accept via filter from internal | from-gateway source-internal spam-not-tagged"
	run(t, []rule{
		{"the field is there", ours(spamHeader(`^X-spam-gw:`)), mail(fromGateway, "X-spam-gw: whatever"), spam},
		{"with this value", ours(spamHeader(`^X-spam-gw: spam$`)), mail(fromGateway, "X-spam-gw: spam"), spam},
		{"with another value", ours(spamHeader(`^X-spam-gw: spam$`)), mail(fromGateway, "X-spam-gw: spammy"), ham},
		{"the name in another case", ours(spamHeader(`^X-spam-gw: spam$`)), mail(fromGateway, "x-SPAM-GW: spam"), spam},
		{"the value in another case", ours(spamHeader(`^X-spam-gw: spam$`)), mail(fromGateway, "X-spam-gw: SPAM"), ham},
		{"folded", ours(spamHeader(`^X-spam-gw: very	much spam$`)), mail(fromGateway, "X-spam-gw:\n very\n\tmuch spam \r\n"), spam},
		{"no such field", ours(spamHeader(`^X-spam-gw:`)), mail(fromGateway, "Subject: X-spam-gw: spam"), ham},
		{"I16 on mail from elsewhere", ours(spamHeader(`^X-spam-gw:`)), mail(outside, "X-spam-gw: spam"),
			"accept from external 198.51.100.99 | not-from-gateway source-external"},
	})
}

func TestI15SpamByScore(t *testing.T) {
	scored := ours(spamHeader(`^X-(?:spam|phishy): (.*)$`), spamScore(0.50))
	documented := ours(spamHeader(`^X-(?:spam|phishy): (0\.\d*|1\.0*)$`), spamScore(0.50))
	ham := func(score string) string {
		return "accept via filter from internal score " + score + ">=0.5 false | from-gateway source-internal spam-score-below"
	}
	spam := func(score, shown string) string {
		return "accept via filter from internal score " + score + ">=0.5 true; add X-Spam-Flag: YES; add X-Spam-Status: Yes, score=" + shown + " required=0.50 gateway=filter | from-gateway source-internal spam-score-reached"
	}
	const unreadable = "accept via filter from internal | from-gateway source-internal spam-score-unreadable"
	run(t, []rule{
		{"documented: above", documented, mail(fromGateway, "X-phishy: 0.70"), spam("0.7", "0.70")},
		{"documented: equal", documented, mail(fromGateway, "X-Spam: 0.50"), spam("0.5", "0.50")},
		{"documented: below", documented, mail(fromGateway, "X-Spam: 0.499999"), ham("0.499999")},
		{"documented: no decimals", documented, mail(fromGateway, "X-Spam: 1."), spam("1", "1.00")},
		{"documented: out of its range", documented, mail(fromGateway, "X-Spam: 2.0"),
			"accept via filter from internal | from-gateway source-internal spam-not-tagged"},
		{"the highest of several", scored, mail(fromGateway, "X-Spam: 0.1", "X-phishy: 0.93", "X-Spam: 0.2"), spam("0.93", "0.93")},
		{"a decimal comma", scored, mail(fromGateway, "X-Spam: 0,50"), spam("0.5", "0.50")},
		{"a plus sign", scored, mail(fromGateway, "X-Spam: +3"), spam("3", "3.00")},
		{"a minus sign", scored, mail(fromGateway, "X-Spam: -3.25"), ham("-3.25")},
		{"NaN", scored, mail(fromGateway, "X-Spam: NaN"), unreadable},
		{"infinity", scored, mail(fromGateway, "X-Spam: Inf"), unreadable},
		{"an exponent", scored, mail(fromGateway, "X-Spam: 1e999"), unreadable},
		{"hexadecimal", scored, mail(fromGateway, "X-Spam: 0x1p4"), unreadable},
		{"nothing", scored, mail(fromGateway, "X-Spam:"), unreadable},
		{"unreadable and readable", scored, mail(fromGateway, "X-Spam: high", "X-Spam: 0.9"),
			"accept via filter from internal score 0.9>=0.5 true; add X-Spam-Flag: YES; add X-Spam-Status: Yes, score=0.90 required=0.50 gateway=filter | from-gateway source-internal spam-score-unreadable spam-score-reached"},
	})
}

// I18: the local spam filter is told to leave mail of a gateway alone that alone evaluates
// spam; nobody else can tell it so.
func TestI18GatewayOnly(t *testing.T) {
	alone := with(func(g *Gateway) { g.GatewayOnly = true })
	const skipped = "; add X-Gatemilter-Spam-Evaluation: gateway-only | from-gateway source-external local-filter-skipped"
	run(t, []rule{
		{"of the gateway", ours(alone), mail(fromGateway, hopOutside), "accept via filter from external 198.51.100.7" + skipped},
		{"local evaluation is the default", ours(), mail(fromGateway, hopOutside), "accept via filter from external 198.51.100.7 | from-gateway source-external"},
		{"around the gateway", ours(alone), mail(outside), "accept from external 198.51.100.99 | not-from-gateway source-external"},
		{"a client that says so itself", ours(alone), mail(outside, "X-Gatemilter-Spam-Evaluation: gateway-only"),
			"accept from external 198.51.100.99; delete X-Gatemilter-Spam-Evaluation 1 | not-from-gateway source-external forged-field-removed"},
		{"without the gateway's secret", ours(alone, secret(`^X-Key: x$`)), mail(fromGateway, hopOutside),
			"accept from external 192.0.2.2 | gateway-secret-missing source-external"},
	})
	for _, c := range []struct {
		what string
		s    Settings
		ip   string
		want bool
	}{
		{"a gateway's host", ours(alone), fromGateway, true},
		{"another host", ours(alone), outside, false},
		{"no address", ours(alone), "", false},
		{"local evaluation", ours(), fromGateway, false},
		{"observed only", ours(alone, func(s *Settings) { s.Mode = Observe }), fromGateway, false},
		{"a gateway with a secret", ours(alone, secret(`^X-Key: x$`)), fromGateway, false},
		{"a gateway with a certificate", ours(alone, with(func(g *Gateway) { g.TLSCertificate = "gw.example" })), fromGateway, false},
		{"two gateways on one address, of which one is local", ours(alone, second(Gateway{Name: "lax", Addresses: prefixes("192.0.2.2")})), fromGateway, false},
	} {
		ip, _ := netip.ParseAddr(c.ip)
		if got := New(c.s).SkipsLocalFilter(ip); got != c.want {
			t.Errorf("%s: skips the local filter: %v", c.what, got)
		}
	}
}

func TestI17SpamAction(t *testing.T) {
	tagged := spamHeader(`^X-Spam-Gw: yes`)
	message := mail(fromGateway, hopOutside, "X-Spam-Gw: yes")
	run(t, []rule{
		{"tag", ours(tagged), message,
			"accept via filter from external 198.51.100.7 spam; add X-Spam-Flag: YES; add X-Spam-Status: Yes, gateway=filter | from-gateway source-external spam-tagged"},
		{"quarantine", ours(tagged, spamAction(SpamQuarantine)), message,
			"quarantine via filter from external 198.51.100.7 spam; add X-Spam-Flag: YES; add X-Spam-Status: Yes, gateway=filter | from-gateway source-external spam-tagged"},
		{"reject", ours(tagged, spamAction(SpamReject)), message,
			"reject 550 5.7.1 via filter from external 198.51.100.7 spam | from-gateway source-external spam-tagged"},
		{"discard", ours(tagged, spamAction(SpamDiscard)), message,
			"discard via filter from external 198.51.100.7 spam; add X-Spam-Flag: YES; add X-Spam-Status: Yes, gateway=filter | from-gateway source-external spam-tagged"},
	})
}

func TestI17ForgedFields(t *testing.T) {
	tagged := spamHeader(`^X-Spam-Gw: yes`)
	flood := make([]string, maxForged+1)
	for i := range flood {
		flood[i] = "X-Spam-Flag: NO"
	}
	run(t, []rule{
		{"from last to first, by the number among its name", ours(), mail(outside, "X-Spam-Flag: NO", "Subject: x", "x-spam-FLAG: no", "X-Gatemilter-Route: evil", "X-Spam-Status: No", "X-SPAM-flag : NO"),
			"accept from external 198.51.100.99; delete X-SPAM-flag 3; delete X-Spam-Status 1; delete X-Gatemilter-Route 1; delete x-spam-FLAG 2; delete X-Spam-Flag 1 | not-from-gateway source-external forged-field-removed"},
		{"from a gateway that has its own tag", ours(tagged), mail(fromGateway, hopOutside, "X-Spam-Flag: YES"),
			"accept via filter from external 198.51.100.7; delete X-Spam-Flag 1 | from-gateway source-external spam-not-tagged forged-field-removed"},
		{"from a gateway without a configured tag the flag is the gateway's", ours(), mail(fromGateway, hopOutside, "X-Spam-Flag: YES", "X-Gatemilter-Route: evil"),
			"accept via filter from external 198.51.100.7; delete X-Gatemilter-Route 1 | from-gateway source-external forged-field-removed"},
		{"replaced on spam", ours(tagged), mail(fromGateway, "X-Spam-Flag: NO", "X-Spam-Gw: yes"),
			"accept via filter from internal spam; delete X-Spam-Flag 1; add X-Spam-Flag: YES; add X-Spam-Status: Yes, gateway=filter | from-gateway source-internal spam-tagged forged-field-removed"},
		{"the tag itself may be X-Spam-Flag", ours(spamHeader(`^X-Spam-Flag: YES`)), mail(fromGateway, "X-Spam-Flag: YES"),
			"accept via filter from internal spam; delete X-Spam-Flag 1; add X-Spam-Flag: YES; add X-Spam-Status: Yes, gateway=filter | from-gateway source-internal spam-tagged forged-field-removed"},
		{"no gateway configured: nothing is touched", Settings{}, mail(outside, "X-Spam-Flag: YES"),
			"accept from external 198.51.100.99 | source-external"},
		{"one that can't be removed", ours(), mail(outside, "X-Gatemilter-"+strings.Repeat("a", 300)+": x"),
			"reject 554 5.6.0 from external 198.51.100.99 | not-from-gateway source-external forged-field-removed forged-fields-refused"},
		{"a flood of them", ours(), mail(outside, flood...),
			"reject 554 5.6.0 from external 198.51.100.99 | not-from-gateway source-external forged-field-removed forged-fields-refused"},
	})
}

func TestI19Allowlist(t *testing.T) {
	tagged := spamHeader(`^X-Spam-Gw: yes`)
	run(t, []rule{
		{"by source", ours(tagged, allow("198.51.100.0/24")), mail(fromGateway, hopOutside, "X-Spam-Gw: yes"),
			"accept via filter from external 198.51.100.7 | from-gateway source-external spam-tagged allowlisted"},
		{"not by other hops", ours(tagged, allow("203.0.113.9")), mail(fromGateway, hopOutside, hopDeeper, "X-Spam-Gw: yes"),
			"accept via filter from external 198.51.100.7 spam; add X-Spam-Flag: YES; add X-Spam-Status: Yes, gateway=filter | from-gateway source-external spam-tagged"},
		{"a gateway in the list has no effect", ours(tagged, allow("192.0.2.0/24")), mail(fromGateway, hopOdd, "X-Spam-Gw: yes"),
			"accept via filter from fallback 192.0.2.2 spam; add X-Spam-Flag: YES; add X-Spam-Status: Yes, gateway=filter | from-gateway unrecognised-hop source-fallback spam-tagged"},
	})
}

func TestI23GatewayIdentity(t *testing.T) {
	cert := certificate("gw.filter.example")
	key := secret(`^X-Filter-Key: 4711$`)
	tagged := spamHeader(`^X-Spam-Gw: yes`)
	open := Gateway{Name: "open", Addresses: prefixes(fromGateway), DetectExternalIP: true}
	another := open
	another.Name, another.RequireHeader = "other", expression(`^X-Other-Key: 42$`)
	run(t, []rule{
		{"certificate", ours(cert), mail(fromGateway, hopOutside).cert("GW.filter.example"),
			"accept via filter from external 198.51.100.7 | from-gateway source-external"},
		{"no certificate: not from the gateway", ours(cert, tagged), mail(fromGateway, hopOutside, "X-Spam-Gw: yes"),
			"accept from external 192.0.2.2 | gateway-certificate-missing source-external"},
		{"another certificate", ours(cert, rejectOther), mail(fromGateway, hopOutside).cert("evil.example"),
			"reject 550 5.7.1 from external 192.0.2.2; user@example.com reject 550 | gateway-certificate-missing around-gateway source-external"},
		{"secret, removed before delivery", ours(key), mail(fromGateway, hopOutside, "x-filter-key: 4711", "X-Filter-Key: 4711", "X-Filter-Key: no"),
			"accept via filter from external 198.51.100.7; delete X-Filter-Key 2; delete x-filter-key 1 | from-gateway source-external secret-field-removed"},
		{"no secret is delivered, whatever way it came", ours(key), mail(outside, "X-Filter-Key: 4711"),
			"accept from external 198.51.100.99; delete X-Filter-Key 1 | not-from-gateway source-external secret-field-removed"},
		{"a name like the certificate's", ours(cert), mail(fromGateway).cert("gw。filter.example"),
			"accept from external 192.0.2.2 | gateway-certificate-missing source-external"},
		{"no secret: not from the gateway", ours(key, tagged), mail(fromGateway, hopOutside, "X-Spam-Gw: yes"),
			"accept from external 192.0.2.2 | gateway-secret-missing source-external"},
		{"two gateways on one address differ by their secrets", ours(key, rejectOther, second(another)), mail(fromGateway, hopOutside, "X-Other-Key: 42"),
			"accept via other from external 198.51.100.7; delete X-Other-Key 1 | from-gateway source-external secret-field-removed"},
		{"neither secret", ours(key, rejectOther, second(another)), mail(fromGateway, hopOutside),
			"reject 550 5.7.1 from external 192.0.2.2 | gateway-secret-missing around-gateway source-external"},
		{"one without a secret doesn't stand in for one that demands it", ours(key, rejectOther, second(open)), mail(fromGateway, hopOutside),
			"reject 550 5.7.1 from external 192.0.2.2 | gateway-secret-missing around-gateway source-external"},
		{"an empty certificate name is none", ours(certificate(".")), mail(fromGateway, hopOutside),
			"accept from external 192.0.2.2 | gateway-certificate-missing source-external"},
		{"no secret where only the gateway may send", ours(key, rejectOther), mail(fromGateway, hopOutside),
			"reject 550 5.7.1 from external 192.0.2.2 | gateway-secret-missing around-gateway source-external"},
	})
}

func TestI24LikelyMissingGateway(t *testing.T) {
	v6 := with(func(g *Gateway) { g.Addresses = prefixes("2001:db8:5::1") })
	run(t, []rule{
		{"a neighbour", ours(), mail("192.0.2.3"), "accept from external 192.0.2.3 | not-from-gateway likely-missing-gateway source-external"},
		{"a neighbour, IPv6", ours(v6), mail("2001:db8:5:9::1"), "accept from external 2001:db8:5:9::1 | not-from-gateway likely-missing-gateway source-external"},
		{"named like one", ours(), mail(outside).resembles("filter"), "accept from external 198.51.100.99 | not-from-gateway likely-missing-gateway source-external"},
		{"neither", ours(), mail("192.0.3.3"), "accept from external 192.0.3.3 | not-from-gateway source-external"},
	})
}

func TestTimeLimit(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	secretive := mail(fromGateway, hopOutside)
	const early = "tempfail 451 4.3.0 | time-limit"
	if got := told(New(ours(secret("^X-Key: x$"))).Evaluate(ctx, &secretive, nil)); got != early {
		t.Errorf("\n got %s\nwant %s", got, early)
	}
	m := mail(fromGateway, hopOutside, "X-Spam-Gw: no")
	const want = "tempfail 451 4.3.0 via filter from external 198.51.100.7 | from-gateway source-external time-limit"
	if got := told(New(ours(spamHeader("^X-Spam-Gw: yes"))).Evaluate(ctx, &m, nil)); got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
}
