package authres

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gatemilter/policy"

	"github.com/emersion/go-msgauth/authres"
	"github.com/google/go-cmp/cmp"
)

var source = netip.MustParseAddr("198.51.100.7")

func spf(result policy.AuthResult, sender string) policy.SPF {
	return policy.SPF{Result: result, IP: source, Identity: "mailfrom", Domain: policy.Domain(sender), Sender: sender}
}

// A4: one field with spf, dkim and dmarc, naming the source IP.
func TestA4Format(t *testing.T) {
	for _, c := range []struct {
		name    string
		id      string
		source  netip.Addr
		gateway string
		a       policy.Authentication
		want    string
	}{
		{
			name: "nothing was checked",
			id:   "mx.example.com",
			want: "mx.example.com;\n\tnone",
		},
		{
			name: "nothing was checked, behind a gateway",
			id:   "mx.example.com", source: source, gateway: "filter",
			want: "mx.example.com;\n\tnone (source 198.51.100.7 behind gateway filter)",
		},
		{
			name: "internal mail",
			id:   "mx.example.com", gateway: "filter",
			a:    policy.Authentication{SPF: policy.SPF{Result: policy.AuthNone, Reason: "internal mail: no source to check"}},
			want: "mx.example.com;\n\tspf=none (behind gateway filter)\n\treason=\"internal mail: no source to check\"",
		},
		{
			name: "all methods",
			id:   "mx.example.com", source: source, gateway: "filter",
			a: policy.Authentication{
				SPF: spf(policy.AuthPass, "alice@example.org"),
				DKIM: []policy.DKIM{
					{Result: policy.AuthPass, Domain: "example.org", Selector: "k1", Identity: "@example.org", Algorithm: "rsa-sha256", Signature: "AbC/d+1="},
					{Result: policy.AuthTempError, Domain: "esp.example", Selector: "s.2026", Algorithm: "ed25519-sha256", Reason: "lookup of key failed"},
				},
				DMARC: policy.DMARC{Result: policy.AuthPass, Domain: "example.org", RecordDomain: "example.org", Policy: "reject"},
			},
			want: "mx.example.com;\n" +
				"\tspf=pass (source 198.51.100.7 behind gateway filter)\n" +
				"\tsmtp.remote-ip=198.51.100.7 smtp.mailfrom=example.org;\n" +
				"\tdkim=pass header.d=example.org header.i=@example.org header.s=k1\n" +
				"\theader.a=rsa-sha256 header.b=\"AbC/d+1=\";\n" +
				"\tdkim=temperror reason=\"lookup of key failed\" header.d=esp.example\n" +
				"\theader.s=s.2026 header.a=ed25519-sha256;\n" +
				"\tdmarc=pass header.from=example.org policy.dmarc=reject",
		},
		{
			name: "null sender, IPv6",
			id:   "mx.example.com", source: netip.MustParseAddr("2001:db8::1%eth0"),
			a: policy.Authentication{SPF: policy.SPF{
				Result: policy.AuthFail, Identity: "helo", Domain: "mail.example.org", Sender: "postmaster@mail.example.org"}},
			want: "mx.example.com;\n\tspf=fail (source 2001:db8::1) smtp.remote-ip=\"2001:db8::1\"\n\tsmtp.helo=mail.example.org",
		},
		{
			name: "domains in Unicode",
			id:   "Bücher.example",
			a: policy.Authentication{
				SPF:   spf(policy.AuthPass, "jürgen@bücher.example"),
				DKIM:  []policy.DKIM{{Result: policy.AuthPass, Domain: "BÜCHER.example", Identity: "jürgen@bücher.example"}},
				DMARC: policy.DMARC{Result: policy.AuthFail, Domain: "bücher.example", Policy: "quarantine", Reason: "für niemand"},
			},
			want: "xn--bcher-kva.example;\n" +
				"\tspf=pass smtp.mailfrom=xn--bcher-kva.example;\n" +
				"\tdkim=pass header.d=xn--bcher-kva.example\n\theader.i=@xn--bcher-kva.example;\n" +
				"\tdmarc=fail reason=\"f?r niemand\" header.from=xn--bcher-kva.example\n" +
				"\tpolicy.dmarc=quarantine",
		},
		{
			name: "results that are none",
			id:   "mx.example.com",
			a: policy.Authentication{
				SPF:   policy.SPF{Result: "pass; dmarc=pass"},
				DKIM:  []policy.DKIM{{}, {Result: "PASS"}},
				DMARC: policy.DMARC{Result: "good"},
			},
			want: "mx.example.com;\n\tnone",
		},
		{
			name: "values of a stranger",
			id:   "mx.example.com",
			a: policy.Authentication{
				SPF: spf(policy.AuthNone, `"x; dmarc=pass header.from=bank.example"@evil.example`),
				DKIM: []policy.DKIM{{
					Result: policy.AuthFail, Domain: "evil.example; dkim=pass", Selector: "a b", Identity: "x\"@evil.example",
					Algorithm: "rsa-sha256\r\nX: y", Signature: `"; dmarc=pass`, Reason: "x\\\"; dmarc=pass (\r\n\theader.from=bank.example\x00)",
				}},
			},
			want: "mx.example.com;\n" +
				"\tspf=none smtp.mailfrom=evil.example;\n" +
				"\tdkim=fail reason=\"x/', dmarc:pass [ header.from:bank.example?]\"\n" +
				"\theader.i=@evil.example",
		},
		{
			name: "an id that is no name",
			id:   "mx (a); x=\"y\"\n", gateway: "x) evil(=;\n",
			want: "mx--a---x--y--;\n\tnone (behind gateway x] evil[:,)",
		},
	} {
		got := Format(c.id, c.source, c.gateway, c.a)
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", c.name, diff)
		}
		if _, err := parseStrict(got); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if !Claims(got, c.id) {
			t.Errorf("%s: our own field isn't claimed\n%s", c.name, got)
		}
	}
}

// name253 is as long as names get.
var name253 = strings.Repeat("x.", 126) + "x"

// A4: texts for people, in comments and quoted strings.
func TestA4Prose(t *testing.T) {
	longest := strings.Repeat("~", maxProseLen)
	for _, c := range []struct{ text, want string }{
		{"no key for k1._domainkey.example.org", "no key for k1._domainkey.example.org"},
		{`p=reject; "a" \ (b)`, "p:reject, 'a' / [b]"},
		{" a\r\n\tb  c ", "a b c"},
		{"\x00é~\x7f", "??~?"},
		{longest, longest},
		{longest + "~", longest[3:] + "..."},
		{"", ""},
		{" ", ""},
	} {
		if got := prose(c.text); got != c.want {
			t.Errorf("%q: %q, want %q", c.text, got, c.want)
		}
	}
}

// A4: values as tokens or quoted strings, or not at all.
func TestA4Value(t *testing.T) {
	longest := strings.Repeat("~", maxValueLen)
	for _, c := range []struct{ value, want string }{
		{"rsa-sha256", "rsa-sha256"},
		{"2001:db8::1", `"2001:db8::1"`},
		{"a/b+c=", `"a/b+c="`},
		{"!#$%&'*+-.^_`{|}~", "!#$%&'*+-.^_`{|}~"},
		{"<@,:/[]?=>", `"<@,:/[]?=>"`},
		{longest, longest},
		{longest + "~", ""},
		{"", ""},
		{"a b", ""},
		{"a;b", ""},
		{`a"b`, ""},
		{`a\b`, ""},
		{"a(b", ""},
		{"a)b", ""},
		{"a\tb", ""},
		{"a\x7fb", ""},
		{"é", ""},
	} {
		if got := value(c.value); got != c.want {
			t.Errorf("%q: %q, want %q", c.value, got, c.want)
		}
	}
}

// RFC 5322, section 2.1.1: a line has 78 columns, of which a tabulator takes eight.
func TestFold(t *testing.T) {
	for _, c := range []struct {
		length int
		want   string
	}{
		// ";" may follow the last word.
		{77 - 8 - len("none "), " "},
		{78 - 8 - len("none "), "\n\t"},
	} {
		var w writer
		w.start("", "id")
		w.result("none")
		word := strings.Repeat("x", c.length)
		w.word(word)
		if diff := cmp.Diff("id;\n\tnone"+c.want+word, w.String()); diff != "" {
			t.Errorf("%d octets: (-want +got)\n%s", c.length, diff)
		}
	}
}

// A4: mailboxes, as whole addresses where these are harmless.
func TestA4Mailbox(t *testing.T) {
	long := strings.Repeat("x", 240)
	for _, c := range []struct{ address, want string }{
		{"alice@example.org", "alice@example.org"},
		{"Alice@EXAMPLE.org", "Alice@example.org"},
		{"bounces+a=b.c/d@example.org", "bounces+a=b.c/d@example.org"},
		{"prvs=1234=a@example.org", "prvs=1234=a@example.org"},
		{`"a b"@example.org`, "@example.org"},
		{"a..b@example.org", "@example.org"},
		{".a@example.org", "@example.org"},
		{"a.@example.org", "@example.org"},
		{"a b@example.org", "@example.org"},
		{"a@09-az.AZ_90.example", "a@09-az.az_90.example"},
		{"a@.example.org", ""},
		{"a@example.org..", ""},
		{`"a"@` + name253, "@" + name253},
		{`"a"@` + name253 + "x", ""},
		{"a@b@example.org", "@example.org"},
		{"@example.org", "@example.org"},
		{long + "@example.org", long + "@example.org"},
		{long + "x@bank.example.attacker.example", "@bank.example.attacker.example"},
		{"alice", ""},
		{"", ""},
		{"alice@", ""},
		{"alice@[192.0.2.1]", ""},
		{"alice@exa mple.org", ""},
		{"alice@example..org", ""},
		{"alice@" + strings.Repeat("x.", 300) + "org", ""},
	} {
		if got := mailbox(c.address); got != c.want {
			t.Errorf("%q: %q, want %q", c.address, got, c.want)
		}
	}
}

// A4: readers with room for 16 results get no more.
func TestA4SignatureLimit(t *testing.T) {
	a := policy.Authentication{
		SPF:   spf(policy.AuthPass, "a@example.org"),
		DKIM:  slices.Repeat([]policy.DKIM{{Result: policy.AuthPass, Domain: "example.org"}}, 100),
		DMARC: policy.DMARC{Result: policy.AuthPass, Domain: "example.org"},
	}
	p, err := parseStrict(Format("mx.example.com", source, "", a))
	if err != nil || len(p.results) != 16 {
		t.Errorf("%d results, %v", len(p.results), err)
	}
}

// RFC 7208, section 9.1.
func TestReceivedSPF(t *testing.T) {
	for _, c := range []struct {
		name     string
		spf      policy.SPF
		receiver string
		want     string
	}{
		{
			name: "pass",
			spf: policy.SPF{Result: policy.AuthPass, IP: source, Identity: "mailfrom", Domain: "example.org",
				Sender: "alice@example.org", HELO: "mail.example.org", Reason: "matched ip4"},
			receiver: "mx.example.com",
			want: "pass (mx.example.com: matched ip4) receiver=mx.example.com;\n\tclient-ip=198.51.100.7; identity=mailfrom;\n" +
				"\tenvelope-from=\"alice@example.org\"; helo=mail.example.org",
		},
		{
			name: "null sender, IPv6",
			spf: policy.SPF{Result: policy.AuthSoftFail, IP: netip.MustParseAddr("2001:db8::1"), Identity: "helo",
				Domain: "mail.example.org", Sender: "postmaster@mail.example.org", HELO: "mail.example.org"},
			receiver: "mx.example.com",
			want: "softfail (mx.example.com) receiver=mx.example.com;\n\tclient-ip=\"2001:db8::1\"; identity=helo;\n" +
				"\tenvelope-from=\"postmaster@mail.example.org\"; helo=mail.example.org",
		},
		{
			name:     "nothing known",
			spf:      policy.SPF{Result: policy.AuthNone},
			receiver: "mx.example.com",
			want:     "none (mx.example.com) receiver=mx.example.com",
		},
		{
			name: "values of a stranger",
			spf: policy.SPF{Result: policy.AuthFail, Identity: "mail\nfrom", Sender: "\"a; x=y\"@example.org",
				HELO: "[192.0.2.1]; x=y", Reason: "no) identity=mailfrom (\r\nX: y"},
			receiver: "mx.example.com; pass",
			want:     "fail (mx.example.com--pass: no] identity:mailfrom [ X: y)\n\treceiver=mx.example.com--pass",
		},
		{name: "not asked", receiver: "mx.example.com"},
		{name: "no SPF result", spf: policy.SPF{Result: policy.AuthPolicy}, receiver: "mx.example.com"},
	} {
		if diff := cmp.Diff(c.want, ReceivedSPF(c.spf, c.receiver)); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", c.name, diff)
		}
	}
}

// go-msgauth reads what we write: all but reasons with blanks, which it cuts, and
// quoted values, whose quotation marks it keeps.
func TestA4ReadByMsgauth(t *testing.T) {
	a := policy.Authentication{
		SPF:   spf(policy.AuthSoftFail, "alice@example.org"),
		DKIM:  []policy.DKIM{{Result: policy.AuthPass, Domain: "example.org", Identity: "@mail.example.org", Selector: "k1", Reason: "fine"}},
		DMARC: policy.DMARC{Result: policy.AuthFail, Domain: "example.org", Policy: "reject", Reason: "nothing is aligned; dkim=pass"},
	}
	id, results, err := authres.Parse(Format("mx.example.com", source, "filter", a))
	if err != nil || id != "mx.example.com" {
		t.Fatalf("id %q, error %v", id, err)
	}
	want := []authres.Result{
		&authres.SPFResult{Value: authres.ResultSoftFail, From: "example.org"},
		&authres.DKIMResult{Value: authres.ResultPass, Domain: "example.org", Identifier: "@mail.example.org", Reason: `"fine"`},
		&authres.DMARCResult{Value: authres.ResultFail, From: "example.org", Reason: `"nothing`},
	}
	if diff := cmp.Diff(want, results); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// Whatever the inputs, the fields hold the methods and results that were given,
// and nothing else that a reader, strict or lax, could take for one.
func FuzzFormat(f *testing.F) {
	f.Add("mx.example.com", "filter", "alice@example.org", "example.org", "k1", "no such key", uint8(1), uint8(2))
	f.Add("!", "\n", "a@b.example", ".", "..", " ", uint8(2), uint8(4))
	f.Add("mx; spf=pass", "(", `"x; dmarc=pass"@y`, "é.example", "\r\nX: y", `\"; dmarc=pass`, uint8(3), uint8(0))
	f.Fuzz(func(t *testing.T, id, gateway, address, name, tag, reason string, first, second uint8) {
		results := []policy.AuthResult{"", policy.AuthNone, policy.AuthPass, policy.AuthFail, policy.AuthPermError}
		one, two := results[int(first)%len(results)], results[int(second)%len(results)]
		a := policy.Authentication{
			SPF: policy.SPF{Result: one, IP: source, Identity: tag, Domain: name, Sender: address, HELO: name, Reason: reason},
			DKIM: []policy.DKIM{
				{Result: two, Domain: name, Selector: tag, Identity: address, Algorithm: tag, Signature: tag, Reason: reason},
				{Result: one, Domain: tag, Selector: name, Identity: tag, Algorithm: name, Signature: address},
			},
			DMARC: policy.DMARC{Result: two, Domain: name, Policy: tag, Reason: reason},
		}
		field := Format(id, source, gateway, a)
		checkLines(t, field)
		received := ReceivedSPF(a.SPF, id)
		checkLines(t, received)
		if received != "" && !receivedSPF.MatchString(received) {
			t.Errorf("Received-SPF: %s", received)
		}

		var want []string
		for _, r := range []string{"spf=" + string(one), "dkim=" + string(two), "dkim=" + string(one), "dmarc=" + string(two)} {
			if !strings.HasSuffix(r, "=") {
				want = append(want, r)
			}
		}
		p, err := parseStrict(field)
		if err != nil {
			t.Fatalf("%v\n%s", err, field)
		}
		var got []string
		for _, r := range p.results {
			got = append(got, r.method+"="+r.result)
		}
		if !slices.Equal(got, want) {
			t.Errorf("results %q, want %q\n%s", got, want, field)
		}
		if n := len(want); strings.Count(field, ";") != max(n, 1) {
			t.Errorf("%d semicolons for %d results\n%s", strings.Count(field, ";"), n, field)
		}
		_, lax, err := authres.Parse(field)
		if err != nil || len(lax) != len(want) {
			t.Errorf("go-msgauth reads %d results, %v, want %d\n%s", len(lax), err, len(want), field)
		}
		if !Claims(field, id) {
			t.Errorf("our own field isn't claimed\n%s", field)
		}
	})
}

// receivedSPF is the grammar of RFC 7208, section 9.1, as far as we use it.
var receivedSPF = regexp.MustCompile(`^[a-z]+\s+\([^()\\]*\)(\s+[a-z-]+=([^\s()<>@,;:\\"\[\]]+|"[^"\\]*");)*` +
	`\s+[a-z-]+=([^\s()<>@,;:\\"\[\]]+|"[^"\\]*")$`)

// enclosed is where one may not fold.
var enclosed = regexp.MustCompile(`"[^"]*"|\([^)]*\)`)

func checkLines(t *testing.T, field string) {
	t.Helper()
	for i, line := range strings.Split(field, "\n") {
		if len(line) > 998-len("Authentication-Results: ") || i > 0 && (len(line) < 2 || line[0] != '\t') {
			t.Errorf("line %d of %d octets: %q", i, len(line), line)
		}
		words := strings.Fields(enclosed.ReplaceAllString(line, "x"))
		if columns := len(line) + 7*strings.Count(line, "\t"); i > 0 && columns > maxColumns && len(words) > 1 {
			t.Errorf("line of %d columns isn't folded: %q", columns, line)
		}
		if strings.ContainsFunc(line, func(r rune) bool { return r < ' ' && r != '\t' || r > '~' }) {
			t.Errorf("line %q", line)
		}
	}
}

// Example writes the field of the package's introduction.
func ExampleFormat() {
	fmt.Println(Format("mx.example.com", source, "filter", policy.Authentication{
		SPF:   spf(policy.AuthPass, "alice@example.org"),
		DKIM:  []policy.DKIM{{Result: policy.AuthPass, Domain: "example.org", Selector: "k1", Algorithm: "rsa-sha256"}},
		DMARC: policy.DMARC{Result: policy.AuthPass, Domain: "example.org", Policy: "reject"},
	}))
	// Output:
	// mx.example.com;
	// 	spf=pass (source 198.51.100.7 behind gateway filter)
	// 	smtp.remote-ip=198.51.100.7 smtp.mailfrom=example.org;
	// 	dkim=pass header.d=example.org header.s=k1 header.a=rsa-sha256;
	// 	dmarc=pass header.from=example.org policy.dmarc=reject
}
