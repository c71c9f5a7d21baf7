package main

import (
	"cmp"
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"github.com/emersion/go-msgauth/dkim"

	"gatemilter/cmd/internal/lab"
)

// opinions is the zone of the messages on which gatemilter and OpenDMARC are asked;
// %s stands for a public key.
const opinions = `
. SOA ns.example. admin.example. 1 3600 600 86400 60
plain.example               TXT "v=spf1 ip4:198.51.100.7 -all"
_dmarc.plain.example        TXT "v=DMARC1; p=reject"
mail.plain.example          TXT "v=spf1 ip4:198.51.100.7 -all"
strict.example              TXT "v=spf1 ip4:198.51.100.7 -all"
mail.strict.example         TXT "v=spf1 ip4:198.51.100.7 -all"
_dmarc.strict.example       TXT "v=DMARC1; p=reject; adkim=s; aspf=s"
_dmarc.example.org          TXT "v=DMARC1; p=none; sp=quarantine"
own.example.org             TXT "v=spf1 ip4:198.51.100.7 -all"
_dmarc.own.example.org      TXT "v=DMARC1; p=reject"
_dmarc.example.net          TXT "v=DMARC1; p=none; psd=y"
one.example.net             TXT "v=spf1 ip4:198.51.100.7 -all"
_dmarc.two.example.net      TXT "v=DMARC1; p=reject"
other.example               TXT "v=spf1 ip4:198.51.100.7 -all"
_dmarc.invalid.example      TXT "v=DMARC2; p=reject"
_dmarc.test.example         TXT "v=DMARC1; p=reject; pct=0"
broken.example              SERVFAIL
_dmarc.broken.example       TXT "v=DMARC1; p=reject"
_dmarc.unsure.example       SERVFAIL
k._domainkey.plain.example       %s
k._domainkey.mail.plain.example  %s
k._domainkey.mail.strict.example %s
k._domainkey.strict.example      %s
k._domainkey.other.example       %s
`

// OpenDMARC, which reads our report and trusts it, comes to our conclusion; and
// nothing that a stranger writes into an envelope or a signature makes it see a pass.
// Where it is known to differ, differs says why, and theirs what it says. (On Sendmail it
// is not asked: it would read the same field.)
func TestOpenDMARCAgrees(t *testing.T) { onBoth(t, testOpenDMARCAgrees) }

func testOpenDMARCAgrees(t *testing.T, on string) {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	record := fmt.Sprintf("TXT %q", "v=DKIM1; k=ed25519; p="+base64.StdEncoding.EncodeToString(public))
	zone := strings.ReplaceAll(opinions, "%s", record)
	var s *authSite
	if on == onSendmail {
		s = newSendmailAuthSite(t, zone, authGateways)
	} else {
		s = newAuthSite(t, zone, authGateways, func(c *lab.Config) { c.Milter += ",unix:opendmarc/milter.sock" })
		s.filter("opendmarc", lab.OpenDMARC("opendmarc.lab.test", authservID, false))
	}
	sign := func(o dkim.SignOptions, message string) string {
		o.Selector, o.Signer, o.HeaderKeys = "k", private, []string{"From", "Subject"}
		return withSignature(t, o, message)
	}
	const (
		good = "198.51.100.7"
		bad  = "203.0.113.66"
		fake = "DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed; h=from; bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=;\n\t"
	)
	for _, c := range []struct {
		name, author, sender string
		helo, ip             string
		signers              []dkim.SignOptions
		fields               []string
		want                 string
		theirs, differs      string
	}{
		{name: "SPF passes", author: "plain.example", sender: "a@plain.example", ip: good, want: "pass"},
		{name: "SPF fails", author: "plain.example", sender: "a@plain.example", ip: bad, want: "fail"},
		{name: "SPF passes for another", author: "plain.example", sender: "a@other.example", ip: good, want: "fail"},
		{name: "DKIM passes", author: "plain.example", sender: "a@plain.example", ip: bad, signers: []dkim.SignOptions{{Domain: "plain.example"}}, want: "pass"},
		{name: "DKIM passes for another", author: "plain.example", sender: "a@plain.example", ip: bad, signers: []dkim.SignOptions{{Domain: "other.example"}}, want: "fail"},
		{name: "SPF passes for a subdomain", author: "plain.example", sender: "a@mail.plain.example", ip: good, want: "pass"},
		{name: "DKIM passes for a subdomain", author: "plain.example", sender: "a@x.example", ip: bad, signers: []dkim.SignOptions{{Domain: "mail.plain.example"}}, want: "pass"},
		{name: "strict, SPF passes", author: "strict.example", sender: "a@strict.example", ip: good, want: "pass"},
		{name: "strict, SPF passes for a subdomain", author: "strict.example", sender: "a@mail.strict.example", ip: good, want: "fail"},
		{name: "strict, DKIM passes", author: "strict.example", sender: "a@x.example", ip: bad, signers: []dkim.SignOptions{{Domain: "strict.example"}}, want: "pass"},
		{name: "strict, DKIM passes for a subdomain", author: "strict.example", sender: "a@x.example", ip: bad, signers: []dkim.SignOptions{{Domain: "mail.strict.example"}}, want: "fail"},
		{name: "subdomain without record", author: "deep.example.org", sender: "a@other.example", ip: good, want: "fail"},
		{name: "subdomain with record", author: "own.example.org", sender: "a@own.example.org", ip: good, want: "pass"},
		{name: "domain of one with record", author: "plain.example", sender: "a@own.example.org", ip: good, want: "fail"},
		{name: "no record", author: "none.example", sender: "a@none.example", ip: good, want: "none"},
		{name: "pct=0", author: "test.example", sender: "a@test.example", ip: bad, want: "fail"},
		{name: "several signatures, none ours", author: "plain.example", sender: "a@x.example", ip: bad,
			signers: []dkim.SignOptions{{Domain: "other.example"}, {Domain: "strict.example"}}, want: "fail"},
		{name: "several signatures, the first ours", author: "plain.example", sender: "a@x.example", ip: bad,
			signers: []dkim.SignOptions{{Domain: "other.example"}, {Domain: "strict.example"}, {Domain: "plain.example"}}, want: "pass"},
		{name: "several signatures, the last ours", author: "plain.example", sender: "a@x.example", ip: bad,
			signers: []dkim.SignOptions{{Domain: "plain.example"}, {Domain: "strict.example"}, {Domain: "other.example"}}, want: "pass"},
		{name: "ours fails, another's passes", author: "plain.example", sender: "a@x.example", ip: bad,
			fields: []string{fake + "d=plain.example; s=k; b=AAAA"}, signers: []dkim.SignOptions{{Domain: "other.example"}}, want: "fail"},
		{name: "null sender of another", author: "plain.example", helo: "other.example", ip: good, want: "fail"},

		{name: "subdomain under an unlisted name", author: "deep.plain.example", sender: "a@plain.example", ip: bad, want: "fail",
			theirs: "none", differs: "it finds the organisational domain only below a suffix of its list, and example is not in it"},
		{name: "subdomains of a public suffix of today", author: "two.example.net", sender: "a@one.example.net", ip: good, want: "fail",
			theirs: "pass", differs: "it has a list of public suffixes, and does not know psd=y of RFC 9989"},
		{name: "no record of this version", author: "invalid.example", sender: "a@invalid.example", ip: good, want: "none",
			theirs: "permerror", differs: "RFC 9989, section 4.7: what does not begin with v=DMARC1 is no record"},
		{name: "SPF in trouble", author: "broken.example", sender: "a@broken.example", ip: good, want: "temperror",
			theirs: "fail", differs: "it takes trouble for a failure, RFC 9989, section 5.3.6, does not"},
		{name: "policy in trouble", author: "unsure.example", sender: "a@plain.example", ip: good, want: "temperror",
			theirs: "none", differs: "it takes a name server's failure for the lack of a record"},
		{name: "null sender", author: "plain.example", helo: "mail.plain.example", ip: good, want: "pass",
			theirs: "fail", differs: "it does not take smtp.helo for the envelope sender of a bounce"},
		{name: "internal", author: "plain.example", sender: "a@plain.example", ip: "10.1.2.3", want: "none",
			theirs: "fail", differs: "it has no result for mail without a source"},

		{name: "hostile sender: semicolon", author: "plain.example", sender: `"a; dmarc=pass header.from=plain.example; spf=pass smtp.mailfrom=plain.example"@other.example`, ip: good, want: "fail"},
		{name: "hostile sender: at", author: "plain.example", sender: `"a@plain.example"@other.example`, ip: good, want: "fail"},
		{name: "hostile sender: quotes", author: "plain.example", sender: `"a\"; dkim=pass header.d=plain.example; x=\""@other.example`, ip: good, want: "fail"},
		{name: "hostile sender: comment", author: "plain.example", sender: `"a(@plain.example"@other.example`, ip: good, want: "fail"},
		{name: "hostile sender: without quotes", author: "plain.example", sender: `spf=pass/dmarc=pass@other.example`, ip: good, want: "fail"},
		{name: "hostile sender: nothing but a domain", author: "plain.example", sender: `plain.example@other.example`, ip: good, want: "fail"},
		{name: "hostile HELO", author: "plain.example", helo: "x;spf=pass;smtp.helo=plain.example", ip: bad, want: "fail"},
		{name: "hostile d=", author: "plain.example", sender: "a@x.example", ip: bad, fields: []string{fake + `d="x.example dkim=pass header.d=plain.example"; s=k; b=AAAA`}, want: "fail"},
		{name: "hostile d=: folded", author: "plain.example", sender: "a@x.example", ip: bad, fields: []string{fake + "d=x.example\n\tdkim=pass header.d=plain.example; s=k; b=AAAA"}, want: "fail"},
		{name: "hostile s=", author: "plain.example", sender: "a@x.example", ip: bad, fields: []string{fake + "d=other.example; s=k dmarc=pass header.from=plain.example; b=AAAA"}, want: "fail"},
		{name: "hostile b=", author: "plain.example", sender: "a@x.example", ip: bad, fields: []string{fake + "d=other.example; s=k; b=A dkim=pass header.d=plain.example"}, want: "fail"},
		{name: "hostile i=", author: "plain.example", sender: "a@x.example", ip: bad,
			signers: []dkim.SignOptions{{Domain: "other.example", Identifier: `"a dkim=pass header.d=plain.example header.i=@plain.example"@other.example`}}, want: "fail"},
		{name: "forged report", author: "plain.example", sender: "a@x.example", ip: bad,
			fields: []string{"Authentication-Results: mx.lab.test; dkim=pass header.d=plain.example; spf=pass smtp.mailfrom=plain.example"}, want: "fail"},
		{name: "forged Received-SPF", author: "plain.example", sender: "a@x.example", ip: bad,
			fields: []string{"Received-SPF: pass (mx.lab.test: domain of a@plain.example) receiver=mx.lab.test; client-ip=198.51.100.7; envelope-from=a@plain.example"}, want: "fail"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := s.with(t)
			message := note("a@" + c.author)
			for _, o := range c.signers {
				message = sign(o, message)
			}
			message = strings.Join(append(c.fields, hop(cmp.Or(c.helo, "mail.x.example"), c.ip), message), "\n")
			reply, m := s.pass(gateway, lab.Envelope{From: c.sender, To: []string{"user@example.com"}}, message)
			if reply != "250" {
				t.Fatal(reply)
			}
			if got := s.results(m); !strings.HasSuffix(got, "dmarc="+c.want) {
				t.Errorf("ours is %s, want %s: %q", got, c.want, reports(m, authservID))
			}
			if on == onSendmail {
				return
			}
			theirs := reports(m, "opendmarc.lab.test")
			if len(theirs) != 1 {
				t.Fatalf("%d reports of OpenDMARC in\n%s", len(theirs), m.Raw)
			}
			if got, want := inShort(theirs[0]), "dmarc="+cmp.Or(c.theirs, c.want); got != want {
				t.Errorf("OpenDMARC says %q, want %s %s: ours is %q", theirs[0], want, c.differs, reports(m, authservID))
			}
		})
	}
}
