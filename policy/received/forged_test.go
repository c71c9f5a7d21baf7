package received

import (
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
)

// layouts are the lines of servers that record the client's address. In them,
// {h} is the HELO, {p} the reverse name, {t} the address, {l} the same with the
// tag of an IPv6 literal, {e} the envelope sender. A HELO that begins with what
// doubt names leaves the layout ambiguous.
var layouts = []struct{ name, line, doubt string }{
	{"Postfix", "from {h} ({p} [{l}])\n\tby gw.example (Postfix) with ESMTP id 4F1A2B3C4D\n\tfor <user@example.com>", ""},
	{"Postfix, TLS", "from {h} ({p} [{t}])\n\t(using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits)\n\t key-exchange X25519 server-signature RSA-PSS (2048 bits))\n\t(Client CN \"mail.example\", Issuer \"E1\" (not verified))\n\tby gw.example (Postfix) with ESMTPS id 4F1A2B3C4D\n\tfor <user@example.com>", ""},
	{"Postfix, login", "from {h} ({p} [{t}])\n\t(Authenticated sender: user@example.com)\n\tby gw.example (Postfix) with ESMTPSA id 4F1A2B3C4D", ""},
	{"Sendmail", "from {h} ({p} [{t}])\n\tby gw.example (8.18.1/8.18.1) with ESMTP id 60HA00aB012345\n\tfor <user@example.com>", ""},
	{"Sendmail, forged", "from {h} ({p} [{l}] (may be forged))\n\tby gw.example (8.18.1/8.18.1) with ESMTPS id 60HA00aB012345\n\t(version=TLSv1.3 cipher=TLS_AES_256_GCM_SHA384 bits=256 verify=NOT)", ""},
	{"Sendmail, ident", "from {h} (IDENT:user@{p} [{t}])\n\tby gw.example (8.11.6/8.11.6) with ESMTP id h381Vvf19861", ""},
	{"Exim", "from {p} ([{t}] helo={h})\n\tby gw.example with esmtps (TLS1.3) tls TLS_AES_256_GCM_SHA384\n\t(Exim 4.98)\n\t(envelope-from <{e}>)\n\tid 1vhABC-00000000ABC-1abc\n\tfor user@example.com", ""},
	{"Exim, port", "from {p} ([{t}]:41234 helo={h})\n\tby gw.example with esmtp (Exim 4.98)\n\t(envelope-from <{e}>)\n\tid 1vhABC-00000000ABC-1abc", ""},
	{"Exim, no name", "from [{t}] (helo={h})\n\tby gw.example with esmtp (Exim 4.98)\n\t(envelope-from <{e}>)\n\tid 1vhABC-00000000ABC-1abc", ""},
	{"Exim, no name, port", "from [{t}] (port=41234 helo={h})\n\tby gw.example with esmtp (Exim 4.98)\n\tid 1vhABC-00000000ABC-1abc", ""},
	{"qmail", "from {p} (HELO {h}) ({t})\n  by gw.example with SMTP", ""},
	{"qmail, ident", "from {p} (HELO {h}) (user@{t})\n  by gw.example with SMTP", ""},
	{"qmail-ldap", "from {p} (HELO {h}) ([{t}])\n          (envelope-sender <{e}>)\n          by gw.example (qmail-ldap-1.03) with SMTP\n          for <user@example.com>", ""},
	{"IronPort", "from {p} (HELO {h}) ([{t}])\n  by gw.example with ESMTP/TLS/TLS_AES_256_GCM_SHA384", ""},
	{"IronPort, one name", "from {h} ([{t}])\n  by gw.example with ESMTP", ""},
	{"Yahoo", "from {p} (EHLO {h}) ({t})\n by gw.example with SMTPS", ""},
	{"1&1", "from {p} (EHLO {h}) [{t}]\n by gw.example with ESMTP", ""},
	{"James", "from {p} (EHLO {h}) ([{t}])\n          by gw.example (JAMES SMTP Server ) with ESMTPS ID 123456789\n          for <user@example.com>", ""},
	{"Zimbra", "from {p} (LHLO {h}) ({t}) by\n gw.example with LMTP", ""},
	{"Exchange", "from {h} ({t}) by\n gw.example (10.0.0.5) with Microsoft SMTP Server (version=TLS1_2,\n cipher=TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384) id 15.2.1544.4", ""},
	{"Exchange Online", "from {h} ({t})\r\n by gw.example (2603:10b6:806:2a8::10) with Microsoft SMTP Server (version=TLS1_3,\r\n cipher=TLS_AES_256_GCM_SHA384) id 15.20.9520.5 via Frontend Transport", ""},
	{"MS SMTPSVC", "from {h} ([{t}]) by gw.example with Microsoft SMTPSVC(6.0.3790.4675)", ""},
	{"Google", "from {h} ({p}. [{t}])\n        by mx.google.com with ESMTPS id a640c23a62f3a-b1.2026.01.17.02.00.00\n        for <user@example.com>\n        (version=TLS1_3 cipher=TLS_AES_128_GCM_SHA256 bits=128/128)", ""},
	{"Haraka", "from {h} ({p} [{t}])\r\n\tby gw.example (Haraka/3.0.5) with ESMTPS id 0A1B2C3D-1234.1\r\n\tenvelope-from <{e}>\r\n\ttls TLS_AES_256_GCM_SHA384", ""},
	{"OpenSMTPD", "from {h} ({p} [{t}])\n\tby gw.example (OpenSMTPD) with ESMTPS id 9f8e7d6c (TLSv1.3:TLS_CHACHA20_POLY1305_SHA256:256:NO)\n\tfor <user@example.com>", ""},
	{"hMailServer", "from {h} ({p} [{t}])\r\n\tby gw.example with ESMTPS\r\n\t(version=TLSv1.3 cipher=TLS_AES_256_GCM_SHA384 bits=256)", ""},
	{"Kerio", "from {h} ([{t}])\r\n\tby gw.example (Kerio Connect 10.0.6)\r\n\t(using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256 bits))\r\n\tfor user@example.com", ""},
	{"MDaemon", "from {h} [({t})] by gw.example (192.0.2.9) (MDaemon PRO v24.5.1)\r\n\twith ESMTPS id md5001000000001.msg", ""},
	{"MDaemon, name", "from {h} ({p} [{t}])\r\n\tby gw.example (MDaemon PRO v24.5.1) with ESMTP id md50.msg", ""},
	{"CommuniGate", "from [{t}] (HELO {h})\n  by gw.example (CommuniGate Pro SMTP 6.4.9)\n  with ESMTP id 12345678 for user@example.com", ""},
	{"CommuniGate, login", "from [{t}] (account user@example.com HELO {h})\n  by gw.example (CommuniGate Pro SMTP 6.4.9)\n  with ESMTPSA id 12345678", ""},
	{"Mimecast", "from {h} ({p}\r\n [{t}]) (Using TLS) by relay.mimecast.com with ESMTP id\r\n us-mta-1-AbCdEfGhMIqrstuv-1", ""},
	{"Proofpoint", "from {h} ({p} [{t}])\n\tby gw.example (PPS) with ESMTPS id 4bq1x2y3z4-1\n\t(version=TLSv1.3 cipher=TLS_AES_256_GCM_SHA384 bits=256 verify=NOT)\n\tfor <user@example.com>", ""},
	{"Barracuda", "from {h} ({p} [{t}]) by gw.example with ESMTP id aBcD1234-12345 (version=TLSv1.2 cipher=ECDHE-RSA-AES256-GCM-SHA384 bits=256 verify=NO) for <user@example.com>", ""},
	{"Amazon SES", "from {h} ({p} [{t}])\r\n by inbound-smtp.us-east-1.amazonaws.com with SMTP id abcdef0123456789\r\n for user@example.com", ""},
	{"Courier", "from {h} ({p} [::ffff:{t}])\r\n  (IDENT: unknown, AUTH: LOGIN user, TLS: TLSv1.3,256bits,TLS_AES_256_GCM_SHA384)\r\n  by gw.example with ESMTPS\r\n  id 0000000000000001.00000000ABC", ""},
	{"ecelerity", "from [{t}] ([{t}:41234] helo={h})\n\tby gw.example (envelope-from <{e}>)\n\t(ecelerity 4.2.38 r()) with ESMTP\n\tid 1A-2B-3C", ""},
	{"Domino", "from {h} ([{t}])\r\n          by gw.example (HCL Domino Release 14.0)\r\n          with ESMTP id 2026011710000000-12345", ""},
	{"Stalwart", "from {h} ({p} [{t}] (AS64500 EXAMPLE, US))\n\t(using TLSv1.3 with cipher TLS13_AES_256_GCM_SHA384)\n\tby gw.example (Stalwart SMTP) with ESMTPS id 3F", ""},
	{"Zmailer", "from {p} ([{t}]:4711 \"EHLO {h}\")\n\tby gw.example with ESMTP id S130064AbRBMAdT", ""},
	{"smap", "from {p}({t}, HELO {h}) by gw.example via smap (V1.3)\n\tid xma002908", "["},
	{"IMail", "from {h} [{t}] by gw.example with ESMTP\n  (SMTPD32-8.15) id A0B1C2D3", ""},
}

const sent = "; Sat, 17 Jan 2026 10:00:00 +0000"

// Clients that mean no harm. Some of their names look like addresses or keywords.
var (
	honestHELOs = []string{
		"mail.example.net", "localhost", "[192.168.1.20]", "[IPv6:2001:db8::20]", "WIN-PC_1", "x", "friend;", "with", "for", "id",
		"192.168.1.20", "10.1.2.3.example.net",
	}
	honestNames = []string{"mail.example.net", "unknown", "host-1-2-3-4.isp.example", "1.2.3.4.isp.example", "localhost"}
	honestMail  = []string{"bounce@example.net"}
)

// The parts of what a hostile client says.
var (
	hostileParts = []string{
		"198.51.100.9", "[198.51.100.9]", "(198.51.100.9)", "([198.51.100.9])", "(x [198.51.100.9])", "[IPv6:2001:db8:bad::9]",
		"198.51.100.9:25", "[198.51.100.9]:25", "2001:db8:bad::9", "x@198.51.100.9", "<x@[198.51.100.9]>",
		"(", ")", "[", "]", "\"", "\\", ";", ",", ":", "=", "@", "<", ">", "'", ".", "-", "_", "?", "%", "\x80", "\x00",
		" ", " ", " ", "\t", "\r\n\t", "\n ",
		"from", "by", "with", "id", "for", "via", "BY", "HELO", "EHLO", "LHLO", "helo=", "ident=", "port=1", "(HELO", "(EHLO x)", "(helo=x)",
		"(using", "(Authenticated sender: ", "(authenticated", "(envelope-from", "(from", "(for", "(by", "(via", "(account", "(claimed",
		"(may be forged)", "proxying for", "uid 1", "[local]", "[unix socket]", "x@localhost", "local", "HTTP", "ESMTPA", "(CommuniGate Pro)",
		"x", "y.example", "\\(", "\\)", "\\\"", "()", "[]", "(x)", "by y", "with ESMTP", "unknown",
	}
	hostileNames = []string{
		"by", "HELO", "EHLO", "helo", "from", "for", "via", "with", "id", "using", "no", "may", "account", "authenticated", "claimed",
		"proxying", "uid", "local", "unix", "envelope-from", "client", "tls", "198.51.100.9", "198.51.100.9.", "x.198.51.100.9",
		"[198.51.100.9]", "[198.51.100.9", "198.51.100.9]", "(198.51.100.9)", "x)(198.51.100.9", "x)([198.51.100.9])(HELO", "x[198.51.100.9]",
		"x\\(y", "x\"y", "helo=198.51.100.9", "ident=1", "port=1", "helo=x", "2001:db8:bad::9", "x@198.51.100.9", "root@localhost", "[local]",
		"198.51.100.9)(HELO", "198.51.100.9,", "(", ")", "x(", ")x", "\"", "\\", "[", "]",
	}
	hostileMail = []string{
		`"a) by x \" "@evil.example`, `"b (y [198.51.100.9]) by z \" "@evil.example`, `"a)"@evil.example`, `"("@evil.example`,
		`x@[198.51.100.9]`, `"a\" by b"@evil.example`, `"(HELO"@evil.example`, `") (y [198.51.100.9]) by z ("@evil.example`, `"\"@evil.example`,
	}
)

type game struct{ *rand.Rand }

func (g game) one(list []string) string { return list[g.IntN(len(list))] }

func (g game) helo() string {
	var b strings.Builder
	for range 1 + g.IntN(8) {
		b.WriteString(g.one(hostileParts))
		if g.IntN(3) == 0 {
			b.WriteByte(" \t"[g.IntN(2)])
		}
	}
	return b.String()
}

func (g game) either(honest, hostile []string) string {
	if g.IntN(2) == 0 {
		return g.one(honest)
	}
	return g.one(hostile)
}

func line(layout, helo, name, mail, ip string) string {
	literal := ip
	if strings.Contains(ip, ":") {
		literal = "IPv6:" + ip
	}
	if strings.Contains(layout, "::ffff:{t}") && literal != ip {
		layout = strings.Replace(layout, "::ffff:{t}", "{t}", 1)
	}
	return strings.NewReplacer("{h}", helo, "{p}", name, "{e}", mail, "{t}", ip, "{l}", literal).Replace(layout) + sent
}

// clientIPs are the addresses that the layout can show: nothing tells a port
// from the last part of an IPv6 address.
func clientIPs(layout string) []string {
	if strings.Contains(layout, "{t}:") {
		return []string{"203.0.113.5"}
	}
	return []string{"203.0.113.5", "2001:db8:cafe::5"}
}

// TestI8ForgedAddress plays hostile clients against every layout. The address
// that the server recorded, or none, is read; and a hop never seems to be none,
// which would make the client's own field beneath it count.
func TestI8ForgedAddress(t *testing.T) {
	const perLayout = 4000
	g := game{rand.New(rand.NewPCG(1, 8))}
	all, recognised := 0, 0
	for _, layout := range layouts {
		ips, right := clientIPs(layout.line), 0
		for i := range perLayout {
			ip := ips[i%len(ips)]
			value := line(layout.line, g.helo(), g.either(honestNames, hostileNames), g.either(honestMail, hostileMail), ip)
			switch hop := Parse(value); {
			case hop.Kind == NotAHop, hop.Kind == Relay && hop.IP != netip.MustParseAddr(ip):
				t.Errorf("%s: %s %s (%s)\n%q", layout.name, hop.Kind, text(hop.IP), hop.Why, value)
			case hop.Kind == Relay:
				right++
			}
		}
		t.Logf("%-20s %2d %% recognised", layout.name, right*100/perLayout)
		all, recognised = all+perLayout, recognised+right
	}
	t.Logf("%d lines, %d %% recognised", all, recognised*100/all)
}

// TestI8HonestClients: with them, every layout is read.
func TestI8HonestClients(t *testing.T) {
	for _, layout := range layouts {
		for _, ip := range clientIPs(layout.line) {
			for _, helo := range honestHELOs {
				for _, name := range honestNames {
					value := line(layout.line, helo, name, honestMail[0], ip)
					want := ip
					if layout.doubt != "" && strings.HasPrefix(helo, layout.doubt) {
						want = ""
					}
					if hop := Parse(value); text(hop.IP) != want || hop.Kind == NotAHop {
						t.Errorf("%s: %s %s (%s)\n%q", layout.name, hop.Kind, text(hop.IP), hop.Why, value)
					}
				}
			}
		}
	}
}
