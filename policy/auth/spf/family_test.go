package spf

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"gatemilter/policy"
	"gatemilter/policy/auth/dns"
	"gatemilter/policy/auth/dnstest"
)

// families is a zone of hosts, of which each has addresses of one family or the
// other, or neither can be told.
const families = `
four.example      A       192.0.2.1
four.example      SERVFAIL AAAA
six.example       SERVFAIL A
six.example       AAAA    2001:db8::1
mapped.example    AAAA    ::ffff:192.0.2.1
both.example      A       192.0.2.1
both.example      AAAA    2001:db8::1
only4.example     A       192.0.2.1
only6.example     AAAA    2001:db8::1
mx-four.example   MX 10   four.example
mx-six.example    MX 10   six.example
mx-mapped.example MX 10   mapped.example
mx-three.example  MX 10   other1.example
mx-three.example  MX 10   other2.example
mx-three.example  MX 10   other3.example
other1.example    A       192.0.2.9
other2.example    AAAA    2001:db8::9
record.example    TXT     "v=spf1 -exists:only6.example exists:four.example -all"
1.2.0.192.in-addr.arpa PTR four.example
1.2.0.192.in-addr.arpa PTR mapped.example
1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa PTR six.example
1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa PTR mapped.example
`

var source6 = netip.MustParseAddr("2001:db8::1")

// checkOverDNS checks ann@example.com, whose record has the terms, in the zone families.
func checkOverDNS(t *testing.T, source netip.Addr, terms string) (policy.SPF, *dnstest.Server) {
	t.Helper()
	server := dnstest.StartFor(t, families+fmt.Sprintf("example.com TXT \"v=spf1 %s\"\n", terms))
	client, err := dns.New(dns.Config{Servers: []string{server.Addr()}, Timeout: 30 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return Check(t.Context(), client, Input{IP: source, Sender: "ann@example.com", HELO: "both.example\x00"}), server
}

// Section 5: addresses to compare with the source are those of its family, and
// nothing else is asked. Section 5.7: exists asks for A always.
func TestA1_FamilyOfAddresses(t *testing.T) {
	for _, test := range []struct {
		source netip.Addr
		terms  string
		want   policy.AuthResult
		asked  string // of the host at the end
	}{
		{source, "a:four.example -all", "pass", "A four.example"},
		{source, "a:six.example -all", "temperror", "A six.example"},
		{source, "a:mapped.example -all", "fail", "A mapped.example"},
		{source, "a:mapped.example/0//0 -all", "fail", "A mapped.example"},
		{source, "a:both.example -all", "pass", "A both.example"},
		{source, "mx:mx-four.example -all", "pass", "A four.example"},
		{source, "mx:mx-six.example -all", "temperror", "A six.example"},
		{source, "mx:mx-mapped.example -all", "fail", "A mapped.example"},
		{source, "ptr:four.example -all", "pass", "A four.example"},
		{source, "ptr:mapped.example -all", "fail", "A mapped.example"},
		{source, "exists:four.example -all", "pass", "A four.example"},
		{source, "exists:six.example -all", "temperror", "A six.example"},
		{source, "exists:only6.example -all", "fail", "A only6.example"},
		{source, "exists:mapped.example -all", "fail", "A mapped.example"},

		{source6, "a:four.example -all", "temperror", "AAAA four.example"},
		{source6, "a:six.example -all", "pass", "AAAA six.example"},
		{source6, "a:mapped.example/0//128 -all", "fail", "AAAA mapped.example"},
		{source6, "a:both.example -all", "pass", "AAAA both.example"},
		{source6, "mx:mx-four.example -all", "temperror", "AAAA four.example"},
		{source6, "mx:mx-six.example -all", "pass", "AAAA six.example"},
		{source6, "ptr:six.example -all", "pass", "AAAA six.example"},
		{source6, "ptr:mapped.example -all", "fail", "AAAA mapped.example"},
		{source6, "exists:four.example -all", "pass", "A four.example"},
		{source6, "exists:six.example -all", "temperror", "A six.example"},
		{source6, "exists:only6.example -all", "fail", "A only6.example"},
		{source6, "exists:mapped.example -all", "fail", "A mapped.example"},

		// However exists is written.
		{source6, "~EXISTS:only%{v}.example ?Exists:only4.example. -all", "neutral", "A only4.example"},
		{source6, "x=exists:no.example exists:%{d2}.no.example exists:only4.%{d1r}", "pass", "A only4.example"},
		{source6, "include:record.example -all", "pass", "A four.example"},
		{source6, "redirect=record.example", "pass", "A four.example"},
		// What ptr found are addresses of another type.
		{source6, "ptr:no.example exists:mapped.example -all", "fail", "A mapped.example, AAAA mapped.example"},
		// The HELO name of the tests isn't in DNS: a term never matches.
		{source6, "exists:%{h} a:%{h} -all", "fail", ""},
	} {
		got, server := checkOverDNS(t, test.source, test.terms)
		if got.Result != test.want {
			t.Errorf("%s: %s: %s (%s), want %s", test.source, test.terms, got.Result, got.Reason, test.want)
		}
		host := test.asked[strings.LastIndex(test.asked, " ")+1:]
		var asked []string
		for _, typ := range []string{"A", "AAAA"} {
			if server.Queries(host, typ) > 0 {
				asked = append(asked, typ+" "+host)
			}
		}
		if got := strings.Join(asked, ", "); host != "" && got != test.asked {
			t.Errorf("%s: %s: asked for %s, want %s", test.source, test.terms, got, test.asked)
		}
	}
}

// Section 4.6.4: a lookup is void where the one query that section 5 wants has no
// answer, whatever the host has of the other family.
func TestA1_VoidLookupsAreOfTheFamily(t *testing.T) {
	const three = "a:only6.example a:only6.example a:only6.example "
	for _, test := range []struct {
		source netip.Addr
		terms  string
		want   policy.AuthResult
	}{
		{source, "a:only6.example exists:only6.example ip4:192.0.2.1 -all", "pass"},
		{source, three + "ip4:192.0.2.1 -all", "permerror"},
		{source6, "-a:only6.example/0//127", "fail"},
		{source6, "a:only4.example exists:only6.example ip6:2001:db8::1 -all", "pass"},
		{source6, "a:only4.example exists:only6.example a:only4.example ip6:2001:db8::1 -all", "permerror"},
	} {
		if got, _ := checkOverDNS(t, test.source, test.terms); got.Result != test.want {
			t.Errorf("%s: %s: %s (%s), want %s", test.source, test.terms, got.Result, got.Reason, test.want)
		}
	}
}

// Each host takes one query.
func TestA1_OneQueryForEachHost(t *testing.T) {
	for _, source := range []netip.Addr{source, source6} {
		_, server := checkOverDNS(t, source, "mx:mx-three.example -all") // TXT, MX, and three hosts
		if server.Total() != 5 {
			t.Errorf("%s: %d queries, want 5", source, server.Total())
		}
	}
}
