package main

import (
	"cmp"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/emersion/go-msgauth/dkim"

	"gatemilter/cmd/internal/lab"
	"gatemilter/policy/auth/dnstest"
)

// The tests of this file authenticate mail behind a real Postfix or Sendmail, some of
// it signed by Debian's OpenDKIM. The DNS is a server of their own.

// authservID is the name under which results are reported in these tests.
const authservID = "mx.lab.test"

// authGateways are the inbound gateways of these tests: two in a row, and one
// for which DMARC is reported only.
const authGateways = `
[inbound]
internal_networks = 198.18.0.0/15

[inbound-gateway filter]
addresses = 192.0.2.2, 192.0.2.55
domains   = example.com

[inbound-gateway lenient]
addresses = 192.0.2.110
domains   = marked.example
dmarc     = report
`

// An authSite is a site with a DNS server of its own.
type authSite struct {
	*site
	dns    *dnstest.Server
	others *lab.Postfix // beside which others' milters run
}

// authMailboxes are those of all sites: OpenDKIM's mail comes to author.example.
var authMailboxes = []string{"user@example.com", "user@marked.example", "signed@author.example",
	"simple-simple@example.com", "simple-relaxed@example.com", "relaxed-simple@example.com", "relaxed-relaxed@example.com"}

// needOthers installs others' milters, which has to be done outside of isolation.
func needOthers(t *testing.T) {
	t.Helper()
	if err := lab.NeedPackages(t.Context(), t.Logf, "postfix", "opendkim", "opendkim-tools", "opendmarc"); err != nil {
		t.Fatal(err)
	}
}

// newAuthSite starts a Postfix, gatemilter with these sections besides [server] and
// [log], and the DNS server that it asks. A section [dns] has to come first.
func newAuthSite(t *testing.T, zone, sections string, change func(*lab.Config)) *authSite {
	t.Helper()
	needOthers(t)
	cfg := lab.Config{Mailboxes: authMailboxes, Milter: "unix:gatemilter/milter.sock"}
	if change != nil {
		change(&cfg)
	}
	p := startPostfix(t, cfg)
	s := &authSite{&site{mta: p, t: t}, startDNS(t, zone), p}
	s.daemon = startProcess(t, s.writeServer(sections))
	return s
}

// newAuthSiteOn is newAuthSite with either mail server, and with an OpenDKIM for each of
// these signatures. Beside a Sendmail they sign what a Postfix takes.
func newAuthSiteOn(t *testing.T, on, zone, sections string, signers map[string]lab.Signature) *authSite {
	t.Helper()
	services := map[string]string{}
	for name := range signers {
		services[name] = "-o smtpd_milters=unix:" + name + "/milter.sock"
	}
	var s *authSite
	if on == onPostfix {
		s = newAuthSite(t, zone, sections, func(c *lab.Config) { c.Services = services })
	} else {
		s = newSendmailAuthSite(t, zone, sections)
		if len(signers) > 0 {
			s.others = startPostfix(t, lab.Config{Mailboxes: authMailboxes, Services: services})
			nameResolvers(t)
		}
	}
	for name, signature := range signers {
		s.filter(name, lab.Signer(signature))
	}
	return s
}

// newSendmailAuthSite is newAuthSite with a Sendmail.
func newSendmailAuthSite(t *testing.T, zone, sections string) *authSite {
	t.Helper()
	dns := startIsolatedDNS(t, zone+clientNames)
	s := &authSite{&site{mta: startSendmail(t, lab.SendmailConfig{Mailboxes: authMailboxes}), t: t}, dns, nil}
	s.daemon = startProcess(t, s.writeServer(sections))
	s.wireSendmail()
	return s
}

// nameResolvers puts a file with a name in the place of /etc/resolv.conf, which in isolation
// has none: others' milters get one of their own, and only what has a name can be covered.
func nameResolvers(t *testing.T) {
	t.Helper()
	const resolvers = "/etc/resolv.conf"
	named := filepath.Join(t.TempDir(), "resolv.conf")
	if err := errors.Join(
		os.WriteFile(named, must(os.ReadFile(resolvers)), 0o644),
		syscall.Unmount(resolvers, syscall.MNT_DETACH),
		syscall.Mount(named, resolvers, "", syscall.MS_BIND, ""),
	); err != nil {
		t.Fatal(err)
	}
}

// writeServer writes the configuration, and makes the directory of the socket.
func (s *authSite) writeServer(sections string) string {
	s.t.Helper()
	text := fmt.Sprintf("[server]\nmilter = unix:%s/milter.sock\n%sauthserv_id = %s\n[log]\nformat = json\nlevel = debug\n[dns]\nservers = %s\n%s",
		s.sockets(), s.socketGroup(), authservID, s.dns.Addr(), strings.TrimPrefix(sections, "[dns]\n"))
	path := s.config()
	if err := os.MkdirAll(s.sockets(), 0o755); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return path
}

// startDNS starts a server on port 53, for which others look, of the first address
// of loopback where it is free.
func startDNS(t testing.TB, zone string) *dnstest.Server {
	t.Helper()
	var failed error
	for ip := netip.MustParseAddr("127.0.53.1"); ip != netip.MustParseAddr("127.0.54.0"); ip = ip.Next() {
		server, err := dnstest.StartOn(netip.AddrPortFrom(ip, 53).String(), zone)
		if err == nil {
			t.Cleanup(func() { server.Close() })
			return server
		}
		failed = err
	}
	t.Fatal(failed)
	return nil
}

// filter runs somebody else's milter until the end of the test.
func (s *authSite) filter(name string, f lab.Filter) {
	s.t.Helper()
	r, err := s.others.StartFilter(s.t.Context(), name, f, netip.MustParseAddrPort(s.dns.Addr()).Addr())
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		if err := r.Stop(); err != nil {
			s.t.Error(err)
		}
	})
}

// with is the site in a subtest.
func (s *authSite) with(t *testing.T) *authSite {
	return &authSite{s.site.with(t), s.dns, s.others}
}

// pass sends a message and returns the reply to it, and what was delivered, if
// anything.
func (s *authSite) pass(c caller, e lab.Envelope, message string) (string, *lab.Message) {
	s.t.Helper()
	client := s.connect(c)
	defer func() { s.ok(client.Quit()) }()
	return s.passOn(client, e, message)
}

// passOn is pass in a session that goes on.
func (s *authSite) passOn(client *lab.Client, e lab.Envelope, message string) (string, *lab.Message) {
	s.t.Helper()
	transaction, err := client.Send(e, message)
	if err != nil {
		s.t.Fatal(err)
	}
	if !transaction.End.OK() {
		return fmt.Sprint(transaction.End), nil
	}
	return fmt.Sprint(transaction.End.Code), s.queued(e.To[0], transaction.End.QueueID())
}

// checkTop wants gatemilter's report directly beneath the lines of the delivery and the
// field of the mail server itself. (OpenDMARC, where it runs, puts its own above all.)
func (s *authSite) checkTop(m *lab.Message) {
	s.t.Helper()
	top := map[string][]string{
		onPostfix:  {"Return-Path", "X-Original-To", "Delivered-To", "Received", "Authentication-Results"},
		onSendmail: {"Delivered-To", "Return-Path", "Received", "Authentication-Results"},
	}[s.on()]
	header := slices.DeleteFunc(slices.Clone(m.Header), func(f lab.Field) bool { return strings.HasPrefix(f.Value, "opendmarc.lab.test;") })
	header = header[:min(len(top), len(header))]
	var names []string
	for _, f := range header {
		names = append(names, f.Name)
	}
	if !slices.Equal(names, top) || reports(&lab.Message{Header: header[len(top)-1:]}, authservID) == nil {
		s.t.Errorf("on top are %q, want %q, the last of them ours", names, top)
	}
}

// queued returns the message that had a queue id from its mailbox.
func (s *site) queued(mailbox, id string) *lab.Message {
	s.t.Helper()
	if err := s.WaitIdle(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	for _, m := range must(s.Mailbox(mailbox)) {
		if receivedID(&m) == id {
			return &m
		}
	}
	s.t.Fatalf("%s is not in the mailbox", id)
	return nil
}

// reports returns the fields of a message by which a server reports, unfolded to
// single blanks.
func reports(m *lab.Message, id string) []string {
	var found []string
	for _, value := range m.Values("Authentication-Results") {
		if value = strings.Join(strings.Fields(value), " "); strings.HasPrefix(value, id+";") {
			found = append(found, value)
		}
	}
	return found
}

// results are what the report of gatemilter says, in short: "spf=pass dkim=fail".
func (s *authSite) results(m *lab.Message) string {
	s.t.Helper()
	fields := reports(m, authservID)
	if len(fields) != 1 {
		s.t.Fatalf("%d reports: %q", len(fields), fields)
	}
	s.checkTop(m)
	return inShort(fields[0])
}

func inShort(report string) string {
	var words []string
	for _, part := range strings.Split(report, ";")[1:] {
		words = append(words, strings.Fields(part)[0])
	}
	return strings.Join(words, " ")
}

// hop is a Received field by which a host of the gateway took a message from a
// HELO name and an address.
func hop(helo, ip string) string {
	return fmt.Sprintf("Received: from %s (unknown [%s])\n\tby gw.filter.example with ESMTPS id 1;\n\tMon, 1 Jan 2024 00:00:00 +0000", helo, ip)
}

var innerHop = "Received: from gw2.filter.example (gw2.filter.example [192.0.2.55])\n\tby gw1.filter.example with ESMTPS id 2;\n\tMon, 1 Jan 2024 00:00:01 +0000"

// note is a message of an author, with these fields on top.
func note(author string, fields ...string) string {
	return strings.Join(append(fields, "From: "+author, "Subject: test", "", "Hello."), "\n") + "\n"
}

// DKIM: what OpenDKIM signs, and Postfix delivers, passes at the next Postfix, with
// every canonicalization, algorithm and form of message; and nothing that was
// altered does.
func TestA2SignedByOpenDKIM(t *testing.T) {
	needOthers(t)
	onBoth(t, testA2SignedByOpenDKIM)
}

func testA2SignedByOpenDKIM(t *testing.T, on string) {
	rsa := must(lab.NewRSAKey(t.Context(), "author.example", "rsa", 2048))
	edwards := must(lab.NewEd25519Key("author.example", "edwards"))
	signers := map[string]lab.Signature{
		"relaxed-simple":  {Domain: "author.example", Selector: "rsa", Key: rsa.Private, Algorithm: "rsa-sha256", Canonicalization: "relaxed/simple"},
		"relaxed-relaxed": {Domain: "author.example", Selector: "rsa", Key: rsa.Private, Algorithm: "rsa-sha256", Canonicalization: "relaxed/relaxed"},
		"simple-simple":   {Domain: "author.example", Selector: "rsa", Key: rsa.Private, Algorithm: "rsa-sha256", Canonicalization: "simple/simple"},
		"ed25519":         {Domain: "author.example", Selector: "edwards", Key: edwards.Private, Algorithm: "ed25519-sha256", Canonicalization: "relaxed/simple"},
	}
	s := newAuthSiteOn(t, on, rsa.Record+"\n"+edwards.Record+"\n", authGateways, signers)
	header := "From: Alice <alice@author.example>\nTo:\tuser@example.com\nDate:Mon, 1 Jan 2024 00:00:00 +0000\n" +
		"Message-ID: <1@author.example>\nSubject:    odd   spacing \n\t in  many\n lines \n"
	bodies := map[string]string{
		"plain":            "Hello.\n",
		"without line end": "Hello.",
		"empty":            "",
		"blank lines":      "\n\n  Hello, \t \n\n\n\n",
		"dots":             ".\n..\n.hello\n. \nhello.\n",
		"8-bit":            "Gr\xfc\xdfe und Gr\xc3\xbc\xc3\x9fe\n",
		"5 MiB":            strings.Repeat("0123456789 abcdefghijklmnopqrstuvwxyz .\n", 5<<20/40),
	}
	alterations := map[string]func(string) string{
		"body":           func(m string) string { return m + "More.\n" },
		"Subject":        func(m string) string { return strings.Replace(m, "odd ", "even ", 1) },
		"another From":   func(m string) string { return strings.Replace(m, "alice@", "mallory@", 1) },
		"a second From":  func(m string) string { return "From: mallory@author.example\n" + m },
		"signature":      func(m string) string { return strings.Replace(m, "\tb=", "\tb=AAAA", 1) },
		"body hash":      func(m string) string { return strings.Replace(m, "bh=", "bh=AAAA", 1) },
		"signing domain": func(m string) string { return strings.Replace(m, "d=author.example", "d=other.example", 1) },
	}
	for name, signature := range signers {
		for what, body := range bodies {
			t.Run(name+"/"+what, func(t *testing.T) {
				s := s.with(t)
				signed := s.sign(name, header+"\n"+body)
				_, m := s.pass(gateway, lab.Envelope{From: "alice@author.example", To: []string{"user@example.com"}}, hop("mail.author.example", "198.51.100.7")+"\n"+signed)
				if got, want := s.results(m), "spf=none dkim=pass dmarc=none"; got != want {
					t.Errorf("%s, want %s: %q", got, want, reports(m, authservID))
				}
				if report := reports(m, authservID)[0]; !strings.Contains(report, "header.d=author.example ") || !strings.Contains(report, "header.a="+signature.Algorithm) {
					t.Errorf("report %q", report)
				}
				want := signed
				if on == onSendmail { // which writes fields of addresses itself
					want = strings.Replace(signed, "\nTo:\t", "\nTo: ", 1)
				}
				if !strings.HasSuffix(m.Raw, "\n"+want) {
					t.Error("the message was changed on its way")
				}
			})
		}
		signed := s.sign(name, header+"\nHello.\n")
		for what, alter := range alterations {
			t.Run(name+"/altered "+what, func(t *testing.T) {
				s := s.with(t)
				altered := alter(signed)
				if altered == signed {
					t.Fatal("nothing was altered")
				}
				_, m := s.pass(gateway, lab.Envelope{From: "alice@author.example", To: []string{"user@example.com"}}, hop("mail.author.example", "198.51.100.7")+"\n"+altered)
				if got := s.results(m); !slices.Contains([]string{"dkim=fail", "dkim=permerror"}, strings.Fields(got)[1]) {
					t.Errorf("%s: %q", got, reports(m, authservID))
				}
			})
		}
	}
	s.noWarnings()
}

// A2: what a milter is shown of a message is what was signed, octet by octet, and nothing of
// another message in the same session.
func TestA2AsSigned(t *testing.T) { onBoth(t, testA2AsSigned) }

func testA2AsSigned(t *testing.T, on string) {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	s := newAuthSiteOn(t, on, fmt.Sprintf("k._domainkey.author.example TXT %q\n", "v=DKIM1; k=ed25519; p="+base64.StdEncoding.EncodeToString(public)), authGateways, nil)
	const from, hello = "From: alice@author.example", "Hello.\n"
	var high strings.Builder
	for c := 0x80; c <= 0xff; c++ {
		high.WriteByte(byte(c))
	}
	large := strings.Repeat("0123456789 abcdefghijklmnopqrstuvwxyz .\n", 3<<20/40)
	messages := []struct {
		name     string
		fields   []string
		body     string
		unsigned bool
		alter    bool // what was signed
		// simply is why no signature of the header passes that is "simple", or "".
		simply string
		// sendmailOnly is why it can't be the same on Postfix, or "".
		sendmailOnly string
	}{
		{name: "plain", fields: []string{from, "Subject: plain"}, body: hello},
		{name: "no blank", fields: []string{"From:alice@author.example", "To:user@example.com", "Subject:none", "X-Other:none"}, body: hello},
		{name: "many blanks", fields: []string{"From:   alice@author.example", "To:\tuser@example.com", "Subject: \t  many   blanks", "X-Other:\t\tmany"}, body: hello},
		{name: "blanks at the end", fields: []string{from + "  ", "To: user@example.com\t", "Subject: blanks \t ", "X-Other: x "}, body: hello},
		{name: "unsigned", fields: []string{from, "Subject: unsigned"}, body: hello, unsigned: true},
		{name: "blanks before the colon", fields: []string{from, "Subject : x", "X-Other\t: y"}, body: hello,
			simply: "a mail server tells the name without them"},
		{name: "empty fields", fields: []string{from, "Subject:", "X-Other: ", "X-Third:"}, body: hello},
		{name: "folded", fields: []string{"From: Alice\n <alice@author.example>", "To: user@example.com,\n\tother@example.com", "Subject:\n folded \n\t  again\n\tand again", "X-Other: folded\n \tonce"}, body: hello},
		{name: "folded to nothing", fields: []string{from, "Subject: x\n \n y", "X-Other:\n\t"}, body: hello},
		{name: "altered", fields: []string{from, "Subject: altered"}, body: hello, alter: true},
		{name: "8 bits", fields: []string{"From: J\xc3\xb6rg \xc3\x84 <alice@author.example>", "Subject: \xc3\x84\xe2\x82\xac \xe4\xf6\xfc", "X-Other: " + high.String()}, body: high.String() + "\n"},
		{name: "signs", fields: []string{from, "Subject: 100 % %s %d %n %% $j ${tls_version} $&j \\ \\n \x01 \x7f", `X-Other: "quoted" (comment (in one)) <>`}, body: "% %s %% $j ${x} \\\n"},
		{name: "addresses", fields: []string{`From: "Smith, Alice" (hello) <ALICE@Author.Example> (again)`, "To: other@example.com,user@example.com , Group: a@b.example, c@d.example;", "Cc: <>", "Reply-To: a%b@c.example,\"x y\"@z.example"}, body: hello},
		{name: "addresses to complete", fields: []string{from, "To: user, other (hello)", "Reply-To: c!d, a%b"}, body: hello,
			sendmailOnly: "Postfix completes addresses before it shows them to a milter"},
		{name: "fields that mail servers write", fields: []string{from, "Bcc:x@y.example", "Return-Path:<x@y.example>", "Content-Length:1", "Resent-From:x@y.example", "Resent-Date:x",
			"Date:x", "Message-ID:x", "Received:x", "Sender:x@y", "Return-Receipt-To:x", "Errors-To:x", "Apparently-To:x", "Full-Name:x", "Priority:urgent", "Mime-Version:1.0", "Content-Type:text/plain;  charset=utf-8"}, body: hello,
			sendmailOnly: "Postfix drops some of them, and completes addresses, before it shows them to a milter"},
		{name: "long lines", fields: []string{from, "Subject: " + strings.Repeat("long ", 190), "X-Other: " + strings.Repeat("x", 980) + "\n " + strings.Repeat("y", 980)}, body: strings.Repeat("z", 998) + "\n" + strings.Repeat("z ", 490) + "\n"},
		{name: "lines longer than allowed", fields: []string{from, "Subject: " + strings.Repeat("x ", 2500), "X-Other: " + strings.Repeat("x", 25000)}, body: strings.Repeat("z", 5000) + "\n"},
		{name: "a long field", fields: []string{from, "X-Other: " + strings.Repeat("long\n\t", 400) + "."}, body: hello},
		{name: "many fields", fields: append([]string{from}, slices.Repeat([]string{"X-Other: 1", "X-Third: 2"}, 90)...), body: hello},
		{name: "no body", fields: []string{from, "Subject: no body"}},
		{name: "an empty line", fields: []string{from, "Subject: an empty line"}, body: "\n"},
		{name: "empty lines", fields: []string{from, "Subject: empty lines"}, body: "\n\n \n\t\n\n"},
		{name: "lines of blanks", fields: []string{from}, body: " x  y \t\n\t\n z\n \n\n"},
		{name: "like a header", fields: []string{from}, body: "From: mallory@author.example\n\nFrom mallory\n>From mallory\n"},
		{name: "dots", fields: []string{from}, body: ".\n..\n...x\n"},
		{name: "several MiB", fields: []string{from, "Subject: large"}, body: large},
		{name: "several MiB unsigned", fields: []string{from, "Subject: large"}, body: large, unsigned: true},
		{name: "several MiB altered", fields: []string{from, "Subject: large"}, body: large, alter: true},
		{name: "and a small one", fields: []string{from, "Subject: small"}, body: hello},
	}
	for _, header := range []dkim.Canonicalization{dkim.CanonicalizationSimple, dkim.CanonicalizationRelaxed} {
		for _, body := range []dkim.Canonicalization{dkim.CanonicalizationSimple, dkim.CanonicalizationRelaxed} {
			client, to := s.connect(gateway), fmt.Sprintf("%s-%s@example.com", header, body)
			for _, c := range messages {
				if c.sendmailOnly != "" && on == onPostfix {
					continue
				}
				t.Run(fmt.Sprintf("%s-%s/%s", header, body, c.name), func(t *testing.T) {
					s := s.with(t)
					message, want := strings.Join(c.fields, "\n")+"\n\n"+c.body, "dkim=pass"
					if c.unsigned {
						want = "dkim=none"
					} else {
						message = withSignature(t, dkim.SignOptions{Domain: "author.example", Selector: "k", Signer: private,
							HeaderCanonicalization: header, BodyCanonicalization: body}, message)
					}
					if c.alter {
						message, want = message+"More.\n", "dkim=fail"
					}
					if c.simply != "" && header == dkim.CanonicalizationSimple {
						want = "dkim=fail"
					}
					reply, m := s.passOn(client, lab.Envelope{From: "alice@author.example", To: []string{to}}, hop("mail.author.example", "198.51.100.7")+"\n"+message)
					if reply != "250" {
						t.Fatal(reply)
					}
					if got := strings.Fields(s.results(m))[1]; got != want {
						t.Errorf("%s, want %s: %q in\n%.3000q", got, want, reports(m, authservID), m.Raw)
					}
					if got, want := m.Body, c.body; !strings.HasPrefix(got, want) {
						t.Errorf("the body was changed on its way: %.300q, want %.300q", got, want)
					}
					if pieces := s.pieces(receivedID(m)); c.unsigned && on == onSendmail && !slices.Equal(pieces, []string{"skip"}) {
						t.Errorf("a body that nobody needs came in pieces: %q", pieces)
					}
				})
			}
			s.ok(client.Quit())
		}
	}
	s.noWarnings()
}

// pieces are the answers to the pieces of a message's body. (Postfix does not log them.)
func (s *authSite) pieces(id string) (answers []string) {
	for line := range strings.Lines(s.Log()) {
		if _, answer, ok := strings.Cut(line, id+": milter=gatemilter, action=body, "); ok {
			answers = append(answers, strings.TrimSpace(answer))
		}
	}
	return answers
}

// withSignature is a message with a signature on top.
func withSignature(t *testing.T, o dkim.SignOptions, message string) string {
	t.Helper()
	var b strings.Builder
	if err := dkim.Sign(&b, strings.NewReader(strings.ReplaceAll(message, "\n", "\r\n")), &o); err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(b.String(), "\r\n", "\n")
}

// sign sends a message through a signing service, and returns what was delivered
// without the lines of the delivery.
func (s *authSite) sign(service, message string) string {
	s.t.Helper()
	client := must(lab.Dial(s.t.Context(), s.others.ServiceAddr(service)))
	defer client.Close()
	s.ok(client.Ehlo("author.example"))
	transaction := must(client.Send(lab.Envelope{From: "alice@author.example", To: []string{"signed@author.example"}}, message))
	if !transaction.End.OK() {
		s.t.Fatal(transaction.End)
	}
	raw := (&site{mta: s.others, t: s.t}).queued("signed@author.example", transaction.End.QueueID()).Raw
	return raw[strings.Index(raw, "\nDKIM-Signature:")+1:]
}

// sources has domains whose mail comes from 198.51.100.7, and domains in trouble.
const sources = `
. SOA ns.example. admin.example. 1 3600 600 86400 60
author.example         TXT "v=spf1 ip4:198.51.100.7 -all"
mail.author.example    TXT "v=spf1 a -all"
mail.author.example    A   198.51.100.7
reject.example         TXT "v=spf1 ip4:198.51.100.7 -all"
_dmarc.reject.example  TXT "v=DMARC1; p=reject"
hold.example           TXT "v=spf1 ip4:198.51.100.7 -all"
_dmarc.hold.example    TXT "v=DMARC1; p=quarantine"
_dmarc.report.example  TXT "v=DMARC1; p=none"
broken.example         SERVFAIL
_dmarc.broken.example  TXT "v=DMARC1; p=reject"
_dmarc.unsure.example  SERVFAIL
dead.example           TIMEOUT
_dmarc.dead.example    TIMEOUT
k._domainkey.broken.example SERVFAIL
k._domainkey.dead.example   TIMEOUT
`

// A1 and I20: SPF is asked about the hop that handed the message to the outermost
// gateway, and the report names it. A gateway's own address is never checked.
func TestA1I20SourceBehindGateways(t *testing.T) { onBoth(t, testA1I20SourceBehindGateways) }

func testA1I20SourceBehindGateways(t *testing.T, on string) {
	s := newAuthSiteOn(t, on, sources, authGateways+"[authentication]\nreceived_spf = yes\n", nil)
	for _, c := range []struct {
		name, sender string
		caller       caller
		hops         []string
		want         string
		receivedSPF  []string
	}{
		{"pass", "alice@author.example", gateway, []string{innerHop, hop("mail.author.example", "198.51.100.7")},
			`spf=pass (source 198.51.100.7 behind gateway filter) reason="author.example permits 198.51.100.7 [matched ip]" smtp.remote-ip=198.51.100.7 smtp.mailfrom=author.example`,
			[]string{`pass (mx.lab.test: author.example permits 198.51.100.7 [matched ip]) receiver=mx.lab.test; client-ip=198.51.100.7; identity=mailfrom; envelope-from="alice@author.example"; helo=mail.author.example`}},
		{"fail", "alice@author.example", gateway, []string{innerHop, hop("mail.author.example", "203.0.113.66")},
			`spf=fail (source 203.0.113.66 behind gateway filter) reason="author.example forbids 203.0.113.66 [matched all]" smtp.remote-ip=203.0.113.66 smtp.mailfrom=author.example`,
			[]string{`fail (mx.lab.test: author.example forbids 203.0.113.66 [matched all]) receiver=mx.lab.test; client-ip=203.0.113.66; identity=mailfrom; envelope-from="alice@author.example"; helo=mail.author.example`}},
		{"forged hop beneath", "alice@author.example", gateway, []string{hop("mail.author.example", "203.0.113.66"), hop("mail.author.example", "198.51.100.7")},
			`spf=fail (source 203.0.113.66 behind gateway filter) reason="author.example forbids 203.0.113.66 [matched all]" smtp.remote-ip=203.0.113.66 smtp.mailfrom=author.example`, nil},
		{"HELO for the null sender", "", gateway, []string{innerHop, hop("mail.author.example", "198.51.100.7")},
			`spf=pass (source 198.51.100.7 behind gateway filter) reason="mail.author.example permits 198.51.100.7 [matched a]" smtp.remote-ip=198.51.100.7 smtp.helo=mail.author.example`, nil},
		{"forged HELO for the null sender", "", gateway, []string{innerHop, hop("mail.author.example", "203.0.113.66")},
			`spf=fail (source 203.0.113.66 behind gateway filter) reason="mail.author.example forbids 203.0.113.66 [matched all]" smtp.remote-ip=203.0.113.66 smtp.helo=mail.author.example`, nil},
		{"internal", "alice@author.example", gateway, []string{innerHop, hop("app", "10.1.2.3")},
			`spf=none (behind gateway filter) reason="internal mail: no source to check"`, nil},
		{"fallback", "alice@author.example", gateway, []string{"Received: from somewhere, we forgot"},
			`spf=none (behind gateway filter) reason="no source is known behind the gateway"`, nil},
		{"no gateway", "alice@author.example", caller{ip: "198.51.100.7"}, []string{hop("mail.author.example", "203.0.113.66")},
			`spf=pass (source 198.51.100.7) reason="author.example permits 198.51.100.7 [matched ip]" smtp.remote-ip=198.51.100.7 smtp.mailfrom=author.example`, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := s.with(t)
			_, m := s.pass(c.caller, lab.Envelope{From: c.sender, To: []string{"user@example.com"}}, note("alice@author.example", c.hops...))
			s.checkTop(m)
			report := strings.Join(reports(m, authservID), " and ")
			if want := authservID + "; " + c.want + `; dkim=none reason="no signature"; dmarc=none reason="no DMARC record" header.from=author.example`; report != want {
				t.Errorf("report\n\t%s\nwant\n\t%s", report, want)
			}
			var fields []string
			for _, value := range m.Values("Received-SPF") {
				fields = append(fields, strings.Join(strings.Fields(value), " "))
			}
			if c.receivedSPF != nil && !slices.Equal(fields, c.receivedSPF) {
				t.Errorf("Received-SPF\n\t%q\nwant\n\t%q", fields, c.receivedSPF)
			}
		})
	}
}

// A3: with dmarc = enforce, what the author's domain asks for is done, to mail that
// has surely failed and only to that.
func TestA3Enforce(t *testing.T) {
	needOthers(t)
	onBoth(t, testA3Enforce)
}

func testA3Enforce(t *testing.T, on string) {
	key := must(lab.NewRSAKey(t.Context(), "reject.example", "rsa", 2048))
	s := newAuthSiteOn(t, on, sources+key.Record+"\n", authGateways+"[authentication]\ndmarc = enforce\n", map[string]lab.Signature{
		"signer": {Domain: "reject.example", Selector: "rsa", Key: key.Private, Algorithm: "rsa-sha256", Canonicalization: "relaxed/simple"},
	})
	var (
		honest  = []string{hop("mail.author.example", "198.51.100.7")}
		forger  = []string{hop("mail.author.example", "203.0.113.66")}
		refused = "550 5.7.1"
		lenient = caller{ip: "192.0.2.110"}
	)
	for _, c := range []struct {
		name, author, sender string
		caller               caller
		to                   string
		fields               []string
		signed               bool
		want, spam           string // reply, X-Spam-Flag
		results              string
	}{
		{name: "reject", author: "a@reject.example", sender: "a@reject.example", caller: gateway, fields: forger, want: refused},
		{name: "reject what passes for another domain", author: "a@reject.example", sender: "a@author.example", caller: gateway, fields: honest, want: refused},
		{name: "reject without a gateway", author: "a@reject.example", sender: "a@reject.example", caller: stranger, want: refused},
		{name: "SPF passes", author: "a@reject.example", sender: "a@reject.example", caller: gateway, fields: honest, want: "250", spam: "[]", results: "spf=pass dkim=none dmarc=pass"},
		{name: "DKIM passes where SPF fails", author: "a@reject.example", sender: "a@reject.example", caller: gateway, fields: forger, signed: true,
			want: "250", spam: "[]", results: "spf=fail dkim=pass dmarc=pass"},
		{name: "quarantine", author: "a@hold.example", sender: "a@hold.example", caller: gateway, fields: forger, want: "250", spam: "[YES]", results: "spf=fail dkim=none dmarc=fail"},
		{name: "none", author: "a@report.example", sender: "a@report.example", caller: gateway, fields: forger, want: "250", spam: "[]", results: "spf=none dkim=none dmarc=fail"},
		{name: "a gateway with dmarc = report", author: "a@reject.example", sender: "a@reject.example", caller: lenient, to: "user@marked.example", fields: forger,
			want: "250", spam: "[]", results: "spf=fail dkim=none dmarc=fail"},
		{name: "internal", author: "a@reject.example", sender: "a@reject.example", caller: gateway, fields: []string{hop("app", "10.1.2.3")},
			want: "250", spam: "[]", results: "spf=none dkim=none dmarc=none"},
		{name: "fallback", author: "a@reject.example", sender: "a@reject.example", caller: gateway, fields: []string{"Received: from somewhere, we forgot"},
			want: "250", spam: "[]", results: "spf=none dkim=none dmarc=none"},
		{name: "SPF in trouble", author: "a@broken.example", sender: "a@broken.example", caller: gateway, fields: forger, want: "250", spam: "[]", results: "spf=temperror dkim=none dmarc=temperror"},
		{name: "policy in trouble", author: "a@unsure.example", sender: "a@unsure.example", caller: gateway, fields: forger, want: "250", spam: "[]", results: "spf=none dkim=none dmarc=temperror"},
		{name: "authenticated", author: "a@reject.example", sender: "a@reject.example", caller: caller{ip: stranger.ip, login: "alice"}, want: "250", spam: "[]"},
		{name: "internal network", author: "a@reject.example", sender: "a@reject.example", caller: caller{ip: "198.18.5.5"}, want: "250", spam: "[]"},
		{name: "this host", author: "a@reject.example", sender: "a@reject.example", caller: caller{ip: "127.0.0.1"}, want: "250", spam: "[]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := s.with(t)
			message := note(c.author)
			if c.signed {
				message = s.sign("signer", message)
			}
			reply, m := s.pass(c.caller, lab.Envelope{From: c.sender, To: []string{cmp.Or(c.to, "user@example.com")}}, strings.Join(append(c.fields, message), "\n"))
			if !strings.HasPrefix(reply, c.want) {
				t.Fatalf("reply %s, want %s", reply, c.want)
			}
			if m == nil {
				return
			}
			if got := fmt.Sprint(m.Values("X-Spam-Flag")); got != c.spam {
				t.Errorf("X-Spam-Flag %s, want %s", got, c.spam)
			}
			if c.results == "" {
				if fields := reports(m, authservID); len(fields) > 0 {
					t.Errorf("exempt mail has the report %q", fields)
				}
			} else if got := s.results(m); got != c.results {
				t.Errorf("%s, want %s: %q", got, c.results, reports(m, authservID))
			}
		})
	}
}

// A4: no field that claims to be ours reaches the reader, however it is spelt;
// others do, in their order; ours is on top.
func TestA4ForgedResults(t *testing.T) { onBoth(t, testA4ForgedResults) }

func testA4ForgedResults(t *testing.T, on string) {
	s := newAuthSiteOn(t, on, sources, authGateways, nil)
	forged := []string{
		"Authentication-Results: mx.lab.test; dmarc=pass header.from=author.example",
		"authentication-RESULTS:MX.Lab.TEST; spf=pass",
		"Authentication-Results : mx.lab.test; dkim=pass",
		"Authentication-Results:\n\tmx.lab.test;\n\tdkim=pass",
		"Authentication-Results: (hello) mx.lab.test (again; (and again)) 1; spf=pass",
		"Authentication-Results: mx.(x)lab.test; spf=pass",
		"Authentication-Results: \"mx.lab.test\"; spf=pass",
		"Authentication-Results: \"mx\\.lab.test\"; spf=pass",
		"Authentication-Results: mx.lab.test.; spf=pass",
		"Authentication-Results: ;mx.lab.test; spf=pass",
		"Authentication-Results: mx.lab.test 1; spf=pass",
		"Authentication-Results: mx.lab.test/1; spf=pass",
		"Authentication-Results: mx.lab.test",
		"Authentication-Results: mx.lab.test;",
		"Authentication-Results: =?utf-8?q?mx.lab.test?=; spf=pass",
		"Authentication-Results: \xef\xbd\x8dx.lab.test; spf=pass",
		"Authentication-Results: other.example mx.lab.test; spf=pass",
	}
	kept := []string{
		"Authentication-Results: other.example; spf=pass smtp.mailfrom=mx.lab.test",
		"Authentication-Results: notmx.lab.test; spf=pass",
		"Authentication-Results: mx.lab.test.example; spf=pass",
		"X-Authentication-Results: mx.lab.test; spf=pass",
		"ARC-Authentication-Results: i=1; mx.lab.test; spf=pass",
		"Received-SPF: pass (mx.lab.test: believe me) client-ip=192.0.2.1",
	}
	var fields []string
	for i := range forged {
		fields = append(fields, forged[i], kept[i%len(kept)])
	}
	_, m := s.pass(gateway, lab.Envelope{From: "alice@author.example", To: []string{"user@example.com"}},
		note("alice@author.example", append([]string{hop("mail.author.example", "198.51.100.7")}, fields...)...))
	if got, want := s.results(m), "spf=pass dkim=none dmarc=none"; got != want {
		t.Errorf("results %s, want %s", got, want)
	}
	var left []string
	for _, f := range m.Header {
		if line := f.Name + ": " + f.Value; strings.Contains(strings.ToLower(f.Name), "authentication-results") || f.Name == "Received-SPF" {
			left = append(left, line)
		}
	}
	var want []string
	for i := range forged {
		want = append(want, kept[i%len(kept)])
	}
	if len(left) == 0 || !slices.Equal(left[1:], want) {
		t.Errorf("left are\n\t%s\nwant\n\t%s", strings.Join(left, "\n\t"), strings.Join(want, "\n\t"))
	}
	s.noWarnings()
	if entry := s.logged(receivedID(m)); !strings.Contains(fmt.Sprint(entry["reasons"]), "forged-field-removed") {
		t.Errorf("logged %v", entry)
	}
}

// A4: a user who is logged in can't forge a report either; hosts of our own may have
// written theirs in our name.
func TestA4ExemptMail(t *testing.T) { onBoth(t, testA4ExemptMail) }

func testA4ExemptMail(t *testing.T, on string) {
	s := newAuthSiteOn(t, on, sources, authGateways, nil)
	const report = "mx.lab.test; dmarc=pass header.from=reject.example"
	for _, c := range []struct {
		name   string
		caller caller
		want   []string
	}{
		{"authenticated", caller{ip: stranger.ip, login: "alice"}, nil},
		{"internal network", caller{ip: "198.18.5.5"}, []string{report}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := s.with(t)
			_, m := s.pass(c.caller, lab.Envelope{From: "a@reject.example", To: []string{"user@example.com"}},
				note("a@reject.example", "Authentication-Results: "+report, "Authentication-Results: other.example; none"))
			if got, want := m.Values("Authentication-Results"), append(c.want, "other.example; none"); !slices.Equal(got, want) {
				t.Errorf("delivered with %q, want %q", got, want)
			}
		})
	}
}

// receivedID is the queue id under which a message was delivered.
func receivedID(m *lab.Message) string {
	words := strings.Fields(m.Values("Received")[0])
	return strings.TrimSuffix(words[slices.Index(words, "id")+1], ";")
}

// A5: trouble with the DNS is reported, and the message goes on.
func TestA5Trouble(t *testing.T) { onBoth(t, testA5Trouble) }

func testA5Trouble(t *testing.T, on string) {
	signature := "DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=%s; s=k; h=from;\n\tbh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=; b=AAAA"
	s := newAuthSiteOn(t, on, sources, "[dns]\ntimeout = 200ms\n"+authGateways+"[authentication]\ndmarc = enforce\n", nil)
	send := func(t *testing.T, domain, want string) {
		t.Helper()
		s := s.with(t)
		reply, m := s.pass(gateway, lab.Envelope{From: "a@" + domain, To: []string{"user@example.com"}},
			note("a@"+domain, hop("mail."+domain, "203.0.113.66"), fmt.Sprintf(signature, domain)))
		if reply != "250" {
			t.Fatalf("reply %s", reply)
		}
		if got := s.results(m); got != want {
			t.Errorf("%s, want %s: %q", got, want, reports(m, authservID))
		}
	}
	const trouble = "spf=temperror dkim=temperror dmarc=temperror"
	t.Run("SERVFAIL", func(t *testing.T) { send(t, "broken.example", trouble) })
	t.Run("time-out", func(t *testing.T) { send(t, "dead.example", trouble) })
	t.Run("no server", func(t *testing.T) {
		if err := s.dns.Close(); err != nil {
			t.Fatal(err)
		}
		send(t, "reject.example", trouble)
	})
}
