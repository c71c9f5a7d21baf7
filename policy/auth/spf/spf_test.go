package spf

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"gatemilter/policy"
)

var source = netip.MustParseAddr("192.0.2.1")

func TestA1_Identity(t *testing.T) {
	z := txt(
		"example.com", "v=spf1 ip4:192.0.2.1 -all",
		"mx.example.com", "v=spf1 ip4:192.0.2.1 -all",
		"evil.example", "v=spf1 -all",
		"xn--bcher-kva.example", "v=spf1 ip4:192.0.2.1 -all",
		"r3---sn_1.example.com", "v=spf1 ~all",
	)
	pass := policy.SPF{Result: "pass", IP: source, Identity: "mailfrom", Domain: "example.com",
		Sender: "ann@example.com", Reason: "example.com permits 192.0.2.1 (matched ip)"}
	mailfrom := func(sender, reason string) policy.SPF {
		return policy.SPF{Result: "none", IP: source, Identity: "mailfrom", Sender: sender, Reason: reason}
	}
	helo := func(helo, reason string) policy.SPF {
		return policy.SPF{Result: "none", IP: source, Identity: "helo", HELO: helo, Reason: reason}
	}
	with := func(base policy.SPF, change func(*policy.SPF)) policy.SPF {
		change(&base)
		return base
	}
	label64 := strings.Repeat("a", 64)
	for _, test := range []struct {
		name string
		in   Input
		want policy.SPF
	}{
		{"the sender's domain", Input{source, "ann@example.com", "mx.example.com"},
			with(pass, func(s *policy.SPF) { s.HELO = "mx.example.com" })},
		{"HELO not known", Input{source, "ann@example.com", ""}, pass},
		{"HELO is no name", Input{source, "ann@example.com", "[192.0.2.1]"},
			with(pass, func(s *policy.SPF) { s.HELO = "[192.0.2.1]" })},
		{"IPv4-mapped (section 5)", Input{netip.MustParseAddr("::ffff:192.0.2.1"), "ann@example.com", ""}, pass},
		{"another source", Input{netip.MustParseAddr("2001:db8::1%eth0"), "ann@example.com", ""},
			policy.SPF{Result: "fail", IP: netip.MustParseAddr("2001:db8::1"), Identity: "mailfrom", Domain: "example.com",
				Sender: "ann@example.com", Reason: "example.com forbids 2001:db8::1 (matched all)"}},
		{"any case of letters, last dot", Input{source, "ann@EXAMPLE.com.", ""}, pass},
		{"no local part (section 4.3)", Input{source, "@example.com", ""},
			with(pass, func(s *policy.SPF) { s.Sender = "postmaster@example.com" })},
		{"A-labels (section 4.3)", Input{source, "ann@Bücher.example", ""},
			policy.SPF{Result: "pass", IP: source, Identity: "mailfrom", Domain: "xn--bcher-kva.example",
				Sender: "ann@xn--bcher-kva.example", Reason: "xn--bcher-kva.example permits 192.0.2.1 (matched ip)"}},
		{"odd host names", Input{source, "ann@r3---sn_1.example.com", ""},
			policy.SPF{Result: "softfail", IP: source, Identity: "mailfrom", Domain: "r3---sn_1.example.com",
				Sender: "ann@r3---sn_1.example.com", Reason: "r3---sn_1.example.com discourages 192.0.2.1 (matched all)"}},
		{"@ in a quoted local part", Input{source, `"ann@example.com"@evil.example`, ""},
			policy.SPF{Result: "fail", IP: source, Identity: "mailfrom", Domain: "evil.example",
				Sender: `"ann@example.com"@evil.example`, Reason: "evil.example forbids 192.0.2.1 (matched all)"}},
		{"null sender (section 2.4)", Input{source, "", "MX.example.com"},
			policy.SPF{Result: "pass", IP: source, Identity: "helo", Domain: "mx.example.com", HELO: "MX.example.com",
				Sender: "postmaster@mx.example.com", Reason: "mx.example.com permits 192.0.2.1 (matched ip)"}},
		{"no record", Input{source, "ann@example.net", ""},
			policy.SPF{Result: "none", IP: source, Identity: "mailfrom", Domain: "example.net",
				Sender: "ann@example.net", Reason: "example.net has no SPF record"}},

		{"null sender, no HELO", Input{source, "", ""}, helo("", "null sender, and the source's HELO name is not known")},
		{"null sender, HELO literal", Input{source, "", "[192.0.2.1]"},
			helo("[192.0.2.1]", `null sender, and the HELO "[192.0.2.1]" is no domain name`)},
		{"null sender, HELO address", Input{source, "", "192.0.2.1"},
			helo("192.0.2.1", `null sender, and the HELO "192.0.2.1" is no domain name`)},
		{"null sender, HELO of one label", Input{source, "", "localhost"},
			helo("localhost", `null sender, and the HELO "localhost" is no domain name`)},
		{"no domain", Input{source, "ann", "mx.example.com"},
			with(mailfrom("ann", `the sender "ann" has no domain`), func(s *policy.SPF) { s.HELO = "mx.example.com" })},
		{"empty domain", Input{source, "ann@", ""}, mailfrom("ann@", `the sender's domain "" is no domain name`)},
		{"one label (section 4.3)", Input{source, "ann@localhost", ""},
			mailfrom("ann@localhost", `the sender's domain "localhost" is no domain name`)},
		{"address literal", Input{source, "ann@[192.0.2.1]", ""},
			mailfrom("ann@[192.0.2.1]", `the sender's domain "[192.0.2.1]" is no domain name`)},
		{"empty label (section 4.3)", Input{source, "ann@a..example.com", ""},
			mailfrom("ann@a..example.com", `the sender's domain "a..example.com" is no domain name`)},
		{"label of 64 (section 4.3)", Input{source, "ann@" + label64 + ".example.com", ""},
			mailfrom("ann@"+label64+".example.com", `the sender's domain "`+label64+`.example.com" is no domain name`)},
		{"no name in any alphabet", Input{source, "ann@b\u00fc\u202e.example", ""},
			mailfrom("ann@b\u00fc\u202e.example", `the sender's domain "b\u00fc\u202e.example" is no domain name`)},
		{"control characters", Input{source, "ann@example.com\r\nX: y", ""},
			mailfrom("ann@example.com\r\nX: y", `the sender's domain "example.com\r\nX: y" is no domain name`)},
		{"sender too long", Input{source, strings.Repeat("a", maxSender) + "@example.com", ""},
			mailfrom(strings.Repeat("a", maxSender)+"@example.com", "the sender is longer than 1024 bytes")},
		{"no source", Input{Sender: "ann@example.com"}, Internal()},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := Check(t.Context(), z, test.in)
			if diff := cmp.Diff(test.want, got, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// Each record permits the source if the macro in it expands to the name that exists.
func TestA1_Macros(t *testing.T) {
	long := strings.Repeat("a.", 100) + "b"
	for _, test := range []struct {
		name         string
		in           Input
		spec, exists string
		want         policy.AuthResult
	}{
		{"HELO", Input{source, "ann@example.com", "mx.example.net"}, "%{h}.ok.example", "mx.example.net.ok.example", "pass"},
		{"HELO not known", Input{source, "ann@example.com", ""}, "%{h}.ok.example", "unknown.ok.example", "pass"},
		{"HELO too long", Input{source, "ann@example.com", strings.Repeat("a.", 200)}, "%{h}.ok.example", "unknown.ok.example", "pass"},
		{"null sender", Input{source, "", "example.com"}, "%{l}._at_.%{o}.ok.example", "postmaster._at_.example.com.ok.example", "pass"},
		{"sender", Input{source, "ann@Example.com", ""}, "%{s}.ok.example", "ann@example.com.ok.example", "pass"},
		{"@ in a quoted local part", Input{source, `"a@b"@example.com`, ""}, "%{l}.ok.example", `"a_b".ok.example`, "pass"},
		{"not ASCII (RFC 8616, section 4)", Input{source, "ännchen@example.com", ""}, "%{l}.ok.example", "ännchen.ok.example", "fail"},
		{"backslash", Input{source, `a\.b@example.com`, ""}, "%{l}.ok.example", `a\.b.ok.example`, "pass"},
		{"253 bytes at most (section 7.3)", Input{source, long + "@example.com", ""},
			"%{l}." + strings.Repeat("c", 60) + ".ok.example", long[len(long)-181:] + "." + strings.Repeat("c", 60) + ".ok.example", "pass"},
		{"no name at all", Input{source, "ann@example.com", "192.0.2.1"}, "%{h}", "192.0.2.1", "fail"},
	} {
		t.Run(test.name, func(t *testing.T) {
			z := txt("example.com", "v=spf1 exists:"+test.spec+" -all").with(test.exists, "A", "127.0.0.2")
			if got := Check(t.Context(), z, test.in); got.Result != test.want {
				t.Errorf("%s (%s), want %s", got.Result, got.Reason, test.want)
			}
		})
	}
}

func TestA1_MultipleAndOversizedRecords(t *testing.T) {
	oversized := "v=spf1 ip4:192.0.2.1 -all" + strings.Repeat(" ", maxRecord)
	for _, test := range []struct {
		name    string
		records []string
		want    policy.AuthResult
		reason  string
	}{
		{"two (section 4.5)", []string{"v=spf1 ip4:192.0.2.1", "v=spf1 ip4:192.0.2.1"}, "permerror",
			"the SPF policy of example.com can't be used: multiple matching DNS records"},
		{"one among others", []string{"v=spf10 x", "v=DMARC1", "V=SPF1 IP4:192.0.2.1 -ALL", "v=spf1;x", strings.Repeat("x", 3*maxRecord)},
			"pass", "example.com permits 192.0.2.1 (matched ip)"},
		{"too long", []string{oversized}, "permerror",
			`the SPF policy of example.com can't be used: record of "example.com": the record is longer than 8192 bytes`},
		{"too many macros", []string{"v=spf1 exists:" + strings.Repeat("%{s}", maxMacros+1) + " -all"}, "permerror",
			`the SPF policy of example.com can't be used: record of "example.com": the record has more than 100 macros`},
		{"error behind the match (section 4.6)", []string{"v=spf1 ip4:192.0.2.1 a:%x\x07ü -all"}, "permerror",
			`the SPF policy of example.com can't be used: record of "example.com": syntax error at "a:%x\a\u00fc"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			z := zone{}.with("example.com", "TXT", test.records...)
			got := Check(t.Context(), z, Input{IP: source, Sender: "ann@example.com"})
			if got.Result != test.want || got.Reason != test.reason {
				t.Errorf("%s (%s), want %s (%s)", got.Result, got.Reason, test.want, test.reason)
			}
		})
	}
}

// An error in the record of another domain counts where that record is read.
func TestA1_ErrorInIncludedRecord(t *testing.T) {
	z := txt(
		"example.com", "v=spf1 include:provider.example -all",
		"provider.example", "v=spf1 ip4:192.0.2.1 ip4:192.0.2 -all",
	)
	got := Check(t.Context(), z, Input{IP: source, Sender: "ann@example.com"})
	want := `the SPF policy of example.com can't be used: record of "provider.example": syntax error at "ip4:192.0.2"`
	if got.Result != "permerror" || got.Reason != want {
		t.Errorf("%s (%s), want permerror (%s)", got.Result, got.Reason, want)
	}
}

// Section 5.6: ip6 is for IPv6 sources, also where its network stands for IPv4
// addresses. What it can't match is no error.
func TestA1_IP6IsNotForIPv4Sources(t *testing.T) {
	for terms, want := range map[string]policy.AuthResult{
		"ip6:::ffff:0:0/96 -all":                     "fail",
		"ip6:::ffff:192.0.2.1 -all":                  "fail",
		"+IP6:::FFFF:C000:200/120 -all":              "fail",
		"ip6:::/0 -all":                              "fail",
		"-ip6:::ffff:0:0/96 ~ip6:::/0 ip4:0.0.0.0/0": "pass",
		"include:mapped.example -all":                "fail",
		"redirect=mapped.example":                    "neutral",
		"exp=ip6.example ip4:192.0.2.1 -all":         "pass",
		"ip6:::ffff:0:0/129 ip4:192.0.2.1":           "permerror",
	} {
		z := txt("example.com", "v=spf1 "+terms, "mapped.example", "v=spf1 ip6:::ffff:0:0/96")
		if got := Check(t.Context(), z, Input{IP: source, Sender: "ann@example.com"}); got.Result != want {
			t.Errorf("%s: %s (%s), want %s", terms, got.Result, got.Reason, want)
		}
	}
	z := txt("example.com", "v=spf1 ip6:2001:db8::/32 -all")
	if got := Check(t.Context(), z, Input{IP: netip.MustParseAddr("2001:db8::1"), Sender: "ann@example.com"}); got.Result != "pass" {
		t.Errorf("an IPv6 source: %s (%s)", got.Result, got.Reason)
	}
}
