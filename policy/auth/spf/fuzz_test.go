package spf

import (
	"context"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"gatemilter/policy"
)

// A liar answers every question with what it was given: the sender's domain has
// one record, all that it leads to another. It keeps the names it was asked for.
type liar struct {
	record, another, host string
	asked                 []string
}

func (l *liar) LookupTXT(_ context.Context, name string) ([]string, error) {
	l.asked = append(l.asked, name)
	if len(l.asked) == 1 {
		return []string{l.record}, nil
	}
	return []string{l.another}, nil
}

func (l *liar) LookupMX(_ context.Context, name string) ([]*net.MX, error) {
	l.asked = append(l.asked, name)
	return slices.Repeat([]*net.MX{{Host: l.host}}, 10), nil
}

func (l *liar) LookupA(_ context.Context, name string) ([]net.IPAddr, error) {
	l.asked = append(l.asked, name)
	return []net.IPAddr{{IP: net.IPv4(192, 0, 2, 99)}, {}}, nil
}

func (l *liar) LookupAAAA(ctx context.Context, name string) ([]net.IPAddr, error) {
	return l.LookupA(ctx, name)
}

func (l *liar) LookupAddr(_ context.Context, addr string) ([]string, error) {
	l.asked = append(l.asked, addr)
	return slices.Repeat([]string{l.host}, 100), nil
}

// dnsName is a second opinion on what may be asked for.
var dnsName = regexp.MustCompile(`^[ -\-/-~]{1,63}(\.[ -\-/-~]{1,63})*$`)

func FuzzCheck(f *testing.F) {
	for _, s := range suite(f) {
		z := s.zone(f)
		for _, test := range s.Tests {
			_, domain, _ := strings.Cut(test.MailFrom, "@")
			for _, r := range z[strings.ToLower(domain)] {
				f.Add(test.Host.AsSlice(), test.MailFrom, test.HELO, r.value, "v=spf1 a ptr -all", "mx.example.com.")
			}
		}
	}
	results := []policy.AuthResult{"none", "pass", "fail", "softfail", "neutral", "temperror", "permerror"}
	f.Fuzz(func(t *testing.T, ip []byte, sender, helo, record, another, host string) {
		source, _ := netip.AddrFromSlice(ip)
		resolver := &liar{record: record, another: another, host: host}
		got := Check(t.Context(), resolver, Input{IP: source, Sender: sender, HELO: helo})
		if !slices.Contains(results, got.Result) || strings.HasPrefix(got.Reason, "internal error") {
			t.Errorf("%q (%s)", got.Result, got.Reason)
		}
		if len(got.Reason) > maxReason+len("…") || got.Reason == "" ||
			strings.ContainsFunc(got.Reason, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("reason %q", got.Reason)
		}
		if len(resolver.asked) > maxQueries+1+maxReverseHosts {
			t.Errorf("%d queries", len(resolver.asked))
		}
		for _, name := range resolver.asked {
			if !dnsName.MatchString(name) || len(name) > 253 {
				t.Errorf("asked for %q", name)
			}
		}
		// What the grammar lets through, the library understands.
		if strings.Contains(got.Reason, "unknown field") || strings.Contains(got.Reason, "invalid ipX") {
			t.Errorf("%q: %s", record, got.Reason)
		}
		if got.Result == "pass" && isRecord(record) && checkRecord(record) != nil {
			t.Errorf("pass by the bad record %q", record)
		}
	})
}
