package spf

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"

	"gatemilter/policy"
)

// A hooked resolver calls hook with each name before it asks the zone, and answers
// with the error of hook if there is one.
type hooked struct {
	zone zone
	hook func(name string) error
}

func (h hooked) LookupTXT(ctx context.Context, name string) ([]string, error) {
	return ahead(ctx, h, name, h.zone.LookupTXT)
}

func (h hooked) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	return ahead(ctx, h, name, h.zone.LookupMX)
}

func (h hooked) LookupIPAddr(ctx context.Context, name string) ([]net.IPAddr, error) {
	return ahead(ctx, h, name, h.zone.LookupIPAddr)
}

func (h hooked) LookupAddr(ctx context.Context, addr string) ([]string, error) {
	return ahead(ctx, h, addr, h.zone.LookupAddr)
}

func ahead[T any](ctx context.Context, h hooked, name string, lookup func(context.Context, string) ([]T, error)) ([]T, error) {
	if err := h.hook(name); err != nil {
		return nil, err
	}
	return lookup(ctx, name)
}

// troubled is a zone in which every kind of lookup leads to the name bad.
var troubled = txt(
	"bad.example", "v=spf1 -all",
	"a.example", "v=spf1 a:bad.example -all",
	"mx.example", "v=spf1 mx:bad.example -all",
	"host.example", "v=spf1 mx:hosts.example -all",
	"include.example", "v=spf1 include:bad.example -all",
	"redirect.example", "v=spf1 redirect=bad.example",
	"exists.example", "v=spf1 exists:bad.example -all",
).with("hosts.example", "MX", "good.example", "bad.example").with("good.example", "A", "192.0.2.99")

func TestA5_TroubleIsTempError(t *testing.T) {
	for _, trouble := range []error{
		&net.DNSError{Err: "server misbehaving", IsTemporary: true},
		&net.DNSError{Err: "server misbehaving"},
		&net.DNSError{Err: "i/o timeout", IsTimeout: true},
		fmt.Errorf("wrapped: %w", &net.DNSError{Err: "refused", IsTemporary: true}),
		context.DeadlineExceeded,
		errors.New("no\r\nsense"),
	} {
		for _, domain := range []string{"bad", "a", "mx", "host", "include", "redirect", "exists"} {
			resolver := hooked{troubled, func(name string) error {
				if name == "bad.example" {
					return trouble
				}
				return nil
			}}
			got := Check(t.Context(), resolver, Input{IP: source, Sender: "ann@" + domain + ".example"})
			if got.Result != policy.AuthTempError || !strings.Contains(got.Reason, `"bad.example"`) || strings.ContainsAny(got.Reason, "\r\n") {
				t.Errorf("%s.example with %q: %s (%s)", domain, trouble, got.Result, got.Reason)
			}
		}
	}
}

// A wrapped "not found" is as good as a bare one.
func TestA1_NotFoundIsNone(t *testing.T) {
	resolver := hooked{nil, func(string) error { return fmt.Errorf("wrapped: %w", &net.DNSError{IsNotFound: true}) }}
	if got := Check(t.Context(), resolver, Input{IP: source, Sender: "ann@example.com"}); got.Result != policy.AuthNone {
		t.Errorf("%s (%s)", got.Result, got.Reason)
	}
}

// A resolver that knows addresses, as [net.Resolver] does, is not asked for them.
func TestA1_AddressIsNoName(t *testing.T) {
	for _, terms := range []string{"mx", "a:%{i}", "exists:%{i}"} {
		z := txt("example.com", "v=spf1 "+terms+" -all").with("example.com", "MX", "192.0.2.1").with("192.0.2.1", "A", "192.0.2.1")
		if got := Check(t.Context(), z, Input{IP: source, Sender: "ann@example.com"}); got.Result != policy.AuthFail {
			t.Errorf("%s: %s (%s)", terms, got.Result, got.Reason)
		}
	}
}

// Section 5.5 takes DNS errors at ptr for no match; that we stopped asking is none.
func TestA5_EndOfTimeIsTempError(t *testing.T) {
	z := txt("example.com", "v=spf1 ptr -all").with("1.2.0.192.in-addr.arpa", "PTR", "mx.example.com")
	for name, want := range map[string]policy.AuthResult{
		"":               policy.AuthFail, // the forward name is not there
		"example.com":    policy.AuthTempError,
		"192.0.2.1":      policy.AuthTempError,
		"mx.example.com": policy.AuthTempError,
	} {
		ctx, cancel := context.WithCancel(t.Context())
		resolver := hooked{z, func(asked string) error {
			if asked == name {
				cancel()
			}
			return nil
		}}
		got := Check(ctx, resolver, Input{IP: source, Sender: "ann@example.com"})
		if got.Result != want {
			t.Errorf("time ends at %q: %s (%s), want %s", name, got.Result, got.Reason, want)
		}
		cancel()
	}
}

func TestA5_PanicIsTempError(t *testing.T) {
	resolver := hooked{nil, func(string) error { panic("at\r\nthe wall") }}
	got := Check(t.Context(), resolver, Input{IP: source, Sender: "ann@example.com"})
	if got.Result != policy.AuthTempError || got.Reason != "internal error: at??the wall" {
		t.Errorf("%s (%s)", got.Result, got.Reason)
	}
}

func TestA1_LimitsOfSection4_6_4(t *testing.T) {
	repeat := func(n int, format string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, format, i)
		}
		return b.String()
	}
	many := zone{}.with("a.example", "A", "192.0.2.99")
	for i := range 10 {
		many.with(fmt.Sprintf("m%d.example", i), "MX", strings.Fields(repeat(10, "h%d.example "))...)
		many.with(fmt.Sprintf("h%d.example", i), "A", "192.0.2.99")
	}
	many.with("eleven.example", "MX", strings.Fields(repeat(11, "h%d.example "))...)
	many.with("1.2.0.192.in-addr.arpa", "PTR", strings.Fields(repeat(11, "p%d.example "))...)
	many.with("p9.example", "A", "192.0.2.1").with("p10.example", "A", "192.0.2.1")

	for _, test := range []struct {
		name, terms string
		want        policy.AuthResult
		reason      string
		queries     int
	}{
		{"ten lookups", strings.Repeat("a:a.example ", 10) + "ip4:192.0.2.1", "pass", "matched ip", 11},
		{"eleven lookups", strings.Repeat("a:a.example ", 11) + "ip4:192.0.2.1", "permerror", "lookup limit reached", 11},
		{"two void lookups", "a:no.example exists:no.example ip4:192.0.2.1", "pass", "matched ip", 3},
		{"three void lookups", "a:no.example exists:no.example mx:no.example ip4:192.0.2.1", "permerror", "void lookup limit reached", 4},
		{"ten MX hosts", "mx:m0.example ip4:192.0.2.1", "pass", "matched ip", 12},
		{"eleven MX hosts", "mx:eleven.example ip4:192.0.2.1", "permerror", "too many MX records", 2},
		{"the tenth name of a source", "ptr:p9.example", "pass", "matched ptr", 12},
		{"the eleventh name of a source", "ptr:p10.example -all", "fail", "matched all", 12},
		{"include of itself", "include:example.com", "permerror", "lookup limit reached", 11},
		{"redirect to itself", "redirect=example.com", "permerror", "lookup limit reached", 11},
		{"many queries", repeat(10, "mx:m%d.example ") + "ip4:192.0.2.1", "temperror", "too many queries for one message", maxQueries},
	} {
		t.Run(test.name, func(t *testing.T) {
			z := txt("example.com", "v=spf1 "+test.terms)
			for name, records := range many {
				z[name] = records
			}
			queries := 0
			resolver := hooked{z, func(string) error { queries++; return nil }}
			got := Check(t.Context(), resolver, Input{IP: source, Sender: "ann@example.com"})
			if got.Result != test.want || !strings.Contains(got.Reason, test.reason) || queries != test.queries {
				t.Errorf("%s (%s) with %d queries, want %s (%s) with %d",
					got.Result, got.Reason, queries, test.want, test.reason, test.queries)
			}
		})
	}
}

func TestQueryName_Section7_3(t *testing.T) {
	label := strings.Repeat("a", 62) + "."
	fits := strings.Repeat(label, 4)[:252] + "b" // 253 bytes
	for _, test := range []struct {
		name, want string
		ok         bool
	}{
		{"example.com", "example.com", true},
		{"example.com.", "example.com", true},
		{"a b._c.Example", "a b._c.Example", true},
		{fits, fits, true},
		{"." + fits, fits, true},
		{"x." + fits, fits, true},
		{"x" + fits, fits[63:], true},
		{strings.Repeat("x.", 9999) + fits, fits, true},
		{strings.Repeat("x", 9999), "", false},
		{strings.Repeat("a", 64) + ".example", strings.Repeat("a", 64) + ".example", false},
		{"", "", false},
		{".", "", false},
		{"a..b", "a..b", false},
		{".a", ".a", false},
		{"a\x00b", "a\x00b", false},
		{`a\.b`, `a\.b`, true},
		{"ä.b", "ä.b", false},
	} {
		if got, ok := queryName(test.name); got != test.want || ok != test.ok {
			t.Errorf("queryName(%q) = %q, %t, want %q, %t", test.name, got, ok, test.want, test.ok)
		}
	}
}
