package policy

import (
	"fmt"
	"strings"
	"testing"
)

// sends is a policy with rules for senders, and a gateway or none.
func sends(gateway *Route) *Policy {
	senders := make(map[string]*Route)
	for _, s := range []string{"alice@example.com", "alice+news@example.com", "bob@example.com", "@example.com", "@xn--bcher-kva.example"} {
		senders[s] = &Route{Name: "of " + s}
	}
	return New(Settings{Outbound: Outbound{Gateway: gateway, Senders: senders}})
}

// O2: the address decides, then the address without extension, then its domain, then
// the outbound gateway.
func TestO2RouteFor(t *testing.T) {
	p := sends(&Route{Name: "gateway"})
	for sender, want := range map[string]struct {
		route string
		code  Code
	}{
		"alice@example.com":            {"of alice@example.com", SenderAddress},
		"ALICE@Example.COM":            {"of alice@example.com", SenderAddress},
		"alice@example.com.":           {"of alice@example.com", SenderAddress},
		`"alice"@example.com`:          {"of alice@example.com", SenderAddress},
		`"a\lice"@example.com`:         {"of alice@example.com", SenderAddress},
		"alice+news@example.com":       {"of alice+news@example.com", SenderAddress},
		"Alice+NEWS@example.com":       {"of alice+news@example.com", SenderAddress},
		"alice+x@example.com":          {"of alice@example.com", SenderExtension},
		"bob+a+b@example.com":          {"of bob@example.com", SenderExtension},
		"Bob+@example.com":             {"of bob@example.com", SenderExtension},
		`"bob+a b"@example.com`:        {"of bob@example.com", SenderExtension},
		"+bob@example.com":             {"of @example.com", SenderDomain},
		"carol@example.com":            {"of @example.com", SenderDomain},
		"bob-x@example.com":            {"of @example.com", SenderDomain},
		`"x@y z"@example.com`:          {"of @example.com", SenderDomain},
		"@example.com":                 {"of @example.com", SenderDomain},
		"carol@Bücher.example":         {"of @xn--bcher-kva.example", SenderDomain},
		"carol@xn--bcher-kva.EXAMPLE":  {"of @xn--bcher-kva.example", SenderDomain},
		"alice@sub.example.com":        {"gateway", OutboundGateway},
		"alice@example.net":            {"gateway", OutboundGateway},
		"alice@example.com@elsewhere":  {"gateway", OutboundGateway},
		"alice":                        {"gateway", OutboundGateway},
		"alice@":                       {"gateway", OutboundGateway},
		"@":                            {"gateway", OutboundGateway},
		"":                             {"gateway", OutboundGateway},
		"<>":                           {"gateway", OutboundGateway},
		`"<>"`:                         {"gateway", OutboundGateway},
		"\xff\x00@\xff":                {"gateway", OutboundGateway},
		`"`:                            {"gateway", OutboundGateway},
		`"\"@example.com`:              {"of @example.com", SenderDomain},
		"MAILER-DAEMON@mx.example.net": {"gateway", OutboundGateway},
	} {
		r, why := p.RouteFor(sender)
		if r == nil || r.Name != want.route || why.Code != want.code {
			t.Errorf("%q takes %+v by %+v, want %+v", sender, r, why, want)
		}
	}
}

// O1: what no rule is for, takes the outbound gateway, bounces too; without one, the mail
// server delivers directly.
func TestO1Reasons(t *testing.T) {
	for _, test := range []struct {
		gateway *Route
		sender  string
		want    Reason
	}{
		{nil, "Alice+x@example.com", Reason{SenderExtension, "[sender alice@example.com]"}},
		{nil, "carol@BÜCHER.example", Reason{SenderDomain, "[sender @xn--bcher-kva.example]"}},
		{nil, "x@example.net", Reason{DirectDelivery, `there is no sender rule for "x@example.net", and [outbound] has no gateway`}},
		{nil, "x\x1b@example.net", Reason{DirectDelivery, `there is no sender rule for "x\x1b@example.net", and [outbound] has no gateway`}},
		{nil, "", Reason{DirectDelivery, "no sender rule can be for the null sender of a bounce, and [outbound] has no gateway"}},
		{&Route{}, "x@example.net", Reason{OutboundGateway, `there is no sender rule for "x@example.net", so [outbound] gateway takes the mail`}},
		{&Route{}, "<>", Reason{OutboundGateway, "no sender rule can be for the null sender of a bounce, so [outbound] gateway takes the mail"}},
	} {
		r, why := sends(test.gateway).RouteFor(test.sender)
		if why != test.want || (r == nil) != (why.Code == DirectDelivery) {
			t.Errorf("%q takes %+v by %+v, want %+v", test.sender, r, why, test.want)
		}
	}
	if r, why := New(Settings{}).RouteFor("x@example.net"); r != nil || why.Code != DirectDelivery {
		t.Errorf("without settings, the route is %+v by %+v", r, why)
	}
}

// A domain that is too long to be one is not converted, and meets no rule.
func TestEndlessDomain(t *testing.T) {
	for hyphens, want := range map[int]Code{498: SenderDomain, 499: DirectDelivery} {
		// Soft hyphens, of two octets, are left out of A-labels (UTS 46).
		sender := "x@bücher" + strings.Repeat("\u00ad", hyphens) + ".example"
		if _, why := sends(nil).RouteFor(sender); why.Code != want {
			t.Errorf("a domain of %d octets: %s, want %s", len(sender)-len("x@"), why.Code, want)
		}
	}
}

// Every rule is explained, in the order in which it is tried.
func TestRouteMeanings(t *testing.T) {
	order := []Code{ByUserGateway, RecipientAddress, RecipientExtension, RecipientDomain, SenderAddress, SenderExtension, SenderDomain, OutboundGateway, DirectDelivery}
	for i, m := range RouteMeanings {
		if i >= len(order) || m.Code != order[i] || m.Text == "" {
			t.Errorf("rule %d is %+v", i, m)
		}
	}
	if len(RouteMeanings) != len(order) {
		t.Errorf("%d rules, want %d", len(RouteMeanings), len(order))
	}
}

// FuzzRouteFor looks for a sender who gets by another way with other letters' case, and
// for answers that contradict themselves.
func FuzzRouteFor(f *testing.F) {
	for _, s := range []string{"alice@example.com", `"a\"b"@example.com`, "bob+x@BÜCHER.example", "<>", "@", `"@`, "x@[192.0.2.1]", "ſ@example.com"} {
		f.Add(s)
	}
	p := sends(nil)
	f.Fuzz(func(t *testing.T, sender string) {
		r, why := p.RouteFor(sender)
		if (r == nil) != (why.Code == DirectDelivery) {
			t.Fatalf("%q takes %+v by %+v", sender, r, why)
		}
		other := []byte(sender)
		for i, c := range other {
			if c|0x20 >= 'a' && c|0x20 <= 'z' {
				other[i] ^= 0x20
			}
		}
		if r2, why2 := p.RouteFor(string(other)); r2 != r || why2.Code != why.Code {
			t.Errorf("%q takes %+v, but %q takes %+v", sender, r, other, r2)
		}
	})
}

func BenchmarkRouteFor(b *testing.B) {
	senders := make(map[string]*Route)
	route := new(Route)
	for i := range 100_000 {
		senders[fmt.Sprintf("user%d@example.com", i)] = route
	}
	p := New(Settings{Outbound: Outbound{Gateway: route, Senders: senders}})
	b.ReportAllocs()
	for b.Loop() {
		p.RouteFor("Nobody+x@example.net")
	}
}
