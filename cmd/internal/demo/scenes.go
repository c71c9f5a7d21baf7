package main

import (
	"net/netip"
	"strings"
)

// A part of the demo is a configuration, and the messages that are sent under it.
type part struct {
	title     string
	rules     string
	scenes    []scene
	explained int // index of the scene that is also shown by "gatemilter explain"
}

// inbound is the part about incoming mail.
func inbound() part { return part{"Incoming mail", inboundRules, inboundScenes, 3} }

// inboundRules have networks of the documentation (RFC 5737) stand for the internet.
const inboundRules = `[inbound-gateway filter]
addresses    = 192.0.2.2
domains      = example.com
reject_other = yes
require_tls  = yes
spam_header  = ^X-Filter-Score: (0\.\d*|1\.0*)$
spam_score   = 0.50

[authentication]
dmarc        = enforce
`

// zone is the DNS of the demo: friend.example says which server sends its mail, and
// wants all other mail in its name refused.
const zone = `
friend.example        TXT "v=spf1 ip4:198.51.100.7 -all"
_dmarc.friend.example TXT "v=DMARC1; p=reject"
. SOA ns.example. admin.example. 1 3600 600 86400 60
`

// settings is the whole configuration: a part's rules, and what the demo needs around
// them.
func settings(server, dns, rules string) string {
	return "[server]\nauthserv_id = mx.example.com\n" + server + "[dns]\nservers = " + dns + "\n" + rules
}

// A scene is one message that is sent.
type scene struct {
	title  string
	from   client
	tls    bool
	as     string // address of sender and author; "": one in the domain author, made of the title
	author string
	to     string // recipients, with blanks between them
	fields []string
}

// A client is who sends it.
type client struct {
	ip    string
	name  string
	login string
}

var (
	filter   = client{ip: "192.0.2.2", name: "mx1.filter.example"}
	stranger = client{ip: "203.0.113.66", name: "bot.spammer.example"}
	alice    = client{ip: "203.0.113.9", name: "laptop.example", login: "alice"}
	bob      = client{ip: "203.0.113.9", name: "laptop.example", login: "bob"}
)

// passed is what the filtering service writes on top of a message that it took
// from the internet.
const passed = "Received: from mail.friend.example (mail.friend.example [198.51.100.7])\n\tby mx1.filter.example with ESMTPS; Sat, 21 Nov 2026 12:00:00 +0000"

// spoofed is what it writes on mail that somebody else sends in a friend's name.
const spoofed = "Received: from bot.spammer.example (bot.spammer.example [203.0.113.66])\n\tby mx1.filter.example with ESMTPS; Sat, 21 Nov 2026 12:00:00 +0000"

var inboundScenes = []scene{
	{title: "through the gateway", from: filter, tls: true, author: "friend.example", to: "user@example.com",
		fields: []string{passed, "X-Filter-Score: 0.02"}},
	{title: "around the gateway", from: stranger, tls: true, author: "spammer.example", to: "user@example.com"},
	{title: "gateway without TLS", from: filter, author: "friend.example", to: "user@example.com",
		fields: []string{passed}},
	{title: "tagged as spam", from: filter, tls: true, author: "friend.example", to: "user@example.com",
		fields: []string{passed, "X-Filter-Score: 0.97", "X-Spam-Flag: NO"}},
	{title: "in a friend's name", from: filter, tls: true, author: "friend.example", to: "user@example.com",
		fields: []string{spoofed, "X-Filter-Score: 0.10"}},
	{title: "forged headers", from: stranger, tls: true, author: "spammer.example", to: "user@free.example",
		fields: []string{"X-Spam-Flag: NO", "x-GATEMILTER-route: smtp:[evil.example]", "Authentication-Results: mx.example.com; dmarc=pass"}},
	{title: "two recipients", from: stranger, tls: true, author: "spammer.example", to: "user@example.com user@free.example"},
	{title: "our own user", from: alice, tls: true, author: "example.com", to: "user@example.com"},
}

// sender is the envelope sender of a scene. No other one of its client has the same: so its
// line in the log is found.
func (s scene) sender() string {
	if s.as != "" {
		return s.as
	}
	return strings.NewReplacer(" ", "-", "'", "").Replace(s.title) + "@" + s.author
}

func (s scene) message() string {
	lines := append([]string{}, s.fields...)
	lines = append(lines, "From: <"+s.sender()+">", "To: "+s.recipients(), "Subject: "+s.title, "", "Hello.", "")
	return strings.Join(lines, "\n")
}

// recipients are those of the envelope, as they are written in a line.
func (s scene) recipients() string { return strings.ReplaceAll(s.to, " ", ", ") }

func (c client) addr() netip.Addr { return netip.MustParseAddr(c.ip) }
