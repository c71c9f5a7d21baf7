package spf

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

func (h hooked) LookupA(ctx context.Context, name string) ([]net.IPAddr, error) {
	return ahead(ctx, h, name, h.zone.LookupA)
}

func (h hooked) LookupAAAA(ctx context.Context, name string) ([]net.IPAddr, error) {
	return ahead(ctx, h, name, h.zone.LookupAAAA)
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

// A resolver that knows addresses is not asked for them.
func TestA1_AddressIsNoName(t *testing.T) {
	for _, terms := range []string{"mx", "a:%{i}", "exists:%{i}"} {
		z := txt("example.com", "v=spf1 "+terms+" -all").with("example.com", "MX", "192.0.2.1").with("192.0.2.1", "A", "192.0.2.1")
		if got := Check(t.Context(), z, Input{IP: source, Sender: "ann@example.com"}); got.Result != policy.AuthFail {
			t.Errorf("%s: %s (%s)", terms, got.Result, got.Reason)
		}
	}
}

// Section 5.5 takes DNS errors at ptr for no match; that all our time ended is none.
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

// A slow resolver never answers for the names below slow.example, nor for the
// addresses in its list. It counts what it is asked for.
type slow struct {
	zone
	addresses []string
	asked     *int
}

func (s slow) LookupTXT(ctx context.Context, name string) ([]string, error) {
	return late(ctx, s, name, s.zone.LookupTXT)
}

func (s slow) LookupA(ctx context.Context, name string) ([]net.IPAddr, error) {
	return late(ctx, s, name, s.zone.LookupA)
}

func (s slow) LookupAAAA(ctx context.Context, name string) ([]net.IPAddr, error) {
	return late(ctx, s, name, s.zone.LookupAAAA)
}

func (s slow) LookupAddr(ctx context.Context, addr string) ([]string, error) {
	return late(ctx, s, addr, s.zone.LookupAddr)
}

func late[T any](ctx context.Context, s slow, name string, lookup func(context.Context, string) ([]T, error)) ([]T, error) {
	*s.asked++
	if strings.HasSuffix(strings.TrimSuffix(name, "."), ".slow.example") || slices.Contains(s.addresses, name) {
		<-ctx.Done()
		return nil, &net.DNSError{Err: ctx.Err().Error(), Name: name, IsTemporary: true, IsTimeout: true}
	}
	return lookup(ctx, name)
}

// Section 5.5: the names of the source's address are in zones of the source's own,
// whose slowness is no match and nothing else.
func TestA5_SlowReverseNames(t *testing.T) {
	hosts := func(n int) []string {
		var names []string
		for i := range n {
			names = append(names, fmt.Sprintf("h%d.slow.example", i))
		}
		return names
	}
	for _, test := range []struct {
		name, terms string
		silent      []string // addresses without an answer
		reverse     []string // the names of the source
		want        policy.AuthResult
		queries     int
	}{
		{"no PTR record in time", "ptr -all", []string{"192.0.2.1"}, nil, "fail", 2},
		{"no host in time", "ptr -all", nil, hosts(3), "fail", 5},
		{"ten hosts, and more", "ptr -all", nil, hosts(50), "fail", 12},
		{"what stands behind ptr", "ptr ip4:192.0.2.1 -all", nil, hosts(10), "pass", 12},
		{"a name among slow ones", "ptr:good.example -all", nil, append(hosts(4), "good.example"), "pass", 7},
		{"twice asked once", "ptr ptr:good.example -all", nil, append(hosts(1), "good.example"), "pass", 4},
		{"in an included record", "include:other.example -all", nil, hosts(3), "fail", 6},
		{"no void lookups", "ptr a:no.example a:no2.example -all", nil, hosts(3), "fail", 7},
		{"a slow name is not found only for ptr", "ptr a:h0.slow.example -all", nil, hosts(1), "temperror", 4},
		{"the sender's own slowness", "a:x.slow.example -all", nil, nil, "temperror", 2},
		{"the sender's own slowness before ptr", "a:x.slow.example ptr -all", nil, hosts(1), "temperror", 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, limit := range []time.Duration{time.Hour, time.Second} {
				synctest.Test(t, func(t *testing.T) {
					z := txt("example.com", "v=spf1 "+test.terms, "other.example", "v=spf1 ptr -all").
						with("1.2.0.192.in-addr.arpa", "PTR", test.reverse...).with("good.example", "A", "192.0.2.1")
					ctx, cancel := context.WithTimeout(t.Context(), limit)
					defer cancel()
					queries := 0
					got := Check(ctx, slow{z, test.silent, &queries}, Input{IP: source, Sender: "ann@example.com"})
					if got.Result != test.want || queries != test.queries {
						t.Errorf("with %v: %s (%s) with %d queries, want %s with %d", limit, got.Result, got.Reason, queries, test.want, test.queries)
					}
				})
			}
		})
	}
}

// The source's reverse names take nothing from the queries that the record has.
func TestA5_ReverseNamesAreNotCounted(t *testing.T) {
	z := txt("example.com", "v=spf1 ptr mx:m0.example mx:m1.example mx:m2.example mx:m3.example mx:m4.example ip4:192.0.2.1 -all")
	for i := range 10 {
		host := fmt.Sprintf("h%d.example", i)
		z.with("1.2.0.192.in-addr.arpa", "PTR", host).with(host, "A", "192.0.2.99")
		for k := range 5 {
			z.with(fmt.Sprintf("m%d.example", k), "MX", host)
		}
	}
	if got := Check(t.Context(), z, Input{IP: source, Sender: "ann@example.com"}); got.Result != policy.AuthPass {
		t.Errorf("%s (%s)", got.Result, got.Reason)
	}
}

// Reasons reach strangers: they don't tell whom we ask, nor from where.
func TestA5_ReasonsHideResolver(t *testing.T) {
	socket := &net.OpError{Op: "read", Net: "udp", Source: &net.UDPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 40000},
		Addr: &net.UDPAddr{IP: net.IPv4(10, 0, 0, 53), Port: 53}, Err: errors.New("connection refused")}
	for _, trouble := range []error{
		socket,
		fmt.Errorf("wrapped: %w", socket),
		&net.DNSError{Err: socket.Error(), Server: "10.0.0.53:53", IsTemporary: true},
		&net.DNSError{Err: "server misbehaving", Server: "10.0.0.53:53", IsTemporary: true},
	} {
		got := Check(t.Context(), hooked{nil, func(string) error { return trouble }}, Input{IP: source, Sender: "ann@example.com"})
		want := `the SPF policy of example.com can't be evaluated now: DNS, asked for "example.com": the lookup failed`
		if got.Result != policy.AuthTempError || got.Reason != want {
			t.Errorf("%v: %s (%s)", trouble, got.Result, got.Reason)
		}
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
