package dmarc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gatemilter/policy"

	"github.com/google/go-cmp/cmp"
)

const records = `
_dmarc.example.com TXT v=DMARC1; p=reject; sp=quarantine; np=reject
_dmarc.strict.example TXT v=DMARC1; p=reject; adkim=s; aspf=s
_dmarc.deep.example TXT v=DMARC1; p=reject
_dmarc.mail.deep.example TXT v=DMARC1; p=none
_dmarc.mixed.example TXT v=DMARC1; p=reject; adkim=s
_dmarc.own.strict.example TXT v=DMARC1; p=none
_dmarc.test.example TXT v=DMARC1; p=reject; sp=quarantine; t=y
_dmarc.old.example TXT v=DMARC1; p=quarantine; pct=0
_dmarc.sample.example TXT v=DMARC1; p=reject; pct=20
_dmarc.two.example TXT v=DMARC1; p=reject
_dmarc.two.example TXT v=DMARC1; p=none
_dmarc.other.example TXT v=spf1 -all
_dmarc.other.example TXT v=DMARC1; p=quarantine
_dmarc.useless.example TXT v=DMARC1; p=rejct
_dmarc.reports.example TXT v=DMARC1; rua=mailto:d@reports.example
_dmarc.gov.example TXT v=DMARC1; p=reject; sp=none; np=quarantine; psd=y
_dmarc.branch.example.com TXT v=DMARC1; p=none; psd=n
_dmarc.down.example TXT servfail
_dmarc.half.example TXT v=DMARC1; p=reject
_dmarc.tld-down TXT servfail
_dmarc.leaf.tld-down TXT v=DMARC1; p=reject
_dmarc.nphalf.example TXT v=DMARC1; p=reject; sp=none; np=reject
news.example.com A 192.0.2.1
mx.example.com MX mail.example.com
txt.example.com TXT v=spf1 -all
office.gov.example A 192.0.2.1
ill.example.com A servfail
ill.nphalf.example A servfail
ill2.nphalf.example MX servfail
_dmarc.sick.half.example TXT servfail
_dmarc.x.sick.gov.example TXT servfail
`

// input makes an Input of one From field and results written as "METHOD RESULT DOMAIN".
func input(t *testing.T, from, auth string) Input {
	t.Helper()
	in := Input{From: []string{from}}
	for item := range strings.SplitSeq(auth, ",") {
		f := strings.Fields(item)
		switch {
		case len(f) == 0:
		case f[0] == "spf":
			in.SPF = policy.SPF{Result: policy.AuthResult(f[1]), Domain: f[2]}
		case f[0] == "dkim":
			in.DKIM = append(in.DKIM, policy.DKIM{Result: policy.AuthResult(f[1]), Domain: f[2]})
		default:
			t.Fatalf("unknown method %q", item)
		}
	}
	return in
}

var long = strings.Repeat("long.", 40) + "name"

// A3. want is "RESULT DOMAIN RECORDDOMAIN POLICY", with - for what is empty.
func TestA3Evaluate(t *testing.T) {
	for _, c := range []struct{ from, auth, want string }{
		// Alignment (RFC 9989, section 4.4, table 1).
		{"a@example.com", "spf pass example.com", "pass example.com example.com reject"},
		{"a@example.com", "spf pass bounce.example.com", "pass example.com example.com reject"},
		{"a@news.example.com", "dkim pass example.com", "pass news.example.com example.com quarantine"},
		{"a@news.example.com", "dkim pass mail.example.com", "pass news.example.com example.com quarantine"},
		{"a@example.com", "spf pass example.net, dkim pass example.org", "fail example.com example.com reject"},
		{"a@example.com", "spf pass notexample.com", "fail example.com example.com reject"},
		{"a@example.com", "spf pass com", "fail example.com example.com reject"},
		{"a@example.com", "spf fail example.com, dkim fail example.com", "fail example.com example.com reject"},
		{"a@example.com", "spf softfail example.com", "fail example.com example.com reject"},
		{"a@example.com", "", "fail example.com example.com reject"},
		{"a@example.com", "spf fail example.com, dkim fail example.com, dkim pass example.com", "pass example.com example.com reject"},
		{"A@EXAMPLE.COM", "dkim pass Example.Com.", "pass example.com example.com reject"},
		{"a@strict.example", "dkim pass strict.example", "pass strict.example strict.example reject"},
		{"a@strict.example", "dkim pass sub.strict.example", "fail strict.example strict.example reject"},
		{"a@strict.example", "spf pass sub.strict.example", "fail strict.example strict.example reject"},
		{"a@mixed.example", "dkim pass sub.mixed.example", "fail mixed.example mixed.example reject"},
		{"a@mixed.example", "spf pass sub.mixed.example", "pass mixed.example mixed.example reject"},
		{"a@own.strict.example", "spf pass strict.example", "pass own.strict.example own.strict.example none"},

		// A subtree that declares itself an organisation (psd=n).
		{"a@branch.example.com", "dkim pass example.com", "fail branch.example.com branch.example.com none"},
		{"a@example.com", "dkim pass branch.example.com", "fail example.com example.com reject"},
		{"a@x.branch.example.com", "dkim pass y.branch.example.com", "pass x.branch.example.com branch.example.com none"},

		// Policy: p for the domain itself, sp below, np for names that aren't.
		{"a@news.example.com", "", "fail news.example.com example.com quarantine"},
		{"a@mx.example.com", "", "fail mx.example.com example.com quarantine"},
		{"a@txt.example.com", "", "fail txt.example.com example.com quarantine"},
		{"a@nowhere.example.com", "", "fail nowhere.example.com example.com reject"},
		{"a@x.test.example", "", "fail x.test.example test.example none"},
		{"a@test.example", "", "fail test.example test.example quarantine"},
		{"a@old.example", "", "fail old.example old.example none"},
		{"a@sample.example", "", "fail sample.example sample.example reject"},

		// The record of the author domain, else of the organisational domain: not
		// that of a domain between.
		{"a@mail.deep.example", "", "fail mail.deep.example mail.deep.example none"},
		{"a@x.mail.deep.example", "", "fail x.mail.deep.example deep.example reject"},

		// A public suffix (psd=y).
		{"a@office.gov.example", "", "fail office.gov.example gov.example none"},
		{"a@fake.gov.example", "", "fail fake.gov.example gov.example quarantine"},
		{"a@gov.example", "", "fail gov.example gov.example reject"},
		{"a@x.office.gov.example", "dkim pass office.gov.example", "pass x.office.gov.example gov.example quarantine"},
		{"a@office.gov.example", "dkim pass fake.gov.example", "fail office.gov.example gov.example none"},
		{"a@office.gov.example", "dkim pass gov.example", "fail office.gov.example gov.example none"},

		// Records that don't count.
		{"a@nobody.invalid", "spf pass nobody.invalid", "none nobody.invalid - -"},
		{"a@two.example", "spf pass two.example", "none two.example - -"},
		{"a@other.example", "", "fail other.example other.example quarantine"},
		{"a@useless.example", "spf pass useless.example", "none useless.example useless.example -"},
		{"a@reports.example", "", "fail reports.example reports.example none"},

		// DNS trouble (RFC 9989, section 5.3.6): temperror, unless all needed is known.
		{"a@down.example", "spf pass down.example", "temperror down.example - -"},
		{"a@x.down.example", "", "temperror x.down.example - -"},
		{"a@leaf.tld-down", "dkim pass leaf.tld-down", "pass leaf.tld-down leaf.tld-down reject"},
		{"a@leaf.tld-down", "dkim pass x.leaf.tld-down", "temperror leaf.tld-down leaf.tld-down reject"},
		{"a@leaf.tld-down", "dkim pass x.leaf.tld-down, dkim pass leaf.tld-down", "pass leaf.tld-down leaf.tld-down reject"},
		{"a@leaf.tld-down", "", "fail leaf.tld-down leaf.tld-down reject"},
		{"a@half.example", "dkim pass sick.half.example", "temperror half.example half.example reject"},
		{"a@half.example", "dkim pass unrelated.down.example", "fail half.example half.example reject"},
		{"a@ill.nphalf.example", "", "temperror ill.nphalf.example nphalf.example none"},
		{"a@ill2.nphalf.example", "", "temperror ill2.nphalf.example nphalf.example none"},
		{"a@ill.nphalf.example", "dkim pass nphalf.example", "pass ill.nphalf.example nphalf.example none"},

		// Below a public suffix are other organisations, whose trouble is theirs.
		{"a@gov.example", "dkim pass x.sick.gov.example", "fail gov.example gov.example reject"},
		{"a@gov.example", "dkim temperror sick.gov.example", "fail gov.example gov.example reject"},

		// Trouble with SPF or DKIM counts where it could have made the difference.
		{"a@example.com", "spf temperror example.com", "temperror example.com example.com reject"},
		{"a@example.com", "dkim temperror k.example.com", "temperror example.com example.com reject"},
		{"a@example.com", "dkim temperror example.com, spf pass example.com", "pass example.com example.com reject"},
		{"a@example.com", "dkim temperror attacker.example", "fail example.com example.com reject"},
		{"a@strict.example", "spf temperror sub.strict.example", "fail strict.example strict.example reject"},
		{"a@example.com", "dkim permerror example.com", "fail example.com example.com reject"},

		// Several authors: the worst result counts (section 11.5).
		{"a@other.example, b@example.com", "", "fail example.com example.com reject"},
		{"a@example.com, b@other.example", "", "fail example.com example.com reject"},
		{"a@example.com, b@nobody.invalid", "", "fail example.com example.com reject"},
		{"a@example.com, b@nobody.invalid", "spf pass example.com", "none nobody.invalid - -"},
		{"a@example.com, b@down.example", "spf pass example.com", "permerror down.example - -"},
		{"a@down.example, b@example.com", "spf pass example.com", "permerror down.example - -"},
		{"a@example.com, b@down.example", "", "fail example.com example.com reject"},
		{"a@down.example, b@other.example", "", "fail other.example other.example quarantine"},
		{"a@reports.example, b@down.example", "", "permerror down.example - -"},
		{"a@nobody.invalid, b@down.example", "", "permerror down.example - -"},
		{"a@nobody.invalid, b@reports.example", "", "fail reports.example reports.example none"},
		{"a@example.com, b@other.example", "spf temperror example.com, dkim pass other.example", "permerror example.com example.com reject"},
		{"a@example.com, b@other.example", "spf pass example.com, dkim pass other.example", "pass example.com example.com reject"},
		{"a@example.com, b@news.example.com", "spf pass example.com", "pass example.com example.com reject"},

		// No author.
		{"undisclosed:;", "spf pass example.com", "permerror - - -"},
		{`"ceo@example.com":;`, "", "permerror - - -"},
		{"<@example.com:b@example.net>", "spf pass example.net", "permerror - - -"},
		{`"ceo@example.com"@example.net`, "spf pass example.net", "permerror - - -"},
		{"", "spf pass example.com", "permerror - - -"},
		{"a@example.com <b@example.net>", "spf pass example.net", "permerror - - -"},
		{"a@example.com, b@a.example, c@b.example, d@c.example, e@d.example", "", "permerror - - -"},

		{"a@" + long, "dkim pass " + long, "none " + long + " - -"},
		{"a@" + long + ".example.com", "dkim pass " + long + ".example.com", "pass " + long + ".example.com example.com reject"},

		// Names that are none.
		{"a@example.com", "dkim pass *.example.com", "fail example.com example.com reject"},
		{"a@example.com", "spf pass ..example.com", "fail example.com example.com reject"},
		{"a@example.com", "dkim pass .", "fail example.com example.com reject"},
	} {
		got := Evaluate(t.Context(), newZone(t, records), input(t, c.from, c.auth))
		dash := func(s string) string {
			if s == "" {
				return "-"
			}
			return s
		}
		line := fmt.Sprintf("%s %s %s %s", got.Result, dash(got.Domain), dash(got.RecordDomain), dash(got.Policy))
		if line != c.want {
			t.Errorf("From %s with %q: %s (%s), want %s", c.from, c.auth, line, got.Reason, c.want)
		}
		if got.Reason == "" || len(got.Reason) > maxReason {
			t.Errorf("From %s with %q: reason %q", c.from, c.auth, got.Reason)
		}
	}
}

// A3: names in Unicode and in A-labels are the same.
func TestA3Internationalised(t *testing.T) {
	z := newZone(t, "_dmarc.xn--bcher-kva.example TXT v=DMARC1; p=reject")
	got := Evaluate(t.Context(), z, input(t, "Jürgen <j@Bücher.example>", "dkim pass xn--bcher-kva.example"))
	want := policy.DMARC{
		Result: policy.AuthPass, Domain: "xn--bcher-kva.example", RecordDomain: "xn--bcher-kva.example",
		Policy: reject, Reason: "DKIM domain is aligned: xn--bcher-kva.example",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// A3: From must be there once (RFC 9989, section 4.4).
func TestA3FromFields(t *testing.T) {
	for _, c := range []struct {
		from []string
		want policy.DMARC
	}{
		{nil, policy.DMARC{Result: policy.AuthPermError, Reason: "the From field is missing"}},
		{[]string{"a@example.com", "a@example.com"}, policy.DMARC{Result: policy.AuthPermError, Reason: "there are 2 From fields"}},
	} {
		got := Evaluate(t.Context(), newZone(t, records), Input{From: c.from})
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%q: (-want +got)\n%s", c.from, diff)
		}
	}
}

// A5: an evaluation asks no name twice, and no more than it has to.
func TestA5Queries(t *testing.T) {
	for _, c := range []struct{ from, auth, want string }{
		{"a@example.com", "spf pass example.com", "example.com"},
		{"a@example.com", "spf pass unrelated.invalid", "example.com com"},
		{"a@example.com", "spf pass notexample.com", "example.com com"},
		{"a@strict.example", "spf pass x.strict.example", "strict.example"},
		{"a@x.example.com", "spf pass y.example.com", "x.example.com example.com com y.example.com"},
	} {
		z := newZone(t, strings.ReplaceAll(records, "np=reject", ""))
		Evaluate(t.Context(), z, input(t, c.from, c.auth))
		var want []string
		for name := range strings.FieldsSeq(c.want) {
			want = append(want, "_dmarc."+name+" TXT")
		}
		if diff := cmp.Diff(want, z.queries); diff != "" {
			t.Errorf("From %s with %q: (-want +got)\n%s", c.from, c.auth, diff)
		}
	}
}

// A5: the queries for one message are bounded. Authors have theirs first; domains
// for which none is left are not aligned.
func TestA5QueryBudget(t *testing.T) {
	var many []policy.DKIM
	for i := range 100 {
		many = append(many, policy.DKIM{Result: policy.AuthPass, Domain: fmt.Sprintf("a.b.c.d.e%d.branch.example.com", i)})
	}
	deep := "a.b.c.d.e.f.example.com"
	for _, c := range []struct{ from, also, want string }{
		{"a@example.com", "", "fail example.com reject"},
		{"a@" + deep, "", "fail " + deep + " reject"},
		{"a@" + deep, deep, "pass " + deep + " reject"},
		{"a@example.com, a@1.2.3.4.5.6.a.example, a@1.2.3.4.5.6.b.example, a@" + deep, "", "fail example.com reject"},
		{"a@1.2.3.4.5.6.a.example, a@1.2.3.4.5.6.b.example, a@1.2.3.4.5.6.c.example, a@" + deep, "", "fail " + deep + " reject"},
	} {
		in := Input{From: []string{c.from}, DKIM: append(slices.Clip(many), policy.DKIM{Result: policy.AuthPass, Domain: c.also})}
		z := newZone(t, records)
		d := Evaluate(t.Context(), z, in)
		if got := fmt.Sprintf("%s %s %s", d.Result, d.Domain, d.Policy); got != c.want {
			t.Errorf("From %s: %s (%s), want %s", c.from, got, d.Reason, c.want)
		}
		if len(z.queries) > maxQueries {
			t.Errorf("From %s: %d queries, want at most %d", c.from, len(z.queries), maxQueries)
		}
	}
}

// A5: an author whose name servers are silent takes no time from the others, and
// undoes none of their failures.
func TestA5SilentAuthor(t *testing.T) {
	for _, c := range []struct{ from, want string }{
		{"a@example.com", "fail example.com reject"},
		{"a@evil.example", "temperror evil.example "},
		{"a@x.evil.example", "temperror x.evil.example "},
		{"a@evil.example, b@example.com", "fail example.com reject"},
		{"a@example.com, b@x.evil.example", "fail example.com reject"},
		{"a@evil.example, a@a.evil.example, a@b.evil.example, b@other.example", "fail other.example quarantine"},
		{"a@reports.example, a@evil.example", "permerror evil.example "},
		{"a@nobody.invalid, a@evil.example", "permerror evil.example "},
		{"a@evil.example, a@x.evil.example", "permerror evil.example "},
	} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			d := Evaluate(ctx, newZone(t, records+"_dmarc.evil.example TXT silence"), input(t, c.from, "spf pass evil.example"))
			if got := fmt.Sprintf("%s %s %s", d.Result, d.Domain, d.Policy); got != c.want {
				t.Errorf("From %s: %s (%s), want %s", c.from, got, d.Reason, c.want)
			}
		})
	}
}

// A broken resolver fails in one way for all names.
type broken struct {
	*zone
	fail func() error
}

func (b broken) LookupTXT(context.Context, string) ([]string, error) { return nil, b.fail() }

// Reasons reach strangers: they don't tell whom we ask, nor from where.
func TestA5ReasonsHideResolver(t *testing.T) {
	socket := &net.OpError{Op: "read", Net: "udp", Source: &net.UDPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 40000},
		Addr: &net.UDPAddr{IP: net.IPv4(10, 0, 0, 53), Port: 53}, Err: errors.New("connection refused")}
	for _, trouble := range []error{
		socket,
		fmt.Errorf("wrapped: %w", socket),
		&net.DNSError{Err: socket.Error(), Server: "10.0.0.53:53", IsTemporary: true},
		&net.DNSError{Err: "server misbehaving", Server: "10.0.0.53:53", IsTemporary: true},
	} {
		got := Evaluate(t.Context(), broken{fail: func() error { return trouble }}, Input{From: []string{"a@example.com"}})
		want := policy.DMARC{
			Result: policy.AuthTempError, Domain: "example.com",
			Reason: `DMARC can't be decided now: DNS, asked for "_dmarc.example.com": the lookup failed`,
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%v: (-want +got)\n%s", trouble, diff)
		}
	}
}

// A panic is trouble like another, on whatever goroutine.
func TestA5Panic(t *testing.T) {
	resolver := broken{fail: func() error { panic("at\r\nthe wall") }}
	for from, want := range map[string]policy.DMARC{
		"a@a.example": {Result: policy.AuthTempError, Domain: "a.example",
			Reason: `DMARC can't be decided now: internal error, please report it: "at\r\nthe wall"`},
		"a@a.example, a@b.example": {Result: policy.AuthPermError, Domain: "a.example",
			Reason: `one of several authors can't be judged: DMARC can't be decided now: internal error, please report it: "at\r\nthe wall"`},
	} {
		got := Evaluate(t.Context(), resolver, Input{From: []string{from}})
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("From %s: (-want +got)\n%s", from, diff)
		}
	}
}
